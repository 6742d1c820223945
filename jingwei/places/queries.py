"""Reads about venues that a plain filter can't say."""

import hmac
from base64 import b32encode
from datetime import date, timedelta

from django.db.models import BigIntegerField, Func, OuterRef, Subquery, Sum
from django.db.models.functions import Coalesce

from jingwei.base.crypto import provider
from jingwei.places.models import Venue, VenueDay, VenueMonth

_FIRST, _LAST = date(1900, 1, 1), date(2999, 12, 31)
_HALF = 16  # the day about which a month has as many before as after


def scans_of(code) -> int:
    """How many scans a venue code has."""
    return VenueMonth.objects.filter(venue_code=code).aggregate(number=Sum("count"))["number"] or 0


def with_scans(venues, first: date | None = None, last: date | None = None):
    """`venues` with `scans`, how many they have from day `first` to `last`; None leaves a side open (KP-5.1).

    Months are taken from their sums. Of the months at both ends the days inside are added or those outside
    are taken off, whichever are fewer: a year costs no more than thirty days (KP-P2).
    """
    first, last = first or _FIRST, last or _LAST
    if _month(first) >= _month(last):
        return venues.annotate(scans=_sum(VenueDay, day__range=(first, last)))
    begin, end = _month(first), _month(last)
    following = _next_month(last)
    parts = []
    if first.day > _HALF:
        begin = _next_month(first)
        parts.append(_sum(VenueDay, day__gte=first, day__lt=begin))
    elif first > begin:
        parts.append(-_sum(VenueDay, day__gte=begin, day__lt=first))
    if last.day < _HALF:
        parts.append(_sum(VenueDay, day__gte=end, day__lte=last))
    else:
        end = following
        if last + timedelta(days=1) < end:
            parts.append(-_sum(VenueDay, day__gt=last, day__lt=end))
    months = _sum(VenueMonth, month__gte=begin, month__lt=end)
    return venues.annotate(scans=sum(parts, months))


def _sum(model, **days):
    rows = model.objects.filter(venue_code=OuterRef("code"), **days)
    # As a bare function: an aggregate would group by something first.
    total = Func("count", function="SUM", output_field=BigIntegerField())
    return Coalesce(Subquery(rows.annotate(total=total).values("total")), 0)


def _month(day):
    return day.replace(day=1)


def _next_month(day):
    return _month(_month(day) + timedelta(days=32))


def scan_address(venue_id: int) -> str:
    """Where the scan page of a venue is; signed, so that nobody makes one up (KP-9.3)."""
    return f"/e/{venue_id}-{_mark(venue_id)}/"


def venue_of_token(token: str) -> Venue | None:
    """The venue with this token in the address of its page; posters outlive every rotation of the keys."""
    venue_id, _, given = token.partition("-")
    if not (venue_id.isascii() and venue_id.isdecimal() and len(venue_id) < 16 and given.isascii()):
        return None
    if not hmac.compare_digest(_mark(venue_id), given):
        return None
    return Venue.objects.filter(pk=venue_id).first()


def _mark(venue_id):
    """80 bits in 16 characters."""
    [tag] = provider().mac("places.entry", [str(venue_id).encode()])
    return b32encode(tag[:10].tobytes()).decode().lower()
