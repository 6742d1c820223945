"""Rows of a front database come in once, whole and as by an import, whatever happens (P-8.4, KP-8.2)."""

import csv
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import DataError, connection
from django.utils import timezone

from jingwei.base import loading
from jingwei.base.models import Job, Load, LogEntry
from jingwei.desk import jobs, tasks
from jingwei.exchange import actions, pulling, sources
from jingwei.exchange.models import FrontFeed
from jingwei.exchange.pulling import pull, pull_due
from jingwei.exchange.queries import due_feeds
from jingwei.exchange.sources import Unavailable, opened
from jingwei.places.models import Venue, VenueDay
from jingwei.scans.models import Scan
from jingwei.scans.sheets import ScanSheet

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("front")]
NOON = datetime(2026, 11, 1, 12)


def scan(number, at=NOON, **values):
    """A row of the source; `at` is when it was written there."""
    made = {"cs_id": "KP1", "cs_mc": "示例超市", "sfzh": "990101198001010030", "xm": f"人{number}"}
    made |= {"dh": "16000000001", "jg": "正常", "hs_sj": datetime(2026, 10, 31, 6, 12, 30), "xh": number}
    return made | {"cj_sj": f"2026-11-01 09:{number % 60:02d}:00", "gx_sj": at} | values


def names():
    return sorted(Scan.objects.values_list("name", flat=True))


def again(feed):
    feed.refresh_from_db()
    return feed


# --- what comes in ----------------------------------------------------------------------------------------


@pytest.mark.req("P-8.4", "KP-8.2", "P-4.1")
def test_a_pulled_scan_is_the_one_a_workbook_would_have_brought(front, feed, venueops, tmp_path):
    front.insert("scans", scan(1), scan(2, gx_sj=NOON + timedelta(seconds=1, microseconds=250_000)))
    headings = "公共场所ID 公共场所 被采集人身份证 被采集人 联系电话 采集结果 核酸结果时间 采集时间".split()
    with open(tmp_path / "扫码.csv", "w", newline="") as file:
        row = ["KP1", "示例超市", "990101198001010030", "人1", "16000000001", "正常"]
        csv.writer(file).writerows([headings, [*row, "2026-10-31 06:12:30", "2026-11-01 09:01:00"]])
    loading.load(venueops.actor, ScanSheet(), tmp_path / "扫码.csv")
    pulled = feed("scans")
    assert pull(pulled) == "读到 2 行：新增 1，修改 0"
    [by_hand, by_front] = Scan.objects.order_by("collected_at")
    assert (by_hand.importer, by_front.importer) == ("运维演示账号", "前置库取数")
    assert (by_front.name, by_front.result, by_front.tested_at) == ("人2", "正常", "2026-10-31 06:12:30")
    assert by_front.number.clear() == "990101198001010030"
    assert VenueDay.objects.get(venue_code="KP1").count == 2
    with connection.cursor() as cursor:
        cursor.execute("SELECT number, phone FROM scans_scan")
        assert b"16000000001" not in b"".join(bytes(value) for row in cursor.fetchall() for value in row)
    assert again(pulled).position == "2026-11-01 12:00:01.250000"
    assert (pulled.waiting, pulled.stored, pulled.error) == (0, 1, "")
    assert pulled.complete_at <= timezone.now()


