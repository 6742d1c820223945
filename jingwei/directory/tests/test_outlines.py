"""The demonstration district has boundaries that fit together, and nobody's own are touched."""

import numpy as np
import pytest

from jingwei.directory.models import Region
from jingwei.directory.setup import ensure_outlines
from jingwei.kit.polygons import inside

pytestmark = pytest.mark.django_db


def rings(region):
    [polygon] = region.boundary["coordinates"]
    return [np.asarray(ring).T for ring in polygon]


def area(region):
    """Square degrees; what a region encloses without being it goes round the other way."""
    return sum((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2 for x, y in rings(region))


@pytest.mark.req("P-1.1", "P-10.5", "KP-1.2")
def test_every_region_of_the_demonstration_district_has_a_boundary_around_its_centre():
    regions = list(Region.objects.all())
    assert {region.level for region in regions} >= {"区县", "街道乡镇", "社区村"}
    for region in regions:
        assert inside(region.boundary["coordinates"], region.longitude, region.latitude).all(), region


@pytest.mark.req("P-1.1")
def test_a_region_is_the_sum_of_those_below_it():
    regions = {region.code: region for region in Region.objects.all()}
    for code, region in regions.items():
        below = [area(other) for other in regions.values() if other.parent_id == code]
        if below:
            assert min(below) > 0
            assert sum(below) == pytest.approx(area(region), rel=1e-6), region


@pytest.mark.req("P-1.1")
def test_boundaries_are_invented_only_where_nobody_has_set_one():
    own = {"type": "MultiPolygon", "coordinates": [[[[122, 35], [122.1, 35], [122, 35.1], [122, 35]]]]}
    Region.objects.update(boundary=None)
    Region.objects.filter(pk="990101001").update(boundary=own)
    ensure_outlines()
    assert [r.boundary for r in Region.objects.filter(boundary__isnull=False)] == [own]
