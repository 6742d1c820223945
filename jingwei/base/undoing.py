"""Taking a load back as a whole, chunk by chunk (P-5.3, decision 15)."""

from datetime import timedelta
from functools import partial
from itertools import repeat

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from jingwei.base import audit, merging
from jingwei.base.loading import only_here, require_import, take_turn
from jingwei.base.models import Load
from jingwei.base.parameters import Parameter
from jingwei.base.preparing import Progress, untold
from jingwei.base.sheets import Sheet
from jingwei.base.wall import beyond_scope

UNDO_DAYS = Parameter(
    "import.undo_days",
    "导入可撤销天数",
    30,
    "导入后多少天内可以整体撤销；过后清除撤销所需的旧值",
    "天",
    low=1,
    high=365,
)
UNDONE_AT_ONCE = 5_000  # rows


@beyond_scope()
def undo(actor, sheet: Sheet, record: Load, *, progress: Progress | None = None) -> dict:
    """Take a load back as a whole: {deleted, restored, left, total} rows (P-5.3).

    It goes chunk by chunk, the last rows first, since they may refer to those before; what a chunk took back
    is forgotten in its transaction, so that an undoing that was cut off goes on behind it. Until it is
    through the load is UNDOING. Rows that were changed since, or are referred to, stay; `left_rows` has them.
    ValidationError when it is too late.
    """
    require_import(actor, sheet)
    with only_here(record):
        record.refresh_from_db()
        if record.state != Load.UNDOING:
            _begin_undoing(sheet, record)
        take_back, chunks = _undoing(actor, sheet, record)
        for chunk in chunks:
            with transaction.atomic():
                take_turn(sheet)
                found = take_back(chunk)
                record.undone |= {name: record.undone[name] + count for name, count in found.items()}
                record.save(update_fields=["undone"])
            (progress or untold)(sum(record.undone[name] for name in _UNDONE), record.undone["total"])
            if sheet.events and not any(found.values()):
                break
        _end_undoing(actor, sheet, record)
    return record.undone


_UNDONE = ("deleted", "restored", "left")


@transaction.atomic
def _begin_undoing(sheet, record):
    if record.state not in (Load.DONE, Load.CANCELLED, Load.FAILED):
        raise ValidationError("这次导入还没有结束或已经撤销，不能撤销")
    if record.created_at < timezone.now() - timedelta(days=UNDO_DAYS.value()):
        raise ValidationError(f"导入已超过 {UNDO_DAYS.value()} 天，不能撤销")
    if not sheet.has_brought(record):
        raise ValidationError("这次导入没有可以撤销的数据")
    # First, so that nothing of it finds its person any more.
    take_turn(sheet)
    sheet.forget_aside(record)
    record.state = Load.UNDOING
    record.undone = dict.fromkeys(_UNDONE, 0) | {"total": sheet.brought(record).count()}
    record.save(update_fields=["state", "undone"])


def _undoing(actor, sheet, record):
    """The function that takes a chunk back, and the chunks."""
    if sheet.events:
        return partial(sheet.take_back, actor, record), repeat(UNDONE_AT_ONCE)
    done = record.rows.filter(outcome__in=(merging.ADDED, merging.CHANGED))
    ids = list(done.order_by("-pk").values_list("pk", flat=True))
    chunks = [ids[start : start + UNDONE_AT_ONCE] for start in range(0, len(ids), UNDONE_AT_ONCE)]
    return partial(merging.undo, actor, merging.Table(sheet), record), chunks


@transaction.atomic
def _end_undoing(actor, sheet, record):
    record.undone["left"] += sheet.leave(record)
    record.state = Load.UNDONE
    record.save(update_fields=["state", "undone"])
    sheet.after_load(record.undone["deleted"] + record.undone["restored"])
    audit.record(actor, "撤销导入", record, resource=record.resource, **record.undone)


def left_rows(record: Load):
    """The rows of an undone load that stayed as they are, as LoadRow in the order of the sheet."""
    return record.rows.exclude(outcome__in=(merging.ADDED, merging.CHANGED)).order_by("sheet_row", "pk")
