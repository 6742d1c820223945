"""Entries that people record themselves on the scan page of a venue (KP-9.3, KP-P5).

They are scans like those of the province, kept by the same statement. A scan of one's own bears the minute,
not the second: who taps twice has come in once.
"""

import time
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock, Semaphore

import polars as pl
from django.db import connection
from django.utils import timezone

from jingwei.base import codes, columns
from jingwei.base.access import platform_actor
from jingwei.base.columns import DOC_TYPES, Context, IdNumber, Phone, Text
from jingwei.base.errors import is_away
from jingwei.base.reading import ROW
from jingwei.base.sheets import Sheet, SheetColumn, clean_frame
from jingwei.places.models import Venue
from jingwei.scans.actions import store_scans
from jingwei.scans.models import Scan

PERSONS = platform_actor("本人扫码登记")
MOST = 500  # entries of one transaction
GATHER_SECONDS = 0.02  # fifty entries cost a transaction no more than one: it waits for those just behind


class EntrySheet(Sheet):
    """What a person fills in, cleaned by the rules of every form and sheet."""

    name = "entries"
    model = Scan
    columns = [
        SheetColumn("name", "姓名", Text(60), required=True),
        SheetColumn("doc_type", "证件类型", columns.Code(DOC_TYPES), required=True),
        SheetColumn("number", "证件号码", IdNumber(), required=True),
        SheetColumn("phone", "手机号码", Phone(), required=True),
    ]


SHEET = EntrySheet()
FIELDS = [column.name for column in SHEET.columns]


@dataclass
class Entry:
    """One person at one venue: `given` as filled in. `at` is when it was recorded, or `errors` say why not.

    `person` is what was recorded, cleaned.
    """

    venue: Venue
    given: dict[str, str]
    at: datetime | None = None
    errors: dict[str, str] = field(default_factory=dict)
    person: dict[str, str] = field(default_factory=dict)
    failure: Exception | None = None
    called: Semaphore = field(default_factory=lambda: Semaphore(0))  # settled, or to settle all that wait

    @property
    def is_settled(self) -> bool:
        return bool(self.at or self.errors or self.failure)


_turn = Lock()
_waiting: list[Entry] = []
_busy = False


def record(entry: Entry):
    """Settle an entry; returns when it is stored for good, or refused.

    Requests that come while a transaction runs are stored together by the next one (group commit): the first
    of them does it for all that wait.
    """
    global _busy
    _give_back_connection()
    with _turn:
        _waiting.append(entry)
        first, _busy = not _busy, True
    if not first:
        entry.called.acquire()
    if not entry.is_settled:
        time.sleep(GATHER_SECONDS)
        with _turn:
            batch = _waiting[:MOST]
            del _waiting[:MOST]
        try:
            settle(batch)
        finally:
            _give_back_connection()
            with _turn:
                _busy = bool(_waiting)
                following = _waiting[:1]
            for other in [*following, *batch]:
                if other is not entry:
                    other.called.release()
    if entry.failure:
        raise entry.failure


def _give_back_connection():
    """Those that wait hold no connection of the pool: the one that stores for all of them needs it."""
    if not connection.in_atomic_block:
        connection.close()


def settle(batch: list[Entry]):
    """Clean and store these entries in one transaction; what breaks one of them does not break another.

    It is looked for by halves, so that a crowd does not wait for each of the others. A database that cannot
    be reached cannot be for any of them.
    """
    try:
        _store(batch)
    except Exception as failure:
        if len(batch) == 1 or is_away(failure):
            for entry in batch:
                entry.failure = failure
        else:
            middle = len(batch) // 2
            settle(batch[:middle])
            settle(batch[middle:])


def _store(batch):
    now = timezone.make_naive(timezone.now())
    raw = {name: [entry.given.get(name) or None for entry in batch] for name in FIELDS}
    schema = {ROW: pl.Int64, **dict.fromkeys(FIELDS, pl.String)}
    cleaned = clean_frame(
        SHEET, pl.DataFrame({ROW: range(len(batch)), **raw}, schema), Context(PERSONS, "scans.add", now)
    )
    errors = [{} for _ in batch]
    for row, name, reason in cleaned.refused.iter_rows():
        errors[row].setdefault(name, reason)
    minute = now.replace(second=0, microsecond=0)
    persons = list(cleaned.values.iter_rows(named=True))
    kinds = codes.labels("场所类别")
    rows = []
    for person in persons:
        venue = batch[person[ROW]].venue
        rows.append(
            {
                "venue_code": venue.code,
                "venue_name": venue.name,
                "kind": kinds.get(venue.kind, ""),
                "city": venue.city,
                "street": venue.street,
                "manager": venue.manager,
                "number": person["number"],
                "name": person["name"],
                "phone": person["phone"],
                "result": "本人登记",
                **dict.fromkeys(("test_result", "tested_at", "health_code", "position"), ""),
                "collected_at": minute,
            }
        )
    if rows:
        store_scans(PERSONS, pl.DataFrame(rows), timezone.now())
    for person in persons:
        entry = batch[person[ROW]]
        entry.at, entry.person = timezone.make_aware(minute), {name: person[name] for name in FIELDS}
    for entry, refused in zip(batch, errors, strict=True):
        entry.errors = refused
