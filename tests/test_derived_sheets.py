"""A resource without a sheet of its own is imported by one that follows from its fields (P-1.4, P-5.3)."""

import csv
import io
from dataclasses import replace

import pytest

from jingwei.base import loading, undoing
from jingwei.base.access import DataScope
from jingwei.base.models import LogEntry
from jingwei.base.sheets import form_sheet_of, sheet_of
from jingwei.directory.models import Department, Organisation
from jingwei.directory.resources import DepartmentResource, RoleResource

pytestmark = pytest.mark.django_db
HEADINGS = ["单位", "部门名称", "顺序"]


@pytest.fixture
def departments():
    return sheet_of(DepartmentResource())


@pytest.fixture
def office():
    return Organisation.objects.get(parent=None)


@pytest.fixture
def file(tmp_path):
    def write(*rows):
        text = io.StringIO(newline="")
        csv.writer(text).writerows([HEADINGS, *rows])
        (tmp_path / "部门.csv").write_text(text.getvalue())
        return tmp_path / "部门.csv"

    return write


def outcome(load):
    return tuple(load.counts[name] for name in ("added", "changed", "unchanged", "rejected_rows"))


@pytest.mark.req("P-5.3", "P-1.3")
def test_rows_go_in_by_the_rules_of_the_form_and_come_out_again(sysadmin, departments, office, file):
    path = file(
        [office.name, "信访科", "7"],
        [office.pk, "档案科", ""],
        ["无此单位", "甲科", ""],
        [office.name, "", "x"],
    )
    load = loading.load(sysadmin.actor, departments, path)
    assert outcome(load) == (2, 0, 0, 2)
    assert [(message["row"], message["column"]) for message in load.counts["rejected"]] == [
        (4, "单位"),
        (5, "部门名称"),
        (5, "顺序"),
    ]
    assert Department.objects.get(name="信访科").order == 7
    assert LogEntry.objects.filter(act="新增", resource="departments").count() == 2
    assert outcome(loading.load(sysadmin.actor, departments, path)) == (0, 0, 2, 2)

    changed = loading.load(sysadmin.actor, departments, file([office.name, "信访科", "9"]))
    assert outcome(changed) == (0, 1, 0, 0)
    undoing.undo(sysadmin.actor, departments, changed)
    assert Department.objects.get(name="信访科").order == 7
    assert undoing.undo(sysadmin.actor, departments, load)["deleted"] == 1
    assert not Department.objects.filter(name="档案科").exists()


@pytest.mark.req("P-1.6", "P-5.3")
def test_a_reference_reaches_no_further_than_the_scope(town, departments, office, file):
    own = town.operator.organisation
    reach = DataScope(organisations=frozenset([own.path]))
    clerk = replace(town.actor, grants={"departments.import": reach, "departments.add": reach})
    load = loading.load(clerk, departments, file([office.name, "甲科", ""], [own.name, "乙科", ""]))
    assert outcome(load) == (1, 0, 0, 1)
    assert load.counts["rejected"][0]["reason"] == "在您的管辖范围内没有这一项，请核对"
    assert Department.objects.get(name="乙科").organisation == own


@pytest.mark.req("P-5.3")
def test_what_no_cell_can_hold_stays_with_the_form():
    names = [column.name for column in form_sheet_of(RoleResource()).columns]
    assert "name" in names and "permissions" not in names and "regions" not in names
