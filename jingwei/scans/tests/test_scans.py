"""Scans are kept as they came, counted on their days, and deleted for good (KP-3, KP-4, KP-5)."""

import csv
import os
import re
from contextlib import suppress
from datetime import date, datetime, timedelta
from random import Random
from threading import Event, Thread

import psycopg
import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import connection
from django.http import QueryDict
from django.utils import timezone

from jingwei import menu
from jingwei.base import loading, reading, undoing
from jingwei.base.models import Job, LogEntry
from jingwei.base.wall import acting
from jingwei.desk import jobs, tasks
from jingwei.desk.lists import Selection, key_text
from jingwei.directory.actors import actor_of_login
from jingwei.places.models import ChangedVenue, Venue, VenueDay, VenueThreshold
from jingwei.places.queries import scans_of, with_scans
from jingwei.places.samples import venue
from jingwei.scans import actions
from jingwei.scans.actions import (
    COLLECTED,
    IMPORTED,
    NIGHT,
    Chosen,
    compare_venues,
    count_scans,
    erase_scans,
    receive_alert,
    recount,
)
from jingwei.scans.evaluation import evaluate
from jingwei.scans.models import Alert, Evaluation, Scan
from jingwei.scans.samples import scan
from jingwei.scans.sheets import ScanSheet

pytestmark = pytest.mark.django_db
TIMES = ["00:00:00", "12:30:00", "23:59:59"]
HEADINGS = ["公共场所ID", "公共场所", "被采集人身份证", "被采集人", "联系电话", "采集时间"]


@pytest.fixture
def load(venueops, tmp_path):
    """A function that imports rows as the operating unit."""

    def load(*rows, encoding="utf-8", **options):
        path = tmp_path / "扫码.csv"
        with open(path, "w", encoding=encoding, newline="") as file:
            csv.writer(file).writerows([HEADINGS, *rows])
        return loading.load(venueops.actor, ScanSheet(), path, **options)

    return load


def at(text):
    return timezone.make_aware(datetime.fromisoformat(text))


def counts():
    return {(d.venue_code, str(d.day)): d.count for d in VenueDay.objects.filter(count__gt=0)}


def recounted():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT venue_code, (collected_at AT TIME ZONE 'Asia/Shanghai')::date::text, count(*)"
            " FROM scans_scan GROUP BY 1, 2"
        )
        return {(code, day): number for code, day, number in cursor.fetchall()}


# --- loading ----------------------------------------------------------------------------------------------


@pytest.mark.req("KP-3.1")
def test_cells_are_kept_as_they_stand_and_nothing_is_dropped(load, venueops):
    row = ["S1", " 甲 超市 ", "不是号码x", "林  敏", "tel:none", "2026-11-01 09:30:00"]
    outcome = load(row).counts
    assert (outcome["added"], outcome["rejected"], outcome["warnings"]) == (1, [], [])
    kept = Scan.objects.get()
    assert [kept.venue_name, kept.number.clear(), kept.name, kept.phone.clear()] == row[1:5]
    assert kept.importer == venueops.operator.name


@pytest.mark.req("KP-3.1", "KP-P2")
def test_the_same_row_again_is_one_row_and_said_so(load):
    rows = [["S1", "甲", "", "林敏", "", "2026-11-01 09:30:00"]] * 2
    other = ["S1", "甲", "", "林敏", "13800000000", "2026-11-01 09:30:00"]
    first = load(*rows, other).counts
    assert (first["added"], first["same"], first["changed"], first["unchanged"]) == (2, 1, 0, 0)
    again = load(*rows, other, encoding="gb18030").counts
    assert (again["added"], again["same"]) == (0, 3)
    assert counts() == {("S1", "2026-11-01"): 2} == recounted()


@pytest.mark.req("KP-3.1")
def test_midnight_and_the_last_second_count_for_their_own_day(load):
    load(
        ["S1", "", "", "甲", "", "2026-10-31 23:59:59"],
        ["S1", "", "", "乙", "", "2026-11-01 00:00:00"],
        ["S1", "", "", "丙", "", "2026-11-01 23:59:59"],
    )
    assert counts() == {("S1", "2026-10-31"): 1, ("S1", "2026-11-01"): 2}


