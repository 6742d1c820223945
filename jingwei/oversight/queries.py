"""Who looked at whom (P-3.4)."""

from django.db.models import Q

from jingwei.base.models import LogEntry, LogPeople
from jingwei.people.models import Merge, Person

# Opened, with its attachments, seen in clear, exported, printed; of single records and of many.
LOOKS = ("查看", "查看明文", "紧急查看", "下载", "导出", "打印")


def looks_at(person: Person):
    """Every entry of the log by which somebody saw the person's record, or one that was merged into it."""
    keys = [person.pk, *Merge.objects.filter(kept=person, state=Merge.DONE).values_list("gone", flat=True)]
    about = Q()
    for key in keys:
        about |= Q(first__lte=key, last__gte=key, people__contains=[key])
    others = LogPeople.objects.filter(about).values_list("entry", flat=True)
    own = Q(resource="people", object_id__in=[str(key) for key in keys])
    rows = LogEntry.objects.filter(own | Q(pk__in=list(others)), act__in=LOOKS, result="成功")
    return rows.order_by("-pk")
