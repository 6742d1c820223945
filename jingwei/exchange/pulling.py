"""One pull of a feed: the rows of its source from the mark on, stored as by an import (P-8.4, KP-8.2).

The position moves in the transaction of the rows it stands for: a pull that is killed goes on behind them.
Each pull begins a little before the position, because what was begun there may have been committed late;
what comes again is known by its key.
"""

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

import polars as pl
from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, OperationalError, connection, transaction
from django.utils import timezone

from jingwei.base import audit, loading
from jingwei.base.access import platform_actor
from jingwei.base.models import Load
from jingwei.base.reading import ROW
from jingwei.base.sheets import MESSAGES, Sheet, no_messages
from jingwei.desk import jobs
from jingwei.exchange.models import FrontFeed
from jingwei.exchange.queries import due_feeds, label_of, pulled_sheets
from jingwei.exchange.sources import MOST_COUNTED, TIME, Reader, Unavailable, kind_of, opened, value_of

PULLER = platform_actor("前置库取数")
MOST_PROBLEMS = 100  # kept with a feed
MOST_LEFT_OUT = 20  # rows of a batch; where the database takes more of them amiss, the fault is not theirs
_PULLING = 0x46726F  # first half of the keys of advisory locks: one process at a time pulls a feed
_COUNTED = ("added", "changed", "unchanged", "same")


class Superseded(ValidationError):
    """Somebody has changed the feed; the pull ends between two batches."""


def pull(feed: FrontFeed, report: Callable[[int, int], None] = lambda done, total: None) -> str:
    """Pull what has come since the last time; what came of it in a sentence.

    Unavailable when the source fails: what it gave until then stays, the next pull goes on behind it.
    ValidationError when the feed is off or being pulled already.
    """
    with _alone(feed) as free:
        if not free:
            raise ValidationError(f"“{label_of(feed.sheet)}”正在取数，不必再次开始")
        feed = FrontFeed.objects.select_related("source").get(pk=feed.pk)
        if not feed.enabled:
            raise ValidationError(f"“{label_of(feed.sheet)}”的前置库取数没有启用")
        _update(feed, begun_at=timezone.now())
        run = Run(feed, report)
        try:
            run.go()
        except (jobs.Interrupted, OperationalError):
            raise  # the next pull goes on with the load that is open
        except (Superseded, jobs.Cancelled):
            run.settle()
            raise
        except Exception as trouble:
            run.settle()
            known = isinstance(trouble, ValidationError)
            _fails(feed, trouble.messages[0] if known else "取数时出现意外错误，详情见错误日志")
            raise
        run.settle()
        _works(feed)
        return run.outcome


def pull_due(report: Callable[[int, int], None]) -> str:
    """Pull every feed whose turn it is; a source that fails does not hold up the others."""
    said = []
    for feed in due_feeds():
        try:
            came = pull(feed, report)
        except ValidationError as trouble:
            came = trouble.messages[0]
        said.append(f"{label_of(feed.sheet)}：{came}")
    return "；".join(said) or "没有到时间的取数"


@contextmanager
def _alone(feed):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [_PULLING, feed.pk])
        [free] = cursor.fetchone()
        try:
            yield free
        finally:
            # A pooled connection lives on, and so would its lock.
            if free and connection.connection and not connection.connection.closed:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [_PULLING, feed.pk])


def _update(feed, **values):
    FrontFeed.objects.filter(pk=feed.pk).update(**values)


@transaction.atomic
def _fails(feed, reason):
    """Note that the feed fails; the log hears of it once."""
    stored = FrontFeed.objects.select_for_update().get(pk=feed.pk)
    if not stored.error:
        audit.record(PULLER, "取数中断", feed, resource="front-feeds", result="失败", reason=reason)
    _update(feed, error=reason[:300], failing_since=stored.failing_since or timezone.now())


@transaction.atomic
def _works(feed):
    stored = FrontFeed.objects.select_for_update().get(pk=feed.pk)
    if stored.error:
        audit.record(PULLER, "取数恢复", feed, resource="front-feeds")
        _update(feed, error="", failing_since=None)