@pytest.mark.req("KP-3.1")
def test_a_row_without_venue_or_time_is_reported_and_the_others_are_kept(load):
    outcome = load(
        ["", "", "", "甲", "", "2026-11-01 09:30:00"],
        ["S1", "", "", "乙", "", "昨天"],
        ["S1", "", "", "丙", "", ""],
        ["S1", "", "", "丁", "", "2026-11-01 09:30:00"],
    ).counts
    assert [(said["row"], said["column"]) for said in outcome["rejected"]] == [
        (2, "公共场所ID"),
        (3, "采集时间"),
        (4, "采集时间"),
    ]
    assert outcome["added"] == Scan.objects.count() == 1


@pytest.mark.req("KP-3.1")
def test_the_import_page_tells_the_newest_collecting_time(venueops, load):
    assert "还没有扫码记录" in venueops.client.get("/scans/import/").content.decode()
    load(["S1", "", "", "甲", "", "2026-11-01 09:30:15"])
    assert "2026-11-01 09:30:15" in venueops.client.get("/scans/import/").content.decode()


@pytest.mark.req("KP-3.1")
def test_a_preview_stores_nothing_and_a_load_of_scans_is_not_undone(venueops, load, tmp_path):
    done = load(["S1", "", "", "甲", "", "2026-11-01 09:30:15"])
    said = loading.preview(venueops.actor, ScanSheet(), tmp_path / "扫码.csv")
    assert (said["added"], said["same"]) == (0, 1)
    assert Scan.objects.count() == 1
    with pytest.raises(ValidationError, match="没有可以撤销的数据"):
        undoing.undo(venueops.actor, ScanSheet(), done)


# --- counters ---------------------------------------------------------------------------------------------


@pytest.mark.req("KP-3.3", "KP-5.1", "KP-P2")
def test_after_any_loads_and_deletions_the_counters_are_what_a_recount_gives(load, venueops):
    chance = Random(7)
    for step in range(6):
        rows = [
            [
                f"S{chance.randrange(3)}",
                "",
                "",
                f"人{step}{n}",
                "",
                f"2026-{chance.choice(['09', '10', '11'])}-"
                f"{chance.randrange(1, 29):02d} {chance.choice(TIMES)}",
            ]
            for n in range(40)
        ]
        load(*rows)
        low, high = sorted(
            f"2026-{chance.choice(['09', '10', '11'])}-{chance.randrange(1, 29):02d}" for _ in "ab"
        )
        chosen = Chosen(COLLECTED, at(low), at(f"{high} 06:00"), chance.choice(["", "", "S1"]))
        number = Scan.objects.filter(chosen.condition).count()
        assert erase_scans(venueops.actor, chosen, expected=number) == number
        assert not Scan.objects.filter(chosen.condition).exists()
        assert counts() == recounted()
        for code in ("S0", "S1", "S2"):
            place, _ = Venue.objects.get_or_create(code=code, defaults={"name": code})
            low, high = sorted(
                date(2026, chance.choice([8, 9, 10, 11]), chance.randrange(1, 31)) for _ in "ab"
            )
            for first, last in (
                (low, high),
                (None, high),
                (low, None),
                (None, None),
                (low, low),
                (high, low),
            ):
                within = [
                    number
                    for (of, day), number in recounted().items()
                    if of == code and (not first or day >= str(first)) and (not last or day <= str(last))
                ]
                assert with_scans(Venue.objects.all(), first, last).get(pk=place.pk).scans == sum(within)
            assert scans_of(code) == sum(n for (of, _), n in recounted().items() if of == code)
    assert recount(NIGHT) == 0


