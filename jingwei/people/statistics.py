"""The tables of the statistics pages (CL-4), from counts that are kept ready (`tallies`).

Every number names the selection of the people list that it counts, and is counted by the conditions of that
list's filters (`queries.CONDITIONS`), so that number and list can't drift apart (P-9.4).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any
from urllib.parse import parse_qsl

from django.core.exceptions import ValidationError
from django.db.models import Case, CharField, F, Q, Value, When
from django.utils import timezone

from jingwei.base import audit, codes
from jingwei.base.resource import Figure
from jingwei.desk.filters import BLANK, YES_NO
from jingwei.desk.statistics import Line, Share, Table
from jingwei.directory.models import Region
from jingwei.kit.regions import COMMUNITY
from jingwei.people import tallies
from jingwei.people.queries import CONDITIONS, ELDERLY, aged, place

DOSES = ["0", "1", "2", "3"]
AGE_BANDS = [(low, low + 4) for low in range(0, 85, 5)] + [(85, None)]


@dataclass(frozen=True)
class Measure:
    """A column of a table: what the people list selects for it."""

    name: str
    label: str
    selection: Mapping[str, str]


def selected(selection, today) -> Q:
    """The people that a selection of the list finds."""
    found = Q(pk__isnull=False)  # a CASE needs a condition; this one costs nothing
    for name, text in selection.items():
        found &= (
            CONDITIONS[name][text][1](today) if name in CONDITIONS else Q(**{name: YES_NO.get(text, text)})
        )
    return found


@dataclass(frozen=True)
class Dimension:
    """A way of grouping people: `group(today)` is an expression of Person.

    `lines` gets the values found, as the texts the database makes of them, the most frequent first, and gives
    (value, label, selection) in the order to show.
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
        return [("true", yes, {name: "是"}), ("false", no, {name: "否"}), *unset(None, found, {name: BLANK})]

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
    """By these regions, all of one level: a grouping that every count has."""
    name = place if len({area.parent_id for area in areas}) > 1 else str
    return Dimension(
        "area",
        "按区域",
        {6: "区县", 9: "乡镇（街道）"}.get(digits(areas), "村/社区"),
        None,
        lambda found: [(area.code, name(area), {"region": area.code}) for area in areas],
    )


def digits(areas) -> int:
    """How many digits the codes of these regions have."""
    return len(areas[0].code) if areas else COMMUNITY


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


@dataclass(frozen=True)
class Count:
    """One pass over the people: what it counts, for which dimensions, of the people of which selection."""

    measures: Sequence[Measure]
    dimensions: Sequence[Dimension] = ()
    selection: Mapping[str, str] = field(default_factory=dict)

    def on(self, day) -> tallies.Count:
        """The count with the conditions of a day."""
        return tallies.Count(
            selected(self.selection, day),
            [dimension.group(day) for dimension in self.dimensions],
            [selected(measure.selection, day) for measure in self.measures],
        )


AREAS = Count(AREA_MEASURES)
PROFILE = Count(SEXES, [AGE, VACCINATION, GROUP, OCCUPATION, RESIDENT, TENANT])
OLD = Count([PEOPLE, *DOSE_MEASURES, *WATCHED[1:]], [ELDERLY_AGE, LAST_TEST], {"elderly": "是"})
CROSSING = Count(CROSSING_MEASURES, [OCCUPATION], {"crossing": "是"})
COVERAGE = Count(COVERAGE_MEASURES)

# The numbers of the home page: each counts what its query selects in the list.
FIGURES = [
    Figure("在册人员"),
    Figure("常住人口", "resident=是"),
    Figure("60岁以上", "elderly=是"),
    Figure("60岁以上未接种", "elderly=是&vaccination=0", waits=True),
    Figure("60岁以上下一针已逾期", "elderly=是&dose_due=overdue", waits=True),
    Figure("60岁以上超期未检测", "elderly=是&test_due=elderly", waits=True),
    Figure("跨省从业超期未检测", "crossing=是&test_due=crossing", waits=True),
]
HOME = Count([Measure(figure.query, figure.label, dict(parse_qsl(figure.query))) for figure in FIGURES])


