"""Venues and their thresholds: entered, loaded, held from a day on, deleted when it is clear what goes."""

from datetime import date, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from jingwei.base import loading, undoing
from jingwei.base.models import LogEntry
from jingwei.directory.models import Operator, Organisation
from jingwei.places.actions import archive_venue, delete_venue, follow_thresholds, restore_venue
from jingwei.places.models import Venue, VenueDay, VenueThreshold
from jingwei.places.samples import REGULATOR, venue
from jingwei.places.sheets import ThresholdSheet, VenueSheet

pytestmark = pytest.mark.django_db


@pytest.fixture
def sheet(tmp_path):
    """A function that writes lines of a CSV file and returns its path."""

    def write(*lines):
        path = tmp_path / "表.csv"
        path.write_text("\n".join(lines))
        return path

    return write


def rejected(load):
    return [(said["row"], said["column"], said["reason"]) for said in load.counts["rejected"]]


# --- venues -----------------------------------------------------------------------------------------------


@pytest.mark.req("KP-1.2", "KP-1.3")
def test_a_list_of_venues_finds_regulators_by_name_and_short_name(venueops, sheet):
    path = sheet(
        "公共场所ID,公共场所,类别,所在街道,监管单位,监管单位负责人,负责人手机号",
        "A1,甲超市,菜市场,安平街道,市场监管局,周明,138 0000 0001",
        "A2,乙超市,超市,没有这个街道,区商务局,陈静,13800000002",
        "A3,丙超市,超市,安平街道,没有这个局,,",
        ",丁超市,超市,安平街道,,,",
    )
    load = loading.load(venueops.actor, VenueSheet(), path)
    assert (load.counts["added"], len(load.counts["rejected"])) == (3, 1)
    assert rejected(load)[0][:2] == (5, "公共场所ID")
    assert "没有这个局" in load.counts["warnings"][0]["reason"]
    first, second, third = Venue.objects.filter(code__in=["A1", "A2", "A3"]).order_by("code")
    assert (first.regulator.name, second.regulator.name, third.regulator) == (REGULATOR, "区商务局", None)
    assert (first.get_kind_display(), first.city, first.region.name) == ("农贸市场", "安澜区", "安平街道")
    assert first.regulator_phone.clear() == "13800000001"
    assert (second.street, second.region) == ("没有这个街道", None)


@pytest.mark.req("KP-1.2")
def test_a_regulator_that_is_chosen_brings_its_head_from_the_directory(venueops):
    office = Organisation.objects.get(name="区教育局")
    Operator.objects.create(
        login="head", login_key="head", name="邱样例", organisation=office, phone="16000000005"
    )
    place = venue(regulator=None, regulator_head="", regulator_phone=None)
    form = venueops.client.get(f"/venues/{place.pk}/edit/").context["form"]
    sent = {name: form[name].value() or "" for name in form.fields} | {"version": place.version}
    answer = venueops.client.post(f"/venues/{place.pk}/edit/", sent | {"regulator": office.pk})
    assert answer.status_code == 302, answer.context["form"].errors
    place.refresh_from_db()
    assert (place.regulator_head, place.regulator_phone.clear()) == ("邱样例", "16000000005")


@pytest.mark.req("KP-1.3")
def test_a_venue_with_scans_is_not_deleted_without_saying_what_happens_to_them(venueops):
    place = venue()
    VenueDay.objects.create(venue_code=place.code, day=date(2026, 11, 1), count=3)
    answer = venueops.client.post(f"/venues/{place.pk}/delete/")
    page = answer.content.decode()
    assert "3 条扫码记录" in page and "归档" in page and place.code in page
    assert Venue.objects.filter(pk=place.pk).exists()
    VenueDay.objects.update(count=0)
    delete_venue(venueops.actor, place)
    assert not Venue.objects.filter(pk=place.pk).exists()
    assert LogEntry.objects.filter(resource="venues", act="删除").exists()


@pytest.mark.req("KP-1.3")
def test_venues_are_deleted_one_at_a_time(venueops):
    places = [venue(), venue()]
    sent = {"pk": [place.pk for place in places], "confirm": "1", "typed": "2"}
    assert venueops.client.post("/venues/do/delete/", sent).status_code == 404
    assert Venue.objects.count() == 2
    assert "do/delete" not in venueops.client.get("/venues/").content.decode()


@pytest.mark.req("KP-1.3", "KP-2.1")
def test_an_archived_venue_has_no_threshold_to_set_and_can_come_back(venueops, regulator):
    place = venue()
    archive_venue(venueops.actor, place, reason="停业")
    with pytest.raises(ValidationError, match="已经归档"):
        archive_venue(venueops.actor, place)
    assert regulator.client.get(f"/thresholds/{place.pk}/").status_code == 404
    restore_venue(venueops.actor, place)
    assert regulator.client.get(f"/thresholds/{place.pk}/").status_code == 200


