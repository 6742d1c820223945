"""Sending short messages: preview, one, to a group, release, resend, cancel (P-7.1, P-7.2, P-7.4)."""

import json
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import polars as pl
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from procrastinate.exceptions import AlreadyEnqueued
from procrastinate.tasks import configure_task

from jingwei.base import audit
from jingwei.base.access import platform_actor
from jingwei.base.copying import copy_into
from jingwei.base.fields import seal
from jingwei.base.parameters import Parameter
from jingwei.base.saving import touch
from jingwei.desk.jobs import queue
from jingwei.kit.phone import clean_phones
from jingwei.kit.sms import split
from jingwei.messages.models import ANSWER, CONTROL, NAME, PARAMETER, SmsBatch, SmsMessage, SmsTemplate
from jingwei.messages.queries import Receiver

MOST_PARTS = 10  # an SMS of more is refused by carriers
LONGEST_VALUE = 200
HIDDEN = "****"  # instead of a value that the log may not show
DELIVER = "sms.deliver"  # the task that hands over what waits

RELEASE_ABOVE = Parameter(
    "sms.release_above",
    "短信群发免放行人数",
    50,
    note="接收人数超过此数的群发，须由另一人放行后才发送",
    unit="人",
    low=0,
    high=100_000,
)

PARAMETERS = [RELEASE_ABOVE]


@dataclass(frozen=True)
class Preview:
    """A template with its parameters filled: the text, the text for the log, the number of SMS it takes."""

    text: str
    shown: str
    parts: int


def preview(template: SmsTemplate, values: Mapping[str, str]) -> Preview:
    """The message that `values` ({parameter: text}) make; ValidationError by parameter for what is wrong."""
    errors = {}
    for name in template.parameters:
        if not (value := values.get(name, "")).strip():
            errors[name] = "请填写"
        elif len(value) > LONGEST_VALUE:
            errors[name] = f"最多 {LONGEST_VALUE} 个字"
        elif CONTROL.search(value):
            errors[name] = "不能有换行或其它控制字符"
    if errors:
        raise ValidationError({name: f"参数“{name}”：{reason}" for name, reason in errors.items()})
    text = fill(template.text, values)
    parts = len(split(text))
    if parts > MOST_PARTS:
        raise ValidationError(f"短信过长：要拆成 {parts} 条，最多 {MOST_PARTS} 条。请缩短内容或参数。")
    return Preview(text, fill(template.text, for_the_log(template, values)), parts)


def for_the_log(template: SmsTemplate, values: Mapping[str, str]) -> dict[str, str]:
    """The values, with stars for what the template does not show; the receiver's name is in the log too."""
    return {name: value if name in (*template.visible, NAME) else HIDDEN for name, value in values.items()}


def fill(text: str, values: Mapping[str, str]) -> str:
    """`text` with the parameters that `values` has; the others stay as they stand."""
    return PARAMETER.sub(lambda found: values.get(found[1], found[0]), text)


@transaction.atomic
def system_template(code: str, *, name: str, text: str, visible: Iterable[str] = ()) -> SmsTemplate:
    """The template another package sends by: made as given, then worded as an administrator likes.

    Its parameters stay among those of the first `text`, which are what the package fills.
    """
    offered = SmsTemplate(text=text).parameters
    if SmsTemplate.objects.filter(name=name, code=None).exists():
        name += "（系统）"  # an administrator has used the name for something else
    made = {"name": name, "text": text, "offered": offered, "visible": list(visible)}
    return SmsTemplate.objects.get_or_create(code=code, defaults=made)[0]


@transaction.atomic
def send(
    actor, template, *, to, values=None, key="", name="", not_before=None, organisation_id=None
) -> SmsMessage:
    """Have one SMS sent to the mobile number `to`, at once or `not_before` a time.

    `key` stands for the reason and must say nothing personal: the same key again is the same SMS, whoever
    calls, and it is returned as it is. Without a key each call is a reason of its own. `organisation_id` is
    whose message it is, the actor's unless given. ValidationError in words for what cannot be sent.
    """
    require_enabled(template)
    [number] = mobiles([to])
    if number is None:
        raise ValidationError({"to": "请填写 11 位手机号，如 13800000000"})
    values = {NAME: name, **(values or {})}
    filled = preview(template, values)
    message, new = SmsMessage.objects.get_or_create(
        key=key or uuid.uuid4().hex,
        defaults={
            "template": template,
            "receiver": number,
            "name": name[:60],
            "content": filled.text,
            "shown": filled.shown,
            "values": kept_values(template, values),
            "parts": filled.parts,
            "not_before": not_before or timezone.now(),
            "organisation_id": organisation_id or actor.organisation_id,
            "sender": actor.name,
            "created_by": actor.operator_id,
        },
    )
    if new:
        audit.record(actor, "发送短信", message, resource="sms-messages", content=filled.shown)
        wake()
    return message