@pytest.mark.req("KP-5.1")
def test_the_nightly_recount_repairs_a_wrong_counter(load):
    load(["S1", "", "", "甲", "", "2026-11-01 09:30:00"], ["S1", "", "", "乙", "", "2026-11-02 09:30:00"])
    VenueDay.objects.filter(day="2026-11-01").update(count=9)
    assert recount(NIGHT) == 1
    assert counts() == recounted()
    assert LogEntry.objects.filter(act="更正日扫码量").exists()
    assert recount(NIGHT) == 0


# --- deleting for good ------------------------------------------------------------------------------------


@pytest.mark.req("KP-3.3", "KP-P4")
def test_a_whole_month_goes_at_once_and_its_neighbours_stay(load, venueops):
    load(
        ["S1", "", "", "甲", "", "2026-09-30 23:59:59"],
        ["S1", "", "", "乙", "", "2026-10-01 00:00:00"],
        ["S1", "", "", "丙", "", "2026-10-31 23:59:59"],
        ["S1", "", "", "丁", "", "2026-11-01 00:00:00"],
    )
    erase_scans(venueops.actor, Chosen(COLLECTED, at("2026-10-01"), at("2026-11-01")), expected=2)
    assert set(Scan.objects.values_list("name", flat=True)) == {"甲", "丁"}
    assert counts() == recounted() == {("S1", "2026-09-30"): 1, ("S1", "2026-11-01"): 1}
    [entry] = LogEntry.objects.filter(resource="scans", act="批量删除")
    assert (entry.detail, entry.login) == ({"count": 2, "months": 1}, "venueops")
    assert "2026-10-01 00:00:00 至 2026-11-01 00:00:00" in entry.label


@pytest.mark.req("KP-3.3")
def test_what_one_import_brought_goes_by_its_time_of_import(load, venueops):
    load(["S1", "", "", "甲", "", "2026-11-01 09:30:00"])
    Scan.objects.update(imported_at=at("2026-11-01 10:00"))
    load(["S1", "", "", "乙", "", "2026-11-01 09:31:00"])
    chosen = Chosen(IMPORTED, at("2026-11-01 10:00"), at("2026-11-01 10:01"))
    erase_scans(venueops.actor, chosen, expected=1)
    assert Scan.objects.get().name == "乙"
    assert counts() == {("S1", "2026-11-01"): 1}


@pytest.mark.req("KP-3.3", "P-1.6")
def test_nobody_deletes_what_was_not_counted_or_is_out_of_reach(load, venueops, regulator):
    load(["S1", "", "", "甲", "", "2026-11-01 09:30:00"])
    chosen = Chosen(COLLECTED, at("2026-11-01"), at("2026-11-02"))
    with pytest.raises(ValidationError, match="由 2 条变为 1 条"):
        erase_scans(venueops.actor, chosen, expected=2)
    with pytest.raises(PermissionDenied):
        erase_scans(regulator.actor, chosen, expected=1)
    assert Scan.objects.count() == 1


@pytest.mark.req("KP-3.3", "P-6.3")
def test_the_page_counts_first_and_deletes_when_the_number_is_typed(load, venueops, regulator):
    load(*[["S1", "", "", f"人{n}", "", "2026-11-01 09:30:00"] for n in range(3)])
    assert regulator.client.get("/scan-erasure/").status_code == 403
    asked = {"by": COLLECTED, "first": "2026-11-01T00:00:00", "last": "2026-11-01T23:59:59", "venue_code": ""}
    page = venueops.client.post("/scan-erasure/", asked)
    assert page.context["number"] == 3 and Scan.objects.count() == 3
    page = venueops.client.post("/scan-erasure/", asked | {"typed": "2"})
    assert "请输入要删除的条数 3" in page.content.decode()
    assert not Job.objects.filter(kind="erase-scans").exists()
    assert venueops.client.post("/scan-erasure/", asked | {"typed": "3"}).status_code == 302
    job = Job.objects.get(kind="erase-scans")
    jobs.run({name: kind.work for name, kind in tasks.KINDS.items()}, job.pk)
    job.refresh_from_db()
    assert (job.state, job.message) == (Job.DONE, "已删除扫码记录 3 条。")
    assert not Scan.objects.exists() and counts() == {}


