# ruff: noqa: S608
"""Days unlike a venue's own weekdays, and the thresholds that would let its usual days pass (KP-9.2).

A day is held against the same weekday of the weeks before it. What is usual there is their median; how far
days usually stray from it is their median absolute deviation, which a few wild days do not move. A day
without scans counts as zero, but for the days before the venue's first scan and those on which nobody was
scanned anywhere: their scans have not come. With fewer than `LEAST` days to go by nothing is said.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
from django.core.exceptions import PermissionDenied
from django.db import connection, transaction
from django.db.models import Min
from django.utils import timezone

from jingwei.base.copying import copy_into
from jingwei.base.parameters import Parameter
from jingwei.places.actions import set_threshold
from jingwei.places.models import Venue, VenueDay
from jingwei.scans.models import Analysis, SuggestedThreshold, UnusualDay

WEEKS = Parameter(
    "scans.usual_weeks", "平常扫码量参考周数", 8, "与之前多少周的同一星期几比较", "周", low=4, high=26
)
TIMES = Parameter(
    "scans.usual_times",
    "正常波动倍数",
    4,
    "偏离平常扫码量超过平时波动的多少倍算异常日；倍数越小，异常日越多",
    "倍",
    low=2,
    high=20,
)
PARAMETERS = [WEEKS, TIMES]

LISTED = 28  # days up to the analysis that are looked at
LEAST = 4  # days to go by
WEEK, SATURDAY = 7, 5
# Times this, the median absolute deviation of normally distributed numbers is their standard deviation.
NORMAL = 1.4826
MARGIN = 0.05  # by which suggested thresholds lie beyond what is usual


# --- what is usual ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Usual:
    """What is usual, arrays of one shape: median, spread, the bounds, which are usual still. NaN: unknown."""

    median: np.ndarray
    spread: np.ndarray
    low: np.ndarray
    high: np.ndarray


def median(values: np.ndarray) -> np.ndarray:
    """The median along the last axis, leaving NaN out; NaN where there are fewer than `LEAST` numbers."""
    ordered = np.sort(values, axis=-1)  # NaN come last
    number = np.count_nonzero(~np.isnan(values), axis=-1)[..., None]
    below, above = (
        np.take_along_axis(ordered, np.maximum(place, 0), axis=-1)
        for place in ((number - 1) // 2, number // 2)
    )
    return np.where(number < LEAST, np.nan, (below + above) / 2)[..., 0]


def usual_of(history: np.ndarray, times: float) -> Usual:
    """What is usual by `history`, counts of shape (…, weeks) with NaN where nothing is known.

    Counts stray at least as far as chance alone takes them: the root of the median, and one scan.
    """
    middle = median(history)
    strayed = median(np.abs(history - middle[..., None]))
    spread = np.maximum(np.maximum(NORMAL * strayed, np.sqrt(middle)), 1)
    low, high = np.ceil(middle - times * spread), np.floor(middle + times * spread)
    return Usual(middle, spread, np.maximum(low, 0), high)


def same_weekdays_before(counts: np.ndarray, days: int, weeks: int) -> np.ndarray:
    """(venues, days, weeks): for each of the last `days` of `counts` the same weekday of the weeks before.

    `counts` (venues, days) has at least `days` and as many weeks before them.
    """
    begin = counts.shape[1] - days
    parts = [counts[:, begin - WEEK * week : begin - WEEK * week + days] for week in range(1, weeks + 1)]
    return np.stack(parts, axis=-1)


def by_weekday(counts: np.ndarray, weeks: int) -> np.ndarray:
    """(venues, 7, weeks): the last weeks of `counts`, the weekdays in the order in which they came."""
    last = counts[:, -WEEK * weeks :]
    return last.reshape(len(counts), weeks, WEEK).swapaxes(1, 2)


# --- the counters -----------------------------------------------------------------------------------------

# The days of a venue and their counts in one row, packed as numbers of two and four bytes: reading millions
# of rows one by one takes longer than all the rest.
COUNTS = """
SELECT venue_code, count(*), string_agg(int2send((day - %(first)s)::int2) || int4send(count), '')
FROM places_venueday WHERE day BETWEEN %(first)s AND %(last)s GROUP BY venue_code
"""
PACKED = np.dtype([("day", ">i2"), ("count", ">i4")])
# Venues that had scans before the days that are read.
OLDER = "SELECT DISTINCT venue_code FROM places_venuemonth WHERE month < %(first)s AND count > 0"


def read_counts(first: date, last: date) -> tuple[pl.Series, np.ndarray]:
    """Codes of venues, and what they had on the days (codes, days) as float, NaN where nothing is known.

    `first` is the first day of a month.
    """
    told, days = {"first": first, "last": last}, (last - first).days + 1
    with connection.cursor() as cursor:
        cursor.execute(COUNTS, told)
        venues = cursor.fetchall()
        cursor.execute(OLDER, told)
        had_scans = {code for (code,) in cursor.fetchall()}
    codes = pl.Series([code for code, _, _ in venues], dtype=pl.String)
    numbers = np.frombuffer(b"".join(packed for _, _, packed in venues), dtype=PACKED)
    place = np.repeat(np.arange(len(venues)), [number for _, number, _ in venues])
    counts = np.zeros((len(venues), days), dtype=np.float32)
    counts[place, numbers["day"]] = numbers["count"]
    older = np.array([code in had_scans for code in codes], dtype=bool)
    begun = older[:, None] | np.logical_or.accumulate(counts > 0, axis=1)
    silent = ~(counts > 0).any(axis=0)
    counts[~begun | silent] = np.nan
    return codes, counts


# --- the analysis of a night ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """How many unusual days there are, and venues with a suggested threshold."""

    days: int
    suggestions: int

    def __str__(self):
        return f"近 {LISTED} 天异常日 {self.days} 个，建议阈值 {self.suggestions} 个"


@transaction.atomic
def analyse(through: date) -> Outcome:
    """Find the unusual days up to `through`, and suggest thresholds. Twice is the same as once."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('scans_unusualday'))")
    weeks, times = WEEKS.value(), TIMES.value()
    first = (through - timedelta(days=LISTED + WEEK * weeks - 1)).replace(day=1)
    codes, counts = read_counts(first, through)
    venues = dict(Venue.objects.filter(archived=False).values_list("code", "pk"))
    silent = [first + timedelta(days=int(day)) for day in np.flatnonzero(np.isnan(counts).all(axis=0))]
    known = codes.is_in(list(venues)).to_numpy()
    ids = codes.filter(known).replace_strict(venues, return_dtype=pl.Int64).to_numpy()
    days = _keep(UnusualDay, ["venue_id", "day"], unusual_days(ids, counts[known], through, weeks, times))
    suggested = _keep(
        SuggestedThreshold, ["venue_id"], suggestions(ids, counts[known], through, weeks, times)
    )
    Analysis.objects.update_or_create(
        pk=1, defaults={"at": timezone.now(), "through": through, "silent": silent}
    )
    return Outcome(days, suggested)


