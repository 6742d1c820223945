"""The tables of the statistics pages, counted in one or two passes over the people in scope (CL-4).

Every number names the selection of the people list that it counts, and is counted by the conditions of that
list's filters (`queries.CONDITIONS`), so that number and list can't drift apart (P-9.4).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import BooleanField, Case, CharField, F, Q, Value, When
from django.db.models.functions import Left

from jingwei.base import codes
from jingwei.desk.filters import BLANK, YES_NO
from jingwei.desk.statistics import Line, Share, Table
from jingwei.directory.models import Region
from jingwei.people.queries import CONDITIONS, ELDERLY, aged, place

DOSES = ["0", "1", "2", "3"]
AGE_BANDS = [(low, low + 4) for low in range(0, 85, 5)] + [(85, None)]


@dataclass(frozen=True)
class Measure:
    """A column of a table: what the people list selects for it."""

    name: str
    label: str
    selection: Mapping[str, str]

    def condition(self, today) -> Q:
        """The people counted."""
        found = Q(pk__isnull=False)  # a CASE needs a condition; this one costs nothing
        for name, text in self.selection.items():
            if name in CONDITIONS:
                found &= CONDITIONS[name][text][1](today)
            else:
                found &= Q(**{name: YES_NO.get(text, text)})
        return found


@dataclass(frozen=True)
class Dimension:
    """A way of grouping people: `group(today)` is an expression of Person.

    `lines` gets the values found, the most frequent first, and gives (value, label, selection) in the order
    to show.
    """

    name: str
    label: str
    heading: str
    group: Callable[[date], Any]
    lines: Callable[[list], list[tuple[Any, str, Mapping[str, str]]]]


def measure(name, label, **selection) -> Measure:
    """A measure by the options it selects."""
    return Measure(name, label, selection)


PEOPLE = measure("people", "人数")


# --- ways of grouping -------------------------------------------------------------------------------------


def by_option(name, label, heading, options=()) -> Dimension:
    """By the options of a condition, in their order."""
    options = options or list(CONDITIONS[name])

    def group(today):
        whens = [When(CONDITIONS[name][option][1](today), then=Value(option)) for option in options]
        return Case(*whens, default=Value(""), output_field=CharField())

    def lines(found):
        return [(option, CONDITIONS[name][option][0], {name: option}) for option in options]

    return Dimension(name, label, heading, group, lines)


def by_word(name, label, heading, kind) -> Dimension:
    """By the words of a dictionary, in its order."""

    def lines(found):
        words = [(value, word, {name: value}) for value, word in codes.labels(kind).items() if value in found]
        return words + unset("", found, {name: BLANK})

    return Dimension(name, label, heading, lambda today: F(name), lines)


def by_text(name, label, heading) -> Dimension:
    """By a plain text, the most frequent first."""

    def lines(found):
        return [(text, text, {name: text}) for text in found if text] + unset("", found, {"missing": name})

    return Dimension(name, label, heading, lambda today: F(name), lines)


def by_yes_no(name, label, yes, no) -> Dimension:
    """By a yes-no column."""

    def lines(found):
        return [(True, yes, {name: "是"}), (False, no, {name: "否"}), *unset(None, found, {name: BLANK})]

    return Dimension(name, label, label, lambda today: F(name), lines)


def unset(value, found, selection):
    """The line of those who have nothing entered, if there are any."""
    return [(value, "未填写", selection)] if value in found else []


def age_band(today):
    """Expression: the lower bound of the band of five years, as text."""
    whens = [When(aged(low, high, today), then=Value(str(low))) for low, high in AGE_BANDS]
    return Case(*whens, default=Value(""), output_field=CharField())


def age_lines(found):
    """The bands from young to old."""
    lines = []
    for low, high in AGE_BANDS:
        selection = {"age__from": str(low)} | ({"age__to": str(high)} if high else {})
        lines.append((str(low), f"{low}–{high}岁" if high else f"{low}岁以上", selection))
    return lines + unset("", found, {"missing": "birth_date"})


def by_area(areas: Sequence[Region]) -> Dimension:
    """By these regions, all of one level."""
    length = len(areas[0].code) if areas else 12
    name = place if len({area.parent_id for area in areas}) > 1 else str
    return Dimension(
        "area",
        "按区域",
        {6: "区县", 9: "乡镇（街道）"}.get(length, "村/社区"),
        lambda today: Left("region_id", length),
        lambda found: [(area.code, name(area), {"region": area.code}) for area in areas],
    )


OCCUPATION = by_text("occupation", "按从业情况", "单位（从业情况）")
VACCINATION = by_option("vaccination", "按接种情况", "疫苗接种情况", DOSES)
GROUP = by_word("group", "按人群分类", "人群分类", "人群分类")
AGE = Dimension("age", "性别年龄结构", "年龄段", age_band, age_lines)
TENANT = by_yes_no("tenant", "是否为租户", "租户", "非租户")
RESIDENT = by_yes_no("resident", "是否为常住人口", "常住", "非常住")
ELDERLY_AGE = replace(AGE, label="按年龄", lines=lambda found: age_lines(found)[ELDERLY // 5 :])
LAST_TEST = by_option("last_test", "最后一次核酸检测", "最后一次核酸检测")


# --- tables -----------------------------------------------------------------------------------------------

SEXES = [PEOPLE, measure("male", "男", sex="1"), measure("female", "女", sex="2")]
AREA_MEASURES = [
    PEOPLE,
    measure("resident", "常住", resident="是"),
    measure("visitor", "非常住", resident="否"),
    measure("tenant", "租户", tenant="是"),
    measure("elderly", "60岁以上", elderly="是"),
    measure("vaccinated", "已接种", vaccination="some"),
    measure("unvaccinated", "未接种", vaccination="0"),
    measure("tested", "做过核酸检测", tested="是"),
]
DOSE_MEASURES = [
    measure(f"dose{dose}", CONDITIONS["vaccination"][dose][0], vaccination=dose) for dose in DOSES
]
WATCHED = [
    measure("unvaccinated", "未接种", vaccination="0"),
    measure("overdue", "下一针已逾期", dose_due="overdue"),
    measure("untested", "超期未检测", test_due="elderly"),
]
CROSSING_MEASURES = [
    PEOPLE,
    measure("overdue", "超期未检测", test_due="crossing"),
    measure("never", "从未检测", last_test="never"),
]
COVERAGE_MEASURES = [
    PEOPLE,
    measure("vaccinated", "已接种", vaccination="some"),
    measure("full", "已接种3针", vaccination="3"),
    measure("elderly", "60岁以上", elderly="是"),
    measure("elderly_vaccinated", "60岁以上已接种", elderly="是", vaccination="some"),
    measure("tested", "做过核酸检测", tested="是"),
]
COVERAGE_SHARES = [
    Share("coverage", "接种率", "vaccinated", "people"),
    Share("full_coverage", "3针接种率", "full", "people"),
    Share("elderly_coverage", "60岁以上接种率", "elderly_vaccinated", "elderly"),
    Share("test_coverage", "检测率", "tested", "people"),
]
VACCINATED = [Share("coverage", "接种率", "vaccinated", "people")]


def population(rows, areas, today) -> list[Table]:
    """By area, and by everything else that CL-4.1 names."""
    [area] = tables(rows, today, [by_area(areas)], AREA_MEASURES, VACCINATED)
    pyramid, *others = tables(rows, today, [AGE, VACCINATION, GROUP, OCCUPATION, RESIDENT, TENANT], SEXES)
    vaccination, group, occupation, resident, tenant = (drawn(table, "pie", "people") for table in others)
    return [
        drawn(area, "bar", "people", "vaccinated"),
        drawn(pyramid, "pyramid", "male", "female"),
        drawn(occupation, "rank", "people"),
        vaccination,
        group,
        resident,
        tenant,
    ]


def elderly(rows, areas, today) -> list[Table]:
    """People of 60 and above: doses and what is due by area, and when they were last tested (CL-4.2)."""
    rows, selection = rows.filter(CONDITIONS["elderly"]["是"][1](today)), {"elderly": "是"}
    dimensions = [by_area(areas), ELDERLY_AGE, LAST_TEST]
    measures = [PEOPLE, *DOSE_MEASURES, *WATCHED[1:]]
    area, age, last_test = tables(rows, today, dimensions, measures, selection=selection)
    doses = [m.name for m in reversed(DOSE_MEASURES)]
    return [
        drawn(area, "stack", *doses),
        drawn(age, "stack", *doses),
        drawn(replace(last_test, measures=measures[:-1]), "bar", "people"),
    ]


def crossing(rows, today) -> list[Table]:
    """Occupations that often cross provinces (CL-4.3)."""
    rows = rows.filter(CONDITIONS["crossing"]["是"][1](today))
    [occupation] = tables(rows, today, [OCCUPATION], CROSSING_MEASURES, selection={"crossing": "是"})
    return [drawn(occupation, "bar", "people", "overdue")]


def coverage(rows, areas, today, by) -> list[Table]:
    """Areas in the order of the share named `by`, the best first (CL-4.4)."""
    [table] = tables(rows, today, [by_area(areas)], COVERAGE_MEASURES, COVERAGE_SHARES)
    share = next(share for share in COVERAGE_SHARES if share.name == by)
    ranked = sorted(table.lines, key=lambda line: -(share.of(line.counts) or 0))
    return [drawn(replace(table, label="覆盖率排名", lines=ranked), "rank", by)]


def drawn(table, chart, *names) -> Table:
    """The table with how it is drawn."""
    return replace(table, chart=chart, drawn=names)


# --- counting ---------------------------------------------------------------------------------------------


def tables(rows, today, dimensions, measures, shares=(), selection=None) -> list[Table]:
    """A table for each way of grouping `rows`, all counted in one pass; `selection` is what chose `rows`."""
    groupings = [{dimension.name: dimension.group(today)} for dimension in dimensions]
    selection = selection or {}
    total, *found = counted(rows, today, [{}, *groupings], measures)
    nobody = {m.name: 0 for m in measures}
    result = []
    for dimension, counts in zip(dimensions, found, strict=True):
        values = sorted((value for (value,) in counts), key=lambda value: -counts[value,][measures[0].name])
        lines = [
            Line(label, selection | chosen, counts.get((value,), nobody), area=chosen.get("region", ""))
            for value, label, chosen in dimension.lines(values)
        ]
        whole = Line("合计", selection, total.get((), nobody))
        result.append(
            Table(dimension.name, dimension.label, dimension.heading, measures, shares, lines, whole)
        )
    return result


def counted(rows, today, groupings: Sequence[Mapping], measures: Sequence[Measure]):
    """Count `rows` by several groupings in one pass over them.

    A grouping maps names to expressions of Person; the empty one is the total. Returns for each grouping
    {tuple of its values: {measure name: count}}, all from one GROUPING SETS query.
    """
    keys = {f"by_{name}": expression for grouping in groupings for name, expression in grouping.items()}
    marks = {
        f"is_{m.name}": Case(When(m.condition(today), then=True), default=False, output_field=BooleanField())
        for m in measures
    }
    found = [{} for _ in groupings]
    try:
        inner, parameters = (
            rows.order_by().annotate(**keys, **marks).values(*keys, *marks).query.sql_with_params()
        )
    except EmptyResultSet:  # a scope without rows
        return found
    sets = [[f"by_{name}" for name in grouping] for grouping in groupings]
    # Names are those of this module; every value is a parameter of the inner query.
    sql = (
        "SELECT {grouping}, {keys} {counts} FROM ({inner}) AS counted GROUP BY GROUPING SETS ({sets})".format(  # noqa: S608
            grouping=f"GROUPING({', '.join(keys)})" if keys else "0",
            keys="".join(f"{key}, " for key in keys),
            counts=", ".join(f"count(*) FILTER (WHERE {mark})" for mark in marks),
            inner=inner,
            sets=", ".join(f"({', '.join(names)})" for names in sets),
        )
    )
    # GROUPING() has a bit for every key that is not part of the row's set, the last key being the lowest.
    places = {
        sum(1 << place for place, key in enumerate(reversed(keys)) if key not in names): number
        for number, names in enumerate(sets)
    }
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        for bits, *cells in cursor.fetchall():
            number = places[bits]
            values = dict(zip(keys, cells, strict=False))
            counts = dict(zip((m.name for m in measures), cells[len(keys) :], strict=True))
            found[number][tuple(values[name] for name in sets[number])] = counts
    return found
