"""The filters of a list: from the text of an address to a condition on rows.

A text that cannot be read gives no rows and says so; it never gives all of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

import polars as pl
from django.core.exceptions import ValidationError
from django.db import connection, models
from django.db.models import Q
from django.utils import timezone

from jingwei.base import codes
from jingwei.base.access import Actor
from jingwei.base.codes import CodeField
from jingwei.base.fields import GramsField, SealedField, mask
from jingwei.base.resource import Between, Choice, Contains, Day, Exact, Filter, Ref, Region, Where, YesNo
from jingwei.desk.columns import field_at
from jingwei.directory.models import Region as RegionRow
from jingwei.kit import dates, idcard, phone
from jingwei.kit.text import tidy

MOST_VALUES = 5_000  # looked through for a piece of text
BLANK = "-"  # the option of rows that hold nothing in the column
YES_NO = {"是": True, "否": False}


class Unreadable(ValueError):
    """A filter's text means nothing; the message says what was expected."""


@dataclass(frozen=True)
class Question:
    """Who filters which table, on which day. `permission` gives the rows a reference may be chosen from."""

    model: Any
    actor: Actor
    permission: str
    today: Any


@dataclass
class Control:
    """One filter as the page shows it: what was entered, in words, and its condition (None: not set)."""

    filter: Filter
    label: str
    kind: str
    inputs: dict[str, list[str]]  # {name in the address: texts}
    options: list[tuple[str, str]] = field(default_factory=list)
    input_type: str = "text"
    condition: Q | None = None
    shown: str = ""
    refusal: str = ""
    day: date | None = None  # of a Day filter

    @property
    def texts(self) -> list[str]:
        """What was entered, of a range what it begins with."""
        return next(iter(self.inputs.values()))

    @property
    def is_set(self) -> bool:
        return self.condition is not None or bool(self.refusal)


def control(declared: Filter, params: Mapping, question: Question) -> Control:
    """Read one filter from the parameters of a list."""
    kind = type(declared).__name__.lower()
    names = [declared.name]
    if isinstance(declared, Between):
        names = [f"{declared.name}__from", f"{declared.name}__to"]
    inputs = {name: [text for text in map(str.strip, texts_of(params, name)) if text] for name in names}
    made = Control(declared, label_of(declared, question.model), kind, inputs)
    made.options, made.input_type = options_of(declared, question), _input_type(declared, question)
    if any(inputs.values()):
        try:
            made.condition, made.shown = READERS[type(declared)](declared, *inputs.values(), question)
            if isinstance(declared, Day):
                made.day = date.fromisoformat(made.shown)
        except Unreadable as problem:
            made.refusal = f"筛选“{made.label}”无法识别：{problem}"
    return made


def texts_of(params, name) -> list[str]:
    """The texts of a parameter in a QueryDict or a plain mapping."""
    if hasattr(params, "getlist"):
        return params.getlist(name)
    found = params.get(name, [])
    return [found] if isinstance(found, str) else list(found)


def label_of(declared, model) -> str:
    """The filter's label, by default the name of its field."""
    return declared.label or str(field_at(model, declared.name).verbose_name)


def options_of(declared, question) -> list[tuple[str, str]]:
    """(value, label) of a filter one chooses from; empty for the others."""
    if isinstance(declared, Day):
        return []
    if isinstance(declared, Where):
        return [(value, label) for value, (label, _) in declared.options.items()]
    target = field_at(question.model, declared.name)
    found = []
    if isinstance(declared, YesNo):
        found = [(word, word) for word in YES_NO]
    if isinstance(declared, Choice):
        found = list(
            codes.labels(target.dictionary).items() if isinstance(target, CodeField) else target.flatchoices
        )
    if found and (target.null or target.blank):
        found.append((BLANK, "（空）"))
    return found


def _input_type(declared, question):
    if isinstance(declared, Day):
        return "date"
    if isinstance(declared, Between):
        target = field_at(question.model, declared.name)
        return "date" if declared.condition is None and isinstance(target, models.DateField) else "number"
    return "text"


# --- one reader per kind: (filter, texts, question) → (condition, the choice in words) --------------------


