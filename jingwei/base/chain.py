"""The chain of the operation log: what was changed, removed or slipped in is named (P-3.2, SEC-9).

Each row carries an HMAC-SM3 over its content, under a key that the database holds only sealed. Within a
minute of its commit a row is sealed: a seal lists rows with their digests and carries an HMAC-SM3 over them
and over the seal before. So no row waits for another, and still none can be changed, removed or added
unnoticed.

A row is sealed when its transaction is older than any that still runs. `transaction` is its number, and a
seal's `watermark` says up to which number all is sealed. In another cluster, after a dump was restored,
numbers begin anew: an era begins, with a seal over whatever is unsealed up to its `floor`, the last id of the
old days.
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
from cryptography.hazmat.primitives import hashes, hmac
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, transaction
from django.db.models import Count, Min
from django.utils import timezone

from jingwei.base import wall
from jingwei.base.models import LogDrop, LogEntry, LogKey, LogPeople, LogSeal
from jingwei.base.parameters import Parameter
from jingwei.kit.sm4siv import Tampered

KEEP = Parameter(
    "log.keep_days",
    "操作日志保存天数",
    3 * 365,
    "更早的日志夜间删除，其摘要保留，其余日志仍可校验；数据库拒绝删除 180 天以内的日志",
    "天",
    low=180,
    high=36_500,
)
LATE = Parameter(
    "log.late_minutes",
    "日志封存最长等待",
    10,
    "有日志等待封存超过这个时间时告警：后台任务停止，或数据库中有长时间不结束的事务",
    "分钟",
    low=2,
    high=1_440,
)
PARAMETERS = [KEEP, LATE]

# What a row's digest is over, in this order.
SIGNED = (
    *("id", "at", "operator", "actor", "login", "organisation", "region", "address", "device"),
    *("act", "resource", "object_id", "label", "detail", "result", "reason", "request_id"),
)
ABOUT = "人员摘要"  # in a row's detail: the digest of whom it is about, who stand in LogPeople
SIZE = 32  # bytes of a digest
ROWS = 5_000  # of one seal at most
DROPPED = 1_500  # seals whose rows go at once, those of a day
MOST = 100  # breaks that a verification names
LOCK = 0x6C6F67  # of the sealer
SETTLE_SECONDS = 10  # that the first seal of an era waits for transactions under way
_NEVER = bytes(SIZE)  # no row has this digest


@cache
def _key():
    try:
        key = LogKey.objects.get().key.clear()
    except (Tampered, LogKey.DoesNotExist, LogKey.MultipleObjectsReturned) as error:
        raise ImproperlyConfigured(
            "操作日志的密钥（数据表 base_logkey）被改动或删除，日志不能写入和校验，操作都会被拒绝。"
            "请查明原因，并从备份恢复这张表。"
        ) from error
    return hmac.HMAC(bytes.fromhex(key), hashes.SM3())


def _mac(*parts: bytes) -> bytes:
    code = _key().copy()
    for part in parts:
        code.update(part)
    return code.finalize()


def _canonical(values) -> bytes:
    return json.dumps(values, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def _instant(at) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def digest_of(row: Sequence) -> bytes:
    """The digest of a row of the log, given as its values in the order of SIGNED."""
    number, at, *rest = row
    return _mac(b"row", _canonical([number, _instant(at), *rest]))


def digest_of_people(keys) -> str:
    """The SM3 (GB/T 32905) in hex of whom a row is about, given in order as NumPy integers of 64 bits."""
    digest = hashes.Hash(hashes.SM3())
    digest.update(keys.astype("<i8").tobytes())
    return digest.finalize().hex()


def _digest_of_seal(seal, previous: bytes) -> bytes:
    head = [seal.number, _instant(seal.at), seal.era, seal.floor, seal.watermark, seal.entries]
    return _mac(b"seal", previous, _canonical(head), bytes(seal.digests))


def _digest_of_drop(drop) -> bytes:
    return _mac(b"drop", _canonical([drop.upto, _instant(drop.at)]))


def _ask(cursor, question, values=()):
    cursor.execute(question, values)
    return cursor.fetchone()[0]


# --- sealing ----------------------------------------------------------------------------------------------


def seal() -> int:
    """Seal every row of the log that is settled; returns how many. To be called outside of a transaction.

    0 also while another process is at it, or when the first seal of an era must wait.
    """
    with wall.beyond_scope(), connection.cursor() as cursor:
        era = _ask(cursor, "SELECT system_identifier FROM pg_control_system()")
        last = LogSeal.objects.last()
        floor = None if last and last.era == era else _settled_floor(cursor)
        with transaction.atomic():
            if not _ask(cursor, "SELECT pg_try_advisory_xact_lock(%s)", [LOCK]):
                return 0
            last = LogSeal.objects.last()
            if last and last.era == era:
                watermark = _ask(cursor, "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
                settled = LogEntry.objects.filter(
                    pk__gt=last.floor, transaction__gte=last.watermark, transaction__lt=watermark
                )
                floor = last.floor
            elif floor is None:
                return 0
            else:
                watermark, settled = 0, _unsealed().filter(pk__lte=floor)
            return _seal(settled.order_by("pk"), last, {"era": era, "floor": floor, "watermark": watermark})


def _settled_floor(cursor):
    """A number that no row will have from now on, nor any lower one; None if that cannot be told yet."""
    # In this order: who has a lower number had a transaction before.
    floor = _ask(cursor, "SELECT nextval('base_logentry_id_seq')")
    running = _ask(cursor, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
    until = time.monotonic() + SETTLE_SECONDS
    while _ask(cursor, "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint") < running:
        if time.monotonic() > until:
            return None
        time.sleep(0.05)
    return floor


def _unsealed():
    """The rows of the log that are in no seal."""
    sealed = "base_logentry.id NOT IN (SELECT unnest(entries) FROM base_logseal)"
    return LogEntry.objects.extra(where=[sealed])  # noqa: S610, no values


def _seal(rows, last, head) -> int:
    """Write seals of these rows behind the last one."""
    number, previous = (last.number, bytes(last.digest)) if last else (0, b"")
    done, entries, digests = 0, [], []

    def close():
        nonlocal number, previous, done
        number += 1
        made = LogSeal(number=number, at=timezone.now(), entries=entries, digests=b"".join(digests), **head)
        made.digest = previous = _digest_of_seal(made, previous)
        made.save(force_insert=True)
        done += len(entries)

    # What was written before there were digests is sealed as it stands, once: with the first seals.
    first = last is None
    for *row, digest in rows.values_list(*SIGNED, "digest").iterator():
        if len(entries) == ROWS:
            close()
            entries, digests = [], []
        entries.append(row[0])
        digests.append(bytes(digest) if digest else digest_of(row) if first else _NEVER)
    if entries or head["era"] != (last and last.era):
        close()
    return done


@dataclass(frozen=True)
class Waiting:
    """Rows of the log that are in no seal yet: how many, the time of the oldest, and what holds them up.

    A row that is changed is found out all the same; one that is removed is not.
    """

    rows: int
    since: datetime | None
    cause: str

    @property
    def seconds(self) -> float:
        """How long the oldest has been waiting."""
        return max((timezone.now() - self.since).total_seconds(), 0) if self.since else 0

    @property
    def is_late(self) -> bool:
        """Whether that is longer than it should be."""
        return self.seconds > 60 * LATE.value()

    def __str__(self):
        minutes = f"{self.seconds / 60:,.0f} 分钟"
        return f"{self.rows:,} 条日志等待封存，最早一条已等待 {minutes}。{self.cause}"


def waiting() -> Waiting:
    """What has not been sealed yet."""
    with wall.beyond_scope(), connection.cursor() as cursor:
        last = LogSeal.objects.defer("entries", "digests").last()
        if last and last.era == _ask(cursor, "SELECT system_identifier FROM pg_control_system()"):
            rows = LogEntry.objects.filter(pk__gt=last.floor, transaction__gte=last.watermark)
        else:
            rows = _unsealed()
        told = rows.order_by().aggregate(rows=Count("pk"), since=Min("at"))
        return Waiting(**told, cause=_cause(cursor, told["since"]))


def _cause(cursor, since):
    cursor.execute("SELECT who, database, since FROM wall_oldest_transaction()")
    who, database, begun = cursor.fetchone()
    # What is older than the row had its number before it; what is younger is no reason to wait.
    if begun and since and begun <= since:
        minutes = f"{(timezone.now() - begun).total_seconds() / 60:,.0f} 分钟"
        return f"数据库“{database}”中进程 {who} 的事务已开始 {minutes}，它结束后才能封存。"
    return "每分钟封存一次；等待更久时，请检查后台任务进程是否在运行。"


# --- verifying --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Break:
    """One thing wrong with the chain. `entry` is the row's number, None where a seal is meant."""

    kind: str  # 改动 缺失 添加 封存 副本
    entry: int | None
    seal: int | None
    said: str


