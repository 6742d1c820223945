"""Handing messages over to the gateway, and taking in what comes back (P-7.2, P-7.4).

A message is claimed in a transaction of its own before anything of it leaves the platform, so a crash at any
point leaves a trace: a claim that has run out. What such a message becomes depends on what the gateway
promises. One that recognises a message it has had gets it again under the same mark; at any other it is left
in doubt (待核实) until a receipt names it or an operator decides, for sending it again might be a second SMS.
Nothing of a receiver is handed over while an earlier message to them is still on its way.
"""

import logging
import re
import time
from contextlib import contextmanager
from datetime import timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone

from jingwei.base.fields import bulk_reveal
from jingwei.kit.text import mask_phone
from jingwei.messages import actions
from jingwei.messages.gateways import (
    ACCEPTED,
    LATER,
    REFUSED,
    UNSENT,
    Answer,
    Gateway,
    GatewayDown,
    Receipt,
    Reply,
    Sms,
)
from jingwei.messages.gateways.cmpp import CmppGateway
from jingwei.messages.gateways.http import HttpGateway
from jingwei.messages.gateways.outbox import OutboxGateway
from jingwei.messages.models import Outage, SmsMessage, SmsReceipt, SmsReply

log = logging.getLogger(__name__)

CLAIM = timedelta(minutes=10)  # longer than any gateway session spends on what it claimed at once
SESSION_SECONDS = 50  # a session ends before the timetable begins the next
OVERDUE = timedelta(minutes=5)
BUSY_SECONDS = 1  # to a gateway that asks for patience
LOCK = 0x534D53  # key of the advisory lock of whoever has a session
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=30), timedelta(minutes=30)
RECEIPT_WITHIN = timedelta(days=3)  # after that a receipt that names no message of ours is somebody else's
ANSWERED_WITHIN = timedelta(days=7)  # a reply without further mark answers the last message of that time
WAITING, SENDING, SENT = SmsMessage.WAITING, SmsMessage.SENDING, SmsMessage.SENT
DELIVERED, FAILED, UNSURE = SmsMessage.DELIVERED, SmsMessage.FAILED, SmsMessage.UNSURE
# What news of the gateway may still change. A cancelled one may have arrived from an earlier attempt.
OPEN = (WAITING, SENDING, SENT, UNSURE, SmsMessage.CANCELLED)


def chosen_gateway() -> Gateway:
    """The gateway that the setting JINGWEI_SMS names."""
    match settings.JINGWEI_SMS:
        case "http":
            return HttpGateway(settings.JINGWEI_SMS_URL, settings.JINGWEI_SMS_SECRET)
        case "cmpp":
            return CmppGateway(settings.JINGWEI_SMS_URL, settings.JINGWEI_SMS_SECRET)
        case _:
            return OutboxGateway()