def _choose(declared, texts, question):
    known = options_of(declared, question)
    by_word = {label: value for value, label in known} | {str(value): value for value, _ in known}
    chosen = []
    for text in texts:
        if text not in by_word:
            raise Unreadable(f"没有选项“{text}”，可选：{'、'.join(label for _, label in known)}")
        chosen.append(by_word[text])
    labels = dict(known)
    return chosen, "、".join(labels[value] for value in chosen)


def _blank(declared, question) -> Q:
    target = field_at(question.model, declared.name)
    empty = Q(**{f"{declared.name}__isnull": True}) if target.null else Q(pk__in=[])
    return empty if isinstance(target, models.BooleanField) else empty | Q(**{declared.name: ""})


def _choice(declared, texts, question):
    chosen, shown = _choose(declared, texts, question)
    condition = Q(**{f"{declared.name}__in": [value for value in chosen if value != BLANK]})
    return (condition | _blank(declared, question) if BLANK in chosen else condition), shown


def _yes_no(declared, texts, question):
    chosen, shown = _choose(declared, texts, question)
    condition = Q(pk__in=[])
    for value in chosen:
        condition |= _blank(declared, question) if value == BLANK else Q(**{declared.name: YES_NO[value]})
    return condition, shown


def _where(declared, texts, question):
    chosen, shown = _choose(declared, texts, question)
    condition = Q(pk__in=[])
    for value in chosen:
        condition |= declared.options[value][1](question.today)
    return condition, shown


def _region(declared, texts, question):
    within = RegionRow.objects.visible_to(question.actor, question.permission)
    path = declared.name
    if isinstance(field_at(question.model, path), models.ForeignKey):
        path += "__code"
    condition, names = Q(pk__in=[]), []
    for text in texts:
        found = within.filter(Q(code=text) | Q(name=text)).only("code", "name")[:2]
        if len(found) != 1:
            raise Unreadable(f"“{text}”不在您的管辖范围内、不存在，或有同名辖区；请从列表中选择")
        condition |= Q(**{f"{path}__startswith": found[0].code})
        names.append(found[0].name)
    return condition, "、".join(names)


def _ref(declared, texts, question):
    target = field_at(question.model, declared.name).related_model
    rows = target.objects.visible_to(question.actor, question.permission)
    chosen = []
    for text in texts:
        found = rows.filter(Q(**{f"{label_field(target)}": text}) | _by_key(target, text))[:2]
        if len(found) != 1:
            raise Unreadable(f"“{text}”不存在，请从列表中选择")
        chosen.append(found[0])
    return Q(**{f"{declared.name}__in": chosen}), "、".join(str(row) for row in chosen)


def _by_key(model, text):
    try:
        return Q(pk=model._meta.pk.to_python(text))
    except ValidationError:
        return Q(pk__in=[])


def label_field(model) -> str:
    """The text column a row of the model is known by."""
    names = {f.name for f in model._meta.concrete_fields}
    return next(name for name in ("name", "label", "login", "title", "key", "code") if name in names)


def _exact(declared, texts, question):
    target = field_at(question.model, declared.name)
    condition = Q(pk__in=[])
    for text in texts:
        condition |= Q(**{declared.name: stored_form(target, text)})
    if isinstance(target, SealedField):  # shown on the page and in the log
        texts = [mask(target.kind, text) for text in texts]
    return condition, "、".join(texts)


def stored_number(text) -> str:
    """A document number as its columns keep it, or the text in capitals where it is none we know."""
    cells = tidy(pl.Series([text], dtype=pl.String)).values
    of_any_type = pl.Series([None], dtype=pl.String)
    found = idcard.clean_numbers(cells, of_any_type, today=timezone.localdate()).values[0]
    return found or (cells[0] or "").upper()


def stored_form(target, text) -> str:
    """A text as the column keeps it: ID numbers with 18 characters and capital X, phones in one form."""
    cells = tidy(pl.Series([text], dtype=pl.String)).values
    kind = target.kind if isinstance(target, SealedField) else ""
    if kind == "number":
        return stored_number(text)
    if kind == "phone":
        return phone.clean_phones(cells).values[0] or cells[0] or ""
    return cells[0] or ""


