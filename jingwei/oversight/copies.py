"""Copies of the operation log outside of the database, one file a day (SEC-9).

Until a day is copied, a list of the seals' digests stands in for it: a chain whose end was cut off is whole.
"""

import fcntl
import gzip
import json
import os
import secrets
from base64 import b64decode, b64encode
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from functools import partial

from django.conf import settings
from django.utils import timezone

from jingwei.base import chain, wall
from jingwei.base.models import LogDrop, LogEntry, LogSeal

BEGUN = "%Y-%m-%d.jsonl.gz"
NOTED = "seals.txt"  # a line for each seal that is in no copy yet: its number and digest


def folder():
    """Where the copies lie: a folder of the instance that only its owner opens."""
    return settings.JINGWEI_HOME / "log-copies"


def note_seals():
    """Note the seals that are in no copy of this machine yet, as soon as they stand."""
    folder().mkdir(mode=0o700, exist_ok=True)
    with open(folder() / NOTED, "a+", opener=partial(os.open, mode=0o600)) as file, wall.beyond_scope():
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        last = max((number for number, _ in _noted(file)), default=0)
        copied = max(map(day_of, folder().glob("*.jsonl.gz")), default=None)
        begun = _midnight(copied + timedelta(days=1) if copied else timezone.localdate())
        new = LogSeal.objects.filter(number__gt=last, at__gte=begun).order_by("number")
        file.writelines(
            f"{number} {bytes(digest).hex()}\n" for number, digest in new.values_list("number", "digest")
        )


def _noted(file):
    for line in file:
        number, digest = line.split()
        yield int(number), digest


def _forget_noted(copied):
    """Drop the lines of seals up to one that is in a copy now."""
    with suppress(FileNotFoundError), open(folder() / NOTED, "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        left = [line for line in file if int(line.split()[0]) > copied]
        file.seek(0)
        file.truncate()
        file.writelines(left)


def write_copies(today: date) -> tuple[list[date], list[date]]:
    """Copy each day before `today` that has seals and no copy yet; forget copies past the keeping time.

    Returns the days that were copied, and which of them had a copy before: there is a later one.
    A line of a file is a seal, or a row as its digest is made of it. Values are as masked as in the log.
    """
    folder().mkdir(mode=0o700, exist_ok=True)
    oldest = today - timedelta(days=chain.KEEP.value())
    for path in folder().glob("*.jsonl.gz"):
        if day_of(path) < oldest:
            path.unlink()
    with wall.beyond_scope():
        dropped = LogDrop.objects.last()
        seals = LogSeal.objects.filter(number__gt=dropped.upto if dropped else 0)
        days = seals.filter(at__date__lt=today).dates("at", "day") if seals.exists() else []
        there = {day_of(path) for path in folder().glob("*.jsonl.gz")}
        missing = [day for day in days if oldest <= day and day not in there]
        for day in missing:
            begin = _midnight(day)
            _write(day, seals.filter(at__gte=begin, at__lt=begin + timedelta(days=1)).order_by("number"))
        if missing:
            _forget_noted(seals.filter(at__lt=begin + timedelta(days=1)).last().number)
    return missing, [day for day in missing if there and day < max(there)]


def _midnight(day):
    return timezone.make_aware(datetime.combine(day, time()))


def day_of(path) -> date:
    """The day that a copy is of."""
    return datetime.strptime(path.name, BEGUN).date()


def _write(day, seals):
    draft = folder() / f"draft.{secrets.token_hex(4)}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as raw, gzip.open(raw, "wt", encoding="utf-8") as file:
            for seal in seals.iterator(chunk_size=20):
                file.write(json.dumps(_line(seal)) + "\n")
                rows = LogEntry.objects.filter(pk__in=seal.entries).order_by("pk")
                for row in rows.values_list(*chain.SIGNED):
                    file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
            file.flush()
            os.fsync(descriptor)
        draft.replace(folder() / f"{day:{BEGUN}}")
    finally:
        draft.unlink(missing_ok=True)


def _line(seal):
    said = {name: getattr(seal, name) for name in ("number", "era", "floor", "watermark", "entries")}
    sealed = {name: b64encode(bytes(getattr(seal, name))).decode() for name in ("digests", "digest")}
    return said | {"at": seal.at.isoformat()} | sealed


def compare(verdict: chain.Verdict) -> int:
    """Note every seal of a copy that the database lacks or has otherwise; returns how many copies it read.

    Every row of a copy, too, that is not as it was sealed.
    """
    paths = sorted(folder().glob("*.jsonl.gz"))
    with wall.beyond_scope():
        for path in paths:
            try:
                _compare(path, verdict)
            except (OSError, EOFError, ValueError):
                verdict.note("副本", f"副本 {path.name} 损坏，无法读取")
        _compare_noted(verdict)
    return len(paths)


def _compare(path, verdict):
    expected = {}  # of the rows of the last seal
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            copied = json.loads(line)
            if isinstance(copied, list):
                row = [copied[0], datetime.fromisoformat(copied[1]), *copied[2:]]
                if expected.pop(row[0], b"") != chain.digest_of(row):
                    verdict.note("副本", f"{path.name} 中的第 {row[0]} 号日志被改动", entry=row[0])
                continue
            _none_is_missing(path, expected, verdict)
            number, digests = copied["number"], b64decode(copied["digests"])
            expected = {
                entry: digests[place * chain.SIZE : (place + 1) * chain.SIZE]
                for place, entry in enumerate(copied["entries"])
            }
            stored = LogSeal.objects.filter(pk=number).first()
            if stored is None or _line(stored) != copied:
                what = "数据库中没有" if stored is None else "与数据库不一致"
                verdict.note("副本", f"{path.name} 中的第 {number} 号封存记录{what}", seal=number)
    _none_is_missing(path, expected, verdict)


def _none_is_missing(path, expected, verdict):
    for entry in expected:
        verdict.note("副本", f"{path.name} 中缺少第 {entry} 号日志", entry=entry)


def _compare_noted(verdict):
    try:
        with open(folder() / NOTED) as file:
            noted = dict(_noted(file))
    except FileNotFoundError:
        return
    except ValueError:
        verdict.note("副本", f"{NOTED} 损坏，无法读取")
        return
    stored = dict(LogSeal.objects.filter(pk__in=noted).values_list("number", "digest"))
    for number, digest in noted.items():
        if bytes(stored.get(number, b"")).hex() != digest:
            what = "与数据库不一致" if number in stored else "数据库中没有"
            verdict.note("副本", f"{NOTED} 记下的第 {number} 号封存记录{what}", seal=number)