@dataclass
class Verdict:
    """What a verification has found: rows and seals looked at, rows not sealed yet, rows dropped, breaks."""

    rows: int = 0
    seals: int = 0
    unsealed: int = 0
    dropped: int = 0
    breaks: list[Break] = field(default_factory=list)
    in_all: int = 0  # breaks, of which only the first MOST are kept

    def note(self, kind, said, *, entry=None, seal=None):
        """Keep a break."""
        self.in_all += 1
        if len(self.breaks) < MOST:
            self.breaks.append(Break(kind, entry, seal, said))

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.in_all


def verify(report: Callable = lambda done, total: None) -> Verdict:
    """Seal what is settled, then check the whole log against its digests, seal by seal."""
    seal()
    verdict, previous, expected, last = Verdict(), b"", 1, None
    with wall.beyond_scope():
        upto = _dropped_upto(verdict)
        total = LogSeal.objects.count()
        for last in LogSeal.objects.order_by("number").iterator(chunk_size=20):
            if last.number != expected:
                missing = f"{expected}" + (f"—{last.number - 1}" if last.number - 1 > expected else "")
                verdict.note("封存", f"第 {missing} 号封存记录被删除", seal=expected)
            elif bytes(last.digest) != _digest_of_seal(last, previous):
                verdict.note("封存", f"第 {last.number} 号封存记录被改动", seal=last.number)
            previous, expected = bytes(last.digest), last.number + 1
            verdict.seals += 1
            if last.number <= upto:
                verdict.dropped += len(last.entries)
            else:
                _verify_rows(last, verdict)
            report(verdict.seals, total)
        _verify_unsealed(last, verdict)
    return verdict