@pytest.mark.req("P-8.4", "KP-8.2", "CL-6.3")
def test_venues_are_added_and_changed_as_by_an_import(front, feed):
    at = {"gx_sj": NOON}
    row = {
        "code": "QZ1",
        "场所名称": "一号店",
        "street": "安平街道",
        "jgdw": "区商务局",
        "fzrdh": "16000000002",
    }
    front.insert("venues", row | at, {"code": "QZ2", "场所名称": "二号店", "jgdw": "没有的局"} | at)
    pulled = feed("venues")
    assert pull(pulled) == "读到 2 行：新增 2，修改 0"
    made = Venue.objects.get(code="QZ1")
    assert (made.regulator.name, made.regulator_phone.clear()) == ("区商务局", "16000000002")
    assert made.region.name == "安平街道"
    assert [(p["kind"], p["row"], p["column"]) for p in again(pulled).problems] == [
        ("提醒", "QZ2", "监管单位")
    ]

    front.execute(
        "UPDATE venues SET fzrdh = '16000000003', street = NULL, gx_sj = %s WHERE code = 'QZ1'",
        [NOON + timedelta(hours=1)],
    )
    assert pull(pulled) == "读到 2 行：新增 0，修改 1"
    made.refresh_from_db()
    assert (made.street, made.regulator_phone.clear()) == ("安平街道", "16000000003")
    assert pull(pulled) == "读到 1 行：新增 0，修改 0"
    assert [load.counts["added"] for load in Load.objects.order_by("pk")] == [2, 0]  # none for the last one
    assert LogEntry.objects.filter(act="导入", resource="venues", actor="前置库取数").count() == 2


@pytest.mark.req("P-8.4", "P-8.2")
def test_a_bad_row_is_told_once_and_blocks_no_good_one(front, feed, monkeypatch):
    taken = loading.take_rows

    def refusing(actor, sheet, record, raw):
        if "毒" in raw["venue_name"].to_list():
            raise DataError("the database does not take it")
        return taken(actor, sheet, record, raw)

    monkeypatch.setattr(loading, "take_rows", refusing)
    front.insert("scans", *(scan(n) for n in range(1, 8)))
    front.insert("scans", scan(8, cs_id=None), scan(9, cj_sj="昨天"), scan(10, cs_mc="毒"), scan(11))
    pulled = feed("scans")
    for _ in range(2):
        said = pull(pulled)
        assert len(names()) == 8 and "拒绝 3" in said
        told = [(p["kind"], p["column"], p["reason"][:6]) for p in again(pulled).problems]
        assert sorted(told) == [
            ("拒绝", "公共场所ID", "公共场所ID"),
            ("拒绝", "公共场所ID", "数据库不接受"),
            ("拒绝", "采集时间", "无法识别的时"),
        ]
    front.insert("scans", *(scan(n, cj_sj="坏的", at=NOON + timedelta(seconds=n)) for n in range(1, 120)))
    pull(pulled)
    assert len(again(pulled).problems) == pulling.MOST_PROBLEMS


@pytest.mark.req("P-8.4")
def test_where_the_database_refuses_everything_the_pull_fails_and_nothing_is_passed_over(
    feed, front, monkeypatch
):
    def refusing(actor, sheet, record, raw):
        raise DataError("our own fault")

    front.insert("scans", *(scan(n) for n in range(50)))
    pulled = feed("scans")
    with monkeypatch.context() as broken, pytest.raises(DataError):
        broken.setattr(loading, "take_rows", refusing)
        pull(pulled)
    assert (again(pulled).position, pulled.problems) == ("", []) and "意外错误" in pulled.error
    assert pull(pulled) == "读到 50 行：新增 50，修改 0"


# --- the mark ---------------------------------------------------------------------------------------------


@pytest.mark.req("P-8.4")
@pytest.mark.parametrize("mark", ["gx_sj", "xh"])
def test_nothing_is_lost_or_doubled_where_a_pull_ends_among_rows_of_one_mark(front, feed, monkeypatch, mark):
    monkeypatch.setattr(sources, "BATCH", 3)
    front.insert("scans", *(scan(n, xh=7) for n in range(10)))
    pulled = feed("scans", mark=mark, overlap=0)

    def stop(done, total):
        if done >= 6:
            raise jobs.Interrupted

    with pytest.raises(jobs.Interrupted):
        pull(pulled, stop)
    assert (len(names()), again(pulled).waiting) == (6, 4)
    assert pull(pulled) == "读到 10 行：新增 4，修改 0"
    assert names() == sorted(f"人{n}" for n in range(10))
    assert again(pulled).position == ("7" if mark == "xh" else "2026-11-01 12:00:00")
    [load] = Load.objects.all()  # the second pull went on with the first one's
    assert (load.state, load.counts["added"]) == (Load.DONE, 10)


