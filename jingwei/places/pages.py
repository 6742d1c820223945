"""The page of a venue: the desk's, with the position on a map (KP-1.2)."""

from django.views.decorators.http import require_GET

from jingwei.desk import basemap
from jingwei.desk.guard import require, row_or_404
from jingwei.desk.views import record_page
from jingwei.places.forms import ON_THE_MAP


@require_GET
def venue_page(request, resource, pk):
    """A venue with all that hangs on it; the map for who may look at the map of all."""
    require(request, resource, "view")
    venue = row_or_404(request, resource, "view", pk)
    placed = venue.longitude is not None and request.actor.may(ON_THE_MAP)
    at = basemap.on_map(venue.longitude, venue.latitude) if placed else None
    return record_page(request, resource, venue, template="places/venue.html", at=at)