@contextmanager
def no_other_session():
    """Whether no other worker has a session now, and keep it so: gateways count connections.

    Two would send nothing twice either. The lock ends with the process that holds it.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
        [free] = cursor.fetchone()
        try:
            yield free
        finally:
            if free:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


def overdue():
    """Messages that should have been handed over some minutes ago."""
    since = timezone.now() - OVERDUE
    return SmsMessage.objects.filter(state=WAITING, not_before__lt=since).exclude(retry_at__gte=since)


def deliver(gateway: Gateway) -> int:
    """Hand over what is due, in order, and take in receipts and replies; how many were handed over.

    A gateway that is down delays it.
    """
    settle_lost_claims(gateway)
    number = 0
    end = time.monotonic() + SESSION_SECONDS

    def take(news):
        take_in(gateway.name, news)

    try:
        with gateway.open(take) as session:
            handed_over = True
            while handed_over:
                handed_over = False
                while time.monotonic() < end and (batch := claim(gateway)):
                    _hand_over(gateway, session, batch)
                    handed_over = True
                    number += len(batch)
                # Meanwhile more may be asked for, by an answer among others.
                session.listen()
        settle_receipts(gateway)
    except GatewayDown as error:
        _, new = Outage.objects.update_or_create(gateway=gateway.name, defaults={"error": str(error)[:200]})
        if new:
            log.warning("SMS gateway %s is down: %s", gateway.name, error)
    else:
        Outage.objects.filter(gateway=gateway.name).delete()
    return number


def _hand_over(gateway, session, batch):
    attempts = {sms.uid: sms.attempt for sms in batch}
    for answer in session.hand_over(batch):
        record_answer(gateway, answer, attempts[answer.uid])
        if answer.outcome == LATER:
            time.sleep(BUSY_SECONDS)


def claim(gateway: Gateway) -> list[Sms]:
    """Take the next messages for handing over, so that no other worker does.

    Only the earliest of a receiver is taken, so a receiver's messages arrive in order.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE sms_smsmessage SET state = %(sending)s, attempts = attempts + 1, gateway = %(gateway)s,
                   claimed_until = %(until)s, retry_at = NULL
             WHERE id = ANY(ARRAY(
                SELECT id FROM sms_smsmessage AS message
                 WHERE state = %(waiting)s AND not_before <= %(now)s
                   AND (retry_at IS NULL OR retry_at <= %(now)s)
                   AND NOT EXISTS (
                        SELECT FROM sms_smsmessage AS earlier
                         WHERE earlier.receiver = message.receiver AND earlier.id < message.id
                           AND earlier.state IN (%(waiting)s, %(sending)s) AND earlier.not_before <= %(now)s)
                 ORDER BY id LIMIT %(count)s FOR UPDATE SKIP LOCKED))
            RETURNING id
            """,
            {
                "sending": SENDING,
                "waiting": WAITING,
                "gateway": gateway.name,
                "now": timezone.now(),
                "until": timezone.now() + CLAIM,
                "count": gateway.window,
            },
        )
        claimed = [pk for (pk,) in cursor.fetchall()]
    messages = SmsMessage.objects.filter(pk__in=claimed).order_by("pk")
    bulk_reveal(messages, ["receiver", "content"])
    return [Sms(m.uid.hex, m.pk, m.receiver.clear(), m.content.clear(), m.attempts) for m in messages]


def settle_lost_claims(gateway: Gateway):
    """Messages whose worker never came back: again where the gateway knows repeats, in doubt elsewhere."""
    lost = SmsMessage.objects.filter(state=SENDING, claimed_until__lt=timezone.now())
    same = Q(gateway=gateway.name) if gateway.repeatable else Q(pk=None)
    lost.filter(same).update(state=WAITING, claimed_until=None)
    lost.update(state=UNSURE, claimed_until=None, error="提交时中断，网关是否收到待核实")


def record_answer(gateway: Gateway, answer: Answer, attempt: int):
    """Store what the gateway said of a message at its so many-th attempt."""
    mine = SmsMessage.objects.filter(uid=answer.uid)
    error, ids = without_numbers(answer.error)[:200], list(answer.gateway_ids)
    if answer.outcome == ACCEPTED:
        done = {"state": SENT, "claimed_until": None, "retry_at": None, "error": ""}
        known = {"gateway": gateway.name, "gateway_ids": ids}
        sent_at = Coalesce("sent_at", timezone.now())
        if not mine.filter(state__in=OPEN).update(sent_at=sent_at, **done, **known):
            mine.update(**known)  # a receipt that overtook the answer has said already what became of it
        return
    # A worker that comes back after its claim has run out has no say any more.
    mine = mine.filter(state=SENDING, attempts=attempt)
    if answer.outcome == UNSENT:
        mine.update(state=WAITING, claimed_until=None, attempts=attempt - 1)
    elif answer.outcome == REFUSED:
        mine.update(state=FAILED, claimed_until=None, error=error, gateway_ids=ids)
    elif answer.outcome == LATER or gateway.repeatable:
        wait = min(FIRST_WAIT * 2 ** min(attempt - 1, 10), LONGEST_WAIT)
        mine.update(state=WAITING, claimed_until=None, error=error, retry_at=timezone.now() + wait)
    else:
        mine.update(state=UNSURE, claimed_until=None, error=error, gateway_ids=ids)


def without_numbers(text: str) -> str:
    """What a gateway says, with the mobile numbers in it masked (P-4.1)."""
    return re.sub(r"1[3-9][0-9]{9}", lambda found: mask_phone(found[0]), text)


def take_in(gateway_name: str, news: Receipt | Reply):
    """Store a receipt or a reply. The same event again changes nothing."""
    (_take_receipt if isinstance(news, Receipt) else _take_reply)(gateway_name, news)


@transaction.atomic
def _take_receipt(gateway_name, receipt):
    message = _reported_message(gateway_name, receipt)
    _, new = SmsReceipt.objects.get_or_create(
        gateway=gateway_name,
        event=receipt.event,
        defaults={
            "gateway_id": receipt.gateway_id,
            "message": message,
            "delivered": receipt.delivered,
            "code": without_numbers(receipt.code),
            "at": receipt.at or timezone.now(),
        },
    )
    if new and message:
        _apply_receipts(message)


def _reported_message(gateway_name, receipt):
    locked = SmsMessage.objects.select_for_update()
    if receipt.uid:
        return locked.filter(uid=receipt.uid).first()
    known = locked.filter(gateway=gateway_name, gateway_ids__contains=[receipt.gateway_id]).first()
    if known or not receipt.to:
        return known
    # The answer that told the id never came: it is the one message to this number that lacks ids.
    doubtful = locked.filter(
        gateway=gateway_name,
        receiver=receipt.to,
        state__in=OPEN,
        attempts__gt=0,
        gateway_ids__len__lt=F("parts"),
    )
    found = [message for message in doubtful if has_tail(message, receipt.tail)]
    return found[0] if len(found) == 1 else None


def has_tail(message, tail: str) -> bool:
    """Whether a message was sent from the number ending with `tail`; without extension digits any may be."""
    return not tail or (tail.isdecimal() and message.pk % 10 ** len(tail) == int(tail))


def settle_receipts(gateway: Gateway):
    """Receipts that overtook the answer which told the message's id: find their messages."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE sms_smsreceipt AS receipt SET message_id = message.id
              FROM sms_smsmessage AS message
             WHERE receipt.message_id IS NULL AND receipt.gateway = %s AND receipt.gateway_id <> ''
               AND receipt.received_at > %s
               AND message.gateway = receipt.gateway AND message.gateway_ids @> ARRAY[receipt.gateway_id]
            RETURNING message.id
            """,
            [gateway.name, timezone.now() - RECEIPT_WITHIN],
        )
        found = {pk for (pk,) in cursor.fetchall()}
        for message in SmsMessage.objects.select_for_update().filter(pk__in=found).order_by("pk"):
            _apply_receipts(message)


def _apply_receipts(message):
    """Have the locked message say what its receipts say together."""
    if message.state not in OPEN:
        return
    receipts = list(message.receipts.order_by("pk"))
    arrived = {receipt.gateway_id for receipt in receipts if receipt.delivered}
    failed = next((receipt for receipt in receipts if receipt.delivered is False), None)
    message.claimed_until = message.retry_at = None
    # Whatever it says, the gateway has the message.
    message.state, message.sent_at = SENT, message.sent_at or timezone.now()
    if failed:
        message.state, message.error = FAILED, f"未送达（{failed.code}）"
    elif "" in arrived or len(arrived) >= message.parts:
        # A receipt without an id speaks of the whole message, one with an id of a part.
        message.state, message.delivered_at = DELIVERED, max(receipt.at for receipt in receipts)
    message.save()


@transaction.atomic
def _take_reply(gateway_name, reply):
    message = _replied_message(gateway_name, reply)
    _, new = SmsReply.objects.get_or_create(
        gateway=gateway_name,
        event=reply.event,
        defaults={
            "message": message,
            "sender": reply.sender,
            "text": reply.text,
            "at": reply.at or timezone.now(),
        },
    )
    if new and message:
        message.answered_at = message.answered_at or reply.at or timezone.now()
        message.save(update_fields=["answered_at"])
        actions.follow(message, reply.text)


def _replied_message(gateway_name, reply):
    locked = SmsMessage.objects.select_for_update(of=("self",)).select_related("template__next")
    if reply.uid:
        return locked.filter(uid=reply.uid).first()
    latest = locked.filter(
        gateway=gateway_name,
        receiver=reply.sender,
        state__in=(SENDING, UNSURE, SENT, DELIVERED),
        created_at__gt=timezone.now() - ANSWERED_WITHIN,
    ).order_by("-pk")
    return next((message for message in latest[:100] if has_tail(message, reply.tail)), None)