@pytest.mark.req("P-8.4")
def test_what_is_committed_late_comes_with_the_next_pull(front, feed):
    pulled = feed("scans", overlap=600)
    late = front.connect(database="front") if front.kind == "mysql" else front.connect()
    with late.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(
            "INSERT INTO scans (cs_id, xm, cj_sj, gx_sj) VALUES ('KP1', '晚', '2026-11-01 09:00:00', %s)",
            [NOON - timedelta(seconds=300)],
        )
        front.insert("scans", scan(1))
        pull(pulled)
        assert names() == ["人1"]
        cursor.execute("COMMIT")
    late.close()
    pull(pulled)
    assert names() == ["人1", "晚"]


@pytest.mark.req("P-8.4")
def test_a_wrong_clock_over_there_does_not_carry_the_position_away(front, feed):
    front.insert("scans", scan(1), scan(2, at=datetime(2099, 1, 1)))
    pulled = feed("scans")
    pull(pulled)
    now = timezone.make_naive(timezone.now())
    assert abs(datetime.fromisoformat(again(pulled).position) - now) < timedelta(minutes=2)
    front.insert("scans", scan(3, at=now))
    pull(pulled)
    assert names() == ["人1", "人2", "人3"]


@pytest.mark.req("P-8.4")
def test_started_over_from_any_mark_no_row_is_doubled(front, feed, venueops):
    front.insert("scans", *(scan(n) for n in range(5)))
    pulled = feed("scans", mark="xh", overlap=1)
    pull(pulled)
    assert again(pulled).position == "4"
    with pytest.raises(ValidationError, match="现在的水位是“4”"):
        actions.start_over(venueops.actor, pulled, mark="2026-11-01")
    with pytest.raises(ValidationError, match="请填编号"):
        actions.start_over(venueops.actor, pulled, mark="昨天")
    actions.start_over(venueops.actor, pulled, mark="3")
    assert pull(again(pulled)) == "读到 3 行：新增 0，修改 0"
    actions.start_over(venueops.actor, pulled)
    assert pull(again(pulled)) == "读到 5 行：新增 0，修改 0"
    assert LogEntry.objects.filter(act="重取", login="venueops").count() == 2
    front.execute("DELETE FROM scans")
    assert "请从头重取" in pull(pulled)


@pytest.mark.req("P-8.4", "P-6.3")
def test_a_pull_that_is_cancelled_leaves_what_it_has_brought_in_order(front, feed, monkeypatch):
    monkeypatch.setattr(sources, "BATCH", 2)
    front.insert("scans", *(scan(n) for n in range(6)))
    pulled = feed("scans", mark="xh")

    def cancel(done, total):
        raise jobs.Cancelled

    with pytest.raises(jobs.Cancelled):
        pull(pulled, cancel)
    assert (Load.objects.get().state, len(names()), again(pulled).error) == (Load.DONE, 2, "")
    assert pull(pulled) == "读到 6 行：新增 4，修改 0"


@pytest.mark.req("P-8.4")
def test_a_change_of_settings_ends_a_pull_between_two_batches(front, feed, venueops, monkeypatch):
    monkeypatch.setattr(sources, "BATCH", 2)
    front.insert("scans", *(scan(n) for n in range(6)))
    pulled = feed("scans", mark="xh")

    def switch_off(done, total):
        if done == 2:
            actions.switch_off(venueops.actor, pulled)

    with pytest.raises(ValidationError, match="设置已改变"):
        pull(pulled, switch_off)
    assert (len(names()), again(pulled).position, pulled.error) == (2, "1", "")
    with pytest.raises(ValidationError, match="没有启用"):
        pull(pulled)


# --- kills, two at once -----------------------------------------------------------------------------------

