"""What every statistics page shows: counted tables, drawn as charts, each number a way to its rows (P-9).

A package counts and says which list a number opens. Here stand the shape of a table, drilling down through
the regions of the scope, and the workbook of a table.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlencode

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.http import content_disposition_header

from jingwei.base import audit
from jingwei.base.access import DataScope
from jingwei.base.tables import FORMATS
from jingwei.directory.models import Region
from jingwei.directory.queries import areas_in, start_region
from jingwei.kit.regions import COMMUNITY, LEVELS


class Measure(Protocol):
    """A counted column of a table."""

    name: str
    label: str


@dataclass(frozen=True)
class Share:
    """A column in percent: one measure of another."""

    name: str
    label: str
    part: str
    whole: str

    def of(self, counts) -> float | None:
        """Percent with one decimal; None where there is nothing to divide by."""
        return round(100 * counts[self.part] / counts[self.whole], 1) if counts[self.whole] else None


@dataclass(frozen=True)
class Line:
    """A line of a table: {measure: count}, and what a list selects for it. `area`: a region to open."""

    label: str
    selection: Mapping[str, str]
    counts: Mapping[str, int]
    area: str = ""


@dataclass(frozen=True)
class Table:
    """A counted table. `chart` is how static/js/charts.js draws it, `drawn` the measures and shares drawn."""

    name: str
    label: str
    heading: str  # of the first column
    measures: Sequence[Measure]
    shares: Sequence[Share]
    lines: Sequence[Line]
    total: Line
    chart: str = "bar"
    drawn: Sequence[str] = ()


# --- drilling down ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Territory:
    """The region a page is asked for, the regions below it, and the path to it from the scope's beginning."""

    reach: DataScope
    region: str
    areas: Sequence[Region]
    path: Sequence[Region]

    @property
    def selection(self) -> dict[str, str]:
        """What a list selects for the region; nothing where that is the whole scope."""
        return {"region": self.region} if len(self.path) > 1 else {}


def territory(request, permission) -> Territory:
    """Read the region of the address; one outside the scope answers like one that does not exist.

    `level=village` in the address asks for all communities at once.
    """
    reach = request.actor.data_scope(permission)
    start = start_region(reach, request.actor.region)
    region = request.GET.get("region", start)
    codes = [region[:length] for length in LEVELS if len(start) <= length <= len(region)]
    path = list(Region.objects.filter(code__in=codes).order_by("code"))
    areas = areas_in(reach, region, communities=request.GET.get("level") == "village")
    known = not region or (path and path[-1].code == region)
    if not (known and region.startswith(start) and (areas or not reach.regions)):
        raise Http404
    return Territory(reach, region, areas, path)


# --- showing ----------------------------------------------------------------------------------------------


def figure(label, number, href="", note="") -> dict:
    """A number in large type above the tables."""
    return {"label": label, "number": f"{number:,}", "href": href if number else "", "note": note}


def shown(table: Table, within: Territory, href: Callable[[Line, Measure], str]) -> dict:
    """A table as the template writes it; `href` gives the list that a number opens, "" for none."""
    columns = [*table.measures, *table.shares]

    def row(line):
        deeper = line.area and line.area != within.region and len(line.area) < COMMUNITY
        cells = []
        for measure in table.measures:
            number = line.counts[measure.name]
            cells.append(
                {"text": f"{number:,}", "value": number, "href": href(line, measure) if number else ""}
            )
        for share in table.shares:
            percent = share.of(line.counts)
            cells.append({"text": "" if percent is None else f"{percent}%", "value": percent, "href": ""})
        return {
            "label": line.label,
            "href": f"?{urlencode({'region': line.area})}" if deeper else "",
            "cells": cells,
        }

    return {
        "name": table.name,
        "label": table.label,
        "heading": table.heading,
        "columns": [column.label for column in columns],
        "drawn": [[column.name for column in columns].index(name) for name in table.drawn],
        "chart": table.chart,
        "rows": [row(line) for line in table.lines],
        "total": row(table.total),
    }


def render_statistics(request, label, within, tables, href, *, template="desk/statistics.html", **context):
    """A statistics page with these tables; `context` is for the blocks of a template of its own."""
    context |= {
        "label": label,
        "path": within.path,
        "here": within.path[-1:],
        "tables": [shown(table, within, href) for table in tables],
        "query": request.GET.urlencode(),
        "now": timezone.localtime(),
    }
    return render(request, template, context)


def export_table(request, label, resource, tables) -> HttpResponse:
    """The table named in the address as a workbook; logged as an export of `resource`."""
    table = next((table for table in tables if table.name == request.GET.get("table")), None)
    if table is None:
        raise Http404
    columns = [*table.measures, *table.shares]
    name = f"{label} {table.label} {timezone.localdate()}.xlsx"
    writer = FORMATS["xlsx"]
    response = HttpResponse(content_type=writer.content_type)
    response.headers["Content-Disposition"] = content_disposition_header(True, name)
    with writer(response, table.label, [table.heading, *(column.label for column in columns)]) as sheet:
        lines = [*table.lines, table.total]
        sheet.write(
            [
                [line.label for line in lines],
                *([line.counts[measure.name] for line in lines] for measure in table.measures),
                *([share.of(line.counts) for line in lines] for share in table.shares),
            ]
        )
    audit.record(request.actor, "导出", resource=resource, label=name, rows=len(table.lines))
    return response
