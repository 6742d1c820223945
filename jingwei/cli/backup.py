"""`jingwei backup FOLDER`: all of an instance as it stood at one moment, taken while it works.

For P-10.2, SEC-21 and SEC-13. A backup is a folder below FOLDER, named after its moment:

    database/      the database in pg_dump's directory format, of one snapshot
    files/         attachments, and the uploads that unfinished imports still need, sealed as they lie
    manifest.json  what it came from, the rows of each table, an SM3 digest of every part
    manifest.mac   the id of a key of the ring and the code of manifest.json under it

It is made under another name and renamed when it is whole, so that a kill leaves nothing that looks like one.
Beside it lies the journal of erasures as it is now, which no restored backup, however old, may undo.
Personal columns are in it as in the database, sealed (SEC-13). The key ring never lies beside them: `--keys`
names another place for it, and the master key is not copied at all.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path

import psycopg
from cryptography.hazmat.primitives import hashes
from django.conf import settings
from django.core.management import CommandError
from django.db import transaction
from django.utils import timezone
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from jingwei import embedded
from jingwei.base import audit
from jingwei.base.access import platform_actor
from jingwei.base.attachments import kinds_of_attachments
from jingwei.base.crypto import provider
from jingwei.base.models import Load
from jingwei.desk import attachments, files
from jingwei.desk.storage import store
from jingwei.oversight import journal
from jingwei.running import machines

FORM = 1  # of the folder; another one is refused
DATABASE, FILES, MANIFEST, MAC = "database", "files", "manifest.json", "manifest.mac"
UPLOADS, ATTACHMENTS = "uploads", "attachments"  # in FILES
JOBS = str(min(os.cpu_count(), 4))  # tables dumped or restored at a time
_NAME = re.compile(r"[0-9]{8}-[0-9]{6}")
_DRAFT = ".new"
_TABLES = (
    "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
)


def add_arguments(parser):
    parser.add_argument(
        "folder", metavar="FOLDER", type=Path, help="存放备份的目录，每次备份是其中一个子目录"
    )
    parser.add_argument("--keys", metavar="FOLDER", type=Path, help="另一个目录，密钥环也复制一份到那里")
    parser.add_argument("--keep", metavar="N", type=int, help="只保留最近 N 个备份，更早的删除")


def run(options):
    if options.keep is not None and options.keep < 1:
        raise CommandError("--keep 至少为 1。")
    folder = options.folder.resolve()
    if options.keys:
        _refuse_keys_beside_the_data(options.keys.resolve(), folder)
    started = time.monotonic()
    with _alone(folder):
        made, manifest = make(folder)
        _keep_journal(folder)
        keys = keep_keys(options.keys) if options.keys else None
        old = _whole(folder)[: -options.keep] if options.keep else []
        for backup in old:
            shutil.rmtree(backup)
    rows = sum(manifest["rows"].values())
    print(f"备份　{made}")
    print(f"内容　{len(manifest['rows'])} 张表 {rows:,} 行，{manifest['files']} 个文件")
    print(f"大小　{_size(made) / 2**20:,.1f} MiB，用时 {time.monotonic() - started:.0f} 秒")
    print(f"密钥　{keys or '没有备份。没有密钥环和主密钥，备份无法恢复；用 --keys 另存一份'}")
    for backup in old:
        print(f"删除　{backup}")
    return 0


def _refuse_keys_beside_the_data(keys, folder):
    if keys.is_relative_to(folder) or folder.is_relative_to(keys):
        raise CommandError("密钥环不能与备份放在一起：--keys 应是备份目录之外的另一个目录。")


@contextlib.contextmanager
def _alone(folder):
    """The folder, for this backup only; what a killed one left is cleared away."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(f"{folder} 中另一个备份正在进行。") from None
        for draft in folder.glob(f"*{_DRAFT}"):
            shutil.rmtree(draft)
        yield


