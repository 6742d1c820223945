"""P-4.4, P-4.6, P-10.2: rotation of the keys, a backup and a night of erasures beside the bare database.

The reference of each is PostgreSQL doing the same to the same rows without keys, proofs and manners: one
statement for all, taken back again.
"""

import subprocess
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import pgtrigger
from django.db import connection, transaction
from django.utils import timezone

from bench import Figure
from jingwei import embedded
from jingwei.base.access import platform_actor
from jingwei.base.wall import as_owner
from jingwei.cli import backup
from jingwei.cli.demo import ensure_demo
from jingwei.oversight import rotating
from jingwei.testing.actions import erase_some
from jingwei.testing.models import Sample

SMALL, FULL = 20_000, 1_000_000
ACTOR = platform_actor("测量")
# What a rotation writes, column by column or row by row.
MOVED = [
    ("people_person", ("number",)),
    ("people_person", ("phone",)),
    ("people_person", ("registered_address", "address")),
    ("testing_sample", ("number",)),
]


def measure(full):
    """Seconds of each, and of the bare database."""
    people = FULL if full else SMALL
    ensure_demo(people, progress=lambda done, total: None)
    samples = Sample.objects.count()
    taken = [
        ("P-10.2", f"a backup of {people:,} people, {samples:,} samples / pg_dump", _backup, 2),
        ("P-4.4", "rotation of their keys / bare UPDATE", _rotation, 4),
        ("P-4.6", "erasing these samples, past their time / bare DELETE", _night, 15),
    ]
    return [
        Figure(id, what, ours, "s", limit, bare) for id, what, do, limit in taken for ours, bare in [do()]
    ]


def _seconds(do):
    started = time.perf_counter()
    do()
    return time.perf_counter() - started


def _backup():
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "bare"
        command = [
            embedded.BIN / "pg_dump",
            "--format=directory",
            f"--jobs={backup.JOBS}",
            "--compress=gzip:1",
        ]
        command += [f"--file={target}", f"--dbname={backup.owner_url()}"]
        bare = _seconds(lambda: subprocess.run(command, check=True))
        return _seconds(lambda: backup.make(Path(folder))), bare


def _rotation():
    bare = _bare([_update(table, columns) for table, columns in MOVED], pgtrigger.ignore)
    return _seconds(lambda: rotating.rotate(ACTOR)), bare


def _update(table, columns):
    assigned = ", ".join(f"{column} = set_byte({column}, 1, 255)" for column in columns)
    return f"UPDATE {table} SET {assigned}"  # noqa: S608, ours


def _night():
    bare = _bare(["DELETE FROM testing_sample"])  # which counts them off their days, too

    def erase():
        while True:
            with transaction.atomic():
                if erase_some(timezone.now()) is None:
                    return

    return _seconds(erase), bare


def _bare(statements, inside=nullcontext):
    """Seconds of the statements, whose work is thrown away."""

    def run():
        with inside(), transaction.atomic(), connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            transaction.set_rollback(True)

    taken = _seconds(run)
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("VACUUM people_person, testing_sample")
    return taken
