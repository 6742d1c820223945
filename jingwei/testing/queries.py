"""What happened on each day: people registered, doses given, samples taken (CL-4.4, P-9.3)."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q, QuerySet, Sum

from jingwei.base import audit
from jingwei.people import day_counts
from jingwei.people.day_counts import DOSES, PEOPLE
from jingwei.people.models import DayCount
from jingwei.testing.models import SAMPLES


@dataclass(frozen=True)
class Period:
    """Days from the first to the last, both included."""

    first: date
    last: date

    @property
    def days(self) -> list[date]:
        return [self.first + timedelta(days=n) for n in range((self.last - self.first).days + 1)]

    @property
    def before(self) -> "Period":
        """As many days right before (环比)."""
        return Period(self.first - timedelta(days=len(self.days)), self.first - timedelta(days=1))

    @property
    def last_year(self) -> "Period":
        """The same days a year earlier (同比)."""
        return Period(_a_year_before(self.first), _a_year_before(self.last))


def _a_year_before(day):
    try:
        return day.replace(year=day.year - 1)
    except ValueError:  # 29 February
        return day.replace(year=day.year - 1, day=28)


@dataclass(frozen=True)
class Events:
    """What is counted by day as the kind `name`.

    The list of `resource` shows the rows; its filters are named `at` and `region`.
    """

    name: str
    label: str
    at: str
    resource: str
    region: str = "region"


EVENTS = [
    Events(PEOPLE.kind, "新登记人员", "created_at", "people"),
    Events(DOSES.kind, "接种剂次", "on", "doses", "person__region"),
    Events(SAMPLES.kind, "核酸采样", "sampled_at", "samples"),
]


def trend(counts: QuerySet[DayCount], period: Period) -> Mapping[str, Counter]:
    """{events: {day: count}} of the period, the one before and the same days last year."""
    chosen = Q()
    for days in (period, period.before, period.last_year):
        chosen |= Q(day__range=(days.first, days.last))
    found = {events.name: Counter() for events in EVENTS}
    for kind, day, number in (
        counts.filter(chosen, kind__in=found).values_list("kind", "day").annotate(number=Sum("number"))
    ):
        found[kind][day] = number
    return found


# --- keeping the counts right -----------------------------------------------------------------------------

RECOUNT, RECOUNT_LABEL = "recount-days", "核对每日趋势"


def recount(actor, job, report):
    """Kind of job: add up the counts by day and compare them with the rows (P-9.4)."""
    day_counts.add_up()
    with transaction.atomic():
        wrong = day_counts.recount(PEOPLE, DOSES, SAMPLES)
        told = f"每日趋势的数字有 {wrong} 处与明细不一致，已按明细更正。请系统管理员查找原因。"
        if wrong:
            about = {"result": "失败", "reason": told, "differences": wrong}
            audit.record(actor, RECOUNT_LABEL, resource="people", **about)
    if wrong:
        raise ValidationError(told)
    return {"message": "每日趋势与明细一致。"}
