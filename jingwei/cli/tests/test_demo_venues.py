"""The public places of the demonstration district."""

import pytest
from django.core.exceptions import ValidationError

from jingwei.cli.demo_venues import ensure_venues
from jingwei.directory.models import Region
from jingwei.kit.polygons import inside
from jingwei.places.models import Venue
from jingwei.places.samples import venue
from jingwei.scans.models import Alert

pytestmark = pytest.mark.django_db


@pytest.mark.req("KP-1.2", "P-10.4")
def test_demonstration_venues_lie_inside_their_street_and_some_are_alerted():
    assert ensure_venues(80) == 80
    assert ensure_venues(80) == 0
    placed = Venue.objects.exclude(longitude=None).select_related("region")
    assert 70 <= len(placed) <= 80
    for place in [*placed, venue()]:
        town = place.region or Region.objects.get(name=place.street)
        assert inside(town.boundary["coordinates"], place.longitude, place.latitude).all(), place
    assert 0 < Alert.objects.count() < 20


@pytest.mark.req("P-10.4")
def test_without_boundaries_no_venues_are_made():
    Region.objects.update(boundary=None)
    with pytest.raises(ValidationError, match="边界"):
        ensure_venues(5)
    assert not Venue.objects.exists()
