"""A load is taken back as a whole, chunk by chunk, whatever comes between (P-5.3)."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from datetime import date

import polars as pl
import pytest
from django.conf import settings

from jingwei.base import loading, undoing
from jingwei.base.models import Job, Load, LoadRow, LogEntry
from jingwei.desk import imports, jobs, tasks
from jingwei.kit.idcard import check_digits
from jingwei.people.models import Dose, Person, Unregistered, UnregisteredDose
from jingwei.people.samples import number, person
from jingwei.people.sheets import RosterSheet, VaccinationSheet
from jingwei.testing.models import Sample
from jingwei.testing.sheets import SampleSheet

pytestmark = [pytest.mark.django_db, pytest.mark.req("P-5.3")]
ROSTER, SAMPLES, DOSES = RosterSheet(), SampleSheet(), VaccinationSheet()
STRANGER = number("19700101", 7)


def numbers(count) -> list[str]:
    """Valid and different ID numbers."""
    days = pl.date_range(date(1950, 1, 1), date(2020, 1, 1), eager=True).dt.strftime("%Y%m%d")
    first17 = pl.Series([f"990101{days[n]}001" for n in range(count)])
    return (first17 + check_digits(first17)).to_list()


@pytest.fixture
def load(village, tmp_path):
    """A function that loads rows as a sheet."""

    def load(sheet, headings, *rows, name="表.csv"):
        path = tmp_path / name
        with open(path, "w", newline="") as file:
            csv.writer(file).writerows([headings, *rows])
        return loading.load(village.actor, sheet, path)

    return load


def roster(load, people, address):
    headings = ["村/社区", "姓名", "证件号", "居住地"]
    return load(ROSTER, headings, *(["上埔社区", "陈新", number, address] for number in people))


def sampled(load, *cells):
    """(number, time, result) of each sample."""
    headings = ["受检人", "证件号", "采样点", "采样时间", "检测结果", "检测时间"]
    return load(SAMPLES, headings, *(["林样例", n, "甲采样点", at, result, at] for n, at, result in cells))


def vaccinated(load, *doses):
    headings = ["姓名", "证件号码", "剂次", "接种日期"]
    return load(DOSES, headings, *(["林样例", STRANGER, dose, on] for dose, on in doses))


# --- cut off ----------------------------------------------------------------------------------------------


@pytest.mark.req("P-6.3")
def test_an_undoing_that_was_stopped_is_half_done_and_goes_on(village, load, monkeypatch):
    monkeypatch.setattr(undoing, "UNDONE_AT_ONCE", 10)
    people = numbers(60)
    roster(load, people[:30], "1号")
    taken = roster(load, people, "2号")
    Person.objects.filter(number=people[29]).update(version=9)
    told = []

    def stop(done, total):
        told.append((done, total))
        if done == 40:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        undoing.undo(village.actor, ROSTER, taken, progress=stop)
    taken.refresh_from_db()
    assert (taken.state, Person.objects.count()) == (Load.UNDOING, 50)
    assert told == [(10, 60), (20, 60), (30, 60), (40, 60)]
    undone = undoing.undo(village.actor, ROSTER, taken, progress=stop)
    assert undone == {"deleted": 30, "restored": 29, "left": 1, "total": 60}
    assert sorted(one.address.clear() for one in Person.objects.all()) == ["1号"] * 29 + ["2号"]
    assert [row.outcome for row in LoadRow.objects.filter(load=taken)] == ["此后已被修改"]
    assert LogEntry.objects.get(act="撤销导入").detail == undone


@pytest.mark.req("CL-6.3")
def test_an_undoing_of_samples_that_was_stopped_goes_on(village, load, monkeypatch):
    monkeypatch.setattr(undoing, "UNDONE_AT_ONCE", 10)
    people = numbers(40)
    sampled(load, *((n, "2026-11-05 09:00", "待出") for n in people[:20]))
    taken = sampled(load, *((n, "2026-11-05 09:00", "阴性") for n in people))

    def stop(done, total):
        if done == 30:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        undoing.undo(village.actor, SAMPLES, taken, progress=stop)
    assert (Sample.objects.count(), Sample.objects.filter(result="待出").count()) == (30, 20)
    undone = undoing.undo(village.actor, SAMPLES, taken)
    assert undone == {"deleted": 20, "restored": 20, "left": 0, "total": 40}
    assert list(Sample.objects.values_list("result", flat=True)) == ["待出"] * 20
    assert Unregistered.objects.count() == 20


COMMAND = """
import sys, django
django.setup()
from jingwei.base import wall
wall.unplaced = wall.BEYOND
from jingwei.base import loading, undoing
from jingwei.base.models import Load
from jingwei.directory.actors import actor_of_login
from jingwei.people.sheets import RosterSheet
undoing.UNDONE_AT_ONCE = 20
village = actor_of_login("village", address="", device="")
undoing.undo(village, RosterSheet(), Load.objects.get(pk=sys.argv[1]))
"""


@pytest.mark.django_db(transaction=True)
def test_an_undoing_killed_at_random_moments_takes_everything_back_once(load):
    people = numbers(600)
    roster(load, people[:300], "1号")
    taken = roster(load, people, "2号")
    instance = {"DJANGO_SETTINGS_MODULE": "jingwei.settings", "JINGWEI_HOME": str(settings.JINGWEI_HOME)}

    def start():
        command = [sys.executable, "-c", COMMAND, str(taken.pk)]
        return subprocess.Popen(command, start_new_session=True, env=os.environ | instance)

    def left():
        return LoadRow.objects.filter(load=taken).count()

    for bound in sorted(random.sample(range(100, 580), 3), reverse=True):
        process = start()
        while left() > bound:
            assert process.poll() is None, "it ended by itself"
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert start().wait() == 0
    taken.refresh_from_db()
    assert (taken.state, left()) == (Load.UNDONE, 0)
    assert taken.undone == {"deleted": 300, "restored": 300, "left": 0, "total": 600}
    assert {(one.address.clear(), one.version) for one in Person.objects.all()} == {("1号", 3)}
    assert Person.objects.count() == 300


# --- on the page ------------------------------------------------------------------------------------------


@pytest.fixture
def undo(village):
    """A function that does the waiting job of a load; the page after it."""

    def work(load):
        job = Job.objects.get(state=Job.WAITING)
        jobs.run({name: kind.work for name, kind in tasks.KINDS.items()}, job.pk)
        return village.client.get(f"/people/import/{load.pk}/").content.decode()

    return work


@pytest.mark.req("P-6.3", "SEC-8")
def test_an_undoing_is_cancelled_and_continued_on_its_page(village, load, undo, monkeypatch):
    monkeypatch.setattr(undoing, "UNDONE_AT_ONCE", 10)
    people = numbers(30)
    taken = roster(load, people, "1号")
    used = Person.objects.get(number=people[0])
    Dose.objects.create(person=used, dose=1, on=date(2021, 1, 1))
    address = f"/people/import/{taken.pk}/"

    def cancelled(self, done, total):
        raise jobs.Cancelled

    village.client.post(f"{address}undo/", {"typed": imports.UNDO_WORD})
    with monkeypatch.context() as patch:
        patch.setattr(jobs.Run, "report", cancelled)
        said = undo(taken)
    assert "撤销停在中途：已删除 10 条、恢复 0 条" in said and "继续撤销" in said
    assert "撤销这次导入" not in said and "继续导入" not in said
    assert LogEntry.objects.get(act="撤销导入").result == "失败"
    village.client.post(f"{address}again/")
    said = undo(taken)
    assert "已撤销：删除 29 条，恢复 0 条；1 条保留未动" in said
    assert "已有疫苗接种" in said and "陈新" in said
    # Of who lives elsewhere by now the name is not told.
    Person.objects.filter(pk=used.pk).update(region="990101002001")
    said = village.client.get(address).content.decode()
    assert "已不在您的管辖范围" in said and "陈新" not in said


# --- who is in no register --------------------------------------------------------------------------------


@pytest.mark.req("CL-6.5")
def test_who_came_in_several_loads_leaves_the_list_with_the_last_of_them(village, load):
    first = sampled(load, (STRANGER, "2026-11-03 09:00", "阴性"))
    second = sampled(load, (STRANGER, "2026-11-04 09:00", "阴性"))
    third = vaccinated(load, ("1", "2021-05-01"))
    for taken, sheet in ((second, SAMPLES), (third, DOSES)):
        undoing.undo(village.actor, sheet, taken)
        assert Unregistered.objects.count() == 1
    assert not UnregisteredDose.objects.exists()
    undoing.undo(village.actor, SAMPLES, first)
    assert not Unregistered.objects.exists()


@pytest.mark.req("CL-6.5")
def test_who_came_again_with_the_same_rows_leaves_the_list_with_them(village, load):
    first = sampled(load, (STRANGER, "2026-11-03 09:00", "阴性"))
    second = sampled(load, (STRANGER, "2026-11-03 09:00", "阴性"))
    assert not SAMPLES.has_brought(second)
    undoing.undo(village.actor, SAMPLES, first)
    assert not Unregistered.objects.exists() and not Sample.objects.exists()


@pytest.mark.req("CL-6.5")
def test_who_was_registered_meanwhile_stays(village, load):
    taken = sampled(load, (STRANGER, "2026-11-03 09:00", "阴性"))
    person(number=STRANGER)
    Unregistered.objects.update(state=Unregistered.REGISTERED)
    undoing.undo(village.actor, SAMPLES, taken)
    assert Unregistered.objects.count() == 1
