"""What short messages keep of their receivers (SEC-17)."""

from django.db.models import Q

from jingwei.base.parameters import Parameter
from jingwei.base.personal import Columns, Gone, Held, Kept, delete_rows
from jingwei.messages.models import (
    BASIS,
    Outage,
    SmsBatch,
    SmsMessage,
    SmsReceipt,
    SmsReply,
    SmsTemplate,
)

KEEP_DAYS = Parameter(
    "messages.keep_days",
    "短信保存天数",
    180,
    "短信、群发、回执和回复多少天后删除",
    "天",
    low=30,
    high=3650,
)
PARAMETERS = [KEEP_DAYS]

KEEP = "按系统参数"

COLUMNS = [
    Columns(
        SmsMessage,
        purpose="发送短信、核对送达",
        basis=BASIS,
        keep=KEEP,
        names=["name", "shown", "sender", "key"],
        plain=[
            *("uid", "parts", "state", "attempts", "not_before", "retry_at", "claimed_until", "gateway"),
            *("gateway_ids", "error", "sent_at", "delivered_at", "answered_at"),
        ],
    ),
    Columns(
        SmsBatch,
        purpose="群发短信的发送和放行",
        basis=BASIS,
        keep=KEEP,
        names=["sender", "released_by", "releaser", "shown", "label"],
        plain=["key", "count", "left_out", "state", "released_at"],
    ),
    Columns(SmsReply, purpose="接收回复", basis=BASIS, keep=KEEP, names=["at"], plain=["gateway", "event"]),
]

NOBODYS = [SmsTemplate, SmsReceipt, Outage]


def delete_messages(rows) -> Gone:
    """Delete messages with their receipts and replies; those sent after them stay, without the link."""
    for link in ("resends", "follows"):
        SmsMessage.objects.filter(**{f"{link}__in": rows}).update(**{link: None})
    return delete_rows(rows)


KEPT = [
    # One that is on its way is its gateway's until the claim has run out.
    Kept(
        "sms-messages",
        "短信",
        SmsMessage,
        "created_at",
        KEEP_DAYS,
        condition=~Q(state=SmsMessage.SENDING),
        erase=delete_messages,
    ),
    Kept("sms-replies", "短信回复", SmsReply, "at", KEEP_DAYS),
    Kept("sms-receipts", "短信回执", SmsReceipt, "received_at", KEEP_DAYS),
    Kept("sms-batches", "短信群发", SmsBatch, "created_at", KEEP_DAYS, condition=Q(messages=None)),
]


def _messages_to(identity):
    """Where others have the telephone as well, those that name the person."""
    by_name = Q(receiver__in=identity.shared_phones, name__in=identity.names)
    return SmsMessage.objects.filter(Q(receiver__in=identity.phones) | by_name)


def _replies_of(identity):
    return SmsReply.objects.filter(Q(sender__in=identity.phones) | Q(message__in=_messages_to(identity)))


HELD = [
    Held(SmsReply, _replies_of, ["sender"]),
    Held(SmsMessage, _messages_to, ["receiver"], forget=lambda rows, identity: delete_messages(rows)),
]
STAYS = []
