"""Reads about scans that a plain filter can't say."""

from dataclasses import dataclass
from datetime import date, timedelta

from django.db.models import Max

from jingwei.places.models import VenueDay
from jingwei.scans.models import HIGH, LOW, Scan


def newest():
    """The collecting time of the newest scan (KP-3.1), None if there is none."""
    return Scan.objects.aggregate(at=Max("collected_at"))["at"]


@dataclass(frozen=True)
class DayCount:
    """A day of a venue: its scans, and the threshold in force (None: that side is open)."""

    day: date
    count: int
    low: int | None
    high: int | None

    @property
    def reason(self) -> str:
        """Which side the count is beyond, "" for neither."""
        if self.low is not None and self.count < self.low:
            return LOW
        return HIGH if self.high is not None and self.count > self.high else ""


def days_of(venue, first: date, last: date) -> list[DayCount]:
    """Each day of a venue from `first` to `last`, both included."""
    counts = dict(
        VenueDay.objects.filter(venue_code=venue.code, day__range=(first, last)).values_list("day", "count")
    )
    thresholds = list(venue.thresholds.filter(from_day__lte=last).order_by("from_day"))
    found = []
    for day in (first + timedelta(days=n) for n in range((last - first).days + 1)):
        held = [t for t in thresholds if t.from_day <= day]
        low, high = (held[-1].low, held[-1].high) if held else (None, None)
        found.append(DayCount(day, counts.get(day, 0), low, high))
    return found
