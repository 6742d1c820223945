"""The statistics pages of the register (CL-4)."""

from dataclasses import replace
from urllib.parse import urlencode

from django.core.paginator import Paginator
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET

from jingwei.base.fields import reveal
from jingwei.base.resource import Page
from jingwei.desk.statistics import Line, export_table, figure, render_statistics, territory
from jingwei.people import statistics
from jingwei.people.models import Person
from jingwei.people.queries import CONDITIONS, PARAMETERS
from jingwei.people.statistics import COVERAGE_SHARES, PEOPLE, WATCHED

PERMISSION = "people.statistics"


def counted_in(within):
    """Function of a model: the condition of the region inside the scope."""
    return lambda model: (
        model.scope.within(within.reach) & Q(**{f"{model.scope.region}__startswith": within.region})
    )


def list_of(request, within):
    """Function of line and measure: the address of the list with exactly the people counted.

    None is opened by an operator who may view other people than may be counted.
    """
    if request.actor.data_scope("people.view") != within.reach:
        return lambda line, measure: ""
    address = reverse("desk:list", args=["people"])
    return lambda line, measure: (
        f"{address}?{urlencode(within.selection | dict(line.selection) | dict(measure.selection))}"
    )


def figures(href, line, measures):
    """The measures of a line in large type, with their share of its people."""
    people = line.counts[PEOPLE.name]
    found = []
    for measure in measures:
        number = line.counts[measure.name]
        share = f"{100 * number / people:.1f}%" if people and measure is not PEOPLE else ""
        found.append(figure(measure.label, number, href(line, measure), share))
    return found


def population_tables(request, within):
    return statistics.population(counted_in(within), within.areas, timezone.localdate())


@require_GET
def population(request):
    """By area, occupation, vaccination, group, sex and age, tenants, residents (CL-4.1)."""
    within = territory(request, PERMISSION)
    tables, href = population_tables(request, within), list_of(request, within)
    above = figures(href, tables[0].total, tables[0].measures)
    return render_statistics(request, "人口统计", within, tables, href, figures=above)


def elderly_tables(request, within):
    return statistics.elderly(counted_in(within), within.areas, timezone.localdate())


@require_GET
def elderly(request):
    """People of 60 and above: doses, what is due, last tests (CL-4.2)."""
    within = territory(request, PERMISSION)
    tables, href = elderly_tables(request, within), list_of(request, within)
    total = tables[0].total
    total = Line(total.label, total.selection, total.counts | {"unvaccinated": total.counts["dose0"]})
    return render_statistics(
        request,
        "60岁以上人员",
        within,
        tables,
        href,
        figures=figures(href, total, [PEOPLE, *WATCHED]),
        parameters=PARAMETERS[:3],
    )


def crossing_tables(request, within):
    return statistics.crossing(counted_in(within), within.areas, timezone.localdate())


@require_GET
def crossing(request):
    """Occupations that often cross provinces, with the people themselves, overdue first (CL-4.3)."""
    within = territory(request, PERMISSION)
    tables, href = crossing_tables(request, within), list_of(request, within)
    return render_statistics(
        request,
        "跨省从业人员",
        within,
        tables,
        href,
        template="people/crossing.html",
        figures=figures(href, tables[0].total, tables[0].measures),
        parameters=PARAMETERS[3:],
        people=crossing_people(request, within),
    )


class OverdueFirst:
    """People by their last test: never tested, then the longest ago. They are counted without being read."""

    def __init__(self, rows, counts):
        self.never = rows.filter(sampled_at=None).order_by("region_id", "pk")
        self.tested = rows.filter(sampled_at__isnull=False).order_by("sampled_at", "pk")
        self.counts = counts

    def __len__(self):
        return self.counts["people"]

    def __getitem__(self, asked):
        never = self.counts["never"]
        found = list(self.never[asked.start : min(asked.stop, never)]) if asked.start < never else []
        if asked.stop > never:
            found += self.tested[max(asked.start - never, 0) : asked.stop - never]
        return found


def crossing_people(request, within):
    """A page of the people of these occupations whom the operator may view."""
    today, viewed = timezone.localdate(), request.actor.data_scope("people.view")
    inside = counted_in(replace(within, reach=viewed))
    [counted] = statistics.crossing(inside, within.areas, today)
    rows = Person.objects.filter(CONDITIONS["crossing"]["是"][1](today), inside(Person))
    rows = rows.select_related("region__parent").defer("region__boundary", "region__parent__boundary")
    overdue_first = OverdueFirst(rows, counted.total.counts)
    people = Paginator(overdue_first, 50).get_page(request.GET.get("page"))
    reveal(person.phone for person in people)
    for person in people:
        person.days = person.sampled_at and (today - timezone.localdate(person.sampled_at)).days
    return people


def coverage_tables(request, within):
    share = share_asked(request).name
    return statistics.coverage(counted_in(within), within.areas, timezone.localdate(), share)


def share_asked(request):
    by = request.GET.get("by", "")
    return next((share for share in COVERAGE_SHARES if share.name == by), COVERAGE_SHARES[0])


@require_GET
def coverage(request):
    """Townships, or all communities, in the order of a coverage (CL-4.4)."""
    within = territory(request, PERMISSION)
    return render_statistics(
        request,
        "覆盖率排名",
        within,
        coverage_tables(request, within),
        list_of(request, within),
        template="people/coverage.html",
        ranked=True,
        shares=COVERAGE_SHARES,
        by=share_asked(request).name,
        level=request.GET.get("level", ""),
    )


def views(label, view, tables):
    """A page and the export of its tables."""

    @require_GET
    def export(request):
        return export_table(request, label, "people", tables(request, territory(request, PERMISSION)))

    return [("", view), ("export/", export)]


PAGES = [
    Page(name, label, PERMISSION, views(label, page, tables), icon, tolerates_lag=True)
    for name, label, page, tables, icon in [
        ("population", "人口统计", population, population_tables, "chart-bar"),
        ("coverage", "覆盖率排名", coverage, coverage_tables, "trophy"),
        ("elderly", "60岁以上人员", elderly, elderly_tables, "heart-handshake"),
        ("crossing", "跨省从业人员", crossing, crossing_tables, "truck"),
    ]
]
