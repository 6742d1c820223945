"""What goes wrong in earnest: kills, a full disk, two at once. Nothing is lost, doubled or left half done.

Bombs and other hostile workbooks stand with the reader, in base/tests/test_reading.py.
"""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from datetime import date
from functools import partial
from pathlib import Path

import polars as pl
import psycopg
import pytest
from django.conf import settings
from django.db import connection, transaction
from django.test import Client
from procrastinate.contrib.django.models import ProcrastinateJob

from jingwei import embedded
from jingwei.base import loading, reading, sealing
from jingwei.base.models import Job, Load, LoadChunk, LogEntry, StoredFile
from jingwei.desk import exports, files, jobs, tasks
from jingwei.directory.models import Operator
from jingwei.kit.idcard import check_digits
from jingwei.people.actions import start_roll_up_of_samples
from jingwei.people.models import Person
from jingwei.people.sheets import RosterSheet
from jingwei.testing.actions import find_samples_of
from jingwei.testing.models import Sample
from jingwei.testing.sheets import SampleSheet
from tests.instance import new_instance

HEADINGS = ["村/社区", "姓名", "证件类型", "证件号", "居住地", "联系电话", "单位（从业情况）"]
SAMPLED = ["受检人", "证件号", "采样点", "采样时间", "检测结果"]
ROOT = Path(__file__).parent.parent
ROSTER = RosterSheet()


def numbers(count, first=0) -> list[str]:
    """Valid and different ID numbers."""
    days = pl.date_range(date(1950, 1, 1), date(2020, 1, 1), eager=True).dt.strftime("%Y%m%d")
    first17 = pl.Series([f"990101{days[n % 25_000]}{n // 25_000:03d}" for n in range(first, first + count)])
    return (first17 + check_digits(first17)).to_list()


def row(number, address="1号", phone="", work=""):
    return ["上埔社区", "陈新", "居民身份证", number, address, phone, work]


@pytest.fixture
def table(tmp_path):
    """A function that writes rows into a file and returns its path."""

    def write(*rows, name="名单.csv", headings=HEADINGS):
        with open(tmp_path / name, "w", newline="") as file:
            csv.writer(file).writerows([headings, *rows])
        return tmp_path / name

    return write


def state() -> dict:
    """What stands in the register and of the latest load, without ids and times of the clock."""
    people = list(Person.objects.order_by("id"))
    load = Load.objects.latest("id")
    number_of = {one.pk: one.number.clear() for one in people}
    clock = ("seconds", "peak_mb")
    return {
        "people": sorted(
            [
                one.number.clear(),
                one.name,
                one.address.clear(),
                one.phone and one.phone.clear(),
                one.occupation,
            ]
            + [one.region_id, one.sex, str(one.birth_date), one.version, one.events.count()]
            for one in Person.objects.prefetch_related("events")
        ),
        "rows": sorted(
            [number_of[of], *rest]
            for of, *rest in load.rows.values_list("row", "sheet_row", "outcome", "version")
        ),
        "searched": sorted(
            number_of[of] for of in Person.objects.filter(grams__fragment="陈新").values_list("pk", flat=True)
        ),
        "load": [load.state, {name: count for name, count in load.counts.items() if name not in clock}],
        "loads": Load.objects.count(),
        "logged": LogEntry.objects.filter(act="导入").count(),
    }


def wait_for(fact, seconds=90):
    until = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < until, "nothing came of it"
        time.sleep(0.01)


def run(job):
    jobs.run({name: kind.work for name, kind in tasks.KINDS.items()}, job.pk)
    job.refresh_from_db()


# --- kills ------------------------------------------------------------------------------------------------

# The command with small chunks, so that it can be cut off between many of them.
COMMAND = """
from jingwei.base import reading
reading.ROWS_AT_ONCE = 100
from jingwei.cli.main import main
main()
"""


def start_import(path):
    instance = {"DJANGO_SETTINGS_MODULE": "jingwei.settings", "JINGWEI_HOME": str(settings.JINGWEI_HOME)}
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, "import", "roster", path, "--as", "village", "--json"],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        env=os.environ | instance,
    )


