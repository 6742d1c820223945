"""People record themselves on the scan page of a venue (KP-9.3)."""

import re
import threading
from datetime import datetime
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import psycopg
import pytest
from django.db import OperationalError
from django.test import Client
from django.test.client import FakePayload
from django.utils import timezone

from jingwei.base import parameters
from jingwei.base.fields import bulk_reveal
from jingwei.base.models import ErrorEntry, ParameterValue
from jingwei.people.samples import person
from jingwei.places.models import VenueDay
from jingwei.places.queries import scan_address
from jingwei.places.samples import venue
from jingwei.scans import entries, mobile
from jingwei.scans.models import Scan

pytestmark = [pytest.mark.django_db, pytest.mark.req("KP-9.3")]
WHO = {"name": "林样例", "doc_type": "111", "number": "110101199003070011", "phone": "16000000001"}


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """What the page keeps for some seconds is of another test's rows."""
    monkeypatch.setattr(mobile, "_venues", {})
    monkeypatch.setattr(mobile, "_tries", {"minute": 0, "by": {}})


@pytest.fixture
def place():
    return venue(name="城东农贸市场", kind="1")


def enter(place, client=None, **given):
    return (client or Client()).post(scan_address(place.pk), WHO | given)


def test_an_entry_is_a_scan_of_the_venue_and_counts_on_its_day(place):
    page = enter(place, number="11010119900307001１"[:17] + "1", phone="160 0000 0001").content.decode()
    assert "已登记" in page and "林**" in page and WHO["number"] not in page
    [scan] = Scan.objects.all()
    bulk_reveal([scan], ["number", "phone"])
    assert (scan.venue_code, scan.venue_name, scan.name) == (place.code, place.name, "林样例")
    assert (scan.number.clear(), scan.phone.clear()) == (WHO["number"], WHO["phone"])
    assert (scan.venue, scan.importer) == (place, "本人扫码登记")
    assert f"{timezone.localtime(scan.collected_at):%H:%M}" in page
    assert VenueDay.objects.get(venue_code=place.code).count == 1


def test_who_taps_twice_has_come_in_once(place, monkeypatch):
    at = datetime(2026, 11, 20, 23, 59, 1, tzinfo=ZoneInfo("Asia/Shanghai"))
    monkeypatch.setattr(entries.timezone, "now", lambda: at)
    enter(place)
    monkeypatch.setattr(entries.timezone, "now", lambda: at.replace(second=59))
    assert "已登记" in enter(place).content.decode()
    assert Scan.objects.count() == VenueDay.objects.get().count == 1
    monkeypatch.setattr(entries.timezone, "now", lambda: at.replace(day=21, hour=0, minute=0))
    enter(place)
    assert list(VenueDay.objects.order_by("day").values_list("count", flat=True)) == [1, 1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"number": "110101199003070012"}, "校验位应为"),
        ({"number": "11010119900307001"}, "应为 18 位"),
        ({"number": ""}, "证件号"),
        ({"phone": "123"}, "手机"),
        ({"name": " "}, "姓名不能为空"),
        ({"name": "长" * 61}, "最多 60 个字"),
        ({"doc_type": "000"}, "证件类型"),
    ],
)
def test_what_is_wrong_is_said_beside_its_field_and_what_was_entered_stays(place, given, said):
    page = enter(place, **given).content.decode()
    assert said in page and "还没有登记" in page and 'value="16000000001"' in page or "phone" in given
    assert not Scan.objects.exists()


@pytest.mark.req("SEC-12")
@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "'; DROP TABLE x; --", "㐀𠮷", "=1+1", "a\0b"])
def test_odd_names_are_stored_as_they_are_or_refused(place, name):
    page = enter(place, name=name).content.decode()
    assert "<script>alert" not in page
    assert [scan.name for scan in Scan.objects.all()] in ([name], [name.replace("\0", "")], [])