@transaction.atomic
def send_group(
    actor,
    template,
    *,
    receivers: Iterable[Receiver],
    label,
    values=None,
    key="",
    not_before=None,
    organisation_id=None,
) -> SmsBatch:
    """Have a message sent to many, each number once; `label` says to whom in the operator's words.

    More than RELEASE_ABOVE receivers wait for `release`. Who has no mobile number is left out and counted;
    ValidationError if that leaves nobody. The rest is as in `send`.
    """
    require_enabled(template)
    values = dict(values or {})
    receivers = list(receivers)
    numbers = mobiles([receiver.number for receiver in receivers])
    chosen = {}  # the first receiver of each number
    for number, receiver in zip(numbers, receivers, strict=True):
        if number is not None:
            chosen.setdefault(number, receiver)
    if not chosen:
        raise ValidationError("没有可发送的对象：所选人员都没有登记有效的手机号。")
    held = len(chosen) > RELEASE_ABOVE.value()
    now = timezone.now()
    batch, new = SmsBatch.objects.get_or_create(
        key=key or uuid.uuid4().hex,
        defaults={
            "template": template,
            "label": label[:200],
            "shown": fill(template.text, for_the_log(template, values)),
            "count": len(chosen),
            "left_out": numbers.count(None),
            "state": SmsBatch.HELD if held else SmsBatch.RELEASED,
            "released_at": None if held else now,
            "sender": actor.name,
            "organisation_id": organisation_id or actor.organisation_id,
            "created_by": actor.operator_id,
        },
    )
    if not new:
        return batch
    _write_messages(batch, chosen, values, not_before or now)
    audit.record(actor, "群发短信", batch, resource="sms-batches", count=batch.count, content=batch.shown)
    if not held:
        wake()
    return batch


def _write_messages(batch, chosen, values, not_before):
    """The messages of a batch, by COPY: `chosen` is {number: receiver}."""
    template = batch.template
    own = [{NAME: receiver.name, **values, **receiver.values} for receiver in chosen.values()]
    filled = [preview(template, each) for each in own]
    sealed = {
        "receiver": list(chosen),
        "content": [each.text for each in filled],
        "values": [kept_values(template, each) or None for each in own],
    }
    frame = pl.DataFrame(
        {
            "uid": [uuid.uuid4().hex for _ in chosen],
            "key": [f"{batch.key}/{index}" for index in range(len(chosen))],
            "name": [receiver.name[:60] for receiver in chosen.values()],
            "shown": [each.shown for each in filled],
            "parts": [each.parts for each in filled],
            **{name: pl.Series(_seal(name, texts), dtype=pl.Binary) for name, texts in sealed.items()},
        }
    ).with_columns(
        template_id=template.pk,
        batch_id=batch.pk,
        state=pl.lit(SmsMessage.HELD if batch.state == SmsBatch.HELD else SmsMessage.WAITING),
        attempts=0,
        not_before=not_before,
        gateway=pl.lit(""),
        gateway_ids=pl.lit([], dtype=pl.List(pl.String)),
        error=pl.lit(""),
        organisation_id=pl.lit(batch.organisation_id, dtype=pl.Int64),
        sender=pl.lit(batch.sender),
        created_at=batch.created_at,
        created_by=pl.lit(batch.created_by, dtype=pl.Int64),
    )
    copy_into(SmsMessage._meta.db_table, frame)


def _seal(name, texts):
    return seal(SmsMessage._meta.get_field(name).sealing, texts)


@transaction.atomic
def release(actor, batch):
    """Let a group sending go. A second person does it, never the sender (P-7.4)."""
    batch = SmsBatch.objects.select_for_update().get(pk=batch.pk)
    if batch.state != SmsBatch.HELD:
        raise ValidationError(f"该群发{batch.state}，不能再放行")
    if actor.operator_id is None or actor.operator_id == batch.created_by:
        raise ValidationError("群发须由发送人以外的另一人放行")
    touch(
        SmsBatch.objects.filter(pk=batch.pk),
        state=SmsBatch.RELEASED,
        released_at=timezone.now(),
        released_by=actor.operator_id,
        releaser=actor.name,
    )
    batch.messages.filter(state=SmsMessage.HELD).update(state=SmsMessage.WAITING)
    audit.record(actor, "放行短信群发", batch, resource="sms-batches", count=batch.count)
    wake()


@transaction.atomic
def cancel_batch(actor, batch):
    """Stop a group sending: whatever of it has not gone out yet stays here."""
    batch = SmsBatch.objects.select_for_update().get(pk=batch.pk)
    kept = batch.messages.filter(state__in=(SmsMessage.HELD, SmsMessage.WAITING))
    count = kept.update(state=SmsMessage.CANCELLED, retry_at=None)
    if not count:
        raise ValidationError("该群发没有尚未发出的短信，不能取消")
    touch(SmsBatch.objects.filter(pk=batch.pk), state=SmsBatch.CANCELLED)
    audit.record(actor, "取消短信群发", batch, resource="sms-batches", count=count)


