"""Two at the same work at once: neither waits for ever, and nothing is done twice (P-5.3)."""

import csv
import threading
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from django.core.exceptions import ValidationError
from django.db import connection

from jingwei.base import loading
from jingwei.base.merging import as_stored
from jingwei.base.models import Load
from jingwei.kit.idcard import check_digits
from jingwei.people.models import Person
from jingwei.people.sheets import RosterSheet
from jingwei.testing.actions import find_samples_of, store_samples
from jingwei.testing.models import Sample
from jingwei.testing.sheets import SampleSheet

ROSTER, SAMPLES = RosterSheet(), SampleSheet()
ZONE = ZoneInfo("Asia/Shanghai")


def numbers(count) -> list[str]:
    """Valid and different ID numbers."""
    days = pl.date_range(date(1950, 1, 1), date(2020, 1, 1), eager=True).dt.strftime("%Y%m%d")
    first17 = pl.Series([f"990101{days[n]}001" for n in range(count)])
    return (first17 + check_digits(first17)).to_list()


@pytest.fixture
def table(tmp_path):
    """A function that writes rows into a file and returns its path."""

    def write(name, *rows):
        with open(tmp_path / name, "w", newline="") as file:
            csv.writer(file).writerows(rows)
        return tmp_path / name

    return write


def at_once(*works, seconds=60):
    """Do all of it at the same moment; what went wrong."""
    ready, faults = threading.Barrier(len(works)), []

    def run(work):
        try:
            ready.wait()
            work()
        except Exception as fault:
            faults.append(fault)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
        assert not thread.is_alive(), "waits for ever"
    return faults


# --- one file, twice --------------------------------------------------------------------------------------


@pytest.fixture
def cut_off(village, table):
    """A load that was begun and has stored nothing yet, its actor and its file."""
    path = table("名单.csv", ["村/社区", "姓名", "证件号"], ["上埔社区", "陈新", numbers(1)[0]])

    def killed(done, total):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        loading.load(village.actor, ROSTER, path, progress=killed)
    return Load.objects.get(), village.actor, path


@contextmanager
def held(load):
    """Another process's session is at this load until the event is set that is given."""
    begun, ended = threading.Event(), threading.Event()

    def hold():
        try:
            with loading.only_here(load):
                begun.set()
                ended.wait(30)
        finally:
            connection.close()

    other = threading.Thread(target=hold)
    other.start()
    assert begun.wait(30) and loading._is_running(load)
    try:
        yield ended
    finally:
        ended.set()
        other.join()


@pytest.mark.req("P-5.3")
@pytest.mark.django_db(transaction=True)
def test_a_load_begun_again_while_the_dead_session_ends_goes_on_with_the_first(cut_off):
    load, actor, path = cut_off
    with held(load) as ended:
        threading.Timer(0.3, ended.set).start()
        loading.load(actor, ROSTER, path)
    assert [(one.pk, one.state) for one in Load.objects.all()] == [(load.pk, Load.DONE)]


@pytest.mark.req("P-5.3")
@pytest.mark.django_db(transaction=True)
def test_a_file_that_is_being_loaded_is_not_loaded_once_more(cut_off, monkeypatch):
    load, actor, path = cut_off
    monkeypatch.setattr(loading, "PATIENCE", 0.2)
    with held(load), pytest.raises(ValidationError, match="“名单.csv”正在导入中"):
        loading.load(actor, ROSTER, path)
    assert Load.objects.count() == 1


# --- one person's samples, in opposite orders -------------------------------------------------------------


def arriving(people, day):
    """Samples of these people as a feed brings them."""
    at = datetime(2026, 11, day, 9, tzinfo=ZONE)
    frame = {
        "number": as_stored(Sample._meta.get_field("number"), pl.Series(people)),
        "sampled_at": [at + timedelta(minutes=n) for n in range(len(people))],
        "point": ["甲采样点"] * len(people),
        **dict.fromkeys(("name", "institution"), [""] * len(people)),
        "result": ["阴性"] * len(people),
        "result_at": [None] * len(people),
    }
    return pl.DataFrame(frame).with_columns(pl.col("sampled_at").cast(pl.Datetime("us", "Asia/Shanghai")))


@pytest.mark.req("CL-3.3", "P-5.3")
@pytest.mark.django_db(transaction=True)
def test_two_feeds_of_the_same_samples_in_opposite_orders_both_come_in():
    people = numbers(3_000)
    for day in (1, 2, 3):
        rows = arriving(people, day)
        assert at_once(partial(store_samples, rows), partial(store_samples, rows.reverse())) == []
    assert Sample.objects.count() == 9_000


@pytest.mark.req("CL-3.3", "CL-6.3", "P-5.3")
@pytest.mark.django_db(transaction=True)
def test_loads_feeds_and_look_ups_of_the_same_samples_in_opposite_orders_all_come_in(
    district, village, table
):
    people = numbers(1_500)
    loading.load(
        district.actor,
        ROSTER,
        table("名单.csv", ["村/社区", "姓名", "证件号"], *(["上埔社区", "陈新", n] for n in people)),
    )
    headings = ["受检人", "证件号", "采样点", "采样时间", "检测结果", "检测时间"]

    def sheet(name, order, result):
        rows = [
            ["陈新", n, "甲采样点", f"2026-11-0{day} 09:00", result, "2026-11-08 09:00"]
            for n in order
            for day in (1, 2)
        ]
        return table(name, headings, *rows)

    loading.load(district.actor, SAMPLES, sheet("待出.csv", people, "待出"))
    Sample.objects.update(region="")  # as before the people were registered
    ids = list(Person.objects.order_by("-pk").values_list("pk", flat=True))
    faults = at_once(
        partial(loading.load, district.actor, SAMPLES, sheet("a.csv", people, "阴性")),
        partial(loading.load, village.actor, SAMPLES, sheet("b.csv", people[::-1], "阴性")),
        partial(store_samples, arriving(people[::-1], 1)),
        partial(find_samples_of, ids),
        partial(find_samples_of, ids[::-1]),
    )
    assert faults == []
    assert Load.objects.filter(state=Load.DONE).count() == 4
    assert set(Person.objects.values_list("sample_result", flat=True)) == {"阴性"}
    assert set(Sample.objects.values_list("region", flat=True)) == {village.region}
