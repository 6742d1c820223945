"""The statistics pages: charts, the tables behind them, and from every number the way to its rows (CL-4, P-9.1)."""

from dataclasses import dataclass
from functools import partial
from urllib.parse import urlencode

from django.core.paginator import Paginator
from django.db.models import F
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import content_disposition_header

from jingwei.base import audit
from jingwei.base.fields import reveal
from jingwei.base.resource import Page
from jingwei.desk.tables import FORMATS
from jingwei.directory.models import Region
from jingwei.directory.queries import areas_in, start_region
from jingwei.kit.regions import LEVELS
from jingwei.people import statistics
from jingwei.people.models import Person
from jingwei.people.queries import CONDITIONS, PARAMETERS
from jingwei.people.statistics import COVERAGE_SHARES, PEOPLE, WATCHED

PERMISSION = "people.statistics"


@dataclass(frozen=True)
class Asked:
    """What a statistics page is asked for: the rows in scope of one region, and the regions below it."""

    rows: object
    region: str
    areas: list
    path: list  # regions from where drilling down begins to this one
    today: object
    opens: bool  # whether numbers may open the list: both permissions reach the same rows

    def link(self, *selections) -> str:
        """The people list with exactly the rows that the selections count."""
        merged = {"region": self.region} if len(self.path) > 1 else {}
        for selection in selections:
            merged |= selection
        return f"{reverse('desk:list', args=['people'])}?{urlencode(merged)}"


def asked(request) -> Asked:
    """Read the region of the address; one outside the scope does not exist."""
    actor, reach = request.actor, request.actor.data_scope(PERMISSION)
    start = start_region(reach, actor.region)
    region = request.GET.get("region", start)
    codes = [region[:length] for length in LEVELS if len(start) <= length <= len(region)]
    path = list(Region.objects.filter(code__in=codes).order_by("code"))
    areas = areas_in(reach, region, communities=request.GET.get("level") == "village")
    known = not region or (path and path[-1].code == region)
    if not (known and areas and region.startswith(start)):
        raise Http404
    rows = Person.objects.visible_to(actor, PERMISSION).filter(region__code__startswith=region)
    opens = actor.data_scope("people.view") == reach
    return Asked(rows, region, areas, path, timezone.localdate(), opens)


# --- what a page shows ------------------------------------------------------------------------------------


def shown(table, question):
    """A table as the template writes it: cells with the address of the list that each number opens."""
    columns = [*table.measures, *table.shares]

    def cells(line):
        for measure in table.measures:
            number = line.counts[measure.name]
            href = question.link(line.selection, measure.selection) if number and question.opens else ""
            yield {"text": f"{number:,}", "value": number, "href": href}
        for share in table.shares:
            percent = share.of(line.counts)
            yield {"text": "" if percent is None else f"{percent}%", "value": percent, "href": ""}

    def row(line):
        deeper = line.area and line.area != question.region and len(line.area) < 12
        return {
            "label": line.label,
            "href": f"?{urlencode({'region': line.area})}" if deeper else "",
            "cells": list(cells(line)),
        }

    return {
        "name": table.name,
        "label": table.label,
        "heading": table.heading,
        "columns": [column.label for column in columns],
        "drawn": [number for number, column in enumerate(columns) if column.name in table.drawn],
        "chart": table.chart,
        "rows": [row(line) for line in table.lines],
        "total": row(table.total),
    }


def figure(label, number, href, note=""):
    return {"label": label, "number": f"{number:,}", "href": href if number else "", "note": note}


def figures(question, line, measures):
    """Numbers in large type above the tables, with their share of the people of the line."""
    people = line.counts[PEOPLE.name]
    for measure in measures:
        number = line.counts[measure.name]
        share = f"{100 * number / people:.1f}%" if people and measure is not PEOPLE else ""
        href = question.link(line.selection, measure.selection) if question.opens else ""
        yield figure(measure.label, number, href, share)


def page(request, question, label, tables, **context):
    """Render a statistics page."""
    context |= {
        "label": label,
        "path": question.path,
        "here": question.path[-1:],
        "tables": [shown(table, question) for table in tables],
        "query": request.GET.urlencode(),
        "now": timezone.localtime(),
    }
    return render(request, "people/statistics.html", context)