def somebody_waits_for_us():
    """Whether another session waits for what our transaction holds."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
        )
        return cursor.rowcount


@pytest.mark.req("P-5.3", "CL-6.3")
@pytest.mark.django_db(transaction=True)
def test_a_load_killed_at_ten_random_moments_comes_out_as_an_undisturbed_one(village, table, monkeypatch):
    monkeypatch.setattr(reading, "ROWS_AT_ONCE", 100)
    known, new = numbers(600), numbers(900, first=600)
    loading.load(village.actor, ROSTER, table(*map(row, known), name="之前.csv"))
    rows = [row(number, f"{place}号" if place % 3 else "1号") for place, number in enumerate([*known, *new])]
    rows += [row(number, phone="16000000001") for number in new[:50]]  # again, far below
    random.shuffle(rows)
    path = table(*rows, row("12"))
    with transaction.atomic():
        loading.load(village.actor, ROSTER, path)
        undisturbed = state()
        transaction.set_rollback(True)

    for chunks in (moments := sorted(random.sample(range(14), 10))):
        process = start_import(path)
        wait_for(Load.objects.filter(file_name=path.name).exists)
        wait_for(lambda: LoadChunk.objects.filter(load__file_name=path.name).count() >= chunks)  # noqa: B023
        time.sleep(random.uniform(0, 0.05))
        assert process.poll() is None, moments
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert start_import(path).wait() == 0
    assert state() == undisturbed, moments


def inside(instance, function, *arguments):
    """What a function of this module gives in the database of the instance."""
    program = (
        "import django, json, sys; django.setup();"
        "from jingwei.base import wall; wall.unplaced = wall.BEYOND;"
        "from tests import test_faults;"
        "print(json.dumps(getattr(test_faults, sys.argv[1])(*sys.argv[2:])))"
    )
    command = [sys.executable, "-c", program, function, *map(str, arguments)]
    done = subprocess.run(command, env=instance.environment, cwd=ROOT, capture_output=True, check=True)
    return json.loads(done.stdout)


def begin_import(path):
    """Upload a roster as a clerk of the village, confirm it, and leave it to the worker."""
    village = Client(headers={"host": "127.0.0.1"})
    village.force_login(Operator.objects.get(login_key="village"))
    with open(path, "rb") as file:
        village.post("/people/import/", {"file": file, "mode": "both", "bad": "skip"})
    wait_for(lambda: Load.objects.get().preview)
    village.post(f"/people/import/{Load.objects.get().pk}/confirm/")


def import_is_over(instance):
    try:
        with psycopg.connect(embedded.url(instance.home / "pg")) as other:
            state = other.execute("SELECT state FROM base_job WHERE kind = 'import'").fetchone()
    except psycopg.OperationalError:  # the database is not back yet
        return False
    return state in [(Job.DONE,), (Job.FAILED,)]


@pytest.mark.req("P-5.3", "P-10.1")
@pytest.mark.xdist_group("up")
@pytest.mark.django_db
def test_a_database_killed_in_the_middle_of_a_load_costs_the_load_nothing(village, table):
    path = table(*map(row, numbers(12_000)), row("12"))
    with new_instance(settings.JINGWEI_HOME) as instance:
        instance.start()
        inside(instance, "begin_import", path)
        with psycopg.connect(embedded.url(instance.home / "pg"), autocommit=True) as other:
            wait_for(lambda: other.execute("SELECT count(*) FROM base_loadchunk").fetchone()[0])
            instance.postmaster().kill()
        wait_for(lambda: import_is_over(instance))
        wait_for(instance.answers)
        disturbed = inside(instance, "state")
    loading.load(village.actor, ROSTER, path)
    assert disturbed == json.loads(json.dumps(state()))


@pytest.mark.req("P-5.3", "P-10.2")
@pytest.mark.django_db(transaction=True)
def test_the_thread_that_works_ahead_gives_its_connection_back():
    """Else a pool of four is empty after a few loads, and the worker stands still."""
    taken = []

    def items():
        connection.ensure_connection()
        taken.append(connection.connection)
        yield 1

    assert list(loading._ahead(items())) == [1]
    assert [each.closed for each in taken] == [True]


@pytest.mark.req("CL-6.5", "P-10.1")
@pytest.mark.django_db
def test_a_worker_killed_while_it_looks_for_the_samples_of_new_people_leaves_them_to_the_next():
    """Not a job that anybody sees: the queue alone knows of it."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING id")
        worker = cursor.fetchone()
        start_roll_up_of_samples([1])
        cursor.execute("UPDATE procrastinate_jobs SET status = 'doing', worker_id = %s", worker)
        jobs.take_up_lost()
        assert ProcrastinateJob.objects.get().status == "doing", "its worker lives"
        cursor.execute("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1 minute'")
        jobs.take_up_lost()
    assert ProcrastinateJob.objects.get().status == "todo"


