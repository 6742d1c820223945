"""What happened on each day: people registered, doses given, samples taken (CL-4.4, P-9.3)."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from django.db.models import Count, DateTimeField, F, Q
from django.db.models.functions import TruncDate
from django.utils import timezone

from jingwei.people.models import Dose, Person
from jingwei.testing.models import Sample


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
    """Rows of `model`, counted by the date or time in `at`.

    The list of `resource` shows them; its filters are named `at` and `region`.
    """

    name: str
    label: str
    model: type
    at: str
    resource: str
    region: str = "region"

    def by_day(self, rows, *periods: Period) -> Counter:
        """{day: how many of `rows`} for the days of the periods, in one statement."""
        timed = isinstance(self.model._meta.get_field(self.at), DateTimeField)
        chosen = Q()
        for period in periods:
            low, high = period.first, period.last + timedelta(days=1)
            if timed:
                low, high = _midnight(low), _midnight(high)
            chosen |= Q(**{f"{self.at}__gte": low, f"{self.at}__lt": high})
        day = TruncDate(self.at) if timed else F(self.at)
        return Counter(dict(rows.filter(chosen).order_by().values_list(day).annotate(number=Count("*"))))


def _midnight(day):
    return timezone.make_aware(datetime.combine(day, time()))


EVENTS = [
    Events("people", "新登记人员", Person, "created_at", "people"),
    Events("doses", "接种剂次", Dose, "on", "doses", "person__region"),
    Events("samples", "核酸采样", Sample, "sampled_at", "samples"),
]


def trend(rows_of, period: Period) -> Mapping[str, Counter]:
    """{events: {day: count}} of the period, the one before and the same days last year.

    `rows_of(model)` gives the rows in scope.
    """
    periods = (period, period.before, period.last_year)
    return {events.name: events.by_day(rows_of(events.model), *periods) for events in EVENTS}
