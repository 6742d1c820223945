"""Days unlike a venue's own weekdays, and the thresholds that follow from the usual ones (KP-9.2)."""

from datetime import date, timedelta
from statistics import median as plain_median

import numpy as np
import pytest

from jingwei.base.models import LogEntry
from jingwei.places.models import VenueDay
from jingwei.places.samples import venue
from jingwei.scans import unusual
from jingwei.scans.models import Analysis, SuggestedThreshold, UnusualDay
from jingwei.scans.samples import suggested_threshold, unusual_day
from jingwei.scans.unusual import LEAST, LISTED, NORMAL, analyse, usual_days_of

THROUGH = date(2026, 11, 19)  # a Thursday
WEEKS, TIMES = 8, 4
DAYS = LISTED + 7 * WEEKS


def day(number):
    """The day that so many days before the last one have gone."""
    return THROUGH - timedelta(days=DAYS - 1 - number)


def counts_of(*venues):
    return np.array(venues, dtype=np.float32)


def flagged(counts):
    """{(venue, number of the day): (usual, low, high, direction)}."""
    rows = unusual.unusual_days(np.arange(len(counts)), counts, THROUGH, WEEKS, TIMES)
    return {
        (row["venue_id"], (row["day"] - day(0)).days): (
            row["usual"],
            row["low"],
            row["high"],
            row["direction"],
        )
        for row in rows.iter_rows(named=True)
    }


def suggested(counts):
    rows = unusual.suggestions(np.arange(len(counts)), counts, THROUGH, WEEKS, TIMES)
    return {row["venue_id"]: (row["low"], row["high"], row["reason"]) for row in rows.iter_rows(named=True)}


# --- what is usual ----------------------------------------------------------------------------------------


def plain_reading(counts, number):
    """Median, spread and bounds of a day by the words of the module; None where too little is known."""
    before = [counts[number - 7 * week] for week in range(1, WEEKS + 1)]
    before = [count for count in before if not np.isnan(count)]
    if len(before) < LEAST:
        return None
    middle = plain_median(before)
    spread = max(NORMAL * plain_median(abs(count - middle) for count in before), middle**0.5, 1)
    return middle, spread


@pytest.mark.req("KP-9.2")
@pytest.mark.parametrize("most", [3, 40, 1_000])
def test_the_days_found_are_those_of_a_plain_reading_day_by_day(most):
    chance = np.random.default_rng(most)
    counts = chance.integers(0, most, (60, DAYS)).astype(np.float32)
    counts[chance.random(counts.shape) < chance.random((60, 1))] = np.nan
    found, told = flagged(counts), 0
    for place, number in np.ndindex(counts.shape):
        if number >= DAYS - LISTED and not np.isnan(counts[place, number]):
            usual = plain_reading(counts[place].tolist(), number)
            away = usual and abs(counts[place, number] - usual[0]) / usual[1]
            assert ((place, number) in found) == bool(usual and away > TIMES), (place, number)
            told += usual is not None
    assert told > 300


@pytest.mark.req("KP-9.2")
def test_a_constant_series_has_no_unusual_day_and_one_beyond_chance_is_found():
    constant = counts_of([100] * DAYS)
    assert flagged(constant) == {}
    constant[0, -1] = 140  # four times the root of 100
    assert flagged(constant) == {}
    constant[0, -1] = 141
    assert flagged(constant) == {(0, DAYS - 1): (100, 60, 140, "偏多")}
    assert suggested(constant)[0] == (
        57,
        150,
        "近8周工作日中位数 100，正常波动 60–140；周末中位数 100，正常波动 60–140，建议最小 57、最大 150",
    )


@pytest.mark.req("KP-9.2")
def test_a_quiet_weekend_is_usual_and_a_busy_one_is_not():
    weekend = [day(number).weekday() >= 5 for number in range(DAYS)]
    counts = counts_of([20 if free else 200 for free in weekend])
    assert flagged(counts) == {}
    sunday = max(number for number in range(DAYS) if day(number).weekday() == 6)
    counts[0, sunday] = 200
    assert [direction for *_, direction in flagged(counts).values()] == ["偏多"]
    low, high, reason = suggested(counts)[0]
    assert "工作日中位数 200" in reason and "周末中位数 20" in reason
    assert low <= 20 and high >= 200


@pytest.mark.req("KP-9.2")
def test_a_single_spike_is_found_and_moves_neither_later_days_nor_the_suggestion():
    calm = counts_of([100 + number % 3 for number in range(DAYS)])
    wild = calm.copy()
    wild[0, DAYS - 15] = 5_000
    assert set(flagged(wild)) - set(flagged(calm)) == {(0, DAYS - 15)}
    assert suggested(wild)[0][:2] == suggested(calm)[0][:2]


@pytest.mark.req("KP-9.2")
def test_a_venue_where_nobody_is_scanned_has_nothing_unusual_and_no_suggestion():
    assert flagged(counts_of([0] * DAYS)) == {}
    assert suggested(counts_of([0] * DAYS)) == {}
    assert suggested(counts_of([float("nan")] * DAYS)) == {}


@pytest.mark.req("KP-9.2")
def test_a_short_history_says_nothing_until_there_are_four_weekdays_to_go_by():
    counts = counts_of([float("nan")] * (DAYS - 29) + [100] * 28 + [900])
    assert set(flagged(counts)) == {(0, DAYS - 1)}
    counts[0, DAYS - 29] = float("nan")
    assert flagged(counts) == {}
    assert suggested(counts_of([float("nan")] * (DAYS - 21) + [100] * 21)) == {}