@pytest.mark.req("KP-1.5")
def test_only_the_operating_unit_has_the_venues(venueops, regulator, district, town):
    place = venue()
    assert venueops.client.get(f"/venues/{place.pk}/").status_code == 200
    for other in (regulator, district, town):
        assert other.client.get("/venues/").status_code == 403
        assert other.client.get(f"/venues/{place.pk}/").status_code == 403


# --- thresholds -------------------------------------------------------------------------------------------


def set_threshold(persona, place, low, high):
    place.refresh_from_db()
    sent = {"threshold_min": low, "threshold_max": high, "version": place.version}
    return persona.client.post(f"/thresholds/{place.pk}/edit/", sent)


@pytest.mark.req("KP-2.1")
def test_the_regulator_sets_a_threshold_and_its_history_is_kept(regulator):
    place, today = venue(), timezone.localdate()
    VenueThreshold.objects.create(venue=place, low=1, high=2, from_day=today - timedelta(days=30))
    follow_thresholds(today)
    assert set_threshold(regulator, place, "4", "").status_code == 302
    place.refresh_from_db()
    assert (place.threshold_min, place.threshold_max) == (4, None)
    history = list(place.thresholds.values_list("from_day", "low", "high"))
    assert history == [(today, 4, None), (today - timedelta(days=30), 1, 2)]
    [entry] = LogEntry.objects.filter(resource="thresholds", act="修改")
    assert entry.detail["changes"] == {"阈值最小值": ["1", "4"], "阈值最大值": ["2", ""]}
    assert set_threshold(regulator, place, "4", "").status_code == 302  # as it was
    assert place.thresholds.count() == 2
    assert "阈值变更" in regulator.client.get(f"/thresholds/{place.pk}/").content.decode()


@pytest.mark.req("KP-2.1")
@pytest.mark.parametrize(("low", "high"), [("5", "4"), ("-1", "4"), ("1.5", "4"), ("many", "")])
def test_a_threshold_that_is_none_is_refused_in_words(regulator, low, high):
    place = venue()
    answer = set_threshold(regulator, place, low, high)
    assert answer.status_code == 200
    assert answer.context["form"].errors
    assert not place.thresholds.exists()


@pytest.mark.req("KP-2.1", "P-5.2")
def test_a_threshold_changed_meanwhile_is_not_overwritten(regulator):
    place = venue()
    stale = {"threshold_min": "9", "threshold_max": "", "version": place.version}
    set_threshold(regulator, place, "1", "2")
    answer = regulator.client.post(f"/thresholds/{place.pk}/edit/", stale)
    assert "刚被他人修改过" in answer.content.decode() or answer.context["conflict"]
    place.refresh_from_db()
    assert (place.threshold_min, place.threshold_max) == (1, 2)


@pytest.mark.req("KP-2.2", "P-1.6")
def test_another_units_venue_does_not_exist_for_a_regulator(regulator2, venueops):
    place = venue()
    assert regulator2.client.get(f"/thresholds/{place.pk}/").status_code == 404
    assert set_threshold(regulator2, place, "1", "2").status_code == 404
    assert set_threshold(venueops, place, "1", "2").status_code == 403
    assert not place.thresholds.exists()


@pytest.mark.req("KP-2.1", "P-5.3")
def test_a_sheet_of_thresholds_is_checked_across_its_columns(venueops, sheet):
    place = venue()
    VenueThreshold.objects.create(venue=place, low=1, high=10, from_day="2026-11-05")
    path = sheet(
        "公共场所ID,最小值,最大值,生效日期",
        f"{place.code},4,,2026-10-11",
        f"{place.code},9,8,2026-10-12",
        "NOPE,1,2,2026-10-11",
        f"{place.code},,,2026-10-13",
        f"{place.code},20,,2026-11-05",
    )
    load = loading.load(venueops.actor, ThresholdSheet(), path, today=date(2026, 11, 20))
    assert [row for row, *_ in rejected(load)] == [3, 4, 5, 6]
    assert rejected(load)[0][1:] == ("最大值", "最大值不能小于最小值")
    assert "没有公共场所“NOPE”" in rejected(load)[1][2]
    assert "至少填写一项" in rejected(load)[2][2]
    assert "不能大于" in rejected(load)[3][2]
    place.refresh_from_db()
    assert (place.threshold_min, place.threshold_max) == (1, 10)
    undoing.undo(venueops.actor, ThresholdSheet(), load)
    assert place.thresholds.count() == 1
