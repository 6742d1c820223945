"""Dates and times in the writings that spreadsheets and people use (CL-6.2).

ISO, ``2022.3.1``, ``2022/3/1``, ``2022年3月1日``, ``20220301``, Excel serial numbers of the 1900 system, and
all of them with a time. Years have four digits, 1900–2099.
"""

from datetime import date, datetime

import numpy as np
import polars as pl

from jingwei.kit.column import Cleaned
from jingwei.kit.text import tidy

# [0-9], not \d, which takes the digits of every script.
_DAY = (
    r"((?:19|20)[0-9]{2})"
    r"(?:\s*[-./年]\s*([0-9]{1,2})\s*[-./月]\s*([0-9]{1,2})\s*[日号]?|([0-9]{2})([0-9]{2}))"
)
_HALF = r"(上午|下午|[AaPp][Mm])?"
_CLOCK = (
    r"([0-9]{1,2})\s*"
    r"(?:[时点]整?|[:时点]\s*([0-9]{1,2})(?:\s*[:分]\s*([0-9]{1,2})(?:\.([0-9]{1,9}))?)?\s*[分秒]?)"
)
_COMPACT = r"([0-9]{2})([0-9]{2})([0-9]{2})?"
_ZONE = r"(Z|[+-][0-9]{2}:?[0-9]{2})?"
_WRITTEN = rf"^{_DAY}(?:[\sT]*{_HALF}\s*(?:{_CLOCK}|{_COMPACT})\s*([AaPp][Mm])?\s*{_ZONE})?$"
_PARTS = [
    *["year", "month", "day", "month_2", "day_2", "half"],
    *["hour", "minute", "second", "fraction", "hour_2", "minute_2", "second_2", "half_2", "zone"],
]
# Five digits before the point: 1927-05-18 to 2099-12-31 (73050). A shorter number is a year or a mistake.
_SERIAL = r"^[0-9]{5}(\.[0-9]+)?$"
_LAST_SERIAL = 73_050
_EPOCH_SERIAL = 25_569  # 1970-01-01


