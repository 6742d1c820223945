"""What pages show of records: tables of rows, and one record with all that hangs on it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from typing import Any

from django.urls import reverse
from django.utils import timezone

from jingwei.base.fields import SealedField, bulk_reveal, personal_fields
from jingwei.desk.columns import ListColumn, columns_of, fetch, field_at, link_of, list_column, text
from jingwei.desk.lists import key_text

PANEL_ROWS = 50
MOMENTS = 200


@dataclass(frozen=True)
class Cell:
    """A cell of a table. `kind` is its looks: "number", "time", "masked", "link", "" for text."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Row:
    """A row of a table: its key as addresses carry it, where its pages are, whether one opens, its cells.

    `label` is what the column says that opens it.
    """

    key: str
    address: str
    opens: bool
    label: str
    cells: list[Cell]
    position: int
    clear: bool = False


@dataclass(frozen=True)
class Table:
    """Headings with what they sort by, and rows; where a further row is begun, "" for nowhere."""

    columns: Sequence[ListColumn]
    rows: list[Row]
    begin: str = ""

    @property
    def heads(self) -> list[tuple[ListColumn, str]]:
        """Each column with the looks of its cells, so that heading and numbers stand in one line."""
        kinds = [cell.kind for cell in self.rows[0].cells] if self.rows else [""] * len(self.columns)
        return list(zip(self.columns, kinds, strict=True))


def table(actor, resource, rows, columns, *, clear=False, openable=None) -> Table:
    """Rows with what `columns` say about them. `openable`: keys of those with a page; None: all."""
    link = link_of(resource)
    personal = {field.name for field in personal_fields(resource.model)}
    root = reverse("desk:show", args=[resource, "KEY"])  # worked out once, not for every row
    made = []
    for row in rows:
        key = key_text(row)
        opens = resource.has_page and (openable is None or row.pk in openable)
        cells = [_cell(column, column.value(row, clear), link, personal, clear) for column in columns]
        label = next((cell.text for cell in cells if cell.kind == "link"), "")
        made.append(Row(key, root.replace("KEY", key), opens, label, cells, row.place_in_list, clear))
    return Table(columns, made)


def _cell(column, value, link, personal, clear):
    if column.name == link:
        return Cell(text(value), "link")
    if isinstance(value, datetime):
        return Cell(f"{value:%Y-%m-%d %H:%M}", "time")
    if isinstance(value, date):
        return Cell(value.isoformat(), "time")
    if isinstance(value, int | float):
        return Cell(str(value), "number")
    return Cell(str(value), "masked" if column.name in personal and not clear else "")


def details_of(resource, row, *, clear=False):
    """[(section, [(heading, Cell)])] of a record; what stands in no section comes last."""
    names = [*resource.fields, *resource.readonly]
    grouped = [name for _, section in resource.sections for name in section]
    sections = [
        *resource.sections,
        ("其他" if resource.sections else "", [n for n in names if n not in grouped]),
    ]
    personal = {field.name for field in personal_fields(resource.model)}
    bulk_reveal([row], personal & set(names))
    declared = {column.name: column for column in columns_of(resource)}
    found = []
    for label, section in sections:
        columns = [declared.get(name) or list_column(resource.model, name) for name in section]
        entries = [(c.heading, _cell(c, c.value(row, clear), "", personal, clear)) for c in columns]
        if entries:
            found.append((label, entries))
    return found


def panels_of(actor, resource, row):
    """[(panel, resource, Table, more)] of what resources show on a record's page, each by its permission."""
    from jingwei import menu  # its pages import this module

    found = []
    for other in menu.resources().values():
        for panel in other.panels:
            if panel.on != resource.name or not actor.may(f"{other.name}.view"):
                continue
            columns = _columns_of_panel(panel, other, row)
            needs = [name for column in columns for name in column.needs]
            hanging = panel.rows(row)
            if panel.scoped:
                hanging = hanging.filter(pk__in=other.rows(actor).values("pk"))
            rows = list(fetch(hanging, needs, other.related)[: PANEL_ROWS + 1])
            for position, other_row in enumerate(rows, 1):
                other_row.place_in_list = position
            bulk_reveal(
                rows, [n for n in dict.fromkeys(needs) if isinstance(field_at(other.model, n), SealedField)]
            )
            # Rows from another territory's time are shown here, but their own page is not this operator's.
            keys = [other_row.pk for other_row in rows]
            mine = set(other.rows(actor).filter(pk__in=keys).values_list("pk", flat=True)) if rows else set()
            shown = table(actor, other, rows[:PANEL_ROWS], columns, openable=mine)
            if panel.begin and actor.may(f"{other.name}.add"):
                address = f"{reverse('desk:new', args=[other])}?{panel.begin}={key_text(row)}"
                shown = replace(shown, begin=address)
            found.append((panel, other, shown, len(rows) > PANEL_ROWS))
    return found


def _columns_of_panel(panel, other, row):
    """The columns a panel names, or those of the list that tell more than whose page this is."""
    known = {column.name: column for column in columns_of(other)}
    if panel.columns:
        return [known[name] for name in panel.columns]
    back = {f.name for f in other.model._meta.fields if f.is_relation and f.related_model is type(row)}
    left_out = {*other.hidden, *(name for name in known if name.partition("__")[0] in back)}
    return [column for name, column in known.items() if name not in left_out]


def timeline_of(actor, resource, row) -> list[tuple[Any, str, str]]:
    """(when, kind, text) of what happened to a record, the latest first; each resource by its permission."""
    from jingwei import menu  # its pages import this module

    found = []
    for other in menu.resources().values():
        for moment in other.moments:
            if moment.on == resource.name and actor.may(f"{other.name}.view"):
                found += [
                    (moment.at(event), other, moment.text(event)) for event in moment.rows(row)[:MOMENTS]
                ]
    return sorted(found, key=lambda entry: _moment(entry[0]), reverse=True)


def _moment(at):
    return at if isinstance(at, datetime) else timezone.make_aware(datetime.combine(at, time()))