# --- a full disk ------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """Exports in small blocks to a folder of the test's own: `disk(2)` is full behind the second one."""
    monkeypatch.setattr(files, "folder", lambda: tmp_path / "files")
    monkeypatch.setattr(sealing, "BLOCK", 4_000)  # any export has several
    monkeypatch.setattr(exports, "AT_ONCE", 3)
    seal = files.SealedWriter._seal

    def fill(blocks):
        def until_full(writer, block, *, last):
            if writer.number == blocks:  # from here on it is the kernel that refuses
                writer.raw.flush()
                full = os.open("/dev/full", os.O_WRONLY)
                os.dup2(full, writer.raw.fileno())
                os.close(full)
            seal(writer, block, last=last)

        monkeypatch.setattr(files.SealedWriter, "_seal", until_full)

    def empty():
        monkeypatch.setattr(files.SealedWriter, "_seal", seal)

    fill.empty = empty
    fill.files = lambda: [path for path in files.folder().rglob("*") if path.is_file()]
    return fill


@pytest.mark.req("P-5.4", "P-6.3")
@pytest.mark.django_db
@pytest.mark.parametrize("blocks", [0, 2])
@pytest.mark.parametrize("file_format", ["xlsx", "csv"])
def test_a_disk_that_fills_up_fails_the_export_in_words_and_leaves_no_file(
    village, table, disk, file_format, blocks
):
    rows = [row(number, work="渔船修理" * 10) for number in numbers(300)]
    loading.load(village.actor, ROSTER, table(*rows))
    village.client.post("/people/export/", {"query": "", "format": file_format})
    job = Job.objects.get()
    disk(blocks)
    run(job)
    assert job.state == Job.FAILED
    assert job.message == "服务器磁盘空间不足，文件没有保存。请联系系统管理员清理磁盘后重试。"
    assert not disk.files() and not StoredFile.objects.exists()
    assert "/files/" not in village.client.get("/jobs/").content.decode()
    assert not LogEntry.objects.filter(act="导出").exists()

    disk.empty()
    jobs.retry(village.actor, job)
    run(job)
    assert (job.state, job.message) == (Job.DONE, "共 300 行。")
    assert len(disk.files()) == 1


# --- at the same time -------------------------------------------------------------------------------------


@pytest.mark.req("P-5.3", "CL-3.3")
@pytest.mark.django_db(transaction=True)
def test_rosters_samples_and_their_rolling_up_at_once_lose_nothing_and_end(
    district, village, table, monkeypatch
):
    """The rows of the same people, in opposite orders."""
    monkeypatch.setattr(reading, "ROWS_AT_ONCE", 40)
    people = numbers(400)
    loading.load(village.actor, ROSTER, table(*map(row, people), name="之前.csv"))
    ids = list(Person.objects.order_by("-id").values_list("pk", flat=True))
    sampled = [["陈新", number, "甲采样点", "2026-11-05 09:00", "阴性"] for number in reversed(people)]
    files = {
        "a.csv": (district, ROSTER, table(*(row(n, "9号") for n in people), name="a.csv")),
        "b.csv": (village, ROSTER, table(*(row(n, "", "16000000001") for n in people[::-1]), name="b.csv")),
        "c.csv": (district, SampleSheet(), table(*sampled, name="c.csv", headings=SAMPLED)),
    }
    done, faults = [], []

    def at_once(work):
        def run():
            try:
                work()
            except Exception as fault:
                faults.append(fault)
            finally:
                connection.close()

        threads.append(threading.Thread(target=run))
        threads[-1].start()

    def import_file(persona, sheet, path):
        done.append(loading.load(persona.actor, sheet, path).state)

    def roll_up():
        while len(done) + len(faults) < len(files):
            find_samples_of(ids)

    threads = []
    for work in [*(partial(import_file, *file) for file in files.values()), roll_up]:
        at_once(work)
    for thread in threads:
        thread.join(120)
    assert (done, faults) == ([Load.DONE] * 3, [])
    assert {(one.address.clear(), one.phone.clear(), one.sample_point) for one in Person.objects.all()} == {
        ("9号", "16000000001", "甲采样点")
    }
    assert Person.objects.count() == Sample.objects.count() == 400


@pytest.mark.req("CL-3.3")
@pytest.mark.django_db(transaction=True)
def test_a_sample_that_comes_while_an_older_one_is_looked_up_stays_the_latest(district, village, table):
    [number] = numbers(1)

    def sample(at):
        cells = ["陈新", number, "甲采样点", at, "阴性"]
        loading.load(district.actor, SampleSheet(), table(cells, name=f"{at[:10]}.csv", headings=SAMPLED))

    sample("2026-11-05 09:00")
    loading.load(village.actor, ROSTER, table(row(number)))
    [someone] = Person.objects.all()

    def look_up():
        find_samples_of([someone.pk])
        connection.close()

    looking = threading.Thread(target=look_up)
    with transaction.atomic():
        sample("2026-11-06 09:00")
        looking.start()
        wait_for(somebody_waits_for_us)
    looking.join()
    someone.refresh_from_db()
    assert someone.sampled_at.day == 6
