"""Who is counted: the conditions behind the list filters and the statistics of the register (CL-4, P-9.4).

A number and the list it opens share one definition: both name options of `CONDITIONS`.
"""

from datetime import date, datetime, time, timedelta

from django.db.models import Q
from django.utils import timezone

from jingwei.base import codes
from jingwei.base.parameters import Parameter
from jingwei.people.models import Person, PersonAlias

ELDERLY = 60  # years
FULL_DOSES = 3

DOSE_2_AFTER = Parameter(
    "people.dose_2_after", "第二针间隔", 28, "第一针后多少天应接种第二针", "天", low=1, high=730
)
DOSE_3_AFTER = Parameter(
    "people.dose_3_after", "第三针间隔", 180, "第二针后多少天应接种第三针", "天", low=1, high=730
)
ELDERLY_TEST_DAYS = Parameter(
    "people.elderly_test_days",
    "老年人检测间隔",
    7,
    "60 岁以上人员多少天内应做一次核酸检测",
    "天",
    low=1,
    high=365,
)
CROSSING_TEST_DAYS = Parameter(
    "people.crossing_test_days",
    "跨省从业检测间隔",
    2,
    "经常跨省的从业人员多少天内应做一次核酸检测",
    "天",
    low=1,
    high=365,
)
PARAMETERS = [DOSE_2_AFTER, DOSE_3_AFTER, ELDERLY_TEST_DAYS, CROSSING_TEST_DAYS]


def birthday_of(years, today) -> date:
    """The latest birth date of those who have completed `years` on `today` (CL-3.2)."""
    year = min(max(today.year - years, date.min.year), date.max.year)  # whatever number is asked for
    try:
        return today.replace(year=year)
    except ValueError:  # 29 February: who is born on the 28th is that old, who is born on 1 March not yet
        return date(year, 2, 28)


def aged(low, high, today) -> Q:
    """People of `low` to `high` completed years on `today`, both included; None leaves a side open."""
    condition = Q(birth_date__isnull=False)
    if low is not None:
        condition &= Q(birth_date__lte=birthday_of(low, today))
    if high is not None:
        condition &= Q(birth_date__gt=birthday_of(high + 1, today))
    return condition


def start_of(day) -> datetime:
    """Midnight of `day`, aware."""
    return timezone.make_aware(datetime.combine(day, time()))


def sampled_days_ago(low, high):
    """Condition of `today`: the last test was `low` to `high` days ago; None leaves the side open."""

    def condition(today):
        found = Q(sampled_at__isnull=False)
        if low:
            found &= Q(sampled_at__lt=start_of(today - timedelta(days=low - 1)))
        if high is not None:
            found &= Q(sampled_at__gte=start_of(today - timedelta(days=high)))
        return found

    return condition


def untested(parameter):
    """Condition of `today`: no test today nor within the parameter's days before."""
    return lambda today: (
        Q(sampled_at=None) | Q(sampled_at__lt=start_of(today - timedelta(days=parameter.value())))
    )


def dose_overdue(today) -> Q:
    """The next dose should have been given before `today` (CL-4.2)."""
    return Q(dose=1, dose_on__lt=today - timedelta(days=DOSE_2_AFTER.value())) | Q(
        dose=2, dose_on__lt=today - timedelta(days=DOSE_3_AFTER.value())
    )


def crossing_occupations() -> list[str]:
    """Words for the occupations that often cross provinces, by the flag of the dictionary (CL-4.3)."""
    return [word for code in codes.codes("从业情况") if code.flag for word in (code.label, *code.synonyms)]


def always(condition):
    """A condition that is the same on every day."""
    return lambda today: condition


# {filter of the list: {option: (label, condition of today)}}
CONDITIONS = {
    "elderly": {
        "是": ("是", lambda today: aged(ELDERLY, None, today)),
        "否": ("否", lambda today: aged(None, ELDERLY - 1, today)),
    },
    "vaccination": {
        "0": ("未接种", always(Q(dose=None))),
        "1": ("已接种1针", always(Q(dose=1))),
        "2": ("已接种2针", always(Q(dose=2))),
        "3": ("已接种3针及以上", always(Q(dose__gte=FULL_DOSES))),
        "some": ("已接种（至少1针）", always(Q(dose__gte=1))),
    },
    "dose_due": {"overdue": ("下一针已逾期", dose_overdue)},
    "tested": {
        "是": ("是", always(Q(sampled_at__isnull=False))),
        "否": ("否", always(Q(sampled_at=None))),
    },
    "last_test": {
        "3": ("3天内", sampled_days_ago(None, 3)),
        "7": ("4至7天前", sampled_days_ago(4, 7)),
        "14": ("8至14天前", sampled_days_ago(8, 14)),
        "older": ("15天前及更早", sampled_days_ago(15, None)),
        "never": ("从未检测", always(Q(sampled_at=None))),
    },
    "test_due": {
        "elderly": ("超过老年人检测间隔", untested(ELDERLY_TEST_DAYS)),
        "crossing": ("超过跨省从业检测间隔", untested(CROSSING_TEST_DAYS)),
    },
    "crossing": {
        "是": ("是", lambda today: Q(occupation__in=crossing_occupations())),
        "否": ("否", lambda today: ~Q(occupation__in=crossing_occupations())),
    },
    "missing": {
        "occupation": ("单位（从业情况）", always(Q(occupation=""))),
        "address": ("居住地", always(Q(address__isnull=True))),
        "phone": ("联系电话", always(Q(phone__isnull=True))),
        "birth_date": ("出生日期", always(Q(birth_date=None))),
    },
}


def place(region):
    """A community with its town: names of communities repeat across towns."""
    return f"{region.parent.name}{region.name}"


def household_of(person):
    """The others registered at the same address in the same community (CL-3.6)."""
    if person.household is None:
        return Person.objects.none()
    return Person.objects.filter(household=person.household, region=person.region_id).exclude(pk=person.pk)


def numbers_of(person):
    """The document numbers a person is known by, those of records merged into theirs included (P-5.7)."""
    return [person.number, *(alias.number for alias in person.aliases.all())]


def holder_of(doc_type, number):
    """Who is registered with this document, be it that of a record merged into theirs; None if nobody is."""
    person = Person.objects.filter(doc_type=doc_type, number=number).first()
    if person is None:
        alias = PersonAlias.objects.filter(doc_type=doc_type, number=number).select_related("person").first()
        person = alias and alias.person
    return person