@pytest.mark.req("KP-3.3")
def test_a_span_that_ends_before_it_begins_is_refused_in_words(venueops):
    asked = {"by": COLLECTED, "first": "2026-11-02T00:00:00", "last": "2026-11-01T00:00:00", "venue_code": ""}
    assert "不能晚于" in venueops.client.post("/scan-erasure/", asked).content.decode()


# --- who sees them, the night -----------------------------------------------------------------------------


@pytest.mark.req("KP-3.4", "KP-4.1", "P-1.6")
def test_scans_belong_to_the_regulator_of_their_venue(venueops, regulator, regulator2):
    made, stray, unknown = scan(), scan(venue(regulator=None)), scan(venue_code="NONE")
    assert {row.pk for row in venueops.client.get("/scan-query/").context["page"].rows} == {
        *(made.pk, stray.pk, unknown.pk)
    }
    assert [row.pk for row in regulator.client.get("/scan-query/").context["page"].rows] == [made.pk]
    assert not regulator2.client.get("/scan-query/").context["page"].rows
    for persona in (regulator, regulator2):
        assert persona.client.get("/scans/").status_code == 403
    assert "空" in venueops.client.get("/scan-query/").content.decode()
    for row in (made, unknown):
        assert venueops.client.get(f"/scan-query/{key_text(row)}/").status_code == 200


@pytest.mark.req("KP-4.1")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("number", "990101198001010030"),
        ("phone", "16000000001"),
        ("venue__street", "安平街道"),
        ("result", "正常"),
        ("health_code", "绿码"),
        ("venue__kind", "超市"),
        ("venue__name", "样例超市"),
        ("name", "林样例一"),
        ("venue_code", "Q1"),
        ("collected_at__from", "2026-11-01"),
    ],
)
def test_scans_are_found_by_every_condition(venueops, name, value):
    made = scan(venue(code="Q1"), name="林样例一", collected_at=datetime(2026, 11, 1, 9, 30))
    scan(
        venue(name="别的地方", street="万福镇", kind="2"),
        number="x",
        phone="y",
        street="z",
        result="异常",
        health_code="红码",
        kind="药店",
        collected_at=datetime(2026, 10, 1, 9, 30),
    )
    found = venueops.client.get("/scan-query/", {name: value}).context["page"].rows
    assert [row.pk for row in found] == [made.pk]


@pytest.mark.req("KP-1.4")
def test_unknown_venues_are_registered_once_with_what_the_latest_scan_says(load):
    load(
        ["N1", "旧名", "", "甲", "", "2026-11-01 09:30:00"],
        ["N1", "新名", "", "乙", "", "2026-11-02 09:30:00"],
    )
    assert (compare_venues(NIGHT), compare_venues(NIGHT)) == (1, 0)
    made = Venue.objects.get(code="N1")
    assert (made.name, made.regulator, made.city) == ("新名", None, "安澜区")


@pytest.mark.req("KP-5.1")
def test_the_page_of_a_venue_shows_its_days(regulator, regulator2):
    place = venue()
    VenueDay.objects.create(venue_code=place.code, day=date(2026, 11, 1), count=1234)
    address = f"/scan-statistics/{place.pk}/?from=2026-10-31&to=2026-11-02"
    answer = regulator.client.get(address)
    assert [(str(d.day), d.count) for d in answer.context["days"]][1] == ("2026-11-01", 1234)
    assert regulator2.client.get(address).status_code == 404
    assert "日期无法识别" in regulator.client.get(f"/scan-statistics/{place.pk}/?from=x").content.decode()


