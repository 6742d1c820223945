"""Column types: how a whole column of raw text is cleaned and checked at once (architecture §4, CL-6.2).

A form uses them on one value, an import on a million: one rule, one place.
"""

from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from jingwei.base import codes
from jingwei.base.access import Actor
from jingwei.kit import dates, idcard, phone, words
from jingwei.kit.column import Cleaned
from jingwei.kit.text import tidy


@dataclass
class Context:
    """What cleaning may need besides the cells: who acts, on which day, and the columns cleaned so far."""

    actor: Actor
    permission: str
    now: datetime  # naive, Asia/Shanghai wall time
    done: dict[str, pl.Series]
    raw: pl.DataFrame

    @property
    def today(self) -> date:
        return self.now.date()


class Type:
    """A column type. `clean` gets a Utf8 series and returns values, errors (Chinese) and correcting rules."""

    note = ""  # for the template's notes: what may be entered
    example = ""

    def clean(self, raw: pl.Series, context: Context) -> Cleaned:
        raise TypeError(f"{type(self).__name__} cleans nothing")

    def choices(self) -> list[tuple[str, str]] | None:
        """(value, label) pairs for a drop-down, or None."""
        return None

    def text(self, value) -> str:
        """A stored value as the form and the exported sheet write it."""
        return "" if value is None else str(value)


@dataclass
class Text(Type):
    """Tidied text of at most `longest` characters."""

    longest: int = 200
    note = "文字"

    def clean(self, raw, context):
        cleaned = tidy(raw)
        too_long = cleaned.values.str.len_chars() > self.longest
        reason = pl.lit(f"最多 {self.longest} 个字，请缩短")
        errors = pl.select(pl.when(too_long.fill_null(False)).then(reason).otherwise(cleaned.errors)).to_series()
        return Cleaned(cleaned.values, errors, cleaned.rules)


@dataclass
class Whole(Type):
    """A whole number within bounds."""

    low: int = 0
    high: int = 2_147_483_647
    note = "整数"
    example = "1"

    def clean(self, raw, context):
        tidied = tidy(raw)
        # A count that Excel kept as a decimal ("3.0") is still a whole number.
        numbers = tidied.values.str.replace(r"\.0+$", "").cast(pl.Int64, strict=False)
        bad = tidied.values.is_not_null() & (numbers.is_null() | (numbers < self.low) | (numbers > self.high))
        reason = pl.lit(f"应为 {self.low} 到 {self.high} 之间的整数")
        errors = pl.select(pl.when(bad.fill_null(True)).then(reason).otherwise(None).cast(pl.Utf8)).to_series()
        return Cleaned(numbers, errors, tidied.rules)


@dataclass
class IdNumber(Type):
    """A document number; its rule depends on the document type in column `doc_type` (CL-3.2, GB 11643)."""

    doc_type: str = "doc_type"
    note = "居民身份证 18 位（单元格设为文本），其它证件照原样"
    example = "110101199003070038"

    def clean(self, raw, context):
        kinds = context.done.get(self.doc_type)
        if kinds is None:
            kinds = pl.Series([None] * len(raw), dtype=pl.Utf8)
        return idcard.clean_numbers(raw, kinds, today=context.today)


@dataclass
class Phone(Type):
    note = "11 位手机号或带区号的座机"
    example = "13800000000"

    def clean(self, raw, context):
        return phone.clean_phones(raw)


@dataclass
class Date(Type):
    allow_future: bool = False
    note = "日期，如 2026-03-01"
    example = "2026-03-01"

    def clean(self, raw, context):
        return dates.clean_dates(raw, today=context.today, allow_future=self.allow_future)


@dataclass
class Time(Type):
    allow_future: bool = False
    note = "时间，如 2026-03-01 09:30"
    example = "2026-03-01 09:30"

    def clean(self, raw, context):
        return dates.clean_times(raw, now=context.now, allow_future=self.allow_future)

    def text(self, value):
        return "" if value is None else f"{value:%Y-%m-%d %H:%M:%S}"


@dataclass
class YesNo(Type):
    note = "是 或 否"
    example = "是"

    def clean(self, raw, context):
        return words.clean_yes_no(raw)

    def choices(self):
        return [("是", "是"), ("否", "否")]

    def text(self, value):
        return "" if value is None else "是" if value else "否"


@dataclass
class Sex(Type):
    note = "男 或 女"
    example = "女"

    def clean(self, raw, context):
        return words.clean_sex(raw)

    def choices(self):
        return codes.choices("性别")

    def text(self, value):
        return codes.labels("性别").get(value, "")


@dataclass
class Code(Type):
    """A word of a dictionary, given by label, value or synonym."""

    kind: str
    note = "从下拉列表中选择"

    def clean(self, raw, context):
        tidied = tidy(raw)
        known = codes.words(self.kind)
        # Few distinct words stand in a column; each is looked up once.
        values = tidied.values.replace_strict(
            list(known), list(known.values()), default=None, return_dtype=pl.Utf8
        )
        unknown = tidied.values.is_not_null() & values.is_null()
        reason = pl.lit(f"不在字典“{self.kind}”中，请从下拉列表中选择")
        errors = pl.select(pl.when(unknown).then(reason).otherwise(None).cast(pl.Utf8)).to_series()
        return Cleaned(values, errors, tidied.rules)

    def choices(self):
        return codes.choices(self.kind)

    def text(self, value):
        return codes.labels(self.kind).get(value, "")
