"""The cells of many rows, column by column: for exports and the command line (P-5.4).

A list page makes an object of every row and asks each column about it; for a million rows that takes
minutes. Here rows are bare values. A column that shows a field is made of these, a personal one is opened in
one go, and any other is asked once about all rows that agree in what it needs. What a cell says stays the
rule of `ListColumn`.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from jingwei.base.fields import SealedField, show
from jingwei.base.resource import position
from jingwei.desk.columns import ListColumn, cell, field_at
from jingwei.desk.lists import CHUNK, Selection
from jingwei.desk.looks import telling, told

MOST_KEPT = 100_000  # answers that are kept for further rows


def cells(
    selection: Selection, columns: Sequence[ListColumn], *, clear=False, size=CHUNK, limit=None, people=None
) -> Iterator[list[Sequence]]:
    """The values of each column for all rows in order, `size` rows at a time, in constant memory.

    `people`, if given, is extended by whom the rows are about (P-3.4).
    """
    model = selection.resource.model
    asked: dict[tuple, _Alike] = {}
    for column in columns:
        if column.shown is None and column.read is not position:
            inputs = _inputs(model, column.needs)
            asked.setdefault(inputs, _Alike(selection, inputs, clear)).columns.append(column)
    names = [column.name for column in columns if column.shown]
    for group in asked.values():
        names += ("pk", *group.inputs) if group.refers else group.inputs
    about = () if people is None else telling(selection.resource)
    names = list(dict.fromkeys([*names, *about])) or ["pk"]
    start = 0
    with closing(selection.stored(names, size=size, limit=limit)) as chunks:
        for rows in chunks:
            stored = dict(zip(names, zip(*rows, strict=True), strict=True))
            if about:
                people.extend(told(selection.resource, stored))
            found = {}
            for group in asked.values():
                found |= group.cells(stored, start)
            for column in columns:
                if column.shown:
                    found[column.name] = _shown(model, column, stored[column.name], clear)
                elif column.read is position:
                    found[column.name] = range(start + 1, start + len(rows) + 1)
            yield [found[column.name] for column in columns]
            start += len(rows)


def _shown(model, column, values, clear):
    """The cells of a column that shows a field of the row's own table."""
    field = field_at(model, column.name)
    if isinstance(field, SealedField):
        return show(field, values, clear=clear)
    if isinstance(field, _WITHOUT_HASH):
        return [cell(column.shown(value)) for value in values]
    known = {value: cell(column.shown(value)) for value in set(values)}
    return [known[value] for value in values]


class _Alike:
    """Columns that need the same: what they say of a row depends on its fields `inputs` alone."""

    def __init__(self, selection, inputs, clear):
        self.selection, self.inputs, self.clear = selection, inputs, clear
        self.columns: list[ListColumn] = []
        self.known: dict[str, dict] = {}  # by column: what it says, by what stands in `inputs`

    @property
    def refers(self) -> bool:
        """Whether the columns read more than these fields: other tables, a personal value."""
        model = self.selection.resource.model
        fields = [field_at(model, need) for column in self.columns for need in column.needs]
        return self.inputs == _KEY or any(
            field.model is not model or field.is_relation or isinstance(field, SealedField)
            for field in fields
        )

    def cells(self, stored, start) -> dict[str, Sequence]:
        """{column name: cells} of a chunk of rows."""
        values = [stored[name] for name in self.inputs]
        met = values[0] if len(values) == 1 else list(zip(*values, strict=True))
        if not self.known or len(self.known[self.columns[0].name]) > MOST_KEPT:
            self.known = {column.name: {} for column in self.columns}
        new = set(met) - self.known[self.columns[0].name].keys()
        if new:
            places = {each: place for place, each in enumerate(met) if each in new}
            rows = self._rows(stored, places.values(), start)
            for column in self.columns:
                said = [column.value(row, self.clear) for row in rows]
                self.known[column.name].update(zip(places, said, strict=True))
        return {name: [known[each] for each in met] for name, known in self.known.items()}

    def _rows(self, stored, places, start):
        """The rows at these places, with what the columns need."""
        if self.refers:
            return self.selection.fetched([stored["pk"][place] for place in places], self.columns, start)
        model = self.selection.resource.model
        values = [_as_read(model, name, [stored[name][place] for place in places]) for name in self.inputs]
        return [_bare(model, dict(zip(self.inputs, each, strict=True))) for each in zip(*values, strict=True)]


_WITHOUT_HASH = models.JSONField | ArrayField
_KEY = ("pk",)


def _inputs(model, needs) -> tuple[str, ...]:
    """The columns of the row's own table that decide what `needs` hold; the key where none do."""
    begun = {need.partition("__")[0] for need in needs}
    fields = [field for field in model._meta.concrete_fields if field.name in begun]
    if not needs or len(fields) < len(begun) or any(isinstance(field, _WITHOUT_HASH) for field in fields):
        return _KEY
    return tuple(field.attname for field in fields)


def _as_read(model, name, values):
    """Values as a row has them: times in UTC."""
    if not isinstance(field_at(model, name), models.DateTimeField):
        return values
    zone = timezone.get_current_timezone()
    return [value and value.replace(tzinfo=zone).astimezone(UTC) for value in values]


def _bare(model, values):
    """A row that has only these fields, a tenth of the work of one that could be saved."""
    row = model.__new__(model)
    row.__dict__.update(values)
    return row
