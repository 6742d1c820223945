"""The operation log says what was done as an auditor would."""

import re

import pytest
from django.conf import settings

from jingwei.base import audit
from jingwei.base.models import LogEntry
from jingwei.oversight.resources import OF_KIND
from jingwei.people.samples import person

pytestmark = pytest.mark.django_db


@pytest.mark.req("P-3.1")
def test_no_entry_shows_the_words_of_the_program(district, auditadmin):
    person()
    district.client.post("/people/export/", {"format": "csv", "rows": "all", "query": ""})
    for detail in (
        {"action": "export"},
        {"mode": "both", "bad": "skip", "corrected": {"lower x": 2}, "notes": ["甲", "乙"]},
        {"明文": True, "限期": None},
    ):
        audit.record(district.actor, "导入", resource="people", **detail)
    page = auditadmin.client.get("/logs/").content.decode()
    for said in (
        "列：序号、乡镇（街道）、村/社区",
        "权限：导出",
        "方式：新增和修改",
        "对错误行：跳过错误行",
        "更正：身份证号末位 x 改为 X 2",
        "说明：甲、乙",
        "明文：是",
        "限期：（空）",
    ):
        assert said in page, said


@pytest.mark.req("P-3.1")
def test_whatever_the_code_says_an_entry_is_about_has_a_chinese_name():
    sources = [path for path in settings.PACKAGE.rglob("*.py") if "tests" not in path.parts]
    named = {name for path in sources for name in re.findall(r'resource="([a-z-]+)"', path.read_text())}
    assert len(named) > 20
    unnamed = {name for name in named if OF_KIND.value(LogEntry(resource=name)).isascii()}
    assert not unnamed
