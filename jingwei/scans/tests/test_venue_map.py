"""The map of the venues: who sees which, in what colour, at what cost, on what ground."""

import json
from datetime import timedelta

import pytest
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jingwei.base import codes, parameters
from jingwei.directory import menus
from jingwei.directory.models import Organisation, Region
from jingwei.kit.coordinates import to_wgs84
from jingwei.places.models import Venue, VenueDay
from jingwei.places.samples import venue
from jingwei.scans.samples import alert
from jingwei.scans.venue_map import FINE, OPEN, RECEIVED, UNHELD

pytestmark = pytest.mark.django_db
HERE = {"longitude": 122.41, "latitude": 35.21}


def placed(**values):
    return venue(**{**HERE, "threshold_min": 1, **values})


def on_map(persona):
    """{venue id: what the map says of it}."""
    answer = persona.client.get("/venue-map/venues.json")
    assert answer.status_code == 200
    return {row[0]: row[1:] for row in answer.json()["venues"]}


@pytest.mark.req("KP-1.2", "KP-2.2", "SEC-7")
def test_a_regulator_sees_its_own_venues_on_the_map_and_the_operating_unit_all(
    venueops, regulator, regulator2, district, nobody
):
    own = placed()
    other = placed(regulator=Organisation.objects.get(name="区商务局"))
    free, lost, gone = placed(regulator=None), placed(longitude=None, latitude=None), placed(archived=True)
    assert set(on_map(regulator)) == {own.pk}
    assert set(on_map(regulator2)) == {other.pk}
    assert set(on_map(venueops)) == {own.pk, other.pk, free.pk}
    for persona, seen in ((regulator, {own, lost}), (venueops, {own, other, free, lost})):
        for row in (own, other, free, lost, gone):
            status = persona.client.get(f"/venue-map/{row.pk}/").status_code
            assert status == (200 if row in seen else 404)
    for address in ("", "venues.json", "basemap.json", "position.json", f"{own.pk}/"):
        for persona in (district, nobody):
            assert persona.client.get(f"/venue-map/{address}").status_code == 403


@pytest.mark.req("KP-1.2", "KP-6.3")
def test_the_colour_of_a_venue_follows_its_alerts_and_its_threshold(regulator):
    today = timezone.localdate()
    days = {"first_day": today - timedelta(days=8), "last_day": today - timedelta(days=2)}
    long_ago = {"first_day": today - timedelta(days=90), "last_day": today - timedelta(days=84)}
    expected = {
        placed(threshold_min=None).pk: UNHELD,
        placed().pk: FINE,
        alert(venue=placed(), **days).venue_id: OPEN,
        alert(venue=placed(), **long_ago).venue_id: OPEN,
        alert(venue=placed(), **days, received_at=timezone.now()).venue_id: RECEIVED,
        alert(venue=placed(), **long_ago, received_at=timezone.now()).venue_id: FINE,
        alert(venue=placed(), **days, withdrawn_at=timezone.now()).venue_id: FINE,
    }
    shown = on_map(regulator)
    assert {pk: shown[pk][-1] for pk in expected} == expected


@pytest.mark.req("KP-1.2")
def test_a_card_says_who_regulates_how_many_came_and_which_alerts_wait(regulator):
    row = placed(threshold_min=4, threshold_max=None)
    yesterday = timezone.localdate() - timedelta(days=1)
    VenueDay.objects.create(venue_code=row.code, day=yesterday, count=1_234)
    waiting = alert(venue=row)
    page = regulator.client.get(f"/venue-map/{row.pk}/").content.decode()
    for said in (
        row.code,
        "区市场监督管理局",
        "4 至 不限",
        "1,234",
        f"/alerts/{waiting.pk}/",
        "/thresholds/",
    ):
        assert said in page
    assert "/venues/" not in page  # the record is the operating unit's


@pytest.mark.req("KP-1.2", "KP-P2")
def test_many_venues_cost_the_same_statements_and_little_to_send(venueops):
    def statements():
        for kept in (codes, menus, parameters):  # a process keeps these for some seconds
            kept.forget()
        with CaptureQueriesContext(connection) as captured:
            answer = venueops.client.get("/venue-map/venues.json", headers={"Accept-Encoding": "gzip"})
        return len(captured), len(answer.content)

    placed()
    statements()  # signs in
    few, _ = statements()
    Venue.objects.bulk_create(
        Venue(code=f"M{n}", name=f"样例超市{n}", kind="1", street="安平街道", **HERE) for n in range(2_000)
    )
    many, size = statements()
    assert many == few <= 12
    assert size < 2_000 * 25  # compressed


# --- what it is drawn on ----------------------------------------------------------------------------------


@pytest.mark.req("P-10.5", "P-1.1")
def test_the_base_map_has_every_boundary_and_is_sent_once(regulator):
    answer = regulator.client.get("/venue-map/basemap.json")
    told = answer.json()
    assert told["tiles"] == []
    regions = {region["code"]: region for region in told["regions"]}
    assert set(regions) == set(
        Region.objects.filter(code__startswith="990101").values_list("code", flat=True)
    )
    town = Region.objects.get(code="990101001")
    assert regions[town.code]["polygons"] == town.boundary["coordinates"]
    assert regions[town.code]["centre"] == [town.longitude, town.latitude]
    assert "private" in answer["Cache-Control"]
    known = {"If-None-Match": answer["ETag"]}
    assert regulator.client.get("/venue-map/basemap.json", headers=known).status_code == 304
    Region.objects.filter(pk=town.pk).update(version=99)
    assert regulator.client.get("/venue-map/basemap.json", headers=known).status_code == 200


@pytest.mark.req("P-1.1", "P-10.5")
def test_venues_and_boundaries_are_shifted_to_the_coordinates_of_the_tiles(regulator):
    row = placed()
    with override_settings(JINGWEI_TILES_SYSTEM="GCJ-02"):
        longitude, latitude, *_ = on_map(regulator)[row.pk]
        told = regulator.client.get("/venue-map/basemap.json").json()
        asked = {"longitude": longitude, "latitude": latitude}
        clicked = regulator.client.get("/venue-map/position.json", asked).json()
    assert abs(longitude - row.longitude) > 0.001  # some hundred metres
    assert clicked["stored"] == pytest.approx([row.longitude, row.latitude], abs=2e-6)
    town = next(region for region in told["regions"] if region["code"] == "990101001")
    back = to_wgs84(*town["centre"], "GCJ-02")
    assert [float(side) for side in back] == pytest.approx(
        Region.objects.filter(pk="990101001").values_list("longitude", "latitude")[0], abs=2e-6
    )


@pytest.mark.req("P-1.1")
@pytest.mark.parametrize(
    "asked", [{}, {"longitude": "nan", "latitude": "1"}, {"longitude": "181", "latitude": "1"},
              {"longitude": "1", "latitude": "1", "system": "UTM"}]
)  # fmt: skip
def test_what_is_no_position_is_refused_in_words(regulator, asked):
    answer = regulator.client.get("/venue-map/position.json", asked)
    assert answer.status_code == 400
    assert "经度" in json.loads(answer.content)["refusal"]