PULL = """
import sys, django; django.setup()
from jingwei.exchange import sources
from jingwei.exchange.models import FrontFeed
from jingwei.base.wall import beyond_scope
from jingwei.exchange.pulling import pull
sources.BATCH = 50
with beyond_scope():
    pull(FrontFeed.objects.get(pk=sys.argv[1]))
"""


def wait_for(fact, seconds=60):
    until = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < until, "nothing came of it"
        time.sleep(0.01)


@pytest.mark.req("P-8.4")
@pytest.mark.django_db(transaction=True)
def test_one_pull_at_a_time_and_a_killed_one_is_gone_on_with(front, feed):
    front.insert("scans", *(scan(n, cj_sj="2026-11-01 09:00:00") for n in range(400)))
    pulled = feed("scans", mark="xh", overlap=0)
    home = {"DJANGO_SETTINGS_MODULE": "jingwei.settings", "JINGWEI_HOME": str(settings.JINGWEI_HOME)}
    front.door.through = 12_000  # then its answers stop, with the line open
    front.door.stalls = True
    process = subprocess.Popen([sys.executable, "-c", PULL, str(pulled.pk)], env=os.environ | home)
    wait_for(lambda: again(pulled).position)
    with pytest.raises(ValidationError, match="正在取数"):
        pull(pulled)
    process.send_signal(signal.SIGKILL)
    process.wait()
    front.door.open()
    before = Scan.objects.count()
    assert 0 < before < 400
    assert int(again(pulled).position) == before - 1  # the position goes with the rows

    def comes():
        try:
            return pull(pulled)
        except ValidationError:  # the database has not noticed yet that the other one is gone
            return ""

    wait_for(comes)
    assert Scan.objects.count() == len(set(names())) == 400
    assert VenueDay.objects.get(venue_code="KP1").count == 400
    assert Load.objects.get().counts["added"] == 400


# --- the source fails -------------------------------------------------------------------------------------


@pytest.mark.req("P-8.4")
def test_a_failing_source_is_told_in_words_once_and_pulling_goes_on_when_it_is_back(front, feed, source):
    front.insert("scans", scan(1))
    pulled = feed("scans")

    def fails(words):
        with pytest.raises(Unavailable, match=words):
            pull(pulled)
        assert again(pulled).error and pulled.failing_since

    port = source.port
    for values, words in (
        ({"port": 9}, "拒绝连接|连接不上"),
        ({"port": port, "user": "stranger"}, "用户名或口令不对"),
        ({"user": "reader", "database": "none"}, "没有这个库|没有进入该库的权限"),
        ({"database": "front", "security": "encrypted"}, "不支持加密连接|加密"),
    ):
        for name, value in values.items():
            setattr(source, name, value)
        source.save()
        if "security" in values and front.kind == "mysql":
            break  # this one does speak TLS
        fails(words)
    source.security = "plain"
    source.save()
    front.execute("ALTER TABLE scans RENAME TO scans_away")
    fails("没有表或视图“scans”")
    front.execute("ALTER TABLE scans_away RENAME TO scans")
    front.execute("ALTER TABLE scans RENAME COLUMN cs_id TO changed")
    fails("没有列“cs_id”")
    front.execute("ALTER TABLE scans RENAME COLUMN changed TO cs_id")
    assert LogEntry.objects.filter(act="取数中断").count() == 1
    assert pull(pulled) == "读到 1 行：新增 1，修改 0"
    assert again(pulled).error == "" and pulled.failing_since is None
    assert LogEntry.objects.filter(act="取数恢复").count() == 1

    front.execute("ALTER TABLE scans DROP COLUMN gx_sj")
    front.execute(f"ALTER TABLE scans ADD COLUMN gx_sj {front.number}")
    fails("现在是编号，与原来的水位")
    front.execute("ALTER TABLE scans DROP COLUMN gx_sj")
    front.execute("ALTER TABLE scans ADD COLUMN gx_sj varchar(20)")
    fails("应为整数或时间类型")