def unusual_days(ids, counts, through, weeks, times) -> pl.DataFrame:
    """The unusual ones of the last `LISTED` days as rows of UnusualDay; `ids` are those of the venues."""
    last = counts[:, -LISTED:]
    usual = usual_of(same_weekdays_before(counts, LISTED, weeks), times)
    places = np.nonzero((last < usual.low) | (last > usual.high))
    begin = through - timedelta(days=LISTED - 1)
    found = pl.DataFrame(
        {
            "venue_id": ids[places[0]],
            "day": pl.Series(places[1], dtype=pl.Int64),
            "count": last[places].astype(np.int64),
            "usual": usual.median[places].astype(np.float64),
            "low": usual.low[places].astype(np.int64),
            "high": usual.high[places].astype(np.int64),
            "deviation": (np.abs(last - usual.median) / usual.spread)[places].astype(np.float64).round(1),
        }
    )
    fewer = pl.when(pl.col("count") < pl.col("low"))
    return found.with_columns(
        day=pl.lit(begin) + pl.duration(days="day"),
        direction=fewer.then(pl.lit(UnusualDay.FEWER)).otherwise(pl.lit(UnusualDay.MORE)),
    )


def suggestions(ids, counts, through, weeks, times) -> pl.DataFrame:
    """Rows of SuggestedThreshold for the venues of which enough is known and that had scans at all.

    How far days stray is taken from all working days together, and from both days of the weekend, each from
    the median of its own weekday: a threshold is one for all days.
    """
    history = by_weekday(counts, weeks)
    middles = median(history)
    weekdays = np.array([(through + timedelta(days=day + 1)).weekday() for day in range(WEEK)])
    usual = [
        _usual_of_group(history[:, chosen], middles[:, chosen], times)
        for chosen in (weekdays < SATURDAY, weekdays >= SATURDAY)
    ]
    low, high = np.fmin(usual[0].low, usual[1].low), np.fmax(usual[0].high, usual[1].high)
    some = np.flatnonzero((middles > 0).any(axis=1))
    groups = [zip(*(bound[some].tolist() for bound in (u.median, u.low, u.high)), strict=True) for u in usual]
    rows = []
    for venue, lowest, highest, *said in zip(ids[some], low[some], high[some], *groups, strict=True):
        low, high = _rounded((1 - MARGIN) * lowest, np.floor), _rounded((1 + MARGIN) * highest, np.ceil)
        days = [
            f"{name}中位数 {middle:g}，正常波动 {least:.0f}–{most:.0f}"
            for name, (middle, least, most) in zip(("工作日", "周末"), said, strict=True)
            if most == most  # not NaN
        ]
        suggested = f"建议最小 {low}、最大 {high}" if low else f"建议不设最小值、最大 {high}"
        rows.append((int(venue), low or None, high, f"近{weeks}周{'；'.join(days)}，{suggested}"))
    schema = {"venue_id": pl.Int64, "low": pl.Int64, "high": pl.Int64, "reason": pl.String}
    return pl.DataFrame(rows, schema, orient="row")


