"""The people of the demonstration district."""

from datetime import timedelta

import polars as pl
import pytest
from django.db.models import Count, F, Max, Q
from django.utils import timezone

from jingwei.base.columns import RESIDENT_ID
from jingwei.base.fields import bulk_reveal
from jingwei.base.models import ParameterValue
from jingwei.cli import demo
from jingwei.kit import idcard
from jingwei.people.models import Dose, Person
from jingwei.testing.models import Sample

pytestmark = pytest.mark.django_db
COLUMNS = ["name", "number", "address", "phone", "birth_date", "sex", "dose", "sampled_at", "region_id"]


def quiet(done, total):
    pass


def everybody():
    people = list(Person.objects.order_by("pk"))
    bulk_reveal(people, ["number", "address", "phone"])
    return [tuple(str(getattr(p, name)) for name in COLUMNS) for p in people]


@pytest.mark.req("P-10.4")
def test_people_are_the_same_however_many_are_made_at_once():
    demo.ensure_demo(300, quiet)
    demo.ensure_demo(700, quiet)
    in_steps = everybody()
    assert demo.people_made() == 700
    Person.objects.all().delete()
    Sample.objects.all().delete()
    ParameterValue.objects.filter(name=demo.MADE).delete()
    demo.ensure_demo(700, quiet)
    assert everybody() == in_steps


@pytest.mark.req("P-10.4", "P-10.1")
def test_a_second_start_adds_nothing_and_brings_nobody_back():
    demo.ensure_demo(200, quiet)
    Person.objects.order_by("pk").first().delete()
    demo.ensure_demo(200, quiet)
    assert Person.objects.count() == 199


@pytest.mark.req("P-10.4", "CL-3.2")
def test_numbers_are_valid_fictional_and_carry_birth_date_and_sex():
    demo.ensure_demo(1_000, quiet)
    people = list(Person.objects.filter(doc_type=RESIDENT_ID))
    bulk_reveal(people, ["number"])
    numbers = pl.Series([p.number.clear() for p in people])
    assert numbers.str.starts_with("990101").all()
    assert (idcard.check_digits(numbers.str.head(17)) == numbers.str.tail(1)).all()
    assert idcard.birth_dates(numbers).to_list() == [p.birth_date for p in people]
    assert idcard.sexes(numbers).to_list() == [p.sex for p in people]
    others = Person.objects.exclude(doc_type=RESIDENT_ID)
    assert 0 < others.count() < 50


@pytest.mark.req("P-10.4")
def test_no_number_comes_twice_among_many():
    numbering = demo.Numbering()
    numbers = pl.concat([numbering.next(demo.Families.of(block)) for block in range(40)])
    assert numbers.n_unique() == len(numbers) == 200_000


@pytest.mark.req("P-10.4", "CL-3.3")
def test_everybody_shows_the_latest_dose_and_sample():
    demo.ensure_demo(1_000, quiet)
    shown = Person.objects.annotate(latest=Max("doses__dose"), given=Count("doses"))
    assert not shown.exclude(Q(latest=F("dose")) | Q(latest=None, dose=None)).exists()
    assert not shown.exclude(Q(given=F("dose")) | Q(given=0)).exists()
    for someone in Person.objects.exclude(sampled_at=None)[:50]:
        last = Sample.objects.filter(number=someone.number).order_by("-sampled_at").first()
        assert (last.sampled_at, last.result, last.point) == (
            someone.sampled_at,
            someone.sample_result,
            someone.sample_point,
        )
    assert not Dose.objects.exclude(on__range=("2021-03-01", "2022-12-31")).exists()
    ago = timezone.now() - timedelta(days=22)
    assert not Sample.objects.exclude(sampled_at__range=(ago, timezone.now())).exists()


@pytest.mark.req("P-10.4")
def test_the_district_looks_like_one():
    demo.ensure_demo(3_000, quiet)
    sizes = (
        Person.objects.values("region", "household").annotate(size=Count("pk")).values_list("size", flat=True)
    )
    assert 2 < sum(sizes) / len(sizes) < 3.5
    assert Person.objects.values("region").distinct().count() > 200
    elderly = Person.objects.filter(birth_date__lte="1966-11-20").count()
    assert 450 < elderly < 1_000
    vaccinated = Person.objects.exclude(dose=None).count()
    assert 2_400 < vaccinated < 2_900


@pytest.mark.req("P-10.4")
def test_a_run_that_was_cut_off_goes_on_behind_its_last_block(monkeypatch):
    monkeypatch.setattr(demo, "BLOCK", 200)
    whole = demo.ensure_months

    def cut_off(*arguments):
        if demo.people_made() == 400:
            raise KeyboardInterrupt
        whole(*arguments)

    monkeypatch.setattr(demo, "ensure_months", cut_off)
    with pytest.raises(KeyboardInterrupt):
        demo.ensure_demo(1_000, quiet)
    assert Person.objects.count() == demo.people_made() == 400
    monkeypatch.setattr(demo, "ensure_months", whole)
    demo.ensure_demo(1_000, quiet)
    assert Person.objects.count() == demo.people_made() == 1_000
