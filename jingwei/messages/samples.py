"""One valid row per model, for tests and the shared suite."""

from itertools import count

from jingwei.base.access import platform_actor
from jingwei.directory.models import Organisation
from jingwei.messages import actions
from jingwei.messages.delivery import deliver, take_in
from jingwei.messages.gateways import Reply
from jingwei.messages.gateways.outbox import OutboxGateway
from jingwei.messages.models import SmsBatch, SmsMessage, SmsReply, SmsTemplate
from jingwei.messages.queries import Receiver

SAMPLE = platform_actor("样例")
VILLAGE = "990101001001"
_numbers = count(1)


def template() -> SmsTemplate:
    return SmsTemplate.objects.create(
        name=f"核酸提醒{next(_numbers)}", text="{姓名}您好，{日期}请到{地点}采样。", visible=["日期", "地点"]
    )


VALUES = {"日期": "3月1日", "地点": "上埔社区"}


def of_the_village() -> dict:
    return {"values": VALUES, "organisation_id": Organisation.objects.get(region=VILLAGE).pk}


def message() -> SmsMessage:
    return actions.send(SAMPLE, template(), to="16000000001", name="林样例", **of_the_village())


def batch() -> SmsBatch:
    receivers = [Receiver("16000000001", "林样例"), Receiver("16000000002", "陈样例")]
    return actions.send_group(SAMPLE, template(), receivers=receivers, label="样例", **of_the_village())


def reply() -> SmsReply:
    sent = message()
    deliver(OutboxGateway())
    take_in("outbox", Reply(f"样例{sent.pk}", "16000000001", "收到", uid=sent.uid.hex))
    return SmsReply.objects.get(message=sent)


SAMPLES = {SmsTemplate: template, SmsMessage: message, SmsBatch: batch, SmsReply: reply}
