"""Samples come in set by set; the person shows the latest."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from django.http import QueryDict
from django.utils import timezone

from jingwei import menu
from jingwei.base.crypto import provider
from jingwei.desk.lists import Selection
from jingwei.people.models import Dose, Person
from jingwei.people.samples import number, person
from jingwei.testing.actions import roll_up_samples, store_samples
from jingwei.testing.models import Sample
from jingwei.testing.queries import EVENTS, Period

pytestmark = pytest.mark.django_db
ZONE = ZoneInfo("Asia/Shanghai")


def arriving(*rows):
    """(number, time, point, result) as a frame for `store_samples`."""
    numbers, times, points, results = zip(*rows, strict=True)
    sealing = Sample._meta.get_field("number").sealing
    return pl.DataFrame(
        {
            "number": pl.Series(provider().encrypt(sealing, list(numbers)), dtype=pl.Binary),
            "sampled_at": pl.Series(times).dt.replace_time_zone("Asia/Shanghai"),
            "point": points,
            "name": "林样例",
            "institution": "安澜检验所",
            "result": results,
            "result_at": pl.Series([None] * len(rows), dtype=pl.Datetime("us", "Asia/Shanghai")),
        }
    )


@pytest.mark.req("CL-3.3")
def test_the_latest_sample_by_its_time_is_the_persons():
    someone = person()
    own = someone.number.clear()
    store_samples(
        arriving(
            (own, datetime(2026, 11, 3, 9), "甲采样点", "阴性"),
            (own, datetime(2026, 11, 5, 9), "乙采样点", "阴性"),
            (own, datetime(2026, 10, 31, 23, 59), "丙采样点", "阳性"),
        )
    )
    someone.refresh_from_db()
    assert someone.sampled_at == datetime(2026, 11, 5, 9, tzinfo=ZONE)
    assert (someone.sample_point, someone.sample_result) == ("乙采样点", "阴性")
    assert Sample.objects.filter(number=own).count() == 3

    assert store_samples(arriving((own, datetime(2026, 11, 1), "丁采样点", "阴性"))) == 1  # arrives late
    someone.refresh_from_db()
    assert someone.sample_point == "乙采样点"


@pytest.mark.req("CL-3.3", "CL-6.3")
def test_the_same_sample_again_is_stored_once():
    someone = person()
    row = (someone.number.clear(), datetime(2026, 11, 5, 9), "乙采样点", "阴性")
    assert store_samples(arriving(row, row)) == 1
    assert store_samples(arriving(row)) == 0
    assert Sample.objects.count() == 1
    assert not someone.events.exists()


@pytest.mark.req("CL-2.1", "P-1.6")
def test_a_sample_belongs_to_where_its_person_lives(village, othertown):
    someone = person()
    stranger = number("19700101")
    store_samples(
        arriving(
            (someone.number.clear(), datetime(2026, 11, 5, 9), "甲采样点", "阴性"),
            (stranger, datetime(2026, 11, 5, 9), "甲采样点", "阴性"),
        )
    )
    seen = Sample.objects.visible_to(village.actor, "samples.view").get()
    assert (seen.region, seen.number) == ("990101001001", someone.number)
    assert not Sample.objects.visible_to(othertown.actor, "samples.view").exists()
    assert Sample.objects.get(number=stranger).region == ""


@pytest.mark.req("CL-3.3")
def test_a_person_registered_after_the_test_gets_the_sample():
    early = number("19700101")
    store_samples(arriving((early, datetime(2026, 11, 5, 9), "甲采样点", "阴性")))
    someone = person(number=early)
    roll_up_samples([someone.number.blob()])
    someone.refresh_from_db()
    assert someone.sample_point == "甲采样点"


# --- the trend --------------------------------------------------------------------------------------------


@pytest.mark.req("P-9.3")
def test_a_period_is_compared_with_the_days_before_and_a_year_ago():
    period = Period(datetime(2028, 2, 20).date(), datetime(2028, 2, 29).date())
    assert (str(period.before.first), str(period.before.last)) == ("2028-02-10", "2028-02-19")
    assert (str(period.last_year.first), str(period.last_year.last)) == ("2027-02-20", "2027-02-28")


@pytest.mark.req("CL-4.4", "P-9.3", "P-9.4")
def test_the_trend_counts_by_local_day_and_opens_the_rows(district):
    today = timezone.localdate()
    yesterday = today - timedelta(days=1)
    someone = person()
    Person.objects.update(created_at=timezone.now())
    for order, day in enumerate([today, yesterday, yesterday - timedelta(days=30)], start=1):
        Dose.objects.create(person=someone, dose=order, on=day)
    midnight = datetime.combine(today, datetime.min.time())
    own = someone.number.clear()
    store_samples(
        arriving((own, midnight - timedelta(minutes=1), "甲", "阴性"), (own, midnight, "甲", "阴性"))
    )
    response = district.client.get("/daily/")
    [table] = response.context["tables"]
    assert [cell["value"] for cell in table["rows"][-1]["cells"]] == [1, 1, 1]
    assert [cell["value"] for cell in table["rows"][-2]["cells"]] == [0, 1, 1]
    doses = next(row for row in response.context["compared"] if row["label"] == "接种剂次")
    assert (doses["now"], doses["before"]) == ("2", "1（+100.0%）")
    for row in [*table["rows"], table["total"]]:
        for cell, events in zip(row["cells"], EVENTS, strict=True):
            if cell["value"]:
                path, _, query = cell["href"].partition("?")
                assert path == f"/{events.resource}/"
                selection = Selection(menu.resource(events.resource), district.actor, QueryDict(query))
                assert not selection.refusals
                assert selection.total().number == cell["value"]


@pytest.mark.req("P-5.2")
@pytest.mark.parametrize(
    "asked",
    [
        {"from": "昨天"},
        {"from": "2026-02-30"},
        {"from": "2026-03-02", "to": "2026-03-01"},
        {"from": "1000-01-01"},
    ],
)
def test_unreadable_days_are_said(district, asked):
    response = district.client.get("/daily/", asked)
    assert response.status_code == 200
    assert response.context["refusal"]
    assert len(response.context["tables"][0]["rows"]) == 30
