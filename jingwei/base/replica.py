"""Reads that may be some seconds old go to a streaming replica, where there is one (P-10.2).

`with replica.reads(): ...` around such a read is all it takes. A replica that does not answer, or is further
behind than the parameter allows, is left out at once; the database itself then answers in its stead. Whatever
is written, and whatever else is read, goes to the database.
"""

import logging
import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps

from django.db import DEFAULT_DB_ALIAS, Error, OperationalError, connection, connections

from jingwei.base.parameters import Parameter

logger = logging.getLogger(__name__)

ALIAS = "replica"
LAG = Parameter(
    "replica.lag",
    "只读副本最大延迟",
    10,
    "统计页面从只读副本读取；副本落后超过这个时间就改读主库，直到它赶上",
    "秒",
    low=1,
    high=3600,
)
PARAMETERS = [LAG]
LOOK_SECONDS = 1  # between two looks at a replica that works
AGAIN_SECONDS = 15  # before one that failed is looked at again
PATIENCE = 3  # seconds that a read waits for a replica to reach the present

_reading = ContextVar("reading from the replica", default=False)


class Router:
    """Django's question where to read and write: the replica is read only inside `reads`."""

    def db_for_read(self, model, **hints):
        return ALIAS if _reading.get() else DEFAULT_DB_ALIAS

    def db_for_write(self, model, **hints):
        return DEFAULT_DB_ALIAS

    def allow_relation(self, one, other, **hints):
        return True

    def allow_migrate(self, db, app_label, **hints):
        return db == DEFAULT_DB_ALIAS


@dataclass
class _Seen:
    """What this process knows of the replica; moments are monotonic seconds."""

    looked: float = 0.0
    wait: float = 0.0  # before the next look
    fresh: float | None = None  # it has all that was written until then
    sent: tuple[float, int] | None = None  # a place in the log, written by then, that it has yet to reach
    problem: str = "尚未检查"


_seen = _Seen()
_look = threading.Lock()


def is_configured() -> bool:
    """Whether there is to be a replica."""
    return ALIAS in connections.settings


def lag() -> float | None:
    """Seconds that the replica is behind at most; None while it is not known to work (see `problem`)."""
    # Who comes while another thread looks goes by what was seen before.
    if time.monotonic() - _seen.looked >= _seen.wait and _look.acquire(blocking=False):
        try:
            _observe()
        finally:
            _look.release()
    return None if _seen.problem or _seen.fresh is None else time.monotonic() - _seen.fresh


def problem() -> str:
    """Why reads go to the database instead, in words; "" if the replica is used."""
    behind = lag()
    if behind is None:
        return _seen.problem or "副本尚未赶上主库"
    return f"副本落后 {behind:.0f} 秒" if behind > LAG.value() else ""


def _observe():
    """Have the replica show what it has reached of the database's log."""
    now = time.monotonic()
    try:
        written = _written()
        replayed = _replayed()
    except Error as error:
        logger.warning("the replica does not answer: %s", error)
        leave_out(error)
        return
    _seen.looked, _seen.wait, _seen.problem = now, LOOK_SECONDS, ""
    if replayed is None:
        _seen.problem, _seen.wait = "JINGWEI_REPLICA_URL 不是只读副本", AGAIN_SECONDS
    elif replayed >= written:
        _seen.fresh, _seen.sent = now, None
    elif _seen.sent and replayed >= _seen.sent[1]:
        _seen.fresh, _seen.sent = _seen.sent[0], (now, written)
    elif _seen.sent is None:
        _seen.sent = (now, written)


def _written() -> int:
    """How far the database has written its log, in bytes."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint")
        return cursor.fetchone()[0]


def _replayed() -> int | None:
    """How far the replica has followed the log, in bytes; None for a server that follows nobody."""
    with connections[ALIAS].cursor() as cursor:
        cursor.execute(
            "SELECT pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint WHERE pg_is_in_recovery()"
        )
        row = cursor.fetchone()
    return row and row[0]


def leave_out(error: Error):
    """Read from the database for a while: the replica has failed."""
    if not _seen.problem:
        logger.warning("the replica is left out: %s", type(error).__name__)
    _seen.looked, _seen.wait = time.monotonic(), AGAIN_SECONDS
    _seen.problem, _seen.fresh, _seen.sent = "副本没有应答", None, None


@contextmanager
def reads(*, of_now=False):
    """Inside, the ORM reads from the replica if it is near enough; gives whether it does.

    With `of_now` it must have all that the database had when the block began. A failure of the replica leaves
    it out and leaves the block as OperationalError: who is called again finds the database.
    """
    if not is_configured() or problem() or (of_now and not _has_reached(_written())):
        yield False
        return
    token = _reading.set(True)
    try:
        yield True
    except OperationalError as error:
        leave_out(error)
        raise
    finally:
        _reading.reset(token)
        connections[ALIAS].close()


def _has_reached(place) -> bool:
    deadline = time.monotonic() + PATIENCE
    try:
        while (_replayed() or 0) < place:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
    except Error as error:
        leave_out(error)
        return False
    return True


def tolerating_lag(view):
    """A view, only reading, that the replica answers; if that fails half-way, the database does."""

    @wraps(view)
    def answer(request, *args, **kwargs):
        on_replica = False
        try:
            with reads() as on_replica:
                return view(request, *args, **kwargs)
        except OperationalError:
            if not on_replica:
                raise
            return view(request, *args, **kwargs)

    return answer