def shown_as(model, column, shown) -> Q | None:
    """Condition: a list column of `model` shows the text `shown`. None where only a look at the row tells."""
    target = field_at(model, column.name)
    if target is None or not shown:
        return None
    if isinstance(target, SealedField):
        return Q(**{column.name: stored_form(target, shown)}) if target.searchable else None
    if isinstance(target, CodeField):
        values = [v for v, label in codes.labels(target.dictionary).items() if shown in (v, label)]
        return Q(**{f"{column.name}__in": values})
    if isinstance(target, models.BooleanField):
        return Q(**{column.name: YES_NO[shown]}) if shown in YES_NO else Q(pk__in=[])
    if isinstance(target, models.ForeignKey) and target.related_model is RegionRow:
        return Q(**{f"{column.name}__name": shown})
    if isinstance(target, models.CharField) and not target.choices:
        return Q(**{column.name: shown})
    return None


def _contains(declared, texts, question):
    condition, shown = Q(), "、".join(texts)
    if declared.few_values and (values := _few_values(question.model, declared.name)) is not None:
        found = [v for v in values if all(text.casefold() in v.casefold() for text in texts)]
        return Q(**{f"{declared.name}__in": found}), shown
    for text in texts:
        condition &= Q(**{f"{declared.name}__icontains": text})
        if declared.by_grams and len(text) > 1:  # one character alone has grams in short texts only
            condition &= Q(**{f"{grams_of(question.model)}__fragment": text})
    return condition, shown


def _few_values(model, name) -> list[str] | None:
    """Every text of the column, from one to the next in its index; None if they are more than MOST_VALUES."""
    quote = connection.ops.quote_name
    table, column = quote(model._meta.db_table), quote(model._meta.get_field(name).column)
    # The index leaves empty texts out, and is used where the statement does, too.
    following = f"SELECT min({column}) AS value FROM {table} WHERE {column} <> '' AND {column} >"  # noqa: S608
    each = f"{following} '' UNION ALL SELECT ({following} value) FROM found WHERE value IS NOT NULL"  # noqa: S608
    statement = f"WITH RECURSIVE found AS ({each}) SELECT value FROM found WHERE value IS NOT NULL LIMIT %s"  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(statement, [MOST_VALUES + 1])
        values = [value for (value,) in cursor.fetchall()]
    return values if len(values) <= MOST_VALUES else None


def grams_of(model) -> str | None:
    """The name of the model's fragments for searching, None without."""
    return next((f.name for f in model._meta.concrete_fields if isinstance(f, GramsField)), None)


def _day(declared, texts, question):
    return Q(), f"{_as_day(texts[0], question)}"


def _between(declared, lows, highs, question):
    target = None if declared.condition else field_at(question.model, declared.name)
    low, high = _bound(declared, target, lows, question), _bound(declared, target, highs, question)
    shown = f"{lows[0] if lows else ''} 至 {highs[0] if highs else ''}".strip()
    if declared.condition:
        return declared.condition(low, high, question.today), shown
    condition = Q()
    if low is not None:
        condition &= Q(**{f"{declared.name}__gte": _moment(low) if _is_time(target) else low})
    if high is not None and _is_time(target):
        condition &= Q(**{f"{declared.name}__lt": _moment(high + timedelta(days=1))})
    elif high is not None:
        condition &= Q(**{f"{declared.name}__lte": high})
    return condition, shown


def _is_time(target):
    return isinstance(target, models.DateTimeField)


def _moment(day):
    return timezone.make_aware(datetime.combine(day, time()))


def _bound(declared, target, texts, question):
    if not texts:
        return None
    if isinstance(target, models.DateField):
        return _as_day(texts[0], question)
    try:
        return int(texts[0])
    except ValueError:
        raise Unreadable(f"“{texts[0]}”不是整数") from None


def _as_day(text, question):
    [day] = dates.clean_dates(pl.Series([text]), question.today, allow_future=True).values
    if day is None:
        raise Unreadable(f"“{text}”不是日期，请按 2026-03-01 的样式填写")
    return day


READERS: dict[type, Callable] = {
    Choice: _choice,
    YesNo: _yes_no,
    Where: _where,
    Region: _region,
    Ref: _ref,
    Exact: _exact,
    Contains: _contains,
    Between: _between,
    Day: _day,
}