def export(request, *, label, build):
    """One table of a page as a workbook (P-9.1)."""
    tables = {table.name: table for table in build(request, asked(request))}
    table = tables.get(request.GET.get("table", ""))
    if table is None:
        raise Http404
    columns = [*table.measures, *table.shares]
    writer = FORMATS["xlsx"]
    name = f"{label} {table.label} {timezone.localdate()}.xlsx"
    response = HttpResponse(content_type=writer.content_type)
    response.headers["Content-Disposition"] = content_disposition_header(True, name)
    with writer(response, table.label, [table.heading, *(column.label for column in columns)]) as sheet:
        sheet.write(
            [
                line.label,
                *(line.counts[measure.name] for measure in table.measures),
                *(share.of(line.counts) for share in table.shares),
            ]
            for line in [*table.lines, table.total]
        )
    audit.record(request.actor, "导出", resource="people", label=name, rows=len(table.lines))
    return response


# --- the pages --------------------------------------------------------------------------------------------


def population_tables(request, question):
    return statistics.population(question.rows, question.areas, question.today)


def population(request):
    """By area, occupation, vaccination, group, sex and age, tenants, residents (CL-4.1)."""
    question = asked(request)
    tables = population_tables(request, question)
    area = tables[0]
    return page(
        request, question, "人口统计", tables, figures=list(figures(question, area.total, area.measures))
    )


def elderly_tables(request, question):
    return statistics.elderly(question.rows, question.areas, question.today)


def elderly(request):
    """People of 60 and above: doses, what is due, last tests (CL-4.2)."""
    question = asked(request)
    tables = elderly_tables(request, question)
    total = tables[0].total
    counts = total.counts | {"unvaccinated": total.counts["dose0"]}
    line = statistics.Line(total.label, total.selection, counts)
    return page(
        request,
        question,
        "60岁以上人员",
        tables,
        figures=list(figures(question, line, [PEOPLE, *WATCHED])),
        parameters=PARAMETERS[:3],
    )


def crossing_tables(request, question):
    return statistics.crossing(question.rows, question.today)


def crossing(request):
    """Occupations that often cross provinces, with the people themselves, overdue first (CL-4.3)."""
    question = asked(request)
    tables = crossing_tables(request, question)
    total = tables[0].total
    return page(
        request,
        question,
        "跨省从业人员",
        tables,
        figures=list(figures(question, total, tables[0].measures)),
        parameters=PARAMETERS[3:],
        people=crossing_people(request, question),
    )


def crossing_people(request, question):
    """A page of the people of these occupations, who was never tested first, then the longest ago."""
    chosen = CONDITIONS["crossing"]["是"][1](question.today)
    rows = Person.objects.visible_to(request.actor, "people.view").filter(
        chosen, region__code__startswith=question.region
    )
    rows = rows.select_related("region__parent").order_by(F("sampled_at").asc(nulls_first=True), "pk")
    shown = Paginator(rows, 50).get_page(request.GET.get("page"))
    reveal(person.phone for person in shown)
    for person in shown:
        day = person.sampled_at and timezone.localdate(person.sampled_at)
        person.days = day and (question.today - day).days
    return shown


def coverage_tables(request, question):
    """Townships, or all communities, by the share asked for."""
    by = share_asked(request).name
    return statistics.coverage(question.rows, question.areas, question.today, by)


def share_asked(request):
    by = request.GET.get("by", "")
    return next((share for share in COVERAGE_SHARES if share.name == by), COVERAGE_SHARES[0])


def coverage(request):
    """Ranking of townships and communities by coverage (CL-4.4)."""
    question = asked(request)
    tables = coverage_tables(request, question)
    return page(
        request,
        question,
        "覆盖率排名",
        tables,
        ranked=True,
        shares=COVERAGE_SHARES,
        by=share_asked(request).name,
        level=request.GET.get("level", ""),
    )


def views(view, label, build):
    """A page and the export of its tables."""
    return [("", view), ("export/", partial(export, label=label, build=build))]


PAGES = [
    Page("population", "人口统计", PERMISSION, views(population, "人口统计", population_tables)),
    Page("coverage", "覆盖率排名", PERMISSION, views(coverage, "覆盖率排名", coverage_tables), "trophy"),
    Page(
        "elderly",
        "60岁以上人员",
        PERMISSION,
        views(elderly, "60岁以上人员", elderly_tables),
        "heart-handshake",
    ),
    Page("crossing", "跨省从业人员", PERMISSION, views(crossing, "跨省从业人员", crossing_tables), "truck"),
]
