"""The counts by day follow the rows, and a recount finds what they missed (P-9.4)."""

from datetime import date

import pgtrigger
import pytest
from django.db.models import Sum
from django.utils import timezone

from jingwei.people.day_counts import DOSES, PEOPLE, add_up, recount
from jingwei.people.models import DayCount, Dose, Person
from jingwei.people.samples import person

pytestmark = pytest.mark.django_db
DAY = date(2026, 3, 1)


def counted(kind, **where):
    return DayCount.objects.filter(kind=kind.kind, **where).aggregate(sum=Sum("number"))["sum"] or 0


@pytest.mark.req("P-9.4", "CL-4.4")
def test_doses_are_counted_where_the_person_lives_also_after_a_move():
    someone = person(region="990101001001")
    dose = Dose.objects.create(person=someone, dose=1, on=DAY)
    assert counted(DOSES, region="990101001001", day=DAY) == 1
    Person.objects.filter(pk=someone.pk).update(region="990101001002")
    assert counted(DOSES, region="990101001001") == 0
    assert counted(DOSES, region="990101001002", day=DAY) == 1
    Dose.objects.filter(pk=dose.pk).update(on=date(2026, 3, 2))
    assert counted(DOSES, region="990101001002", day=DAY) == 0
    someone.delete()
    assert counted(DOSES) == 0


@pytest.mark.req("P-9.4")
def test_a_person_counts_on_the_day_of_entry_and_no_more_when_gone():
    someone = person()
    assert counted(PEOPLE, region=someone.region_id, day=timezone.localdate()) == 1
    someone.delete()
    assert counted(PEOPLE, region=someone.region_id) == 0


@pytest.mark.req("P-9.4")
def test_what_went_past_the_triggers_is_found_and_corrected():
    someone = person()
    with pgtrigger.ignore("people.Dose:doses_by_day_insert"):
        Dose.objects.create(person=someone, dose=1, on=DAY)
    assert counted(DOSES) == 0
    assert recount(PEOPLE, DOSES) == 1
    assert counted(DOSES, day=DAY) == 1
    assert recount(PEOPLE, DOSES) == 0


@pytest.mark.req("P-9.4")
def test_adding_up_leaves_the_sums():
    someone = person()
    for order in range(1, 9):
        dose = Dose.objects.create(person=someone, dose=order, on=DAY)
        Dose.objects.filter(pk=dose.pk).update(on=date(2026, 3, 2))
        Dose.objects.filter(pk=dose.pk).update(on=DAY)
    assert DayCount.objects.filter(kind=DOSES.kind, day=DAY).count() == 24
    Dose.objects.create(person=person(), dose=1, on=DAY)
    for _ in range(5):
        Dose.objects.filter(dose=1).update(on=date(2026, 3, 2))
        Dose.objects.filter(dose=1).update(on=DAY)
    parts = DayCount.objects.filter(kind=DOSES.kind, day=DAY).count()
    assert parts > 20
    add_up()
    assert counted(DOSES, day=DAY) == 9
    assert DayCount.objects.filter(kind=DOSES.kind, day=DAY).count() < parts
