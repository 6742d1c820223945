"""Copies of the operation log outside of the database, one file a day (SEC-9)."""

import gzip
import json
import os
import secrets
from base64 import b64encode
from datetime import date, datetime, time, timedelta

from django.conf import settings
from django.utils import timezone

from jingwei.base import chain, wall
from jingwei.base.models import LogDrop, LogEntry, LogSeal

BEGUN = "%Y-%m-%d.jsonl.gz"


def folder():
    """Where the copies lie: a folder of the instance that only its owner opens."""
    return settings.JINGWEI_HOME / "log-copies"


def write_copies(today: date) -> list[date]:
    """Copy each day before `today` that has seals and no copy yet; forget copies past the keeping time.

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
        missing = [day for day in days if not (folder() / f"{day:{BEGUN}}").exists()]
        for day in missing:
            begin = timezone.make_aware(datetime.combine(day, time()))
            _write(day, seals.filter(at__gte=begin, at__lt=begin + timedelta(days=1)).order_by("number"))
    return missing


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
    """Note every seal of a copy that the database lacks or has otherwise; returns how many copies it read."""
    paths = sorted(folder().glob("*.jsonl.gz"))
    with wall.beyond_scope():
        for path in paths:
            try:
                _compare(path, verdict)
            except (OSError, EOFError, ValueError):
                verdict.note("副本", f"副本 {path.name} 损坏，无法读取")
    return len(paths)


def _compare(path, verdict):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            copied = json.loads(line)
            if isinstance(copied, list):
                continue  # rows are bound by their seal
            number = copied["number"]
            stored = LogSeal.objects.filter(pk=number).first()
            if stored is None or _line(stored) != copied:
                what = "数据库中没有" if stored is None else "与数据库不一致"
                verdict.note("副本", f"{path.name} 中的第 {number} 号封存记录{what}", seal=number)
