"""The timetable of the messages. A worker imports this module and delivers."""

from django.core.exceptions import ValidationError
from procrastinate.contrib.django import app

from jingwei.base.wall import beyond_scope
from jingwei.desk.tasks import schedule
from jingwei.messages.actions import DELIVER
from jingwei.messages.delivery import chosen_gateway, deliver, no_other_session, overdue
from jingwei.messages.models import Outage


@app.periodic(cron="* * * * *")
@app.task(name=DELIVER, queueing_lock=DELIVER)
@beyond_scope()
def deliver_waiting(timestamp=0):
    """Hand over what waits, and take in what came: each minute, and when something is sent."""
    with no_other_session() as free:
        if free:
            deliver(chosen_gateway())


def deliver_overdue(actor, job, report) -> dict:
    """Kind of job: hand over what has waited too long, or what somebody does not want to wait for."""
    with no_other_session() as free:
        if not free:
            return {"message": "另一个进程正在发送，不必重复。"}
        gateway = chosen_gateway()
        sent = deliver(gateway)
    if outage := Outage.objects.filter(gateway=gateway.name).first():
        raise ValidationError(f"{outage.error}；短信仍在等待，网关恢复后自动发送")
    return {"message": f"已提交 {sent} 条短信。"}


# What sending has asked for is done within a minute, without a job; here stands what that has not reached.
schedule("sms-overdue", "发送短信", deliver_overdue, "*/10 * * * *", due=lambda: overdue().exists())