@pytest.mark.req("KP-3.3", "KP-P4")
def test_whole_days_are_counted_by_their_counters_and_parts_of_days_by_the_rows(load, venueops):
    load(
        *[
            ["S1", "", "", f"人{day}{hour}", "", f"2026-11-{day:02d} {hour}"]
            for day in (1, 2, 3)
            for hour in ("00:00:00", "11:59:59", "12:00:00", "23:59:59")
        ],
        ["S2", "", "", "林", "", "2026-11-02 08:00:00"],
    )
    moments = ["2026-11-01", "2026-11-01 12:00:00", "2026-11-02", "2026-11-03 23:59:59", "2026-11-04"]
    for since in moments:
        for until in moments:
            for code in ("", "S1"):
                chosen = Chosen(COLLECTED, at(since), at(until), code)
                number = Scan.objects.filter(chosen.condition).count()
                assert count_scans(venueops.actor, chosen) == number, chosen


@pytest.mark.req("KP-6.3", "KP-P4")
def test_the_months_deleted_and_the_late_ones_change_the_alerts_of_their_venues_only(load, venueops):
    place, other = venue(), venue()
    for each in (place, other):
        VenueThreshold.objects.create(venue=each, low=1, from_day=date(2026, 8, 1))
    load(
        *[
            [v.code, "", "", "甲", "", f"2026-{m}-{d:02d} 12:00:00"]
            for v in (place, other)
            for m, days in (("08", 31), ("09", 30), ("10", 31))
            for d in range(1, days + 1)
        ]
    )
    evaluate(NIGHT, date(2026, 10, 31))
    assert not Alert.objects.exists()
    chosen = Chosen(COLLECTED, at("2026-09-01"), at("2026-10-01"), place.code)
    erase_scans(venueops.actor, chosen, expected=30)
    assert [(a.venue, str(a.first_day)) for a in Alert.objects.order_by("first_day")] == [
        (place, f"2026-09-{day:02d}") for day in (1, 8, 15, 22)
    ]
    assert not ChangedVenue.objects.exists()
    load(*[[place.code, "", "", "甲", "", f"2026-09-{d:02d} 12:00:00"] for d in range(1, 31)])
    assert not Alert.objects.filter(withdrawn_at=None).exists()
    # The oldest month goes: of days before the first scan of all nothing is known.
    erase_scans(venueops.actor, Chosen(COLLECTED, at("2026-08-01"), at("2026-09-01")), expected=62)
    assert not Alert.objects.filter(withdrawn_at=None).exists()
    assert counts() == recounted()


@pytest.mark.req("KP-6.3", "KP-3.1")
def test_a_late_file_over_a_year_leaves_the_alerts_that_an_evaluation_of_all_days_gives(load, venueops):
    chance = Random(11)
    places = [venue() for _ in range(4)]
    days = [date(2025, 11, 1) + timedelta(days=n) for n in range(365)]
    for place, (low, high) in zip(places, [(1, None), (2, 3), (None, 1), (1, 4)], strict=True):
        VenueThreshold.objects.create(venue=place, low=low, high=high, from_day=days[0])
        VenueThreshold.objects.create(venue=place, low=1, high=2, from_day=chance.choice(days))

    def scans(share, name):
        for place in places:
            for day in days:
                for number in range(chance.choice([0, 0, 1, 2, 5]) if chance.random() < share else 0):
                    yield [place.code, "", "", f"{name}{number}", "", f"{day} {chance.choice(TIMES)}"]

    load(*scans(0.7, "甲"), *[["S1", "", "", "最早", "", f"{days[0]} 00:00:00"]])
    evaluate(NIGHT, days[-1])
    alert = Alert.objects.order_by("first_day")[1]
    receive_alert(actor_of_login("regulator"), alert)
    load(*scans(0.1, "乙"))
    erase_scans(
        venueops.actor,
        (chosen := Chosen(COLLECTED, at("2026-03-01"), at("2026-05-03"))),
        expected=Scan.objects.filter(chosen.condition).count(),
    )
    assert counts() == recounted()

    def standing():
        kept = Alert.objects.filter(withdrawn_at=None)
        return set(kept.values_list("venue", "reason", "first_day", "last_day", "outdated"))

    found = standing()
    Alert.objects.filter(received_at=None).delete()
    Evaluation.objects.all().delete()
    evaluate(NIGHT, days[-1])
    assert standing() == found and len(found) > 20