def civil_days(year: np.ndarray, month: np.ndarray, day: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Days as datetime64[D], and whether the calendar has such a day. Integer arrays of one shape go in."""
    real_month = (month >= 1) & (month <= 12)
    first = ((year - 1970) * 12 + np.where(real_month, month, 1) - 1).astype("M8[M]")
    length = ((first + 1).astype("M8[D]") - first.astype("M8[D]")).astype(np.int64)
    valid = real_month & (day >= 1) & (day <= length)
    return first.astype("M8[D]") + np.where(valid, day - 1, 0), valid


def clean_dates(raw: pl.Series, today: date, allow_future: bool = False) -> Cleaned:
    """A column of dates → pl.Date; a time of day beside the date is dropped. Rule: ``trim/width``."""
    tidied = tidy(raw)
    moments, readable, possible = _read(tidied.values)
    return _judge(
        tidied,
        moments.cast(pl.Date),
        readable,
        possible,
        "无法识别的日期，请写成 2022-03-01 的样子，年份写四位",
        None if allow_future else (today, f"日期晚于今天（{today:%Y-%m-%d}），请核对"),
    )


def clean_times(raw: pl.Series, now: datetime, allow_future: bool = False) -> Cleaned:
    """A column of times → naive pl.Datetime("us"), wall time of Asia/Shanghai like `now`.

    A date alone is its midnight; a time with a zone is carried over to China's. Excel serials, whose
    fractions of a day never hit a second exactly, are rounded to the second. Rule: ``trim/width``.
    """
    tidied = tidy(raw)
    moments, readable, possible = _read(tidied.values)
    return _judge(
        tidied,
        moments,
        readable,
        possible,
        "无法识别的时间，请写成 2022-03-01 09:30 的样子，年份写四位",
        None if allow_future else (now, f"时间晚于现在（{now:%Y-%m-%d %H:%M}），请核对"),
    )


def _judge(tidied, values, readable, possible, unreadable, bound):
    frame = pl.DataFrame(
        {"value": values, "readable": readable, "possible": possible, "given": tidied.values}
    )
    value = pl.col("value")
    error = (
        pl.when(pl.col("given").is_null())
        .then(None)
        .when(~pl.col("readable"))
        .then(pl.lit(unreadable))
        .when(~pl.col("possible"))
        .then(pl.lit("日历上没有这一天或这个时刻，请核对"))
    )
    if bound:
        error = error.when(value > bound[0]).then(pl.lit(bound[1]))
    frame = frame.select(value, error=error.otherwise(None).cast(pl.String))
    fine = frame["error"].is_null()
    return Cleaned(
        values=frame.select(pl.when(pl.col("error").is_null()).then(value)).to_series(),
        errors=frame["error"],
        rules={name: applied & fine for name, applied in tidied.rules.items()},
    )


def _read(texts):
    """Moments (Datetime "us" or null); is it written like a date; has the calendar such a day."""

    def number(*names):
        return pl.coalesce(*names).cast(pl.Int64).fill_null(0)

    half = pl.coalesce("half", "half_2").str.to_lowercase()
    parts = (
        texts.str.extract_groups(_WRITTEN)
        .struct.rename_fields(_PARTS)
        .struct.unnest()
        .select(
            number("year"),
            number("month", "month_2"),
            number("day", "day_2"),
            number("hour", "hour_2"),
            number("minute", "minute_2"),
            number("second", "second_2"),
            micro=number(pl.col("fraction").str.pad_end(6, "0").str.head(6)),
            morning=half.is_in(["上午", "am"]).fill_null(False),
            afternoon=half.is_in(["下午", "pm"]).fill_null(False),
            shift=_minutes_to_china(pl.col("zone")),
        )
    )
    hour = (
        pl.when(pl.col("afternoon") & (pl.col("hour") < 12))
        .then(pl.col("hour") + 12)
        .when(pl.col("morning") & (pl.col("hour") == 12))
        .then(0)
        .otherwise(pl.col("hour"))
    )
    days, on_calendar = civil_days(*(parts[name].to_numpy() for name in ("year", "month", "day")))
    frame = (
        parts.with_columns(hour, texts.alias("text"), day=pl.Series(days), on_calendar=pl.Series(on_calendar))
        .with_columns(
            written=pl.col("year") > 0,
            possible=pl.col("on_calendar")
            & (pl.col("hour") < 24)
            & (pl.col("minute") < 60)
            & (pl.col("second") < 60),
            serial=pl.when(pl.col("text").str.contains(_SERIAL)).then("text").cast(pl.Float64),
        )
        .with_columns(is_serial=(pl.col("serial") < _LAST_SERIAL + 1).fill_null(False))
    )
    written = pl.col("day").cast(pl.Datetime("us")) + pl.duration(
        minutes=pl.col("hour") * 60 + pl.col("minute") + pl.col("shift"),
        microseconds=pl.col("second") * 1_000_000 + pl.col("micro"),
        time_unit="us",
    )
    seconds = ((pl.col("serial") - _EPOCH_SERIAL) * 86_400).round().cast(pl.Int64)
    counted = (seconds * 1_000_000).cast(pl.Datetime("us"))
    return frame.select(
        pl.when("is_serial").then(counted).when(pl.col("written") & pl.col("possible")).then(written),
        pl.col("written") | pl.col("is_serial"),
        pl.col("possible") | pl.col("is_serial"),
    ).get_columns()


def _minutes_to_china(zone):
    """Minutes from a wall time of this zone to the one of Asia/Shanghai (UTC+8 all year since 1991)."""
    sign = pl.when(zone.str.starts_with("-")).then(-1).otherwise(1)
    digits = zone.str.replace(":", "", literal=True)
    offset = sign * (digits.str.slice(1, 2).cast(pl.Int64) * 60 + digits.str.slice(3, 2).cast(pl.Int64))
    return pl.when(zone == "Z").then(480).when(zone.is_not_null()).then(480 - offset).otherwise(0)