@pytest.mark.req("SEC-16")
def test_the_answer_tells_nobody_whether_a_person_is_in_the_register(place):
    known = person(number="110101199003070011", name="林样例")

    def told(number):
        page = enter(place, number=number).content.decode()
        return re.sub(r"\d\d:\d\d|[0-9]+\*+[0-9]+", "", page)

    assert told(known.number.clear()) == told("110101199003070038")


def test_a_device_remembers_its_person_only_if_asked_and_shows_them_masked(place):
    phone = Client()
    assert enter(place, phone).cookies.get("person") is None
    answer = enter(place, phone, remember="1")
    cookie = answer.cookies["person"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/e/")
    assert WHO["number"] not in cookie.value and "林" not in cookie.value
    page = phone.get(scan_address(place.pk)).content.decode()
    assert "林**" in page and WHO["number"] not in page and 'name="number"' not in page
    other = venue()
    assert "已登记" in phone.post(scan_address(other.pk), {"again": "1"}).content.decode()
    assert Scan.objects.get(venue_code=other.code).name == "林样例"
    assert phone.post(scan_address(place.pk), {"forget": "1"}).status_code == 302
    assert 'name="number"' in phone.get(scan_address(place.pk)).content.decode()


def test_a_cookie_that_was_tampered_with_is_nobody(place):
    sealed = mobile.sealed_person(WHO)
    for cookie in (sealed[:-6] + "AAAA==", "x", "", "é", "!" + sealed[1:], "AAAA"):
        assert mobile.read_person(cookie) is None
    assert mobile.read_person(sealed) == WHO


def test_what_a_device_remembers_is_never_told_in_clear(place, monkeypatch):
    client = Client()
    enter(place, client, remember="1")
    monkeypatch.setattr(mobile, "record", lambda entry: entry.errors.update(doc_type="证件类型已停用"))
    page = client.post(scan_address(place.pk), {"again": "1"}).content.decode()
    assert "证件类型已停用" in page
    assert not any(word in page for word in (WHO["number"], WHO["phone"], WHO["name"]))


@pytest.mark.req("SEC-12")
@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_a_form_that_is_too_big_is_refused_before_it_is_read(place, kind):
    body = FakePayload(b"")  # whoever reads it finds less than was announced
    answer = Client().generic(
        "POST", scan_address(place.pk), body, kind, CONTENT_LENGTH=str(30 * 2**20), **{"wsgi.input": body}
    )
    assert answer.status_code == 400
    assert not Scan.objects.exists()


def test_a_form_from_another_site_is_refused(place):
    strict = Client(enforce_csrf_checks=True)
    assert strict.post(scan_address(place.pk), WHO).status_code == 403
    page = strict.get(scan_address(place.pk)).content.decode()
    token = re.search('csrfmiddlewaretoken" value="([^"]+)"', page)[1]
    answer = strict.post(scan_address(place.pk), WHO | {"csrfmiddlewaretoken": token})
    assert "已登记" in answer.content.decode()


def test_a_page_that_was_made_up_is_not_there_and_a_closed_venue_records_nothing(place):
    assert Client().get(f"/e/{place.pk}-aaaaaaaaaaaaaaaa/").status_code == 404
    closed = venue(archived=True)
    assert "已停止扫码登记" in enter(closed).content.decode()
    assert not Scan.objects.exists()


def test_too_many_from_one_address_have_to_wait(place, monkeypatch):
    monkeypatch.setattr(mobile, "time", SimpleNamespace(monotonic=lambda: 6000.0))  # all in one minute
    ParameterValue.objects.create(name="scans.per_minute", value="2")
    parameters.forget()
    answers = [enter(place, phone=f"1600000000{n}").status_code for n in range(4)]
    elsewhere = Client(REMOTE_ADDR="192.0.2.77")
    assert answers == [200, 200, 429, 429]
    assert enter(place, elsewhere, phone="16000000009").status_code == 200
    network = [Client(REMOTE_ADDR=f"2001:db8::{n}") for n in range(1, 4)]
    assert [enter(place, client).status_code for client in network] == [200, 200, 429]


@pytest.mark.req("SEC-11", "SEC-18")
def test_the_page_is_kept_nowhere_and_has_the_policy_of_every_page(place):
    answer = Client().get(scan_address(place.pk))
    assert "no-store" in answer["Cache-Control"]
    assert "default-src 'none'" in answer["Content-Security-Policy"]
    assert "<script" not in answer.content.decode()


# --- group commit -----------------------------------------------------------------------------------------


def test_a_bad_entry_of_a_batch_is_told_and_the_others_are_stored(place):
    wrong = entries.Entry(place, WHO | {"number": "1"})
    good = [entries.Entry(place, WHO | {"phone": f"1600000000{n}"}) for n in range(3)]
    entries.settle([good[0], wrong, *good[1:]])
    assert set(wrong.errors) == {"number"} and wrong.at is None
    assert all(entry.at and not entry.errors for entry in good)
    assert VenueDay.objects.get().count == 3


def test_what_breaks_one_entry_breaks_no_other(place, monkeypatch):
    store = entries.store_scans

    def breaks(actor, rows, at):
        if "坏" in rows["name"].to_list():
            raise RuntimeError("broken")
        return store(actor, rows, at)

    monkeypatch.setattr(entries, "store_scans", breaks)
    good, bad = entries.Entry(place, WHO), entries.Entry(place, WHO | {"name": "坏"})
    entries.settle([good, bad])
    assert good.at and isinstance(bad.failure, RuntimeError)
    page = Client(raise_request_exception=False).post(scan_address(place.pk), WHO | {"name": "坏"})
    assert page.status_code == 500
    kept = ErrorEntry.objects.get()
    assert not any(word in f"{kept.place} {kept.trace}" for word in ("坏", WHO["number"], WHO["phone"]))


def test_what_breaks_one_entry_of_a_crowd_is_found_by_halves(place, monkeypatch):
    tried = []

    def breaks(batch):
        tried.append(len(batch))
        if bad in batch:
            raise RuntimeError("broken")
        for entry in batch:
            entry.at = timezone.now()

    monkeypatch.setattr(entries, "_store", breaks)
    crowd = [entries.Entry(place, WHO) for _ in range(64)]
    bad = crowd[41]
    entries.settle(crowd)
    assert [entry for entry in crowd if entry.failure] == [bad]
    assert all(entry.is_settled for entry in crowd) and len(tried) == 1 + 2 * 6


def test_a_crowd_does_not_wait_for_a_database_that_is_away_one_by_one(place, monkeypatch):
    tried = []

    def away(batch):
        tried.append(len(batch))
        raise OperationalError("away") from psycopg.OperationalError()

    monkeypatch.setattr(entries, "_store", away)
    crowd = [entries.Entry(place, WHO) for _ in range(64)]
    entries.settle(crowd)
    assert tried == [64] and all(isinstance(entry.failure, OperationalError) for entry in crowd)


@pytest.mark.req("KP-P5")
def test_entries_that_come_during_a_transaction_share_the_next_one(place, monkeypatch):
    batches, begun, go_on = [], threading.Event(), threading.Event()

    def settle(batch):
        batches.append(len(batch))
        begun.set()
        go_on.wait(60)
        for entry in batch:
            entry.at = timezone.now()

    monkeypatch.setattr(entries, "settle", settle)
    crowd = [entries.Entry(place, WHO) for _ in range(8)]
    threads = [threading.Thread(target=entries.record, args=[entry]) for entry in crowd]
    threads[0].start()
    begun.wait(60)
    for thread in threads[1:]:
        thread.start()
    while len(entries._waiting) < 7 and not go_on.wait(0.01):
        pass
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert batches == [1, 7] and all(entry.at for entry in crowd)
