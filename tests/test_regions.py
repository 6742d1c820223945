"""The region tree: codes, grids, places on the map, moving and merging (P-1.1)."""

import json
import re
from datetime import UTC, datetime

import pytest
from django.core.exceptions import ValidationError
from django.db import connection

from jingwei import menu
from jingwei.base.partitions import ensure_months
from jingwei.directory import region_actions
from jingwei.directory.models import Organisation, Region, RegionChange, Role
from jingwei.people.models import Person
from jingwei.testing.models import Sample

pytestmark = pytest.mark.django_db

VILLAGE, TOWN = "990101001001", "990101001"


def regions():
    return menu.resource("regions")


@pytest.fixture
def resident():
    """Somebody registered and tested in the first village."""
    at = datetime(2026, 11, 1, 8, tzinfo=UTC)
    ensure_months("testing_sample", at, at)
    Sample.objects.create(number="990101201307204887", sampled_at=at, point="一号点", region=VILLAGE)
    return Person.objects.create(region_id=VILLAGE, name="曾杰", number="990101201307204887")


@pytest.mark.req("P-1.1")
def test_a_grid_is_added_below_its_village(sysadmin):
    grid = regions().save(sysadmin.actor, Region(), values={"code": f"{VILLAGE}001", "name": "第一网格"})
    assert (grid.level, grid.parent_id) == ("网格", VILLAGE)


@pytest.mark.req("P-1.1")
@pytest.mark.parametrize(
    ("code", "said"),
    [("99010100100", "应为 2、4、6、9、12 或 15 位"), ("990101099001", "没有代码为 990101099 的上级区划")],
)
def test_a_code_that_fits_nowhere_is_refused(sysadmin, code, said):
    with pytest.raises(ValidationError, match=said):
        regions().save(sysadmin.actor, Region(), values={"code": code, "name": "某地"})


@pytest.mark.req("P-1.1")
def test_a_code_is_not_edited_away(sysadmin):
    with pytest.raises(ValidationError, match="变更代码"):
        regions().save(sysadmin.actor, Region.objects.get(code=VILLAGE), values={"code": "990101001099"})


@pytest.mark.req("P-1.1")
@pytest.mark.parametrize("system", ["GCJ-02", "BD-09"])
def test_coordinates_of_other_maps_are_kept_as_wgs84(sysadmin, system):
    place = Region.objects.get(code=VILLAGE)
    region_actions.locate_region(sysadmin.actor, place, longitude=119.2965, latitude=26.0745, system=system)
    place.refresh_from_db()
    # The shift of these maps is some hundred metres here.
    assert 0.003 < abs(place.longitude - 119.2965) < 0.015
    assert 0.001 < abs(place.latitude - 26.0745) < 0.012


@pytest.mark.req("P-1.1")
def test_a_boundary_is_a_polygon_in_wgs84(sysadmin):
    place = Region.objects.get(code=VILLAGE)
    square = {"type": "Polygon", "coordinates": [[[119, 26], [119.1, 26], [119.1, 26.1], [119, 26]]]}
    region_actions.outline_region(sysadmin.actor, place, boundary=json.dumps(square), system="WGS-84")
    place.refresh_from_db()
    assert place.boundary == {"type": "MultiPolygon", "coordinates": [square["coordinates"]]}
    region_actions.outline_region(sysadmin.actor, place, boundary="", system="WGS-84")
    place.refresh_from_db()
    assert place.boundary is None


