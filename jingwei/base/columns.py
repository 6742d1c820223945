"""Column types: how a whole column of raw text is cleaned and checked at once (architecture §4, CL-6.2).

A form uses them on one value, an import on a million: one rule, one place.
"""

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import polars as pl
from django.db import models
from django.db.models import Q

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
    done: dict[str, pl.Series] = field(default_factory=dict)
    raw: pl.DataFrame = field(default_factory=pl.DataFrame)

    @property
    def today(self) -> date:
        return self.now.date()


DOC_TYPES = "证件类型"  # the dictionary
RESIDENT_ID = "111"  # 居民身份证


class Type:
    """A column type. `clean` gets a Utf8 series and returns values, errors (Chinese) and correcting rules."""

    note = ""  # for the template's notes: what may be entered
    example = ""
    dtype: pl.DataType = pl.String  # of the cleaned values

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
        return Cleaned(cleaned.values, _reason(too_long, f"最多 {self.longest} 个字，请缩短"), cleaned.rules)


@dataclass
class Whole(Type):
    """A whole number within bounds."""

    low: int = 0
    high: int = 2_147_483_647
    note = "整数"
    example = "1"
    dtype = pl.Int64

    def clean(self, raw, context):
        tidied = tidy(raw)
        # A count that Excel kept as a decimal ("3.0") is still a whole number.
        numbers = tidied.values.str.replace(r"\.0+$", "").cast(pl.Int64, strict=False)
        bad = tidied.values.is_not_null() & (numbers.is_null() | ~numbers.is_between(self.low, self.high))
        return Cleaned(numbers, _reason(bad, f"应为 {self.low} 到 {self.high} 之间的整数"), tidied.rules)


@dataclass
class DocType(Type):
    """A document type (GA/T 517). An empty one is a resident ID where column `number` looks like one."""

    number: str = "number"
    note = "居民身份证、护照等，从下拉列表中选择；身份证可以不填"
    example = "居民身份证"

    def clean(self, raw, context):
        cleaned = Code(DOC_TYPES).clean(raw, context)
        if self.number in context.raw.columns:
            numbers = tidy(context.raw[self.number]).values.str.replace_all(r"[\s'`]", "")
            looks = numbers.str.contains(r"^[0-9]{15}([0-9]{2}[0-9Xx])?(\.0)?$")
            resident = pl.lit(RESIDENT_ID)
            cleaned.values = pl.select(
                pl.when(cleaned.values.is_null() & looks).then(resident).otherwise(cleaned.values)
            ).to_series()
        return cleaned

    def choices(self):
        return codes.choices(DOC_TYPES)

    def text(self, value):
        return codes.labels(DOC_TYPES).get(value, "")


@dataclass
class IdNumber(Type):
    """A document number; its rule depends on the document type in column `doc_type` (CL-3.2, GB 11643).

    A good number of no known type is refused there: nobody is registered under a number of unknown kind.
    Where no types are given (no such column, or `typed` is false) every good number is taken.
    """

    doc_type: str = "doc_type"
    typed: bool = True
    note = "居民身份证 18 位（单元格设为文本），其它证件照原样"
    example = "990101199003070023"

    def clean(self, raw, context):
        kinds = context.done.get(self.doc_type)
        if kinds is None:
            nothing = pl.repeat(None, len(raw), dtype=pl.String, eager=True)
            return idcard.clean_numbers(raw, nothing, today=context.today)
        cleaned = idcard.clean_numbers(raw, kinds, today=context.today)
        if not self.typed:
            return cleaned
        untyped = kinds.is_null() & cleaned.values.is_not_null()
        cleaned.elsewhere = {self.doc_type: _reason(untyped, "请填写证件类型：号码不是居民身份证的样子")}
        return cleaned


@dataclass
class Phone(Type):
    note = "11 位手机号或带区号的座机"
    example = "13800000000"

    def clean(self, raw, context):
        return phone.clean_phones(raw)


@dataclass
class Date(Type):
    allow_future: bool = False
    dtype = pl.Date
    note = "日期，如 2026-03-01"
    example = "2026-03-01"

    def clean(self, raw, context):
        return dates.clean_dates(raw, today=context.today, allow_future=self.allow_future)


