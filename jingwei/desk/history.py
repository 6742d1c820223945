"""What happened to one record: the operation log, and what bulk changes overwrote (P-3.1, CL-3.6)."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from jingwei.base.audit import id_of, shown
from jingwei.base.models import LogEntry
from jingwei.base.wall import beyond_scope
from jingwei.directory.models import Operator

LENGTH = 50  # entries of either kind
LOOKS = ("查看", "查看明文", "紧急查看", "访问", "导出", "下载", "打印")  # acts that change nothing
LOADS = ("导入", "撤销导入")  # their lines are about a load, whose number may be this record's as well
TOGETHER = timedelta(seconds=5)  # an event of the database and the log entry of the act that caused it


@dataclass(frozen=True)
class Change:
    """One entry: when, who, what, and {heading: [old, new]}."""

    at: datetime
    who: str
    act: str
    reason: str = ""
    changes: dict[str, list[str]] = field(default_factory=dict)


@beyond_scope()
def history_of(resource, row) -> list[Change]:
    """The changes of a record, the latest first, whoever made them and wherever it was then."""
    entries = LogEntry.objects.filter(resource=resource.name, object_id=id_of(row)).exclude(
        act__in=(*LOOKS, *LOADS)
    )
    found = [
        Change(e.at, e.actor, e.act, e.reason, e.detail.get("changes", {}))
        for e in entries.filter(result="成功").order_by("-id")[:LENGTH]
    ]
    # An import leaves one line in the log for all its rows; the old rows that the database kept say the rest.
    newer, told_at = row, [change.at for change in found]
    events = row.events.select_related("pgh_context").order_by("-pgh_id") if hasattr(row, "events") else ()
    for event in events[:LENGTH]:
        logged = any(abs(at - event.pgh_created_at) < TOGETHER for at in told_at)
        changes = {} if logged else _differences(resource, event, newer)
        if changes:
            told = event.pgh_context.metadata if event.pgh_context else {}
            who, act = told.get("name", ""), told.get("act", "批量更新")
            found.append(Change(event.pgh_created_at, who, act, changes=changes))
        newer = event
    if getattr(row, "created_by", None) and not entries.filter(act="新增").exists():
        names = Operator.objects.filter(pk=row.created_by).values_list("name", flat=True)
        found.append(Change(row.created_at, names.first() or "", "导入新增"))
    return sorted(found, key=lambda change: change.at, reverse=True)


def _differences(resource, older, newer):
    """{heading: [old, new]} of the fields the resource shows, personal values masked."""
    kept = {f.name for f in older._meta.concrete_fields}
    found = {}
    for name in (*resource.fields, *resource.readonly):
        if name in kept:
            target = resource.model._meta.get_field(name)
            # The history holds ciphertexts as they stood in the column.
            old, new = (target.to_python(getattr(side, target.attname)) for side in (older, newer))
            if old != new:
                found[str(target.verbose_name)] = [shown(target, old), shown(target, new)]
    return found