@pytest.mark.req("KP-9.2")
@pytest.mark.parametrize("seed", range(5))
def test_neither_other_venues_nor_other_weekdays_nor_far_weeks_matter(seed):
    counts = np.random.default_rng(seed).poisson(50, (4, DAYS)).astype(np.float32)
    counts[:, -1] = [0, 50, 400, 60]
    found = flagged(counts)
    for place in range(len(counts)):
        alone = flagged(counts[place : place + 1])
        assert {number: row for (at, number), row in found.items() if at == place} == {
            number: row for (_, number), row in alone.items()
        }
    other = counts.copy()
    other[:, ::7] = 1_000
    keep = [number for number in range(DAYS) if number % 7]
    assert {at: row for at, row in flagged(other).items() if at[1] in keep} == {
        at: row for at, row in found.items() if at[1] in keep
    }
    far = counts.copy()
    far[:, :7] = 1_000
    assert {at: row for at, row in flagged(far).items() if at[1] >= 7 * (WEEKS + 1)} == {
        at: row for at, row in found.items() if at[1] >= 7 * (WEEKS + 1)
    }


# --- the night --------------------------------------------------------------------------------------------


def count_days(place, counts):
    """Keep these counts of a venue for the days up to the last one; 0 leaves no row, as no scan does."""
    VenueDay.objects.bulk_create(
        VenueDay(venue_code=place.code, day=day(DAYS - len(counts) + number), count=count)
        for number, count in enumerate(counts)
        if count
    )


@pytest.mark.django_db
@pytest.mark.req("KP-9.2")
def test_a_night_finds_the_days_and_another_one_changes_nothing():
    place, archived = venue(), venue(archived=True)
    for each in (place, archived):
        count_days(each, [100] * (DAYS - 1) + [0])
    count_days(venue(), [50] * DAYS)
    assert str(analyse(THROUGH)) == "近 28 天异常日 1 个，建议阈值 2 个"
    [row] = UnusualDay.objects.all()
    assert (row.venue, row.day, row.count, row.usual, row.direction) == (place, THROUGH, 0, 100, "偏少")
    before = [list(model.objects.order_by("pk").values()) for model in (UnusualDay, SuggestedThreshold)]
    analyse(THROUGH)
    after = [list(model.objects.order_by("pk").values()) for model in (UnusualDay, SuggestedThreshold)]
    assert before == after
    VenueDay.objects.create(venue_code=place.code, day=THROUGH, count=99)  # the scans of the day come late
    analyse(THROUGH)
    assert not UnusualDay.objects.exists()


@pytest.mark.django_db
@pytest.mark.req("KP-9.2")
def test_days_of_which_nothing_has_come_are_no_zeros():
    place = venue()
    count_days(place, [100] * (DAYS - 2) + [0, 0])
    analyse(THROUGH)
    assert not UnusualDay.objects.exists()
    assert {day(DAYS - 1), day(DAYS - 2)} <= set(Analysis.objects.get().silent)
    assert [shown.count for shown in usual_days_of(place)][-3:] == [100, None, None]


@pytest.mark.django_db
@pytest.mark.req("KP-9.2")
def test_days_before_the_first_scan_are_unknown_and_after_an_old_one_are_zeros():
    new, old = venue(), venue()
    count_days(venue(), [40] * DAYS)
    count_days(new, [40] * 28)
    count_days(old, [40] * 28)
    VenueDay.objects.create(venue_code=old.code, day=THROUGH - timedelta(days=300), count=1)
    analyse(THROUGH)
    assert {row.venue for row in UnusualDay.objects.all()} == {old}
    for place in (new, old):
        shown = {each.day: each.reason for each in usual_days_of(place)}
        found = set(UnusualDay.objects.filter(venue=place).values_list("day", flat=True))
        assert {at for at, reason in shown.items() if reason} == found


# --- the desk ---------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.req("KP-9.2", "KP-2.1", "P-1.6")
def test_a_regulator_takes_a_suggestion_over_as_if_it_had_been_entered(regulator, regulator2, venueops):
    row = suggested_threshold()
    address, sent = "/suggested-thresholds/do/adopt/", {"pk": row.pk, "confirm": "1"}
    assert regulator2.client.post(address, sent).status_code == 404
    assert venueops.client.post(address, sent).status_code == 403
    assert row.reason in regulator.client.get(f"/thresholds/{row.venue_id}/").content.decode()
    assert regulator.client.post(address, sent).status_code == 302
    row.venue.refresh_from_db()
    assert (row.venue.threshold_min, row.venue.threshold_max) == (80, 170)
    [kept] = row.venue.thresholds.all()
    assert (kept.low, kept.high) == (80, 170)
    [entry] = LogEntry.objects.filter(resource="thresholds", act="修改")
    assert entry.login == "regulator"
    assert "现在不能采用建议" in regulator.client.post(address, sent).content.decode()


@pytest.mark.django_db
@pytest.mark.req("KP-9.2", "P-1.6")
def test_unusual_days_are_ranked_and_only_those_of_the_own_venues(regulator, regulator2):
    row = unusual_day(day=THROUGH)
    count_days(row.venue, [100] * (DAYS - 1) + [12])
    analyse(THROUGH)
    mild = unusual_day(deviation=4.2)
    [first, second] = regulator.client.get("/unusual-days/").context["page"].rows
    assert (first.day, second.pk) == (THROUGH, mild.pk)
    answer = regulator.client.get(f"/unusual-days/{first.pk}/")
    assert [(d.count, d.low, d.high, d.reason) for d in answer.context["days"]][-1] == (12, 60, 140, "偏少")
    assert "正常下限" in answer.content.decode()
    assert not regulator2.client.get("/unusual-days/").context["page"].rows
    assert regulator2.client.get(f"/unusual-days/{first.pk}/").status_code == 404