def known_columns(reader: Reader, feed: FrontFeed) -> dict[str, str]:
    """{name in the source: its kind} of the columns of the feed, or Unavailable: one is gone, or no mark."""
    there = reader.columns(feed.table)
    wanted = list(dict.fromkeys([*feed.columns.values(), feed.mark]))
    if gone := [name for name in wanted if name not in there]:
        raise Unavailable(
            f"“{feed.table}”里没有列“{'、'.join(gone)}”，对方可能改了表结构；请在“列对应”中重新指定"
        )
    kind = there[feed.mark].kind
    if not kind:
        raise Unavailable(f"水位列“{feed.mark}”应为整数或时间类型；请在“列对应”中另选一列")
    if feed.position and kind_of(feed.position) != kind:
        raise Unavailable(
            f"水位列“{feed.mark}”现在是{kind}，与原来的水位“{feed.position}”不能比较；请核对后从头重取"
        )
    return {name: there[name].kind for name in wanted}


class Run:
    """A pull at work. `outcome` says what came of it."""

    def __init__(self, feed: FrontFeed, report):
        self.feed, self.report = feed, report
        self.sheet: Sheet = pulled_sheets()[feed.sheet]
        self.counts = dict.fromkeys(("read", *_COUNTED, "refused"), 0)
        self.outcome = ""

    def go(self):
        feed, begun = self.feed, timezone.now()
        with opened(feed.source) as reader:
            kinds = known_columns(reader, feed)
            self.kinds = {ours: kinds[theirs] for ours, theirs in feed.columns.items()}
            # A clock that is wrong somewhere must not carry the position beyond the rows still to come.
            self.latest = value_of(reader.now()) if kinds[feed.mark] == TIME else None
            since = _before(feed.position, feed.overlap)
            total = reader.waiting(feed.table, feed.mark, since)
            for batch in reader.rows(feed.table, list(feed.columns.values()), feed.mark, since):
                read = self.counts["read"] + len(batch)
                self.take(batch, waiting=max(total - read, 0) if total < MOST_COUNTED else total)
                self.report(read, max(total, read))
        counts = self.counts
        self.outcome = f"读到 {counts['read']:,} 行：新增 {counts['added']:,}，修改 {counts['changed']:,}"
        if counts["refused"]:
            self.outcome += f"，拒绝 {counts['refused']:,}"
        if since and not total:
            self.outcome += f"。表里没有“{since}”以后的行：如对方清空过表或重排过编号，请从头重取"
        _update(feed, complete_at=begun, waiting=0, outcome=self.outcome[:200])

    @transaction.atomic
    def take(self, batch, *, waiting):
        """Store a batch and move the position behind it, both or neither."""
        feed = FrontFeed.objects.select_for_update().get(pk=self.feed.pk)
        if feed.version != self.feed.version:
            raise Superseded("取数的设置已改变，这次取数到此为止；下一次按新的设置取")
        first = self.counts["read"] + 1
        *cells, marks = zip(*batch, strict=True)
        raw = as_frame(dict(zip(feed.columns, cells, strict=True)), self.kinds, first)
        load, counts = self._store(feed, raw)
        refused, warnings = counts["refused"], counts["warnings"]
        counts |= {"read": len(batch), "refused": refused[ROW].n_unique()}
        for name in self.counts:
            self.counts[name] += counts[name]
        values = {"waiting": waiting, "load": load, "stored": feed.stored + counts["added"]}
        values["position"] = _furthest(feed.position, marks, self.latest)
        values["problems"] = self._problems(feed, raw, marks, {"拒绝": refused, "提醒": warnings})
        _update(feed, **values)

    def _store(self, feed, raw):
        """The load that is open and what came of the rows; a load is kept where there is something in it."""
        load = feed.load if feed.load and feed.load.state == Load.RUNNING else None
        begun = load or Load.objects.create(
            sheet=feed.sheet,
            resource=self.sheet.resource,
            file_name=f"前置库 {feed}"[:200],
            today=timezone.localdate(),
            counts=dict.fromkeys(_COUNTED, 0),
        )
        counts = _taken(self.sheet, begun, raw, left_out=[])
        if load is None and not counts["added"] + counts["changed"]:
            begun.delete()
            return feed.load, counts
        begun.counts |= {name: begun.counts[name] + counts[name] for name in _COUNTED}
        begun.save(update_fields=["counts"])
        return begun, counts

    def _problems(self, feed, raw, marks, messages):
        """The problems kept with the feed, with those of these rows; the same one stands there once."""
        key = next(column.name for column in self.sheet.columns if column.required)
        first, at = raw[ROW][0], f"{timezone.localtime():%Y-%m-%d %H:%M}"
        found = [
            {
                "kind": kind,
                "mark": marks[row - first] or "",
                "row": (raw[key][row - first] or "")[:60] if key in raw.columns else "",
                "column": self.sheet.column(name).heading,
                "reason": reason,
            }
            for kind, frame in messages.items()
            for row, name, reason in frame.head(MOST_PROBLEMS).iter_rows()
        ]
        kept = [{name: text for name, text in problem.items() if name != "at"} for problem in feed.problems]
        new = [problem | {"at": at} for problem in found if problem not in kept]
        return [*new, *feed.problems][:MOST_PROBLEMS]

    def settle(self):
        """Close the load that is open, and let follow what follows from its rows."""
        load = Load.objects.filter(
            pk=FrontFeed.objects.get(pk=self.feed.pk).load_id, state=Load.RUNNING
        ).first()
        if load:
            loading.close(PULLER, load, Load.DONE, load.counts)
            self.sheet.after_load(load.counts["added"] + load.counts["changed"])


