"""Alerts follow from the daily counts exactly as a day-by-day reading says (KP-6)."""

from datetime import date, timedelta
from itertools import count

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jingwei.base import loading, undoing
from jingwei.base.models import LogEntry
from jingwei.places.models import ChangedVenue, Venue, VenueDay, VenueThreshold
from jingwei.places.sheets import ThresholdSheet
from jingwei.scans.actions import NIGHT
from jingwei.scans.evaluation import ALERT_DAYS, evaluate, has_late_changes, reevaluate
from jingwei.scans.models import HIGH, LOW, Alert, Evaluation

pytestmark = pytest.mark.django_db
START = date(2026, 9, 1)
DAYS = 40
_codes = count(1)


def day(number):
    return START + timedelta(days=number)


def venue(*thresholds):
    """A venue with (number of the day from which, low, high) thresholds."""
    made = Venue.objects.create(code=f"E{next(_codes):05d}", name="样例超市")
    for number, low, high in thresholds:
        VenueThreshold.objects.create(venue=made, from_day=day(number), low=low, high=high)
    return made


def scanned(place, number, scans):
    """The day has so many scans now, as loads and deletions leave it."""
    VenueDay.objects.update_or_create(venue_code=place.code, day=day(number), defaults={"count": scans})


def standing(place=None):
    alerts = Alert.objects.filter(withdrawn_at=None)
    if place:
        alerts = alerts.filter(venue=place)
    return [
        ((a.first_day - START).days, (a.last_day - START).days, a.reason)
        for a in alerts.order_by("venue", "first_day", "reason")
    ]


def reference(thresholds, counts, received, through, first):
    """The windows a plain reading of the days gives: {(first, last, reason)} besides those received."""
    found = set()
    for reason in (LOW, HIGH):
        run = []
        for number in range(first, through + 1):
            held = [t for t in sorted(thresholds) if t[0] <= number]
            low, high = held[-1][1:] if held else (None, None)
            scans = counts.get(number, 0)
            breach = low is not None and scans < low if reason == LOW else high is not None and scans > high
            used = any(a <= number <= b and why == reason for a, b, why in received)
            run = [*run, number] if breach and not used else []
            if len(run) == ALERT_DAYS.value():
                found.add((run[0], run[-1], reason))
                run = []
    return found


bounds = st.one_of(st.none(), st.integers(0, 4))
threshold = st.tuples(st.integers(-5, DAYS), bounds, bounds).filter(
    lambda t: t[1] is None or t[2] is None or t[1] <= t[2]
)
thresholds_of_a_venue = st.lists(threshold, max_size=3, unique_by=lambda t: t[0])
counts_of_a_venue = st.dictionaries(st.integers(0, DAYS - 1), st.integers(0, 5), max_size=DAYS)
night = st.fixed_dictionaries(
    {
        "through": st.integers(5, DAYS - 1),
        "late": st.dictionaries(st.integers(0, DAYS - 1), st.integers(0, 5), max_size=6),
        "threshold": st.one_of(st.none(), threshold),
        "receive": st.booleans(),
    }
)


@pytest.mark.req("KP-6.1", "KP-6.3")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    thresholds=thresholds_of_a_venue, counts=counts_of_a_venue, nights=st.lists(night, min_size=1, max_size=4)
)
def test_any_nights_leave_what_a_reading_day_by_day_gives(db, thresholds, counts, nights):
    """Random histories: whatever comes late, is deleted, received or set meanwhile."""
    for model in (Alert, Evaluation, VenueThreshold, VenueDay, Venue, ChangedVenue):
        model.objects.all().delete()
    place = venue(*thresholds)
    for number, scans in counts.items():
        scanned(place, number, scans)
    thresholds, received, through = list(thresholds), set(), 0
    for each in nights:
        through = max(through, each["through"])
        evaluate(NIGHT, day(each["through"]))
        first = min((n for n, scans in counts.items() if scans), default=DAYS)
        expected = reference(thresholds, counts, received, through, first)
        assert standing(place) == sorted(expected | received)
        before = list(Alert.objects.order_by("pk").values())
        evaluate(NIGHT, day(each["through"]))
        assert list(Alert.objects.order_by("pk").values()) == before
        for alert in Alert.objects.exclude(received_at=None):
            window = ((alert.first_day - START).days, (alert.last_day - START).days, alert.reason)
            alone = reference(thresholds, counts, set(), window[1], max(first, window[0]))
            assert alert.outdated == (window not in alone)
        if each["receive"] and (alert := Alert.objects.filter(withdrawn_at=None, received_at=None).first()):
            Alert.objects.filter(pk=alert.pk).update(received_at=timezone.now(), receiver="样例")
            received.add(((alert.first_day - START).days, (alert.last_day - START).days, alert.reason))
        for number, scans in each["late"].items():
            scanned(place, number, scans)
            counts = counts | {number: scans}
        if (new := each["threshold"]) and new[0] not in [t[0] for t in thresholds]:
            VenueThreshold.objects.create(venue=place, from_day=day(new[0]), low=new[1], high=new[2])
            thresholds.append(new)


