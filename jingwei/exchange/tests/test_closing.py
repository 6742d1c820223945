"""While data come from a front database nobody imports or deletes them by hand (P-8.4, KP-8.2)."""

import argparse
import csv

import pytest
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from jingwei.base import loading, undoing
from jingwei.base.models import Job, Load
from jingwei.cli import import_sheet
from jingwei.desk import jobs, tasks
from jingwei.exchange.actions import switch_off
from jingwei.exchange.models import FrontFeed
from jingwei.exchange.samples import feed
from jingwei.places.models import Venue
from jingwei.places.samples import venue
from jingwei.places.sheets import VenueSheet
from jingwei.scans.actions import COLLECTED, Chosen, erase_scans
from jingwei.scans.models import Scan
from jingwei.scans.samples import scan

pytestmark = [pytest.mark.django_db, pytest.mark.req("P-8.4", "KP-8.2")]
WHY = "这类数据正从前置库“省场所码前置库”自动取得，手工导入和删除已关闭"
TABLES = {
    "venues": [["公共场所ID", "公共场所"], ["YL900001", "新店"]],
    "scans": [["公共场所ID", "采集时间"], ["YL900001", "2026-11-01 09:30:00"]],
}


@pytest.fixture(params=TABLES)
def sheet(request):
    return request.param


@pytest.fixture
def closed(sheet):
    """The feed that brings the sheet, switched on."""
    made = feed(sheet=sheet, enabled=True)
    made.source.name = "省场所码前置库"
    made.source.save()
    return made


@pytest.fixture
def path(sheet, tmp_path):
    with open(tmp_path / "表.csv", "w", newline="") as file:
        csv.writer(file).writerows(TABLES[sheet])
    return tmp_path / "表.csv"


def count():
    return Venue.objects.filter(code="YL900001").count() + Scan.objects.count()


def by_command(sheet, path):
    parser = argparse.ArgumentParser()
    import_sheet.add_arguments(parser)
    return import_sheet.run(parser.parse_args([sheet, str(path), "--as", "venueops"]))


def test_the_command_line_refuses_the_import_and_says_why(closed, sheet, path, venueops):
    with pytest.raises(ValidationError, match=WHY):
        by_command(sheet, path)
    assert count() == 0 and not Load.objects.exists()
    switch_off(venueops.actor, closed)
    assert by_command(sheet, path) == 0
    assert count() == 1


def test_the_page_refuses_the_import_and_says_why(closed, sheet, path, venueops):
    page = venueops.client.get(f"/{sheet}/import/").content.decode()
    assert WHY in page and 'type="file"' not in page
    answer = venueops.client.post(
        f"/{sheet}/import/", {"file": SimpleUploadedFile("表.csv", path.read_bytes())}
    )
    assert f"没有导入：{WHY}" in answer.content.decode()
    assert not Load.objects.exists()


def test_an_import_confirmed_before_is_refused_when_its_turn_comes(sheet, path, venueops):
    file = SimpleUploadedFile("表.csv", path.read_bytes())
    venueops.client.post(f"/{sheet}/import/", {"file": file})
    run_jobs()
    venueops.client.post(f"/{sheet}/import/{Load.objects.get().pk}/confirm/")
    feed(sheet=sheet, enabled=True)
    run_jobs()
    job = Job.objects.get(kind="import")
    assert job.state == Job.FAILED and "手工导入和删除已关闭" in job.message
    assert count() == 0


def run_jobs():
    for job in Job.objects.filter(state=Job.WAITING):
        jobs.run({name: kind.work for name, kind in tasks.KINDS.items()}, job.pk)


def test_an_import_of_before_is_not_undone(venueops, tmp_path):
    with open(tmp_path / "表.csv", "w", newline="") as file:
        csv.writer(file).writerows(TABLES["venues"])
    load = loading.load(venueops.actor, VenueSheet(), tmp_path / "表.csv")
    feed(sheet="venues", enabled=True)
    with pytest.raises(ValidationError, match="手工导入和删除已关闭"):
        undoing.undo(venueops.actor, VenueSheet(), load)
    assert count() == 1


def test_a_venue_is_not_deleted_and_the_page_says_why(venueops):
    made, on = venue(), feed(sheet="venues", enabled=True)
    answer = venueops.client.post(f"/venues/{made.pk}/delete/")
    assert "手工导入和删除已关闭" in answer.content.decode()
    assert Venue.objects.filter(pk=made.pk).exists()
    switch_off(venueops.actor, on)
    venueops.client.post(f"/venues/{made.pk}/delete/")
    assert not Venue.objects.filter(pk=made.pk).exists()


def test_scans_are_not_deleted_and_the_page_says_why(venueops):
    scan()
    on = feed(sheet="scans", enabled=True)
    now = timezone.now()
    chosen = Chosen(COLLECTED, now.replace(year=2020), now)
    with pytest.raises(ValidationError, match="手工导入和删除已关闭"):
        erase_scans(venueops.actor, chosen, expected=1)
    page = venueops.client.get("/scan-erasure/").content.decode()
    assert "手工导入和删除已关闭" in page and 'name="first"' not in page
    asked = {"by": COLLECTED, "first": "2020-01-01T00:00:00", "last": "2099-01-01T00:00:00", "typed": "1"}
    venueops.client.post("/scan-erasure/", asked)
    assert Scan.objects.count() == 1 and not Job.objects.filter(kind="erase-scans").exists()
    switch_off(venueops.actor, on)
    assert erase_scans(venueops.actor, chosen, expected=1) == 1


def test_what_no_feed_brings_stays_open(venueops, sheet, path):
    feed(sheet=sheet, enabled=False)
    feed(sheet="scans" if sheet == "venues" else "venues", enabled=True)
    assert by_command(sheet, path) == 0
    assert count() == 1
    assert FrontFeed.objects.count() == 2
