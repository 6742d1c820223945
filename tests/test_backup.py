"""A backup holds everything, shows nothing, and comes back whole or not at all."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from argparse import Namespace
from datetime import date, timedelta
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.core.management import CommandError
from django.db import connection, transaction
from django.utils import timezone

from jingwei import embedded
from jingwei.base.access import platform_actor
from jingwei.base.crypto import create_key_ring, provider
from jingwei.base.models import Load
from jingwei.base.partitions import ensure_months
from jingwei.cli import backup as backups
from jingwei.cli import migrate, restore
from jingwei.desk import files
from jingwei.desk.storage import store
from jingwei.directory.models import Session
from jingwei.messages import samples as messages
from jingwei.messages.models import SmsMessage
from jingwei.oversight import erasing, forgetting, journal
from jingwei.oversight.models import ErasureRequest
from jingwei.people import merges, statistics
from jingwei.people import samples as people
from jingwei.people.models import DuplicatePair, Person, Tally
from jingwei.scans.samples import scan
from jingwei.testing.models import Sample

pytestmark = [pytest.mark.req("P-10.2", "SEC-21"), pytest.mark.django_db(transaction=True)]
SERVER = settings.EMBEDDED_SERVER  # of the run
ACTOR = platform_actor("试验")
PHONE, ADDRESS = "16900001234", "上埔社区备份巷7号"


@pytest.fixture
def place():
    """A folder that the user of an embedded server may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(dir=settings.JINGWEI_HOME) as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, place):
    """The database of the test, which the environment names, instead of the instance's own; its own files."""
    monkeypatch.setattr(settings, "EMBEDDED_SERVER", None)
    monkeypatch.setattr(settings, "JINGWEI_FILES", place / "files")


def back_up(folder, **options):
    """`jingwei backup`: the folder it made."""
    before = set(folder.glob("2*"))
    asked = {"keys": None, "keep": None} | options
    assert backups.run(Namespace(folder=folder, **asked)) == 0
    [made] = set(folder.glob("2*")) - before
    return made