@pytest.mark.req("KP-6.1")
def test_seven_days_below_raise_one_window_and_the_run_starts_again():
    place = venue((0, 4, None))
    scanned(place, 0, 9)
    for number in range(1, 17):
        scanned(place, number, 3)
    evaluate(NIGHT, day(16))
    assert standing() == [(1, 7, LOW), (8, 14, LOW)]


@pytest.mark.req("KP-6.1")
def test_a_day_without_scans_counts_as_zero_but_not_before_the_first_scan_of_all():
    place, other = venue((0, 1, None)), venue()
    scanned(other, 10, 5)
    evaluate(NIGHT, day(16))
    assert standing(place) == [(10, 16, LOW)]


@pytest.mark.req("KP-6.3")
def test_what_no_longer_holds_is_withdrawn_and_what_was_received_stays_marked():
    place, received = venue((0, 4, None)), venue((0, 4, None))
    for number in range(7):
        scanned(place, number, 1)
        scanned(received, number, 1)
    evaluate(NIGHT, day(6))
    Alert.objects.filter(venue=received).update(received_at=timezone.now(), receiver="样例")
    scanned(place, 3, 9)
    scanned(received, 3, 9)
    outcome = reevaluate(NIGHT)
    assert (outcome.raised, outcome.withdrawn, outcome.outdated) == (0, 1, 1)
    assert standing(place) == []
    assert Alert.objects.get(venue=place).withdrawn_at
    assert Alert.objects.get(venue=received).outdated
    assert set(LogEntry.objects.filter(resource="alerts").values_list("act", flat=True)) == {
        "撤回预警",
        "标记预警",
    }
    scanned(received, 3, 0)
    reevaluate(NIGHT)
    assert not Alert.objects.get(venue=received).outdated


@pytest.mark.req("KP-6.3")
def test_the_database_refuses_windows_that_overlap():
    place = venue()
    Alert.objects.create(venue=place, reason=LOW, first_day=day(0), last_day=day(6))
    Alert.objects.create(venue=place, reason=HIGH, first_day=day(0), last_day=day(6))
    with pytest.raises(IntegrityError, match="low_alerts_never_overlap"), transaction.atomic():
        Alert.objects.create(venue=place, reason=LOW, first_day=day(6), last_day=day(12))


def test_an_evaluation_leaves_no_table_behind():
    evaluate(NIGHT, day(6))
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('windows'), to_regclass('breaches'), to_regclass('evaluating')")
        assert cursor.fetchone() == (None, None, None)


@pytest.mark.req("KP-2.1", "KP-6.3", "P-5.3")
def test_thresholds_that_an_import_brings_and_its_undoing_takes_away_change_the_alerts_they_touch(
    venueops, tmp_path
):
    place, other = venue(), venue((0, 1, None))
    for number in range(14):
        scanned(place, number, 3)
        scanned(other, number, 1)
    evaluate(NIGHT, day(13))
    assert not has_late_changes()
    path = tmp_path / "阈值.csv"
    path.write_text(f"公共场所ID,最小值,最大值,生效日期\n{place.code},4,,{day(3)}\n")
    load = loading.load(venueops.actor, ThresholdSheet(), path)
    assert load.counts["added"] == 1 and has_late_changes()
    reevaluate(NIGHT)
    assert standing() == [(3, 9, LOW)]
    undoing.undo(venueops.actor, ThresholdSheet(), load)
    assert has_late_changes()
    assert str(reevaluate(NIGHT)) == "新预警 0 条，撤回 1 条，标记与数据不符 0 条"
    assert standing() == [] and not has_late_changes()