def as_frame(cells: dict[str, Sequence[str | None]], kinds: dict[str, str], first: int) -> pl.DataFrame:
    """Columns of a source as a reader of files gives them; the rows are numbered from `first`.

    Times are cut to the second, as the same rows have them in a workbook.
    """
    columns = {
        name: [text and text[:19] for text in texts] if kinds[name] == TIME else list(texts)
        for name, texts in cells.items()
    }
    numbers = range(first, first + max(map(len, columns.values())))
    return pl.DataFrame(
        {ROW: numbers, **columns}, schema={ROW: pl.Int64, **dict.fromkeys(columns, pl.String)}
    )


def _taken(sheet, load, raw, left_out) -> dict:
    """Store rows; where the database refuses them, by halves, so that a bad one is left out alone."""
    try:
        return loading.take_rows(PULLER, sheet, load, raw)
    except (DataError, IntegrityError, ValidationError) as refusal:
        if len(raw) > 1:
            half = len(raw) // 2
            one, other = (_taken(sheet, load, part, left_out) for part in (raw[:half], raw[half:]))
            both = {name: one[name] + other[name] for name in _COUNTED}
            return both | {name: pl.concat([one[name], other[name]]) for name in ("refused", "warnings")}
        left_out.append(raw[ROW][0])
        if len(left_out) > MOST_LEFT_OUT:
            raise
        said = refusal.messages[0] if isinstance(refusal, ValidationError) else "数据库不接受这一行的内容"
        key = next(column.name for column in sheet.columns if column.required)
        refused = pl.DataFrame([(raw[ROW][0], key, said)], MESSAGES, orient="row")
        return dict.fromkeys(_COUNTED, 0) | {"refused": refused, "warnings": no_messages()}


def _before(position: str, overlap: int) -> str:
    """The mark so much before a position; "" before the first one."""
    value = value_of(position)
    if value is None:
        return ""
    if isinstance(value, int):
        return _text(value - overlap)
    return _text(value - min(timedelta(seconds=overlap), value - datetime.min))


def _furthest(position: str, marks, latest) -> str:
    """The position behind rows of these marks, which never goes back, nor beyond `latest`."""
    values = [value for value in map(value_of, marks) if value is not None]
    if not values:
        return position
    furthest = max(values) if latest is None else min(max(values), latest)
    before = value_of(position)
    return position if before is not None and before >= furthest else _text(furthest)


def _text(value):
    return str(value) if isinstance(value, int) else value.isoformat(sep=" ")