def command(*arguments, **environment):
    """The command line in a process of its own, not yet ended."""
    ours = {"DJANGO_SETTINGS_MODULE": "jingwei.settings", "JINGWEI_HOME": str(settings.JINGWEI_HOME)}
    ours["JINGWEI_FILES"] = str(settings.JINGWEI_FILES)
    program = [sys.executable, "-c", "from jingwei.cli.main import main; main()", *map(str, arguments)]
    return subprocess.Popen(
        program,
        env=os.environ | ours | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(*arguments, **environment):
    """Its exit code and what it says."""
    process = command(*arguments, **environment)
    said, _ = process.communicate(timeout=120)
    return process.returncode, said


def asked(backup, **options):
    """What `jingwei restore` is told."""
    usual = {"verify": False, "into": None, "keys": None, "erasures": None, "no_erasures": False}
    return Namespace(backup=backup, **usual | options)


def signed(backup, **changes):
    """Change a manifest as only somebody with the keys can."""
    manifest = json.loads((backup / backups.MANIFEST).read_text())
    for name, value in changes.items():
        manifest[name] = manifest[name] | value if isinstance(value, dict) else value
    content = json.dumps(manifest).encode()
    (backup / backups.MANIFEST).write_bytes(content)
    key_id = provider().key_id
    (backup / backups.MAC).write_text(f"{key_id} {backups.code(content, key_id)}")


def upload_of_an_unfinished_import():
    """Where it lies."""
    with files.create(1, "名单.xlsx") as file:
        file.write(b"roster")
    what = {"sheet": "roster", "resource": "people", "file_name": "名单.xlsx", "today": date(2026, 11, 1)}
    Load.objects.create(**what, state=Load.DRAFT, file=file.stored)
    return files.place(file.stored.pk)


@pytest.fixture
def busy():
    """Somebody who keeps writing one row into each of two tables, in one transaction."""
    ending = threading.Event()
    address = os.environ["JINGWEI_OWNER_URL"]

    def write():
        with psycopg.connect(address) as other:
            while not ending.is_set():
                other.execute("INSERT INTO one VALUES (1)")
                other.execute("INSERT INTO two VALUES (1)")
                other.commit()

    with psycopg.connect(address) as other:
        other.execute("CREATE TABLE one (n int)")
        other.execute("CREATE TABLE two (n int)")
    writer = threading.Thread(target=write)
    writer.start()
    yield
    ending.set()
    writer.join()


@pytest.mark.req("SEC-13", "P-4.1")
def test_a_backup_of_a_busy_instance_comes_back_whole_elsewhere(village, place, busy):
    someone = people.person(phone=PHONE, address=ADDRESS)
    attached = str(people.attachment().object)
    store().put(attached, b"sealed picture")
    messages.message()
    upload = upload_of_an_unfinished_import()
    statistics.refresh()
    assert (
        village.client.get("/people/").status_code == 200
        and Session.objects.exists()
        and Tally.objects.exists()
    )
    made = back_up(place / "backups", keys=place / "keys")

    held = b"".join(gzip.decompress(part.read_bytes()) for part in (made / "database").glob("*.dat.gz"))
    rest = b"".join(path.read_bytes() for path in made.rglob("*") if path.suffix != ".gz" and path.is_file())
    assert "林样例".encode() in held
    for secret in (someone.number.clear(), PHONE, ADDRESS):
        assert secret.encode() not in held + rest
    assert made.stat().st_mode & 0o077 == 0 and not list(made.rglob("*keys*"))
    [keys] = (place / "keys").iterdir()
    assert keys.stat().st_mode & 0o077 == 0 and keys.read_bytes() == settings.JINGWEI_KEYS.read_bytes()

    home, master = place / "new", str(settings.JINGWEI_MASTER_KEY_FILE)
    with embedded.Server(home / "pg"), psycopg.connect(embedded.url(home / "pg"), autocommit=True) as other:
        # What a restore that was broken off leaves is no hindrance.
        other.execute(f"CREATE SCHEMA {migrate.UNFINISHED}")
        other.execute("CREATE TABLE one (n int)")
        here = {"JINGWEI_HOME": str(home), "DATABASE_URL": "", "JINGWEI_MASTER_KEY_FILE": master}
        here["JINGWEI_FILES"] = str(home / "files")
        code, said = run("restore", made, "--keys", keys, **here)
        assert code == 0 and "全部一致" in said and "1 条当时等待发送" in said, said

        def count(table):
            return other.execute(f"SELECT count(*) FROM {table}").fetchone()[0]

        assert count("one") == count("two") > 0
        assert count("people_person") == Person.objects.count() == 2
        assert (home / "attachments" / attached[:2] / attached).read_bytes() == b"sealed picture"
        assert (home / "files" / upload.parent.name / upload.name).read_bytes() == upload.read_bytes()
        policies = "SELECT tablename, policyname, qual FROM pg_policies ORDER BY 1, 2"
        with psycopg.connect(os.environ["JINGWEI_OWNER_URL"]) as source:
            assert other.execute(policies).fetchall() == source.execute(policies).fetchall() != []
        assert count("pg_class WHERE relname = 'people_person' AND relrowsecurity") == 1
        may = "SELECT has_table_privilege('jingwei_platform', 'people_person', 'SELECT')"
        assert other.execute(may).fetchone()[0]
        assert count("directory_session") == 0, "nobody goes on with a session of the past"
        assert count("people_tally") == 0, "a tally names transactions of the server it was made on"
        state = other.execute("SELECT state FROM sms_smsmessage").fetchone()
        assert state == (SmsMessage.UNSURE,), "it may have been sent since"
        assert other.execute("SELECT label FROM base_logentry WHERE act = '恢复备份'").rowcount == 1
        assert not migrate.is_unfinished(other)


def test_nothing_works_on_a_restore_that_was_broken_off(owner):
    owner.execute(f"CREATE SCHEMA {migrate.UNFINISHED}")
    with pytest.raises(CommandError, match="恢复没有完成"):
        migrate.migrate()


def test_a_backup_that_was_changed_or_does_not_fit_is_refused_before_anything_is_touched(place, monkeypatch):
    messages.message()
    made = back_up(place / "backups")

    def refusal(change):
        copy = place / "changed"
        shutil.copytree(made, copy)
        try:
            change(copy)
            with pytest.raises(CommandError) as refused:
                restore.run(asked(copy, no_erasures=True))
            return str(refused.value)
        finally:
            shutil.rmtree(copy)

    def flip(path):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    largest = max((made / "database").iterdir(), key=lambda path: path.stat().st_size)
    assert largest.name in refusal(lambda copy: flip(copy / "database" / largest.name))
    assert largest.name in refusal(lambda copy: (copy / "database" / largest.name).unlink())
    assert "more.dat" in refusal(lambda copy: (copy / "database" / "more.dat").write_bytes(b"1"))
    assert "manifest.json" in refusal(lambda copy: (copy / backups.MANIFEST).unlink())

    def fewer_rows(copy):
        text = (copy / backups.MANIFEST).read_text()
        (copy / backups.MANIFEST).write_text(text.replace('"sms_smsmessage": 1', '"sms_smsmessage": 0'))

    assert "清单被改动过" in refusal(fewer_rows)
    assert "请先升级" in refusal(lambda copy: signed(copy, migrations=[["people", "9999_of_tomorrow"]]))
    assert "备份所用的密钥 k9" in refusal(lambda copy: signed(copy, keys={"k9": "00"}))
    assert "不是空的" in refusal(lambda copy: None)
    monkeypatch.setattr(settings, "JINGWEI_KEYS", place / "other.json")
    assert "没有密钥环" in refusal(lambda copy: None)
    create_key_ring(settings.JINGWEI_KEYS)
    assert "密钥环不是当时的" in refusal(lambda copy: None)
    assert SmsMessage.objects.get().state == SmsMessage.WAITING


def forget(number):
    """Have somebody's data deleted, as two people decide; the request."""
    request = forgetting.ask_to_forget(ACTOR, number=number, reason="本人书面申请")
    decided = {"created_by": 7, "confirmed_by": 8, "confirmer": "核对人", "confirmed_at": timezone.now()}
    ErasureRequest.objects.filter(pk=request.pk).update(state=ErasureRequest.RUNNING, **decided)
    forgetting.carry_out(ACTOR, Namespace(pk=0, arguments={"request": request.pk}), lambda done, total: None)
    request.refresh_from_db()
    return request


def sampled(whom, days):
    """A sample of somebody, so many days old."""
    at = timezone.now() - timedelta(days=days)
    ensure_months("testing_sample", at, at)
    told = {"point": "采样点", "region": whom.region_id, "name": whom.name, "result": "阴性"}
    Sample.objects.create(number=whom.number, sampled_at=at, **told)


@pytest.mark.req("SEC-17", "P-4.6")
def test_what_was_erased_after_a_backup_is_erased_again_before_anybody_can_look(place):
    """By request, also a scan known only by telephone and name that came later; and as its time was over."""
    before = people.person(region="990101001002", name="更早")
    forget(before.number.clear())
    back_again = people.person(number=before.number.clear(), name="又来")
    someone, twin, other = (people.person(name=name) for name in ("欧阳忘川", "欧阳忘川", "旁人"))
    sampled(someone, 3)
    sampled(other, 731)
    sampled(other, 729)
    scan(number="无", name="欧阳改名", phone=PHONE)
    scan(number="无", name="旁人", phone=PHONE)
    made = back_up(place / "backups")

    Person.objects.filter(pk=someone.pk).update(phone=PHONE, name="欧阳改名")
    first, second = sorted([someone.pk, twin.pk])
    pair = DuplicatePair.objects.create(first_id=first, second_id=second, score=90, reasons="姓名相同")
    merges.merge(ACTOR, pair, keep=someone.pk, taken=())
    request = forget(someone.number.clear())
    assert "核酸检测记录 1 条" in erasing.erase_expired(ACTOR, None, lambda done, total: None)["message"]
    written = journal.place().read_text()
    told = str(journal.read(journal.place()).entries)
    assert not [text for text in (someone.number.clear(), PHONE, "欧阳") if text in told]

    home, master = place / "new", str(settings.JINGWEI_MASTER_KEY_FILE)
    here = {"JINGWEI_HOME": str(home), "DATABASE_URL": "", "JINGWEI_MASTER_KEY_FILE": master}
    here |= {"JINGWEI_KEYS": str(settings.JINGWEI_KEYS), "JINGWEI_FILES": str(home / "files")}
    # What lies beside the backup is of its night; the instance's own knows what came after.
    with embedded.Server(home / "pg"), psycopg.connect(embedded.url(home / "pg"), autocommit=True) as there:
        code, said = run("restore", made, "--erasures", journal.place(), **here)
        assert code == 0 and "全部一致" in said and "按申请删除 1 人" in said, said
        assert "到期的核酸检测记录 1 条" in said

        def rows(question):
            return there.execute(question).fetchall()

        assert rows("SELECT id, name FROM people_person ORDER BY id") == [
            (back_again.pk, "又来"),
            (other.pk, "旁人"),
        ]
        for table in ("people_personevent", "scans_scan", "testing_sample"):
            assert "欧阳" not in str(rows(f"SELECT * FROM {table}")), table
        assert (
            rows("SELECT count(*) FROM testing_sample") == rows("SELECT count(*) FROM scans_scan") == [(1,)]
        )
        proofs = rows("SELECT mark, state, confirmer, number FROM oversight_erasurerequest ORDER BY id")
        assert proofs[1:] == [(request.mark, ErasureRequest.DONE, "核对人", None)] and len(proofs) == 2
        [(told,)] = rows("SELECT detail->>'删除' FROM base_logentry WHERE act = '恢复备份'")
        assert "按申请删除 1 人" in told
        assert rows(
            "SELECT count(*) FROM base_logentry WHERE act = '删除个人信息' AND actor = '恢复备份'"
        ) == [(1,)]
        assert rows("SELECT count(*) FROM oversight_erasure WHERE kind = 'samples'") == [(1,)]
        assert (home / "files" / journal.NAME).read_text().startswith(written)


@pytest.mark.req("SEC-17")
def test_a_database_that_went_back_in_time_erases_again_when_told(capsys):
    someone = people.person(phone=PHONE)
    with transaction.atomic():
        forget(someone.number.clear())
        forget(people.person().number.clear())  # who came later is not there to be erased
        transaction.set_rollback(True)
    assert Person.objects.filter(pk=someone.pk).exists()
    assert migrate.run(Namespace(new_signing_key=False, erase_again=True)) == 0
    assert "按申请删除 2 人 2 条" in capsys.readouterr().out
    assert not Person.objects.filter(pk=someone.pk).exists()
    assert [request.total for request in ErasureRequest.objects.order_by("pk")] == [2, 0]  # with the history
    assert migrate.run(Namespace(new_signing_key=False, erase_again=True)) == 0
    assert "没有要重做的删除" in capsys.readouterr().out


@pytest.mark.req("SEC-17")
def test_without_the_journal_of_erasures_nothing_is_restored(place, monkeypatch):
    forget(people.person().number.clear())
    made = back_up(place / "backups")
    beside, whole = made.parent / journal.NAME, journal.place().read_text()
    assert beside.read_text() == whole and len(whole.splitlines()) == 1

    def refusal(text):
        for copy in (beside, journal.place()):
            copy.unlink(missing_ok=True)
            if text is not None:
                copy.write_text(text)
        with pytest.raises(CommandError) as refused:
            restore.run(asked(made))
        return str(refused.value)

    assert "找不到删除记录" in refusal(None) and "--no-erasures" in refusal(None)
    assert "不完整" in refusal("")
    assert "不完整" in refusal(whole[:-1])  # cut off by a kill
    assert "第 1 行被改动过" in refusal(whole.replace("核对人", "别人").replace("person", "people"))
    assert "不是空的" in refusal(whole)
    with pytest.raises(CommandError, match="不是空的"):
        restore.run(asked(made, no_erasures=True))

    # A backup never replaces the copy by a journal that knows less.
    journal.place().write_text("")
    with pytest.raises(CommandError, match="没有覆盖它"):
        back_up(place / "backups")
    assert beside.read_text() == whole


def test_a_trial_names_what_is_not_as_it_was(place):
    """Rows that lack, a value that no key opens, a count that is wrong."""
    someone = people.person()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE people_person SET phone = set_byte(phone, 20, get_byte(phone, 20) # 1)")
        cursor.execute(
            "INSERT INTO people_daycount (kind, region, day, number) VALUES ('people', '9', now(), 1)"
        )
    made = back_up(place / "backups")
    signed(made, rows={"people_dose": 7})
    code, said = run("restore", made, "--verify", TMPDIR=str(place))
    assert code == 1, said
    assert "表 people_dose 应有 7 行，现有 0 行" in said
    assert "people.Person.phone 中有无法解密的值" in said
    assert "按日统计有 1 处与明细不符" in said
    with connection.cursor() as cursor:  # the autouse check of all tests
        cursor.execute("DELETE FROM people_daycount WHERE region = '9'")
    assert Person.objects.get().pk == someone.pk


def test_a_killed_backup_leaves_nothing_that_looks_whole(place):
    folder = place / "backups"
    first = back_up(folder)
    with psycopg.connect(os.environ["JINGWEI_OWNER_URL"]) as other:
        other.execute("LOCK people_person")  # the dump waits here
        process = command("backup", folder)
        waiting = "SELECT FROM pg_locks WHERE NOT granted"
        while not other.execute(waiting).rowcount:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.05)
        # Neither may a second one run beside it.
        with pytest.raises(CommandError, match="另一个备份正在进行"):
            backups.run(Namespace(folder=folder, keys=None, keep=None))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert [path for path in folder.iterdir() if (path / backups.MANIFEST).exists()] == [first]
    [draft] = folder.glob("*.new")
    with pytest.raises(CommandError, match="不是完整的备份"):
        restore.run(asked(draft))
    second = back_up(folder, keep=1)
    assert [path for path in folder.iterdir() if path.is_dir()] == [second], (
        "the draft and the old one are gone"
    )


def test_a_backup_that_cannot_be_written_says_so_and_leaves_nothing(place, monkeypatch):
    monkeypatch.setattr(backups, "digests", lambda folder: (folder / "full").write_bytes(b"") / 0)
    monkeypatch.setattr(backups, "_copy_files", _disk_is_full)
    with pytest.raises(CommandError, match="备份没有完成：No space left on device"):
        backups.make(place)
    assert not list(place.glob("2*"))


def _disk_is_full(*_):
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        os.write(full, b"1")
    finally:
        os.close(full)


def test_the_key_ring_is_not_kept_beside_the_data(place):
    for keys in (place / "backups", place / "backups" / "keys", place):
        with pytest.raises(CommandError, match="不能与备份放在一起"):
            backups.run(Namespace(folder=place / "backups", keys=keys, keep=None))
    assert not (place / "backups").exists()


# --- what a backup does not cover ---------------------------------------------------------------------------


def own(folder, owner):
    """Give a folder and what is in it to whom the server runs as."""
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def test_the_database_comes_back_as_it_stood_at_a_moment(place):
    """Point in time, by the archive of changes, as docs/operating.md describes it."""
    archive, source, copy = place / "archive", place / "pg", place / "copy"
    archive.mkdir()
    with embedded.Server(source) as server:
        own(archive, source.stat())
        with open(source / "postgresql.conf", "a") as configuration:
            configuration.write("archive_mode = on\n")
            configuration.write(f"archive_command = 'test ! -f {archive}/%f && cp %p {archive}/%f'\n")
        server.stop()
        server.ensure()
        admin = embedded.url(source, user="postgres")
        base = [embedded.BIN / "pg_basebackup", f"--dbname={admin}", f"--pgdata={copy}", "--checkpoint=fast"]
        subprocess.run(base, check=True)
        with psycopg.connect(admin, autocommit=True) as other:
            other.execute("CREATE TABLE kept (word text)")
            other.execute("INSERT INTO kept VALUES ('kept')")
            [moment] = other.execute("SELECT clock_timestamp()::text").fetchone()
            other.execute("DROP TABLE kept")
            [last] = other.execute("SELECT pg_walfile_name(pg_current_wal_lsn())").fetchone()
            other.execute("SELECT pg_switch_wal()")
        until = time.monotonic() + 60
        while not (archive / last).exists():
            assert time.monotonic() < until, "nothing is archived"
            time.sleep(0.1)
    with open(copy / "postgresql.conf", "a") as configuration:
        configuration.write(
            f"restore_command = 'cp {archive}/%f %p'\narchive_mode = off\nhot_standby = off\n"
        )
        configuration.write(f"recovery_target_time = '{moment}'\nrecovery_target_action = promote\n")
    (copy / "recovery.signal").touch()
    own(copy, source.stat())
    with embedded.Server(copy), psycopg.connect(embedded.url(copy, user="postgres")) as other:
        assert other.execute("SELECT word FROM kept").fetchall() == [("kept",)]


@pytest.mark.req("P-10.1")
def test_a_migration_that_was_killed_goes_on(place):
    name = f"jingwei_half_{os.getpid()}"
    owned = embedded.url(SERVER, database=name)
    app = embedded.url(SERVER, user="jingwei_app", database=name)
    there = {"JINGWEI_HOME": str(place), "DATABASE_URL": app, "JINGWEI_OWNER_URL": owned}
    migrations = "SELECT app, name FROM django_migrations ORDER BY app, name"
    with psycopg.connect(os.environ["JINGWEI_OWNER_URL"]) as other:
        whole = other.execute(migrations).fetchall()
    admin = embedded.url(SERVER, user="postgres", database="postgres")
    with psycopg.connect(admin, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name} OWNER jingwei")
        try:
            process = command("migrate", **there)
            with psycopg.connect(owned, autocommit=True) as other:
                done = "SELECT count(*) FROM django_migrations"
                while not other.execute("SELECT to_regclass('django_migrations')").fetchone()[0]:
                    assert process.poll() is None, process.communicate()[0]
                while other.execute(done).fetchone()[0] < len(whole) // 2:
                    assert process.poll() is None, process.communicate()[0]
                process.send_signal(signal.SIGKILL)
                process.communicate()
                assert other.execute(done).fetchone()[0] < len(whole), "it was too late"
                code, said = run("migrate", **there)
                assert code == 0, said
                assert other.execute(migrations).fetchall() == whole
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")