def _dropped_upto(verdict) -> int:
    upto = 0
    for drop in LogDrop.objects.all():
        if bytes(drop.digest) == _digest_of_drop(drop):
            upto = max(upto, drop.upto)
        else:
            verdict.note("封存", f"{timezone.localtime(drop.at):%Y-%m-%d} 的清理记录是伪造的")
    return upto


def _verify_rows(seal, verdict):
    found = {
        row[0]: (row, at_hand)
        for *row, at_hand in LogEntry.objects.filter(pk__in=seal.entries).values_list(*SIGNED, "digest")
    }
    kept, about = bytes(seal.digests), defaultdict(list)
    for number, people in (
        LogPeople.objects.filter(entry__in=seal.entries).order_by("first").values_list("entry", "people")
    ):
        about[number] += people
    for place, number in enumerate(seal.entries):
        expected = kept[place * SIZE : (place + 1) * SIZE]
        if number not in found:
            verdict.note("缺失", f"第 {number} 号日志被删除", entry=number, seal=seal.number)
            continue
        row, at_hand = found[number]
        verdict.rows += 1
        if digest_of(row) != expected or (at_hand is not None and bytes(at_hand) != expected):
            kind, what = ("添加", "不是平台写入的") if expected == _NEVER else ("改动", "被改动")
            verdict.note(kind, f"第 {number} 号日志{what}", entry=number, seal=seal.number)
        told = row[SIGNED.index("detail")].get(ABOUT)
        if told and told != digest_of_people(np.array(about[number], dtype=np.int64)):
            verdict.note("改动", f"第 {number} 号日志所涉及的人员被改动", entry=number, seal=seal.number)


def _verify_unsealed(last, verdict):
    """Rows in no seal: those just written, if they are genuine."""
    for *row, transaction_of, digest in _unsealed().values_list(*SIGNED, "transaction", "digest").iterator():
        verdict.rows += 1
        late = last and (row[0] <= last.floor or transaction_of < last.watermark)
        if late or digest is None or bytes(digest) != digest_of(row):
            verdict.note("添加", f"第 {row[0]} 号日志不是平台写入的", entry=row[0])
        else:
            verdict.unsealed += 1


# --- keeping ----------------------------------------------------------------------------------------------


@transaction.atomic
def drop_old() -> int:
    """Delete the rows of some seals older than the parameter says; the seals stay. How many rows went."""
    before = timezone.now() - timedelta(days=KEEP.value())
    done = 0
    with wall.beyond_scope(), connection.cursor() as cursor:
        last = LogDrop.objects.last()
        old = LogSeal.objects.filter(at__lt=before, number__gt=last.upto if last else 0).order_by("number")
        for number in old.values_list("number", flat=True)[:DROPPED]:
            done += _ask(cursor, "SELECT base_drop_log(%s)", [number])
            drop = LogDrop(upto=number, at=timezone.now())
            drop.digest = _digest_of_drop(drop)
            drop.save(force_insert=True)
    return done
