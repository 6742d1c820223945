"""What a kind of source sheet looks like, and the one pass that cleans and checks its rows (P-5.3, CL-6.2).

`clean_frame` is the only place where raw cells become values: the import gives it a whole sheet, the form a
sheet of one row (`clean_row`).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from jingwei.base import columns
from jingwei.base.access import Actor
from jingwei.base.codes import CodeField
from jingwei.base.columns import Context, Type
from jingwei.base.fields import Sealed, SealedField
from jingwei.base.reading import ROW, Wanted
from jingwei.kit.column import Cleaned

if TYPE_CHECKING:  # the process that colours workbooks has no database
    from jingwei.base.models import Load


@dataclass(frozen=True)
class SheetColumn:
    """One column of a sheet: `name` of the value (a model field unless `stored=False`), heading, synonyms.

    `carried`: though no field of the model, `Sheet.place` or `store` needs it.
    `lenient`: a value that is none is left out with a warning instead of refusing the row; the stored value
    stays as it was. `required`: an empty cell refuses the row.
    """

    name: str
    heading: str
    type: Type
    synonyms: Sequence[str] = ()
    required: bool = False
    lenient: bool = False
    stored: bool = True
    carried: bool = False


MESSAGES = {ROW: pl.Int64, "column": pl.String, "reason": pl.String}


def no_messages() -> pl.DataFrame:
    """MESSAGES without a row."""
    return pl.DataFrame(schema=MESSAGES)


@dataclass
class Placed:
    """Rows of a chunk with what the sheet itself does not say (`Sheet.places`), and the rows left out.

    `strangers` are rows of people in no register, `who` tells these apart: one number a person, in any order.
    """

    rows: pl.DataFrame
    refused: pl.DataFrame = field(default_factory=no_messages)
    strangers: pl.DataFrame = field(default_factory=pl.DataFrame)
    who: Collection[int] = ()


@dataclass
class Stored:
    """How many events of a chunk were added or changed, and how many were there already.

    `same`: the same row came before, under no key; `unchanged`: what it is about has these values.
    """

    added: int
    changed: int = 0
    unchanged: int = 0
    same: int = 0
    refused: pl.DataFrame = field(default_factory=no_messages)


class Sheet:
    """A kind of sheet, declared. `key` names the columns that make a row the same thing in the register."""

    name: str = ""  # on the command line and in addresses
    label: str = ""
    resource: str = ""  # its import needs "<resource>.import"
    model: Any = None
    columns: Sequence[SheetColumn] = ()
    key: Sequence[str] = ()
    identity: Sequence[str] = ()  # what makes rows of a file the same where only `place` tells the key
    places: Sequence[str] = ()  # columns that `place` adds
    precedence: Sequence[pl.Expr] = ()  # of rows of one key the last by these wins, else the later (CL-6.3)
    example: Mapping[str, str] = {}  # an example row of the template, by column name
    notes: Sequence[str] = ()  # sentences for the template
    derived: Sequence[str] = ()  # model fields that `derive` gives
    aliases: Any = None  # (model with the same key columns, its foreign key): other keys of a row
    watched: str = ""  # a column whose changes `on_change` is told
    elsewhere = "这条记录已在其他辖区登记，不能在此导入"  # refusal of a row that exists outside the scope
    save = None  # function (actor, obj, *, values): rows go in one by one, by the rules of the form
    events = False  # rows are events: `store` adds those that are not there yet
    together = 1  # chunks of events that one transaction stores
    parent = ""  # a foreign key whose rows show what hangs on them; `roll_up` brings them up to date
    aside = ""  # the resource that lists the people `keep_aside` kept
    turns: Any = None  # a model that loads change besides: they take turns with those that load it
    pulled = False  # a front database may bring the rows instead (P-8.4)

    def derive(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The columns `derived` of whole rows (stored values merged with new ones, all in clear).

        What follows from other columns (birth date from the ID number, search grams) is worked out here, for
        forms and imports alike. It must not ask the database: imports call it in a thread of its own.
        """
        return rows.select()

    def kept(self) -> Collection[str]:
        """Columns in which a filled value stays, whatever a sheet says, by the rules in force (CL-6.3)."""
        return ()

    def conflicts(self) -> list[str]:
        """Sentences for the import page: which of two differing values wins (CL-6.3)."""
        return ["空单元格不会清除已有内容。"]

    def ready(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Cleaned events as `place` and `store` want them, with as many rows in the same order.

        For what takes time: it is done in a thread of its own, while the rows before are stored. It must not
        ask the database.
        """
        return rows

    def place(self, actor: Actor, rows: pl.DataFrame) -> Placed:
        """Find whose the cleaned rows of a chunk are. Called in a transaction."""
        return Placed(rows)

    def keep_aside(self, actor: Actor, record: "Load", strangers: pl.DataFrame):
        """Keep the rows of people in no register. Called in the chunk's transaction (CL-6.5)."""

    def roll_up(self, parents: Sequence[int]):
        """Bring these rows of `parent` up to date. Called in the transaction of a load or of its undoing."""

    def store(self, actor: Actor, rows: pl.DataFrame, record: "Load") -> Stored:
        """Add the cleaned events of a chunk that are not there yet. Called in the chunk's transaction."""
        raise NotImplementedError

    def has_brought(self, record: "Load") -> bool:
        """Whether there is anything left that taking the load back would change."""
        return self.brought(record).exists()

    def brought(self, record: "Load"):
        """The rows that taking the load back goes through, to be counted."""
        return record.rows

    def take_back(self, actor: Actor, record: "Load", most: int) -> dict[str, int]:
        """Undo up to `most` rows of a load of events: how many {deleted, restored}, none when all is done."""
        raise NotImplementedError

    def leave(self, record: "Load") -> int:
        """Keep a LoadRow of each event that taking the load back has left as it is; returns how many."""
        return 0

    def named(self, actor: Actor, ids: Collection[int]) -> dict[int, str]:
        """What rows that an undoing has left are called, {id: name}, as far as the actor may know."""
        rows = self.model.objects.visible_to(actor, f"{self.resource}.import").filter(pk__in=ids)
        return {int(row.pk): str(row) for row in rows}

    def forget_aside(self, record: "Load"):
        """Undo `keep_aside`. Called before anything else is undone."""

    def closed(self) -> str:
        """Why nobody may import it by hand now, "" where that is open (P-8.4)."""
        return ""

    def remark(self) -> str:
        """What the import page says about what is there already."""
        return ""

    def on_remove(self, ids: Sequence[int]):
        """A load's undoing is about to delete the rows with these ids. Called in its transaction."""

    def on_add(self, ids: Sequence[int]):
        """A load added the rows with these ids. Called in its transaction."""

    def after_load(self, rows: int):
        """A load has ended well, or was taken back, and has added, changed or removed so many rows."""

    def on_change(self, actor: Actor, changes: Sequence[tuple[int, Any, Any]], reason: str):
        """A load changed the watched column of existing rows: (id, old, new). Called in its transaction."""

    def column(self, name) -> SheetColumn | None:
        """The column of that name."""
        return next((column for column in self.columns if column.name == name), None)

    @property
    def stored(self) -> list[SheetColumn]:
        """The columns that are model fields."""
        return [column for column in self.columns if column.stored]

    @property
    def carried(self) -> list[str]:
        """Names of the columns of a cleaned file that go on to be stored."""
        return [column.name for column in self.columns if column.stored or column.carried]

    def wanted(self) -> list[Wanted]:
        """The columns as the reader looks for them."""
        return [
            Wanted(column.name, [column.heading, *column.synonyms], column.required)
            for column in self.columns
        ]


@dataclass
class CleanedFrame:
    """A cleaned sheet.

    `values`: one column per sheet column, plus ROW, of the rows that are good.
    `refused`: ROW, column (name), reason. Every error of every bad row, not just the first.
    `warnings`: ROW, column, reason; the row is kept. `rules`: {rule: corrected cells of good and bad rows}.
    """

    values: pl.DataFrame
    refused: pl.DataFrame
    warnings: pl.DataFrame
    rules: dict[str, int] = field(default_factory=dict)


def clean_frame(sheet: Sheet, raw: pl.DataFrame, context: Context, only: Sequence[str] = ()) -> CleanedFrame:
    """Clean and check all rows of `raw` (ROW and String columns named as the sheet's; missing ones empty).

    `only` limits the columns that are cleaned and required, for an update by a form that shows just these.
    """
    rows = raw[ROW]
    context.raw, context.done = raw, {}
    refused, warned, rules = [], [], {}
    for column in sheet.columns:
        if only and column.name not in only:
            continue
        given = column.name in raw.columns
        cells = raw[column.name] if given else pl.repeat(None, len(raw), dtype=pl.String, eager=True)
        cleaned = column.type.clean(cells, context)
        context.done[column.name] = cleaned.values.cast(column.type.dtype)
        for name, corrected in cleaned.rules.items():
            rules[name] = rules.get(name, 0) + corrected.sum()
        (warned if column.lenient else refused).append(_messages(rows, column.name, cleaned.errors))
        refused += [_messages(rows, name, errors) for name, errors in cleaned.elsewhere.items()]
        if column.required and cleaned.values.has_nulls():
            refused.append(_messages(rows, column.name, _missing(column, cleaned)))
    values = pl.DataFrame({ROW: rows, **context.done})
    refused = pl.concat([no_messages(), *refused])
    bad = refused[ROW].unique()
    return CleanedFrame(
        values=values.filter(~values[ROW].is_in(bad.implode())) if len(bad) else values,
        refused=refused.sort(ROW, maintain_order=True),
        warnings=pl.concat([no_messages(), *warned]).sort(ROW, maintain_order=True),
        rules=rules,
    )


def _missing(column, cleaned: Cleaned):
    """A reason where the column is required and empty; a refused cell has its own."""
    missing = cleaned.values.is_null() & cleaned.errors.is_null()
    for errors in cleaned.elsewhere.values():
        missing &= errors.is_null()
    reason = pl.when(missing).then(pl.lit(f"{column.heading}不能为空，请填写"))
    return pl.select(reason).to_series()


def _messages(rows, column, reasons):
    if reasons.null_count() == len(reasons):
        return no_messages()
    found = reasons.is_not_null()
    texts = reasons.filter(found)
    return pl.DataFrame({ROW: rows.filter(found), "column": [column] * len(texts), "reason": texts}, MESSAGES)


def clean_row(
    sheet: Sheet,
    cells: Mapping[str, str],
    context: Context,
    *,
    stored: models.Model | None = None,
    only: Sequence[str] = (),
) -> tuple[dict[str, Any], dict[str, str]]:
    """One row, as a form has it: values by attribute of the model, and reasons by column name.

    `cells` are texts by column name; an empty one empties the value. What is only a warning in an import
    is an error here, where somebody can mend it at once. `stored` is the row that is changed: what follows
    from other columns is worked out over its values and the new ones together. Without errors the values hold
    the columns given (or `only`) and the derived ones.
    """
    names = [column.name for column in sheet.columns if not only or column.name in only]
    raw = pl.DataFrame(
        {ROW: [1], **{name: [cells.get(name) or None] for name in names}},
        schema={ROW: pl.Int64, **dict.fromkeys(names, pl.String)},
    )
    cleaned = clean_frame(sheet, raw, context, only)
    errors = {}
    for messages in (cleaned.refused, cleaned.warnings):
        for _, name, reason in messages.iter_rows():
            errors.setdefault(name, reason)
    if errors:
        return {}, errors
    given = {column.name: cleaned.values[column.name][0] for column in sheet.stored if column.name in names}
    field_of = sheet.model._meta.get_field
    whole = {column.name: clear_value(field_of(column.name), stored) for column in sheet.stored} | given
    types = {column.name: column.type.dtype for column in sheet.stored}
    follows = sheet.derive(pl.DataFrame({name: [value] for name, value in whole.items()}, schema=types))
    given |= {name: follows[name][0] for name in sheet.derived}
    return {field_of(name).attname: stored_value(field_of(name), value) for name, value in given.items()}, {}


def clear_value(model_field, row):
    """A field of `row` as `clean_frame` gives it: in clear, None where empty, naive local time."""
    value = None if row is None else getattr(row, model_field.attname)
    if isinstance(value, Sealed):
        return value.clear()
    if isinstance(model_field, models.DateTimeField) and value is not None:
        return timezone.make_naive(value)
    return None if value == "" else value


def stored_value(model_field, value):
    """The opposite of `clear_value`: what the attribute of a row is set to."""
    if isinstance(value, pl.Series):
        return value.to_list()
    if isinstance(model_field, models.DateTimeField) and value is not None:
        return timezone.make_aware(value)
    text = isinstance(model_field, models.CharField | models.TextField)
    return "" if value is None and text and not model_field.null else value


def form_sheet_of(resource) -> Sheet:
    """The sheet that cleans the form of a resource: its declared one, or one that follows from its `fields`.

    Fields that no cell can hold (many-to-many, arrays, JSON) are not in it.
    """
    if resource.sheet:
        return resource.sheet()
    model = resource.model
    fields = [model._meta.get_field(name) for name in resource.fields]
    found = [
        SheetColumn(
            f.name, str(f.verbose_name), column_type, required=_is_required(f), lenient=_is_lenient(f)
        )
        for f in fields
        if (column_type := type_of(f))
    ]
    attributes = {
        "name": resource.name,
        "label": resource.label,
        "resource": resource.name,
        "model": model,
        "columns": found,
        "key": _key_of(model, {column.name for column in found}),
        "save": staticmethod(resource.save),
    }
    return type(f"{type(resource).__name__}Sheet", (Sheet,), attributes)()


def sheet_of(resource) -> Sheet | None:
    """The sheet a resource is imported by; None without a key, which tells an update from an addition.

    Events, which are only ever added, need none.
    """
    sheet = form_sheet_of(resource)
    return sheet if sheet.key or sheet.events else None


def type_of(model_field) -> Type | None:
    """The column type of a model field, None for what no cell can hold."""
    match model_field:
        case CodeField():
            return columns.Code(model_field.dictionary)
        case SealedField(kind="number"):
            return columns.IdNumber()
        case SealedField(kind="phone"):
            return columns.Phone()
        case SealedField():
            return columns.Text(500)
        case ArrayField() | models.JSONField() | models.ManyToManyField():
            return None
        case models.ForeignKey():
            return columns.Reference(model_field.related_model)
        case models.DateTimeField():
            return columns.Time(allow_future=True)
        case models.DateField():
            return columns.Date(allow_future=True)
        case models.BooleanField():
            return columns.YesNo()
        case models.FloatField() | models.DecimalField():
            return columns.Number()
        case models.IntegerField():
            return columns.Whole()
        case models.CharField() if model_field.choices:
            return columns.Choice(tuple(model_field.flatchoices))
        case models.CharField() | models.TextField():
            return columns.Text(model_field.max_length or 2000)
    return None


def _is_required(model_field):
    return not model_field.blank and not model_field.has_default() and not model_field.null


def _is_lenient(model_field):
    return isinstance(model_field, CodeField | models.BooleanField)


def _key_of(model, names):
    """The first unique constraint, or unique field, among these fields."""
    for constraint in model._meta.constraints:
        whole = isinstance(constraint, models.UniqueConstraint) and constraint.condition is None
        if whole and set(constraint.fields) <= names:
            return tuple(constraint.fields)
    unique = [f.name for f in model._meta.concrete_fields if f.unique and f.name in names]
    return tuple(unique[:1])
