"""One person's record beyond one's own territory, in an emergency (P-1.9).

Who holds ``emergency.open`` names a document, exactly, and a reason, and may look at the record of whoever is
registered with it, masked as anywhere, for some hours. Every request counts against a bound per day, those in
vain too: the answer tells whether somebody is registered, and nobody shall ask that of a list. The operators
of the person's territory see it at once and acknowledge it; the security administrator reviews each request
within a week.
"""

from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from jingwei.base import audit, wall
from jingwei.base.parameters import Parameter
from jingwei.directory.models import Operator
from jingwei.kit.text import mask_number
from jingwei.people.models import EmergencyAccess, Person
from jingwei.people.queries import holder_of

HOURS = Parameter("emergency.hours", "紧急查看时限", 2, "开通后多少小时自动结束", "小时", low=1, high=24)
PER_DAY = Parameter(
    "emergency.per_day",
    "每天紧急查看次数",
    5,
    "一名操作员一天内最多申请多少次，查无此人的也算",
    "次",
    low=1,
    high=100,
)
PARAMETERS = [HOURS, PER_DAY]
REVIEWED_WITHIN = timedelta(days=7)


def open_record(actor, *, doc_type, number, reason) -> EmergencyAccess:
    """Let `actor` look at the record of whoever is registered with this document; ValidationError if not.

    The request is kept and logged before it is refused.
    """
    with wall.beyond_scope(), transaction.atomic():
        # One request of an operator at a time, so that the bound of the day holds.
        Operator.objects.select_for_update(of=("self",)).get(pk=actor.operator_id)
        person = holder_of(doc_type, number)
        if person and Person.objects.visible_to(actor, "people.view").filter(pk=person.pk).exists():
            raise ValidationError("此人在您的数据范围内，请直接在“人员信息”中查看")
        access = _ask(actor, person, mask_number(number), reason)
    if access is None:
        raise ValidationError(f"您今天已申请 {PER_DAY.value()} 次，请明天再试，或联系此人所在辖区的操作员")
    if person is None:
        left = left_today(actor)
        raise ValidationError(f"没有查到登记这个证件的人员，请核对证件类型和证件号。今天还可以申请 {left} 次")
    return access


def _ask(actor, person, document, reason):
    """Keep and log a request; None where it is one too many."""
    about = {"resource": "people", "label": str(person or document), "reason": reason}
    if not left_today(actor):
        audit.record(actor, "申请紧急查看", result="拒绝", **(about | {"label": document}))
        return None
    now = timezone.now()
    access = EmergencyAccess.objects.create(
        person=person,
        document=document,
        region=person and person.region,
        by=actor.operator_id,
        by_name=actor.name,
        organisation=actor.organisation,
        reason=reason,
        at=now,
        until=person and now + timedelta(hours=HOURS.value()),
    )
    audit.record(actor, "申请紧急查看", person, result="成功" if person else "失败", **about)
    return access


def left_today(actor) -> int:
    """How many requests the operator has left today."""
    today = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    asked = EmergencyAccess.objects.filter(by=actor.operator_id, at__gte=today).count()
    return max(0, PER_DAY.value() - asked)


def own_requests(actor):
    """The requests of the operator, the latest first. They lie beyond the scope."""
    rows = EmergencyAccess.objects.filter(by=actor.operator_id)
    return rows.select_related("person__region__parent")


@transaction.atomic
def look(actor, access: EmergencyAccess) -> Person:
    """The person of an open access; each look is a row of the log. ValidationError when it is over."""
    if not access.is_open:
        raise ValidationError("这次紧急查看已经结束，仍有需要时请重新申请")
    EmergencyAccess.objects.filter(pk=access.pk).update(looks=F("looks") + 1)
    audit.record(actor, "紧急查看", access.person, resource="people", reason=access.reason)
    return access.person


@transaction.atomic
def end(actor, access: EmergencyAccess):
    """Give an access back before its time."""
    if not access.is_open:
        raise ValidationError("这次紧急查看已经结束")
    EmergencyAccess.objects.filter(pk=access.pk).update(until=timezone.now())
    audit.record(actor, "结束紧急查看", access.person, resource="people")


@transaction.atomic
def acknowledge(actor, access: EmergencyAccess):
    """Say, for the person's territory, that one knows of it."""
    access = EmergencyAccess.objects.select_for_update(of=("self",)).get(pk=access.pk)
    if access.by == actor.operator_id:
        raise ValidationError("自己的紧急查看须由此人所在辖区的其他操作员知悉")
    if access.seen_at:
        raise ValidationError(f"{access.seen_by}已经知悉")
    access.seen_by, access.seen_at = actor.name, timezone.now()
    access.save(update_fields=["seen_by", "seen_at"])
    audit.record(actor, "知悉紧急查看", access, resource="emergency-notices")


def justify(actor, access: EmergencyAccess, *, opinion=""):
    """Find, in the weekly review, that there was reason for it."""
    _review(actor, access, EmergencyAccess.JUSTIFIED, opinion)


def object_to(actor, access: EmergencyAccess, *, opinion):
    """Find, in the weekly review, that there was no reason for it; what is still open ends."""
    _review(actor, access, EmergencyAccess.UNJUSTIFIED, opinion)


@transaction.atomic
def _review(actor, access, verdict, opinion):
    access = EmergencyAccess.objects.select_for_update(of=("self",)).get(pk=access.pk)
    if access.by == actor.operator_id:
        raise ValidationError("不能复核自己的紧急查看")
    if access.verdict:
        raise ValidationError(f"{access.reviewed_by}已复核为“{access.verdict}”")
    access.verdict, access.opinion = verdict, opinion
    access.reviewed_by, access.reviewed_at = actor.name, timezone.now()
    if verdict == EmergencyAccess.UNJUSTIFIED and access.is_open:
        access.until = access.reviewed_at
    access.save(update_fields=["verdict", "opinion", "reviewed_by", "reviewed_at", "until"])
    audit.record(actor, "复核紧急查看", access, resource="emergency-reviews", reason=opinion, 结论=verdict)