@pytest.mark.req("P-8.4")
def test_a_source_that_keeps_silent_or_breaks_off_holds_nobody_up(front, feed, monkeypatch):
    monkeypatch.setattr(sources, "CONNECT_SECONDS", 2)
    monkeypatch.setattr(sources, "GRACE", 0)
    monkeypatch.setattr(sources, "TIMEOUT", replace(sources.TIMEOUT, default=2))
    front.insert("scans", *(scan(n) for n in range(200)))
    pulled = feed("scans", mark="xh")
    monkeypatch.setattr(sources, "BATCH", 20)
    front.door.through = 9_000
    with pytest.raises(Unavailable, match="中断"):
        pull(pulled)
    assert 0 < len(names()) < 200 and int(again(pulled).waiting) == 200 - len(names())
    front.door.through = None
    front.door.silent = True
    begun = time.monotonic()
    with pytest.raises(Unavailable, match="没有应答|中断|连接不上"):
        pull(pulled)
    assert time.monotonic() - begun < 10
    front.door.open()
    begun = time.monotonic()
    with pytest.raises(Unavailable, match="中断|时限"), opened(pulled.source, 1) as reader:
        assert reader.columns("scans")
        front.door.silent = True
        reader.columns("scans")
    assert time.monotonic() - begun < 10
    front.door.open()
    pull(pulled)
    assert len(names()) == 200


@pytest.mark.req("P-8.4")
def test_the_source_is_only_read(front, source):
    with opened(source) as reader, pytest.raises(Unavailable):
        reader.ask("INSERT INTO scans (xm) VALUES ('x')")
    front.execute("GRANT INSERT ON scans TO reader")
    with opened(source) as reader, pytest.raises(Unavailable):
        reader.ask("INSERT INTO scans (xm) VALUES ('x')")
    with opened(source) as reader:
        assert reader.ask("SELECT count(*) FROM scans") in ([(0,)], [("0",)])


@pytest.mark.req("P-8.4", "SEC-11")
def test_a_name_is_never_read_as_a_statement(front, source):
    bad = 'x"; DROP TABLE scans; --' if front.kind == "postgresql" else "x`; DROP TABLE scans; -- "
    with opened(source) as reader:
        with pytest.raises(Unavailable, match="没有表或视图"):
            reader.columns(bad)
    for ask in (
        lambda reader: reader.waiting(bad, "xh", ""),
        lambda reader: reader.sample("scans", [bad], "", 1),
        lambda reader: list(reader.rows("scans", ["xh"], bad, "")),
        lambda reader: reader.waiting("scans", "xh", "1; DROP TABLE scans"),
    ):
        with opened(source) as reader, pytest.raises(Unavailable):
            ask(reader)
            raise Unavailable("answered, with nothing done")
    with opened(source) as reader:
        assert reader.columns("scans")["xh"].kind == "编号"


# --- the clock --------------------------------------------------------------------------------------------


@pytest.mark.req("P-8.4", "P-6.3")
def test_the_clock_pulls_each_feed_in_its_time_and_none_that_is_off(front, feed, source, venueops):
    assert not due_feeds().exists()
    tasks.run_scheduled(0, kind="front-pulls")
    assert not Job.objects.filter(kind="front-pulls").exists()
    front.insert("scans", scan(1))
    front.execute("DROP TABLE venues")
    pulled, broken = feed("scans"), feed("venues")
    said = pull_due(lambda done, total: None)
    assert "扫码进场记录：读到 1 行：新增 1，修改 0" in said and "没有表或视图“venues”" in said
    assert not due_feeds().exists()
    FrontFeed.objects.update(begun_at=timezone.now() - timedelta(minutes=5))
    assert set(due_feeds()) == {pulled, broken}
    tasks.run_scheduled(0, kind="front-pulls")
    job = Job.objects.get(kind="front-pulls")
    jobs.run({name: kind.work for name, kind in tasks.KINDS.items()}, job.pk)
    job.refresh_from_db()
    assert job.state == Job.DONE and "读到 1 行：新增 0" in job.message
