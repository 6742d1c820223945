"""Where a venue is: entered on the form, brought by a sheet, shown on its page (KP-1.2)."""

import pytest
from django.db import IntegrityError, transaction

from jingwei.base import loading
from jingwei.directory.models import MenuSetting
from jingwei.places.models import Venue
from jingwei.places.samples import venue
from jingwei.places.sheets import VenueSheet

pytestmark = pytest.mark.django_db


def sent_back(persona, place, **changed):
    form = persona.client.get(f"/venues/{place.pk}/edit/").context["form"]
    sent = {name: "" if form[name].value() is None else form[name].value() for name in form.fields}
    return persona.client.post(f"/venues/{place.pk}/edit/", sent | {"version": place.version} | changed)


@pytest.mark.req("KP-1.2")
def test_a_position_is_entered_on_the_form_and_shown_on_the_record(venueops):
    place = venue(longitude=None, latitude=None)
    page = venueops.client.get(f"/venues/{place.pk}/").content.decode()
    assert "data-map-point" not in page
    answer = sent_back(venueops, place, longitude="122.412345", latitude="35.21")
    assert answer.status_code == 302, answer.context["form"].errors
    place.refresh_from_db()
    assert (place.longitude, place.latitude) == (122.412345, 35.21)
    page = venueops.client.get(f"/venues/{place.pk}/").content.decode()
    assert 'data-map-point="122.412345,35.210000"' in page
    assert f"/venue-map/?venue={place.pk}" in page


@pytest.mark.req("KP-1.2")
@pytest.mark.parametrize(
    ("longitude", "latitude", "said"),
    [
        ("122.4", "", "经度和纬度应同时填写"),
        ("181", "35", "180"),
        ("east", "35", "数"),
        ("122", "-91", "-90"),
    ],
)
def test_what_is_no_position_is_refused_on_the_form(venueops, longitude, latitude, said):
    place = venue()
    answer = sent_back(venueops, place, longitude=longitude, latitude=latitude)
    assert answer.status_code == 200
    assert said in str(answer.context["form"].errors)
    with pytest.raises(IntegrityError), transaction.atomic():
        Venue.objects.update(latitude=None)


@pytest.mark.req("KP-1.2", "P-1.7")
def test_who_may_not_open_the_map_enters_the_position_as_numbers(venueops):
    place = venue()
    assert "data-position" in venueops.client.get(f"/venues/{place.pk}/edit/").content.decode()
    MenuSetting.objects.create(key="venue-map", hidden=True)
    page = venueops.client.get(f"/venues/{place.pk}/edit/").content.decode()
    assert "data-position" not in page and 'name="latitude"' in page
    assert "data-map-point" not in venueops.client.get(f"/venues/{place.pk}/").content.decode()


@pytest.mark.req("KP-1.2", "KP-1.3")
def test_a_sheet_brings_positions_and_half_a_position_is_refused(venueops, tmp_path):
    path = tmp_path / "表.csv"
    path.write_text(
        "公共场所ID,公共场所,所在街道,经度,纬度\n"
        "A1,甲超市,安平街道,122.41234,35.2\n"
        "A2,乙超市,安平街道,,\n"
        "A3,丙超市,安平街道,122.4,\n"
        "A4,丁超市,安平街道,122.4,北\n"
        "A5,戊超市,安平街道,190,35\n"
    )
    load = loading.load(venueops.actor, VenueSheet(), path)
    rejected = [(said["row"], said["column"]) for said in load.counts["rejected"]]
    assert rejected == [(4, "纬度"), (5, "纬度"), (6, "经度")]
    stored = dict(Venue.objects.filter(code__startswith="A").values_list("code", "longitude"))
    assert stored == {"A1": 122.41234, "A2": None}
    again = loading.load(venueops.actor, VenueSheet(), path)
    assert (again.counts["added"], again.counts["changed"]) == (0, 0)


@pytest.mark.req("KP-1.2")
def test_venues_without_a_position_are_found_in_the_list(venueops):
    there, nowhere = venue(), venue(longitude=None, latitude=None)
    for asked, expected in (("no", nowhere), ("yes", there)):
        rows = venueops.client.get("/venues/", {"placed": asked}).context["page"].rows
        assert [row.pk for row in rows] == [expected.pk]