def _usual_of_group(history, middles, times) -> Usual:
    """What is usual on some weekdays together: `history` (venues, weekdays, weeks), `middles` its medians."""
    strayed = np.abs(history - middles[..., None])
    middle, stray = (median(values.reshape(len(values), -1)) for values in (history, strayed))
    spread = np.maximum(np.maximum(NORMAL * stray, np.sqrt(middle)), 1)
    low = np.ceil(np.fmin.reduce(middles, axis=1) - times * spread)
    high = np.floor(np.fmax.reduce(middles, axis=1) + times * spread)
    return Usual(middle, spread, np.maximum(low, 0), high)


def _rounded(number: float, outward) -> int:
    """`number` with two figures that count, rounded by `outward`."""
    step = 10 ** max(0, len(str(int(number))) - 2)
    return int(outward(number / step) * step)


def _keep(model, key, rows: pl.DataFrame) -> int:
    """Have the table hold just these rows; one that is there already keeps its id. How many there are."""
    table, columns = model._meta.db_table, ", ".join(rows.columns)
    same = " AND ".join(f"kept.{name} = analysed.{name}" for name in key)
    others = [name for name in rows.columns if name not in key]
    changes = ", ".join(f"{name} = excluded.{name}" for name in others)
    kept, new = (", ".join(f"{of}.{name}" for name in others) for of in ("kept", "excluded"))
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMP TABLE analysed ON COMMIT DROP AS SELECT {columns} FROM {table} LIMIT 0")
        copy_into("analysed", rows)
        cursor.execute(f"DELETE FROM {table} AS kept WHERE NOT EXISTS (SELECT FROM analysed WHERE {same})")
        cursor.execute(
            f"INSERT INTO {table} AS kept ({columns}) SELECT {columns} FROM analysed "
            f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes} WHERE ({kept}) IS DISTINCT FROM ({new})"
        )
        cursor.execute("DROP TABLE analysed")
    return len(rows)


@transaction.atomic
def adopt_threshold(actor, suggestion):
    """Hold the venue to what is suggested, just as if its regulator had entered it (KP-2.1)."""
    if not Venue.objects.visible_to(actor, "thresholds.change").filter(pk=suggestion.venue_id).exists():
        raise PermissionDenied("您没有设置该场所阈值的权限")
    set_threshold(actor, suggestion.venue, low=suggestion.low, high=suggestion.high)


# --- one venue --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class UsualDay:
    """A day of a venue beside what is usual on it; None: not known, and a count of which nothing came."""

    day: date
    count: int | None
    low: int | None
    high: int | None

    @property
    def reason(self) -> str:
        """Which side the count strays to, "" for neither."""
        if self.count is None or self.low is None:
            return ""
        if self.count < self.low:
            return UnusualDay.FEWER
        return UnusualDay.MORE if self.count > self.high else ""


def usual_days_of(venue, days: int = LISTED) -> list[UsualDay]:
    """The days of a venue up to the last analysis, each with what was usual; none before the first one."""
    analysis = Analysis.objects.first()
    if analysis is None:
        return []
    weeks = WEEKS.value()
    first = analysis.through - timedelta(days=days + WEEK * weeks - 1)
    rows = VenueDay.objects.filter(venue_code=venue.code)
    begun = rows.filter(count__gt=0).aggregate(day=Min("day"))["day"]
    counted = dict(rows.filter(day__range=(first, analysis.through)).values_list("day", "count"))
    all_days = [first + timedelta(days=n) for n in range(days + WEEK * weeks)]
    unknown = set(analysis.silent)
    counts = np.array(
        [
            [
                np.nan if day in unknown or begun is None or day < begun else counted.get(day, 0)
                for day in all_days
            ]
        ]
    )
    usual = usual_of(same_weekdays_before(counts, days, weeks), TIMES.value())
    shown = zip(all_days[-days:], counts[0, -days:], usual.low[0], usual.high[0], strict=True)
    return [UsualDay(day, *(None if np.isnan(n) else int(n) for n in numbers)) for day, *numbers in shown]
