"""Reads about venues that a plain filter can't say."""

from django.db.models import Sum

from jingwei.places.models import VenueDay


def scans_of(code) -> int:
    """How many scans a venue code has."""
    return VenueDay.objects.filter(venue_code=code).aggregate(number=Sum("count"))["number"] or 0
