"""Who looked at whom (P-3.4)."""

from django.db.models import Q

from jingwei.base import audit
from jingwei.base.models import LogEntry, LogPeople
from jingwei.people.models import Merge, Person
from jingwei.people.queries import numbers_of

# Opened, with its attachments, seen in clear, exported, printed; of single records and of many.
LOOKS = ("查看", "查看明文", "紧急查看", "查找接触者", "下载", "导出", "打印")


def looks_at(person: Person):
    """Every entry of the log by which somebody saw the person's record, or one that was merged into it.

    Also any other row with the person's document number, or with the telephone where a row has no number.
    """
    merged = Merge.objects.filter(kept=person, state=Merge.DONE).values_list("gone", flat=True)
    marks = audit.marks("number", [number.clear() for number in numbers_of(person)])
    if person.phone:
        marks += audit.marks("phone", [person.phone.clear()])
    return _looks([person.pk, *merged], marks)


def looks_at_number(number: str):
    """The same of somebody whom the register does not know, or not any more."""
    return _looks([], audit.marks("number", [number]))


def _looks(keys, marks):
    about = Q()
    for key in [*keys, *marks]:
        about |= Q(first__lte=key, last__gte=key, people__contains=[key])
    others = LogPeople.objects.filter(about).values_list("entry", flat=True)
    own = Q(resource="people", object_id__in=[str(key) for key in keys])
    rows = LogEntry.objects.filter(own | Q(pk__in=list(others)), act__in=LOOKS, result="成功")
    return rows.order_by("-pk")