@transaction.atomic
def cancel(actor, message):
    """Keep one message from being sent. What the gateway has, or may have, cannot be called back."""
    message = SmsMessage.objects.select_for_update().get(pk=message.pk)
    if message.state not in (SmsMessage.HELD, SmsMessage.WAITING):
        raise ValidationError(f"该短信{message.state}，不能取消")
    message.state, message.retry_at = SmsMessage.CANCELLED, None
    message.save(update_fields=["state", "retry_at"])
    audit.record(actor, "取消短信", message, resource="sms-messages")


@transaction.atomic
def resend(actor, message) -> SmsMessage:
    """Send a message that did not arrive once more, as a new SMS that names the old one.

    Once per message: the old one keeps its own record.
    """
    message = SmsMessage.objects.select_for_update().get(pk=message.pk)
    if message.state != SmsMessage.FAILED:
        raise ValidationError(f"该短信{message.state}，只有失败的短信可以重发")
    if hasattr(message, "resent"):
        raise ValidationError("该短信已重发过，请在重发的那条上操作")
    again = SmsMessage.objects.create(
        key=uuid.uuid4().hex,
        resends=message,
        sender=actor.name,
        created_by=actor.operator_id,
        **taken_over(message, "template_id", "content", "shown", "values", "parts"),
        **taken_over(message, "receiver", "name", "organisation_id"),
    )
    audit.record(actor, "重发短信", again, resource="sms-messages", content=again.shown)
    wake()
    return again


@transaction.atomic
def settle(actor, message, *, arrived: str):
    """Say of a message in doubt whether it arrived, "yes" or "no", as the operator found out."""
    message = SmsMessage.objects.select_for_update().get(pk=message.pk)
    if message.state != SmsMessage.UNSURE:
        raise ValidationError(f"该短信{message.state}，只有待核实的短信需要核实")
    if arrived == "yes":
        message.state, message.error = SmsMessage.DELIVERED, ""
        message.delivered_at = timezone.now()
        message.sent_at = message.sent_at or message.delivered_at
    else:
        message.state, message.error = SmsMessage.FAILED, "经核实对方未收到"
    message.save(update_fields=["state", "error", "sent_at", "delivered_at"])
    audit.record(actor, "核实短信", message, resource="sms-messages", outcome=message.state)


@transaction.atomic
def follow(message, answer: str) -> SmsMessage | None:
    """Send the template that comes next because `message` was answered: once, by the first answer (P-7.1)."""
    template = message.template.next
    if template is None or not template.enabled or hasattr(message, "followed"):
        return None
    said = CONTROL.sub(" ", answer).strip()
    values = json.loads(message.values.clear() if message.values else "{}")
    values[ANSWER] = said[:LONGEST_VALUE] or "（空）"
    actor = platform_actor("短信续发")
    try:
        filled = preview(template, values)
    except ValidationError as refusal:
        # The templates were changed after the first message had gone out.
        reason = "；".join(refusal.messages)
        audit.record(actor, "发送短信", message, resource="sms-messages", result="拒绝", reason=reason)
        return None
    following = SmsMessage.objects.create(
        key=uuid.uuid4().hex,
        follows=message,
        template=template,
        content=filled.text,
        shown=filled.shown,
        values=kept_values(template, values),
        parts=filled.parts,
        **taken_over(message, "receiver", "name", "organisation_id", "batch_id", "sender", "created_by"),
    )
    audit.record(actor, "发送短信", following, resource="sms-messages", content=filled.shown)
    wake()
    return following


def taken_over(message, *names) -> dict:
    """These fields of `message`, for another that comes of it."""
    return {name: getattr(message, name) for name in names}


def require_enabled(template):
    """Refuse a template that an administrator has switched off."""
    if not template.enabled:
        raise ValidationError(f"短信模板“{template}”已停用，请改用其它模板")


def mobiles(numbers: list[str]) -> list[str | None]:
    """The numbers as 11 digits, None for what is no mobile number."""
    cleaned = clean_phones(pl.Series(numbers, dtype=pl.Utf8)).values
    return [number if number and len(number) == 11 and number.isdecimal() else None for number in cleaned]


def kept_values(template, values) -> str:
    """The values as they are kept for the next template; nothing where none follows."""
    return json.dumps(values, ensure_ascii=False) if template.next_id else ""


def wake():
    """Have a worker hand over what waits once this is committed. The timetable would, within a minute."""
    transaction.on_commit(_defer)


def _defer():
    with suppress(AlreadyEnqueued):
        configure_task(name=DELIVER, job_manager=queue, queueing_lock=DELIVER).defer()
