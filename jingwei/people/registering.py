"""What is decided on the list of those in no register: register, dismiss, reopen (CL-6.5)."""

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.utils import timezone

from jingwei.base import audit
from jingwei.base.columns import Context
from jingwei.base.sheets import clean_row
from jingwei.people.actions import find_what_came_before, save_person
from jingwei.people.models import Person, Unregistered
from jingwei.people.sheets import RosterSheet
from jingwei.people.unregistered import overlooked

TIDY, TIDY_LABEL = "tidy-unregistered", "整理未登记人员"


@transaction.atomic
def register(actor, entry, *, region, doc_type="", address=""):
    """Put somebody into the register, in this community; samples and doses follow, the entry is closed."""
    if not actor.may("people.add"):
        raise PermissionDenied("您没有新增人员的权限，请联系管理员")
    entry = _open(actor, entry, "register")
    cells = {
        "region": region.pk,
        "name": entry.name,
        "doc_type": doc_type or entry.doc_type,
        "number": entry.number.clear(),
        "phone": entry.phone.clear() if entry.phone else "",
        "address": address,
    }
    context = Context(actor, "people.add", timezone.make_naive(timezone.now()))
    values, errors = clean_row(RosterSheet(), cells, context)
    if errors:
        headings = {column.name: column.heading for column in RosterSheet.columns}
        raise ValidationError([f"{headings[name]}：{reason}" for name, reason in errors.items()])
    person = save_person(actor, Person(), values=values)
    Unregistered.objects.filter(pk=entry.pk).update(decided_by=actor.name)
    audit.record(actor, "登记", entry, resource="unregistered", person=person.pk)
    return f"已登记{person.name}；其接种和检测记录归到名下。"


@transaction.atomic
def dismiss(actor, entry, *, reason):
    """Leave somebody out of the register for a reason, such as being a visitor."""
    entry = _open(actor, entry, "dismiss")
    _decide(actor, entry, Unregistered.DISMISSED, reason)
    audit.record(actor, "忽略", entry, resource="unregistered", reason=reason)


@transaction.atomic
def reopen(actor, entry):
    """Let a dismissed person wait again."""
    entry = _mine(actor, entry, "reopen")
    if entry.state != Unregistered.DISMISSED:
        raise ValidationError(f"“{entry}”{entry.state}，不需要重新处理")
    _decide(actor, entry, Unregistered.WAITING, "")
    audit.record(actor, "重新处理", entry, resource="unregistered")


def _mine(actor, entry, action):
    rows = Unregistered.objects.visible_to(actor, f"unregistered.{action}")
    return rows.select_for_update(of=("self",)).get(pk=entry.pk)


def _open(actor, entry, action):
    entry = _mine(actor, entry, action)
    if entry.state != Unregistered.WAITING:
        raise ValidationError(f"“{entry}”{entry.state}，请刷新页面")
    return entry


def _decide(actor, entry, state, reason):
    entry.state, entry.reason = state, reason
    entry.decided_by, entry.decided_at = actor.name, timezone.now()
    entry.version += 1
    entry.save()


@transaction.atomic
def tidy(actor, job, report) -> dict:
    """Kind of job: close entries of people who are registered."""
    people = overlooked()
    if people:
        find_what_came_before(people)
    return {"message": f"{len(people)} 人已在册。"}
