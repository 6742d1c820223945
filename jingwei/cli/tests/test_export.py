"""`jingwei export`: the same rows and rights as on the page, in a file of the caller's."""

import argparse
import csv

import pytest
from django.core.exceptions import PermissionDenied, ValidationError

from jingwei.base.models import LogEntry
from jingwei.cli import export
from jingwei.people.samples import person

pytestmark = [pytest.mark.django_db, pytest.mark.req("P-5.4")]
PHONE = "16000000001"


@pytest.fixture
def jingwei_export(tmp_path):
    """function(*arguments) → rows of the csv file that the command wrote for the account `village`."""

    def run(*arguments, login="village"):
        parser = argparse.ArgumentParser()
        export.add_arguments(parser)
        out = tmp_path / "out.csv"
        given = ["people", "--as", login, "--out", str(out), *arguments]
        assert export.run(parser.parse_args(given)) == 0
        assert out.stat().st_mode & 0o777 == 0o600
        with open(out, encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))

    return run


def names(rows):
    return [row["姓名"] for row in rows]


@pytest.mark.req("CL-2.1", "P-4.3")
def test_only_the_own_territory_leaves_and_masked(jingwei_export):
    person(name="本村", phone=PHONE)
    person(region="990101002001", name="邻镇")
    [row] = jingwei_export()
    assert (row["姓名"], row["联系电话"]) == ("本村", "160****0001")
    [line] = LogEntry.objects.filter(act="导出")
    assert (line.login, line.detail["行数"]) == ("village", 1)


def test_the_selection_is_that_of_the_list(jingwei_export):
    for number in range(4):
        person(name=f"王{number}", occupation="教师" if number % 2 else "司机")
    assert names(jingwei_export("--order=-姓名", "--limit", "2")) == ["王3", "王2"]
    assert names(jingwei_export("--where", "单位（从业情况）=教师", "--order", "姓名")) == ["王1", "王3"]
    assert names(jingwei_export("--q", "王2")) == ["王2"]


@pytest.mark.req("P-4.3", "SEC-16")
def test_clear_values_need_a_reason(jingwei_export):
    person(phone=PHONE)
    with pytest.raises(ValidationError, match="事由"):
        jingwei_export("--clear")
    assert jingwei_export("--clear", "--reason", "核对")[0]["联系电话"] == PHONE


def test_what_cannot_be_done_is_said_and_leaves_no_file(jingwei_export, tmp_path):
    person()
    for arguments, login, reason in [
        ((), "nobody", "没有导出"),
        ((), "nosuch", "没有登录名为“nosuch”"),
        (("--where", "没有的列=1"), "village", "没有名为“没有的列”"),
        (("--where", "姓名"), "village", "列名=值"),
        (("--order", "没有的列"), "village", "不能按“没有的列”排序"),
        (("--limit", "0"), "village", "正整数"),
        (("--out", str(tmp_path / "a.pdf")), "village", "以 .xlsx 或 .csv 结尾"),
        (("--out", str(tmp_path / "missing" / "a.csv")), "village", "无法写入"),
    ]:
        with pytest.raises((ValidationError, PermissionDenied), match=reason):
            jingwei_export(*arguments, login=login)
    assert not list(tmp_path.iterdir())
