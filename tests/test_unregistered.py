"""Who is in no register waits on a list, and finds samples and doses there when registered (CL-6.5)."""

import csv

import pytest
from procrastinate.contrib.django.models import ProcrastinateJob

from jingwei.base import loading, undoing
from jingwei.base.models import LogEntry
from jingwei.desk.tasks import TIMETABLE
from jingwei.people import registering
from jingwei.people.models import Dose, Person, Unregistered, UnregisteredDose
from jingwei.people.samples import number, person
from jingwei.people.sheets import RosterSheet, VaccinationSheet
from jingwei.testing.models import Sample
from jingwei.testing.sheets import SampleSheet
from jingwei.testing.tasks import roll_up

pytestmark = [pytest.mark.django_db, pytest.mark.req("CL-6.5")]
STRANGER = number("19700101", 7)
WAITING, REGISTERED, DISMISSED = Unregistered.WAITING, Unregistered.REGISTERED, Unregistered.DISMISSED


@pytest.fixture
def load(tmp_path):
    """A function that loads rows as a sheet."""

    def load(persona, sheet, *rows):
        path = tmp_path / "表.csv"
        with open(path, "w", newline="") as file:
            csv.writer(file).writerows(rows)
        return loading.load(persona.actor, sheet, path)

    return load


def sampled(load, persona, *times, point="甲采样点", name="外来人", number=STRANGER):
    rows = [[name, number, "13900000000", point, at, "阴性"] for at in times]
    headings = ["受检人", "证件号", "手机", "采样点", "采样时间", "检测结果"]
    return load(persona, SampleSheet(), headings, *rows)


def vaccinated(load, persona, *doses):
    rows = [["外来人", STRANGER, dose, on, "甲卫生院"] for dose, on in doses]
    return load(persona, VaccinationSheet(), ["姓名", "证件号码", "剂次", "接种日期", "接种单位"], *rows)


def look_for_samples():
    """What the worker does after a registration."""
    for job in ProcrastinateJob.objects.filter(task_name=roll_up.name):
        roll_up(**job.args)


def waiting():
    return Unregistered.objects.get().state == WAITING


@pytest.fixture
def entry(village, load):
    """Somebody of both sheets, in no register."""
    sampled(load, village, "2026-11-03 09:00", "2026-11-05 09:00")
    vaccinated(load, village, ("1", "2021-05-01"), ("2", "2021-06-01"))
    return Unregistered.objects.get()


def test_a_stranger_is_listed_once_with_everything_known(entry, village):
    assert (entry.name, entry.number, entry.phone) == ("外来人", STRANGER, "13900000000")
    assert (entry.source, entry.place, entry.first_at.year, entry.last_at.day) == (
        "核酸检测样表",
        "甲采样点",
        2021,
        5,
    )
    assert (entry.region, entry.organisation, entry.state) == (
        village.region,
        village.actor.organisation,
        WAITING,
    )
    page = village.client.get("/unregistered/").content.decode()
    assert "外来人" in page and STRANGER not in page
    shown = village.client.get(f"/unregistered/{entry.pk}/").content.decode()
    assert "核酸检测" in shown and "2026-11-05 09:00" in shown


@pytest.mark.req("P-1.6", "CL-2.1")
def test_another_town_has_a_list_of_its_own(entry, othertown, load):
    assert not othertown.client.get("/unregistered/").context["page"].rows
    sampled(load, othertown, "2026-11-06 09:00")
    assert Unregistered.objects.count() == 2
    [row] = othertown.client.get("/unregistered/").context["page"].rows
    assert row.region == othertown.region


def test_registering_brings_samples_and_doses(entry, village):
    sent = {"region": village.region, "address": "上埔社区9号", "confirm": "1"}
    answer = village.client.post(f"/unregistered/do/register/?pk={entry.pk}", sent | {"pk": entry.pk})
    assert answer.status_code == 302, answer.content.decode()
    look_for_samples()
    someone = Person.objects.get(number=STRANGER)
    assert (someone.name, someone.phone, someone.sex, someone.region_id) == (
        "外来人",
        "13900000000",
        "1",
        village.region,
    )
    assert (someone.dose, str(someone.dose_on), someone.sampled_at.day) == (2, "2021-06-01", 5)
    assert Dose.objects.filter(person=someone).count() == 2 and not UnregisteredDose.objects.exists()
    assert set(Sample.objects.values_list("region", flat=True)) == {village.region}
    entry.refresh_from_db()
    assert (entry.state, entry.decided_by) == (REGISTERED, village.actor.name)
    assert LogEntry.objects.filter(act="登记", resource="unregistered", object_id=str(entry.pk)).exists()


