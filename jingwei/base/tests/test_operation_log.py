"""The operation log is only ever added to (P-3.1, SEC-9)."""

import pytest
from django.db import Error, connection, transaction

from jingwei import menu
from jingwei.base import audit
from jingwei.base.access import platform_actor
from jingwei.base.models import LogEntry
from jingwei.base.saving import save_record
from jingwei.directory.models import Department

pytestmark = pytest.mark.django_db


@pytest.fixture
def entry():
    return audit.record(platform_actor("测试"), "试验", label="一条")


@pytest.mark.req("P-3.1", "SEC-9")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE base_logentry SET act = '别的'",
        "DELETE FROM base_logentry",
        "TRUNCATE base_logentry",
        "UPDATE base_logentry SET act = '别的' WHERE false",
    ],
)
def test_the_database_refuses_to_change_the_log(entry, statement):
    with pytest.raises(Error, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert LogEntry.objects.get(pk=entry.pk).act == "试验"


@pytest.mark.req("SEC-10")
def test_an_act_that_cannot_be_logged_does_not_happen(sysadmin, monkeypatch):
    def broken(*args, **kwargs):
        raise Error("the log is full")

    monkeypatch.setattr(LogEntry.objects, "create", broken)
    values = {"organisation": sysadmin.operator.organisation, "name": "没有日志的部门"}
    with pytest.raises(Error), transaction.atomic():
        save_record(sysadmin.actor, Department(), resource="departments", values=values)
    assert not Department.objects.filter(name="没有日志的部门").exists()


@pytest.mark.req("P-3.1", "P-4.3")
def test_changes_are_kept_in_words_and_masked(secadmin, village):
    operator = village.operator
    menu.resource("operators").save(
        secadmin.actor, operator, values={"phone": "13812345678", "ends_on": "2030-01-01"}
    )
    entry = LogEntry.objects.get(resource="operators", act="修改")
    assert entry.detail["changes"] == {"联系电话": ["", "138****5678"], "有效期至": ["", "2030-01-01"]}
    assert (entry.login, entry.organisation, entry.address, entry.request_id) == (
        "secadmin",
        "区大数据服务中心",
        "192.0.2.1",
        "test",
    )
