"""Reads about venues that a plain filter can't say."""

from datetime import date, timedelta

from django.db.models import OuterRef, Subquery, Sum, Value
from django.db.models.functions import Coalesce

from jingwei.places.models import VenueDay, VenueMonth

_FIRST, _LAST = date(1900, 1, 1), date(2999, 12, 31)


def scans_of(code) -> int:
    """How many scans a venue code has."""
    return VenueMonth.objects.filter(venue_code=code).aggregate(number=Sum("count"))["number"] or 0


def with_scans(venues, first: date | None = None, last: date | None = None):
    """`venues` with `scans`, how many they have from day `first` to `last`; None leaves a side open (KP-5.1).

    Whole months are taken from their sums, so that a year costs no more than two months (KP-P2).
    """
    first, last = first or _FIRST, last or _LAST
    begin = first if first.day == 1 else _next_month(first)  # the whole months, from the first one
    end = _month(last + timedelta(days=1))  # to before this one
    if begin >= end:
        return venues.annotate(scans=_sum(VenueDay, day__gte=first, day__lte=last))
    parts = [_sum(VenueMonth, month__gte=begin, month__lt=end)]
    if first < begin:
        parts.append(_sum(VenueDay, day__gte=first, day__lt=begin))
    if end <= last:
        parts.append(_sum(VenueDay, day__gte=end, day__lte=last))
    return venues.annotate(scans=sum(parts, Value(0)))


def _sum(model, **days):
    rows = model.objects.filter(venue_code=OuterRef("code"), **days).order_by().values("venue_code")
    return Coalesce(Subquery(rows.annotate(total=Sum("count")).values("total")), 0)


def _month(day):
    return day.replace(day=1)


def _next_month(day):
    return _month(_month(day) + timedelta(days=32))