def _whole(folder):
    """The backups in a folder, the oldest first."""
    return sorted(
        path for path in folder.iterdir() if _NAME.fullmatch(path.name) and (path / MANIFEST).exists()
    )


def make(folder: Path) -> tuple[Path, dict]:
    """Make a backup in the folder; returns where it stands and its manifest. CommandError leaves nothing."""
    while (made := folder / timezone.localtime().strftime("%Y%m%d-%H%M%S")).exists():
        time.sleep(0.1)  # the one before was quick
    draft = made.with_name(made.name + _DRAFT)
    draft.mkdir(mode=0o700)
    try:
        manifest = _write(draft)
        counts = {"rows": sum(manifest["rows"].values()), "bytes": _size(draft)}
        with transaction.atomic():  # a backup that cannot be logged is none (SEC-10)
            audit.record(platform_actor("备份"), "备份", label=made.name, **counts)
            draft.rename(made)
            _sync(folder)
    except OSError as error:
        raise CommandError(f"备份没有完成：{error.strerror}（{error.filename or draft}）") from error
    except psycopg.Error as error:
        raise CommandError(f"备份没有完成，数据库出错：{error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return made, manifest


def _size(backup):
    return sum(path.stat().st_size for path in backup.rglob("*") if path.is_file())


def _write(draft):
    with psycopg.connect(owner_url()) as connection:
        connection.isolation_level, connection.read_only = psycopg.IsolationLevel.REPEATABLE_READ, True
        # Who may not see every row is refused here, instead of keeping some.
        connection.execute("SET LOCAL row_security = off")
        [snapshot] = connection.execute("SELECT pg_export_snapshot()").fetchone()
        with program(
            *["pg_dump", "--format=directory", f"--jobs={JOBS}", "--compress=gzip:1"],
            *[f"--snapshot={snapshot}", f"--file={draft / DATABASE}"],
        ):
            manifest = {
                "form": FORM,
                "made_at": timezone.localtime().isoformat(timespec="seconds"),
                "version": version("jingwei"),
                "server": connection.info.server_version,
                "migrations": [list(row) for row in connection.execute(MIGRATIONS)],
                "rows": row_counts(connection),
                "keys": key_checks(),
                "seal": last_seal(connection),
                "erasures": _journal().tip,
            }
            lost, kept = _copy_files(connection, draft / FILES)
    manifest |= {"files": kept, "lost": lost, "parts": digests(draft)}
    content = json.dumps(manifest, ensure_ascii=False, indent=1).encode()
    key_id = provider().key_id
    for name, data in ((MAC, f"{key_id} {code(content, key_id)}\n".encode()), (MANIFEST, content)):
        with open(draft / name, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    _sync(draft)
    return manifest


MIGRATIONS = "SELECT app, name FROM django_migrations ORDER BY app, name"


def row_counts(connection) -> dict[str, int]:
    """How many rows each table has, as the connection sees them."""
    tables = sorted(table for (table,) in connection.execute(_TABLES))
    return {
        table: connection.execute(f"SELECT count(*) FROM ONLY {table}").fetchone()[0]  # noqa: S608, by regclass
        for table in tables
    }


def last_seal(connection, number=2**62) -> list:
    """Number and digest of the last seal of the operation log up to that number; empty without one."""
    found = connection.execute(
        "SELECT number, digest FROM base_logseal WHERE number <= %s ORDER BY number DESC LIMIT 1", [number]
    ).fetchone()
    return [found[0], bytes(found[1]).hex()] if found else []


def _copy_files(connection, folder):
    """Copy what the snapshot names; how many files were deleted meanwhile, and how many are there."""
    lost = kept = 0
    for name, source in _named_files(connection):
        target = folder / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with source() as content, open(target, "wb") as copy:
                shutil.copyfileobj(content, copy, 2**20)
                copy.flush()
                os.fsync(copy.fileno())
            kept += 1
        except FileNotFoundError:
            # Of many an attachment there is no smaller picture.
            lost += not name.endswith((attachments.SMALL, attachments.LARGE))
    return lost, kept


def _named_files(connection):
    """(name in the backup, what opens it) of each file that the database names."""
    unfinished = "SELECT file_id FROM base_load WHERE file_id IS NOT NULL AND state = ANY(%s)"
    for (pk,) in connection.execute(unfinished, [[Load.DRAFT, Load.RUNNING]]):
        yield f"{UPLOADS}/{pk}", partial(open, files.place(pk), "rb")
    for model in kinds_of_attachments():
        objects = f"SELECT object FROM {model._meta.db_table} WHERE object IS NOT NULL"  # noqa: S608
        for (pk,) in connection.execute(objects):
            for variant in attachments.VARIANTS:
                yield f"{ATTACHMENTS}/{pk}{variant}", partial(store().open, f"{pk}{variant}")


def digests(folder: Path) -> dict[str, str]:
    """SM3 of every file of a backup but its manifest, by its name in the folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in (MANIFEST, MAC):
            found[path.relative_to(folder).as_posix()] = _sm3(path)
    return found


def _sm3(path):
    digest = hashes.Hash(hashes.SM3())
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.finalize().hex()


def code(content: bytes, key_id: str) -> str:
    """The message authentication code of a manifest."""
    return provider().mac("backup", [content], key_id=key_id).tobytes().hex()


def key_checks() -> dict[str, str]:
    """For each key of the ring a value by which the same key is known again; it tells nothing about it."""
    return {name: digest for name, digest in machines.fingerprints().items() if name != machines.SIGNING}


def _journal():
    try:
        return journal.read(journal.place())
    except journal.Broken as broken:
        raise CommandError(f"{broken}，没有备份。") from None


def _keep_journal(folder):
    """Have the journal of erasures beside the backups. What stands there may be all that is left: only a
    journal that goes on from it takes its place."""
    copy, own = folder / journal.NAME, _journal()
    if copy.exists():
        try:
            kept = journal.read(copy)
        except journal.Broken as broken:
            raise CommandError(f"备份已完成，但{broken}。") from None
        if not own.has(kept.tip):
            raise CommandError(
                f"备份已完成，但本实例的删除记录 {journal.place()} 不是备份目录中 {copy} 的后续，"
                "没有覆盖它。请查明缺少的部分，或换一个备份目录。"
            )
    draft = copy.with_suffix(_DRAFT)
    draft.write_bytes(journal.place().read_bytes() if journal.place().exists() else b"")
    draft.rename(copy)


def keep_keys(folder: Path) -> Path:
    """Copy the key ring into the folder, under a name of its own for each state of it; returns the copy."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    copy = folder / f"keys-{_sm3(settings.JINGWEI_KEYS)[:16]}.json"
    draft = copy.with_suffix(_DRAFT)
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(settings.JINGWEI_KEYS.read_bytes())
        file.flush()
        os.fsync(file.fileno())
    draft.rename(copy)
    _sync(folder)
    return copy


def owner_url() -> str:
    """The libpq address by which the owner of the tables signs in."""
    if settings.EMBEDDED_SERVER:
        return embedded.url(settings.EMBEDDED_SERVER)
    return os.environ.get("JINGWEI_OWNER_URL") or os.environ["DATABASE_URL"]


@contextlib.contextmanager
def program(name, *arguments):
    """Have a program of PostgreSQL work on the database as its owner while the block runs; CommandError in
    words if it fails. It ends with this process, and its password is not among its arguments."""
    address = conninfo_to_dict(owner_url())
    password = address.pop("password", None)
    process = subprocess.Popen(
        [embedded.BIN / name, *arguments, f"--dbname={make_conninfo(**address)}"],
        env=os.environ | ({"PGPASSWORD": password} if password else {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        preexec_fn=embedded.die_with_parent,
    )
    try:
        yield
    except BaseException:
        process.terminate()
        process.communicate()
        raise
    _, said = process.communicate()
    if process.returncode:
        raise CommandError(f"{name} 没有完成：\n{said[-2000:]}")


def _sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