def test_nobody_registers_outside_the_own_territory(entry, village):
    sent = {"pk": entry.pk, "region": "990101002001", "confirm": "1"}
    page = village.client.post(f"/unregistered/do/register/?pk={entry.pk}", sent)
    assert "不在您的管辖范围内" in page.content.decode()
    assert not Person.objects.exists() and waiting()


def test_a_roster_and_the_form_close_the_entry_by_themselves(entry, village, load, district):
    load(village, RosterSheet(), ["村/社区", "姓名", "证件号"], ["上埔社区", "外来人", STRANGER])
    look_for_samples()
    someone = Person.objects.get(number=STRANGER)
    assert (someone.dose, someone.sampled_at.day) == (2, 5)
    entry.refresh_from_db()
    assert entry.state == REGISTERED


@pytest.mark.req("P-5.3")
def test_who_leaves_the_register_waits_again(entry, village, load):
    Unregistered.objects.all().delete()
    sampled(load, village, "2026-11-07 09:00")
    roster = load(village, RosterSheet(), ["村/社区", "姓名", "证件号"], ["上埔社区", "外来人", STRANGER])
    assert not waiting()
    undoing.undo(village.actor, RosterSheet(), roster)
    assert waiting()
    someone = person(number=STRANGER, name="外来人")
    Unregistered.objects.update(state=REGISTERED)
    village.client.post(f"/people/{someone.pk}/delete/", {"confirm": "1"})
    assert not Person.objects.exists() and waiting()


def test_who_was_dismissed_stays_so_until_somebody_reopens(entry, village, load):
    address = f"/unregistered/do/{{}}/?pk={entry.pk}"
    village.client.post(address.format("dismiss"), {"pk": entry.pk, "reason": "外来办事", "confirm": "1"})
    sampled(load, village, "2026-11-09 09:00")
    entry.refresh_from_db()
    assert (entry.state, entry.reason, entry.last_at.day) == (DISMISSED, "外来办事", 9)
    village.client.post(address.format("reopen"), {"pk": entry.pk, "confirm": "1"})
    assert waiting()


def test_several_are_dismissed_at_once(village, load):
    for order in range(3):
        sampled(load, village, "2026-11-09 09:00", number=number("19700101", order))
    keys = list(Unregistered.objects.values_list("pk", flat=True))
    village.client.post(
        "/unregistered/do/dismiss/", {"pk": keys, "reason": "外地游客", "confirm": "1", "typed": "3"}
    )
    assert set(Unregistered.objects.values_list("state", flat=True)) == {DISMISSED}


def test_coming_again_changes_nothing(entry, village, load):
    before = Unregistered.objects.values().get(), list(UnregisteredDose.objects.values())
    sampled(load, village, "2026-11-03 09:00", "2026-11-05 09:00")
    vaccinated(load, village, ("1", "2021-05-01"), ("2", "2021-06-01"))
    assert (Unregistered.objects.values().get(), list(UnregisteredDose.objects.values())) == before
    vaccinated(load, village, ("1", "2021-04-01"), ("2", "2021-06-11"))
    assert set(map(str, UnregisteredDose.objects.values_list("on", flat=True))) == {
        "2021-05-01",
        "2021-06-11",
    }


def test_the_night_finds_whom_two_transactions_did_not_see(entry, village):
    someone = person(number=STRANGER)  # without the action that looks for entries
    assert registering.TIDY in {entry.kind for entry in TIMETABLE}
    registering.tidy(None, None, None)
    entry.refresh_from_db()
    someone.refresh_from_db()
    assert (entry.state, someone.dose) == (REGISTERED, 2)