@pytest.mark.req("KP-3.3")
@pytest.mark.django_db(transaction=True)
def test_deleting_while_an_import_runs_leaves_counters_that_a_recount_confirms(load, venueops, monkeypatch):
    monkeypatch.setattr(reading, "ROWS_AT_ONCE", 40)
    monkeypatch.setattr(ScanSheet, "together", 1)
    rows = [
        ["S1", "", "", f"人{n}", "", f"2026-{9 + n % 3:02d}-{1 + n % 28:02d} 12:00:00"] for n in range(600)
    ]
    actor, ended, erased = venueops.actor, Event(), []

    def erase():
        chosen = Chosen(COLLECTED, at("2026-09-01"), at("2026-10-15"))
        while not ended.is_set():
            with suppress(ValidationError):  # more have come since they were counted
                erased.append(erase_scans(actor, chosen, expected=count_scans(actor, chosen)))
        connection.close()

    other = Thread(target=erase)
    other.start()
    outcome = load(*rows).counts
    ended.set()
    other.join()
    assert outcome["added"] == 600 and sum(erased) > 0
    assert Scan.objects.count() == 600 - sum(erased)
    assert counts() == recounted()


@pytest.mark.req("KP-4.1", "KP-P4")
def test_scans_are_sorted_by_their_time_only_and_found_by_number_or_telephone(venueops):
    place = venue()
    made = [scan(place, number=f"99010119800101003{n}", phone=f"1600000000{n}") for n in range(3)]
    for address in ("/scan-query/", "/scans/"):
        page = venueops.client.get(address, {"sort": "street"})
        headings = {head["heading"] for head in page.context["heads"] if head["sortable"]}
        assert headings == {"采集时间"}
        for word in ("990101198001010031", "16000000001"):
            found = venueops.client.get(address, {"q": word}).context["page"].rows
            assert [row.pk for row in found] == [made[1].pk]


CONDITIONS = {
    "number=990101198001010031": "number",
    "phone=16000000001": "phone",
    "name=张伟": "name",
    "venue_code=S1": "venue_code",
    "result=异常": "result",
    "test_result=待检": "test_result",
    "health_code=红码": "health_code",
    "collected_at__from=2026-11-01&collected_at__to=2026-11-01": "collected_at",
}


@pytest.mark.req("KP-P4", "P-1.10")
def test_every_condition_of_the_query_has_an_index_that_serves_behind_the_wall(venueops, regulator):
    scan(venue(regulator=regulator.operator.organisation))
    for persona in (venueops, regulator):
        for query, column in CONDITIONS.items():
            selection = Selection(menu.resource("scan-query"), persona.actor, QueryDict(query))
            with acting(persona.actor), connection.cursor() as cursor:
                # At this size reading everything is cheapest; what matters is that there is another way.
                cursor.execute("SET LOCAL enable_seqscan = off")
                plan = selection.rows.order_by().values("pk").explain()
            assert "Seq Scan on scans_scan" not in plan, query
            assert persona is regulator or re.search(rf"Index Cond: .*\b{column}\b", plan), query


@pytest.mark.req("KP-3.3", "KP-P4")
@pytest.mark.django_db(transaction=True)
def test_months_that_somebody_reads_for_long_are_not_deleted_and_hold_nobody_up(load, venueops, monkeypatch):
    load(["S1", "", "", "甲", "", "2026-10-31 09:30:00"])
    monkeypatch.setattr(actions, "LONGEST_WAIT", "50ms")
    chosen = Chosen(COLLECTED, at("2026-10-01"), at("2026-11-01"))
    with psycopg.connect(os.environ["DATABASE_URL"]) as reader:
        reader.execute("SELECT count(*) FROM scans_scan")
        with pytest.raises(ValidationError, match="正被导出或查询"):
            erase_scans(venueops.actor, chosen, expected=1)
        load(["S1", "", "", "乙", "", "2026-12-01 09:30:00"])  # a month of its own, made meanwhile
    assert counts() == recounted() and sum(counts().values()) == 2
    assert erase_scans(venueops.actor, chosen, expected=1) == 1