def counts_on(day) -> list[tallies.Count]:
    """Everything that is counted, with the conditions of a day."""
    return [count.on(day) for count in (AREAS, PROFILE, OLD, CROSSING, COVERAGE, HOME)]


def population(within, areas, today) -> list[Table]:
    """By area, and by everything else that CL-4.1 names."""
    [area] = tables(AREAS, within, areas, today, VACCINATED)
    _, pyramid, *others = tables(PROFILE, within, areas, today)
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


def elderly(within, areas, today) -> list[Table]:
    """People of 60 and above: doses and what is due by area, and when they were last tested (CL-4.2)."""
    area, age, last_test = tables(OLD, within, areas, today)
    doses = [m.name for m in reversed(DOSE_MEASURES)]
    return [
        drawn(area, "stack", *doses),
        drawn(age, "stack", *doses),
        drawn(replace(last_test, measures=OLD.measures[:-1]), "bar", "people"),
    ]


def crossing(within, areas, today) -> list[Table]:
    """Occupations that often cross provinces (CL-4.3)."""
    _, occupation = tables(CROSSING, within, areas, today)
    return [drawn(occupation, "bar", "people", "overdue")]


def coverage(within, areas, today, by) -> list[Table]:
    """Areas in the order of the share named `by`, the best first (CL-4.4)."""
    [table] = tables(COVERAGE, within, areas, today, COVERAGE_SHARES)
    share = next(share for share in COVERAGE_SHARES if share.name == by)
    ranked = sorted(table.lines, key=lambda line: -(share.of(line.counts) or 0))
    return [drawn(replace(table, label="覆盖率排名", lines=ranked), "rank", by)]


def figures(reach, today) -> dict[str, int]:
    """{query: number} of the home page's figures inside `reach`; nothing before they are tallied."""
    found = tallies.kept(HOME.on(today), lambda model: model.scope.within(reach), 0)
    if found is None:
        return {}
    numbers = found[0][2] if found else [0] * len(FIGURES)
    return dict(zip((figure.query for figure in FIGURES), numbers, strict=True))


def drawn(table, chart, *names) -> Table:
    """The table with how it is drawn."""
    return replace(table, chart=chart, drawn=names)


def tables(count: Count, within, areas, today, shares=()) -> list[Table]:
    """A table by area and one for each dimension; `within(model)` is the condition of the territory."""
    names = [measure.name for measure in count.measures]
    dimensions = [by_area(areas), *count.dimensions]
    found = [{} for _ in dimensions]
    for grouping, value, numbers in tallies.counted(count.on(today), within, digits(areas)):
        found[grouping][value] = dict(zip(names, numbers, strict=True))
    whole = {name: sum(counts[name] for counts in found[0].values()) for name in names}
    total = Line("合计", count.selection, whole)
    result = []
    for dimension, counts in zip(dimensions, found, strict=True):
        values = sorted(counts, key=lambda value: -counts[value][names[0]])
        lines = [
            Line(
                label,
                {**count.selection, **chosen},
                counts.get(value, dict.fromkeys(names, 0)),
                area=chosen.get("region", ""),
            )
            for value, label, chosen in dimension.lines(values)
        ]
        heading = dimension.name, dimension.label, dimension.heading
        result.append(Table(*heading, count.measures, shares, lines, total))
    return result


# --- keeping the counts ready -----------------------------------------------------------------------------

RECOUNT, RECOUNT_LABEL = "recount-people", "核对统计数字"


def refresh():
    """Have what the pages of today show counted, but for a few changes."""
    tallies.refresh(counts_on, timezone.localdate())


def recount(actor, job, report):
    """Kind of job: compare the kept counts with the people, and count today and tomorrow anew (P-9.4)."""
    wrong = tallies.recount(counts_on, timezone.localdate())
    if wrong:
        told = f"统计数字与人员信息有 {wrong} 处不一致，已按人员信息重新统计。请系统管理员查找原因。"
        audit.record(actor, RECOUNT_LABEL, resource="people", result="失败", reason=told, differences=wrong)
        raise ValidationError(told)
    return {"message": "统计数字与人员信息一致。"}
