"""The operation log is only ever added to (P-3.1, SEC-9)."""

import ast
from pathlib import Path

import pytest
from django.db import Error, connection, transaction

from jingwei import menu
from jingwei.base import audit
from jingwei.base.access import platform_actor
from jingwei.base.events import CATALOGUE, UnknownEvent
from jingwei.base.models import LogEntry
from jingwei.base.saving import save_record
from jingwei.directory.models import Department

pytestmark = pytest.mark.django_db


@pytest.fixture
def entry():
    return audit.record(platform_actor("测试"), "查看", label="一条")


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
    with pytest.raises(Error, match="permission denied"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert LogEntry.objects.get(pk=entry.pk).act == "查看"


@pytest.mark.req("SEC-9")
@pytest.mark.parametrize("table", ["base_logentry", "base_logseal", "base_logdrop", "base_logpeople"])
def test_the_application_may_only_add_to_the_log_and_read_it(table):
    rights = "SELECT INSERT UPDATE DELETE TRUNCATE TRIGGER".split()
    with connection.cursor() as cursor:
        for role in ("jingwei_app", "jingwei_platform"):
            cursor.execute(
                "SELECT name FROM unnest(%s::text[]) name WHERE has_table_privilege(%s, %s, name)",
                [rights, role, table],
            )
            assert {name for (name,) in cursor.fetchall()} <= {"SELECT", "INSERT"}


@pytest.mark.req("SEC-10")
def test_an_act_that_cannot_be_logged_does_not_happen(owner, sysadmin):
    owner.execute("ALTER TABLE base_logentry ADD CONSTRAINT full_up CHECK (false) NOT VALID")
    values = {"organisation": sysadmin.operator.organisation, "name": "没有日志的部门"}
    with pytest.raises(Error, match="full_up"), transaction.atomic():
        save_record(sysadmin.actor, Department(), resource="departments", values=values)
    assert not Department.objects.filter(name="没有日志的部门").exists()


@pytest.mark.req("SEC-8")
def test_an_act_that_is_no_event_of_the_catalogue_is_a_mistake():
    with pytest.raises(UnknownEvent, match="试验"):
        audit.record(platform_actor("测试"), "试验")


@pytest.mark.req("SEC-8")
def test_every_act_that_the_code_records_is_in_the_catalogue():
    """Constants only: what is put together from a verb's name is looked at when it is recorded."""
    recorded = set()
    for path in Path("jingwei").rglob("*.py"):
        source = path.read_text()
        if "tests" in path.parts or not ("audit.record(" in source or "act=" in source):
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("audit.record", "save_record"):
                said = [*node.args[1:2], *(k.value for k in node.keywords if k.arg == "act")]
                recorded |= {word.value for word in said if isinstance(word, ast.Constant)}
    assert len(recorded) > 50
    assert not recorded - set(CATALOGUE)


@pytest.mark.req("P-3.1", "P-4.3")
def test_changes_are_kept_in_words_and_masked(secadmin, village):
    operator = village.operator
    ended = str(operator.ends_on)
    menu.resource("operators").save(
        secadmin.actor, operator, values={"phone": "13812345678", "ends_on": "2020-01-01"}
    )
    entry = LogEntry.objects.get(resource="operators", act="修改")
    assert entry.detail["changes"] == {"联系电话": ["", "138****5678"], "有效期至": [ended, "2020-01-01"]}
    assert (entry.login, entry.organisation, entry.address, entry.request_id) == (
        "secadmin",
        "区大数据服务中心",
        "192.0.2.1",
        "test",
    )