@pytest.mark.req("P-1.1", "SEC-12")
@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "[]",
        "null",
        '{"type": "Point", "coordinates": [119, 26]}',
        '{"type": "Polygon", "coordinates": [[[119, 26], [119.1, 26], [119, 26]]]}',
        '{"type": "Polygon", "coordinates": [[[119, 26], [119.1, 26], [119.1, 26.1], [119, 27]]]}',
        '{"type": "Polygon", "coordinates": [[[1190, 26], [119.1, 26], [119.1, 26.1], [1190, 26]]]}',
        '{"type": "Polygon", "coordinates": [[["a", 26], [119.1, 26], [119.1, 26.1], ["a", 26]]]}',
        '{"type": "Polygon", "coordinates": 5}',
        "[" * 100_000,
    ],
)
def test_what_is_no_polygon_is_refused(sysadmin, text):
    with pytest.raises(ValidationError, match="GeoJSON"):
        region_actions.outline_region(
            sysadmin.actor, Region.objects.get(code=VILLAGE), boundary=text, system="WGS-84"
        )


@pytest.mark.req("P-1.1")
def test_a_region_moves_with_everything_below_and_the_old_code_is_remembered(sysadmin, resident, town):
    Region.objects.create(code=f"{VILLAGE}001", name="第一网格", parent_id=VILLAGE)
    office = Organisation.objects.get(region=VILLAGE)
    region_actions.move_region(
        sysadmin.actor, Region.objects.get(code=TOWN), code="990101077", reason="区划调整"
    )
    resident.refresh_from_db()
    office.refresh_from_db()
    assert resident.region_id == office.region_id == "990101077001"
    assert Sample.objects.get().region == "990101077001"
    assert Region.objects.get(code="990101077001001").parent_id == "990101077001"
    assert not Region.objects.filter(code__startswith=TOWN).exists()
    assert Region.objects.count() == 274
    change = RegionChange.objects.get(old=VILLAGE)
    assert (change.old_name, change.new_id, change.reason) == ("上埔社区", "990101077001", "区划调整")
    # The operator's office moved along, so the operator still sees the people.
    assert Person.objects.visible_to(town.actor, "people.view").get() == resident
    assert resident.events.get().region_id == VILLAGE


@pytest.mark.req("P-1.1")
@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("990101002", "已被使用"),
        ("99010107700", "应为 2、4"),
        ("990101001099", "同为 9 位"),
        ("990109077", "上级"),
    ],
)
def test_a_move_to_nowhere_is_refused(sysadmin, code, said):
    with pytest.raises(ValidationError, match=said):
        region_actions.move_region(sysadmin.actor, Region.objects.get(code=TOWN), code=code, reason="调整")


@pytest.mark.req("P-1.1")
def test_a_region_is_merged_into_another(sysadmin, resident, othertown):
    into = Region.objects.get(code="990101002001")
    role = Role.objects.create(name="两村", reach=Role.LISTED)
    role.regions.set([VILLAGE, into])
    region_actions.merge_region(sysadmin.actor, Region.objects.get(code=VILLAGE), into=into, reason="撤并")
    resident.refresh_from_db()
    assert resident.region == into
    assert Sample.objects.get().region == into.code
    assert list(role.regions.all()) == [into]
    assert RegionChange.objects.get().old == VILLAGE
    assert not Region.objects.filter(code=VILLAGE).exists()
    assert Person.objects.visible_to(othertown.actor, "people.view").get() == resident


@pytest.mark.req("P-1.1")
def test_only_equals_without_children_are_merged(sysadmin):
    town, village = Region.objects.get(code=TOWN), Region.objects.get(code=VILLAGE)
    for region, into, said in [
        (town, Region.objects.get(code="990101002"), "14 个下级区划"),
        (village, town, "同级"),
        (village, village, "自己"),
    ]:
        with pytest.raises(ValidationError, match=said):
            region_actions.merge_region(sysadmin.actor, region, into=into, reason="撤并")


@pytest.mark.req("P-1.6")
def test_the_scope_by_region_is_read_from_an_index(village):
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    plan = Person.objects.visible_to(village.actor, "people.view").explain()
    # Which of the indexes with the region is taken in a table of few rows is the planner's business.
    assert re.search(rf"Index Cond: .*region_id.* >= '{VILLAGE}'", plan)
