"""The page of a record names whoever changed it, one by one or by a sheet (P-3.1, CL-3.6)."""

from datetime import timedelta

import pytest
from django.utils import timezone

from jingwei import menu
from jingwei.base import loading, undoing
from jingwei.desk.history import history_of
from jingwei.directory.models import Role
from jingwei.people.models import Person
from jingwei.people.samples import person
from jingwei.people.sheets import RosterSheet
from jingwei.places.models import Venue
from jingwei.places.samples import venue
from jingwei.places.sheets import VenueSheet

pytestmark = [pytest.mark.django_db, pytest.mark.req("P-3.1")]


def told(name, row):
    row.refresh_from_db()
    return [(change.who, change.act, change.changes) for change in history_of(menu.resource(name), row)]


def load(persona, sheet, path, *lines):
    path.write_text("\n".join(lines))
    return loading.load(persona.actor, sheet, path)


@pytest.mark.req("CL-3.6", "CL-6.3")
@pytest.mark.django_db(transaction=True)  # what happens later is later for the database, too
def test_whoever_brought_a_person_by_a_sheet_is_named(village, tmp_path):
    number = person().number.clear()
    Person.objects.all().delete()
    path = tmp_path / "名单.csv"
    load(village, RosterSheet(), path, "村/社区,姓名,证件号", f"上埔社区,陈新,{number}")
    taken = load(village, RosterSheet(), path, "村/社区,姓名,证件号", f"上埔社区,陈改,{number}")
    undoing.undo(village.actor, RosterSheet(), taken)
    who = village.actor.name
    assert told("people", Person.objects.get()) == [
        (who, "撤销导入", {"姓名": ["陈改", "陈新"]}),
        (who, "导入", {"姓名": ["陈新", "陈改"]}),
        (who, "导入新增", {}),
    ]


def test_whoever_changed_a_venue_by_a_sheet_is_named(venueops, tmp_path):
    there = venue(name="旧店名")
    Venue.objects.filter(pk=there.pk).update(created_at=timezone.now() - timedelta(days=1))
    load(venueops, VenueSheet(), tmp_path / "场所.csv", "公共场所ID,公共场所", f"{there.code},新店名")
    [(who, act, changes), *_] = told("venues", there)
    assert (who, act, changes) == (venueops.actor.name, "导入", {"公共场所": ["旧店名", "新店名"]})


@pytest.mark.req("P-1.5")
def test_the_permissions_of_a_role_are_told_in_words(secadmin):
    role = Role.objects.create(name="只看人员", permissions=["people.view"])
    values = {"permissions": ["people.export"]}
    menu.resource("roles").save(secadmin.actor, role, values=values)
    [(_, _, changes)] = told("roles", role)
    assert changes == {"权限": ["人员信息：查看", "人员信息：导出"]}