@dataclass
class Time(Type):
    """A moment, naive in Asia/Shanghai."""

    allow_future: bool = False
    dtype = pl.Datetime("us")
    note = "时间，如 2026-03-01 09:30"
    example = "2026-03-01 09:30"

    def clean(self, raw, context):
        return dates.clean_times(raw, now=context.now, allow_future=self.allow_future)

    def text(self, value):
        return "" if value is None else f"{value:%Y-%m-%d %H:%M:%S}"


@dataclass
class YesNo(Type):
    dtype = pl.Boolean
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
        return _translated(raw, codes.words(self.kind), f"不在字典“{self.kind}”中，请从下拉列表中选择")

    def choices(self):
        return codes.choices(self.kind)

    def text(self, value):
        return codes.labels(self.kind).get(value, "")


@dataclass
class Choice(Type):
    """One of a field's own choices, given by value or label."""

    pairs: tuple[tuple[str, str], ...]
    note = "从下拉列表中选择"

    def clean(self, raw, context):
        words = {label: value for value, label in self.pairs} | {value: value for value, _ in self.pairs}
        return _translated(raw, words, f"应为{'、'.join(label for _, label in self.pairs)}之一")

    def choices(self):
        return list(self.pairs)

    def text(self, value):
        return dict(self.pairs).get(value, "")


@dataclass
class Number(Type):
    """A number with decimals."""

    note = "数字"
    example = "1.5"
    dtype = pl.Float64

    def clean(self, raw, context):
        tidied = tidy(raw)
        values = tidied.values.cast(pl.Float64, strict=False)
        values = pl.select(pl.when(values.is_finite()).then(values)).to_series()
        bad = tidied.values.is_not_null() & values.is_null()
        return Cleaned(values, _reason(bad, "应为数字"), tidied.rules)


@dataclass
class Reference(Type):
    """A row of another table, given by its name or its number, among the rows the actor's scope reaches."""

    model: Any
    note = "填写名称"

    @property
    def dtype(self):
        return pl.String if isinstance(self.model._meta.pk, models.CharField) else pl.Int64

    @property
    def _label(self):
        names = {f.name for f in self.model._meta.concrete_fields}
        return next(name for name in ("name", "label", "login", "pk") if name in names or name == "pk")

    def clean(self, raw, context):
        tidied = tidy(raw)
        asked = tidied.values.drop_nulls().unique().to_list()
        keys = [text for text in asked if self.dtype == pl.String or (text.isascii() and text.isdecimal())]
        reach = self.model.scope.within(context.actor.data_scope(context.permission))
        rows = self.model.objects.filter(reach, Q(pk__in=keys) | Q(**{f"{self._label}__in": asked}))
        known = {}
        for pk, name in rows.values_list("pk", self._label):
            known.setdefault(str(name), set()).add(pk)
        # A number names its row, whatever else is called like that.
        known |= {str(pk): {pk} for pk in rows.values_list("pk", flat=True) if str(pk) in keys}
        single = {name: pks.pop() for name, pks in known.items() if len(pks) == 1}
        cleaned = _translated(raw, single, "在您的管辖范围内没有这一项，请核对", self.dtype)
        several = tidied.values.is_in([name for name in known if name not in single])
        reason = pl.when(several.fill_null(False)).then(pl.lit("不止一项叫这个名称，请改填编号"))
        cleaned.errors = pl.select(reason.otherwise(cleaned.errors)).to_series()
        return cleaned

    def text(self, value):
        row = value is not None and self.model.objects.filter(pk=value).first()
        return str(getattr(row, self._label)) if row else ""


def _translated(raw, words, refusal, dtype=pl.String):
    """Cells that must be one of a few words; each distinct word is looked up once."""
    tidied = tidy(raw)
    values = tidied.values.replace_strict(list(words), list(words.values()), default=None, return_dtype=dtype)
    return Cleaned(values, _reason(tidied.values.is_not_null() & values.is_null(), refusal), tidied.rules)


def _reason(bad, reason):
    return pl.select(pl.when(bad.fill_null(False)).then(pl.lit(reason))).to_series()
