"""The timetable of the messages. A worker imports this module and delivers."""

from procrastinate.contrib.django import app

from jingwei.messages.actions import DELIVER
from jingwei.messages.delivery import chosen_gateway, deliver, no_other_session


@app.periodic(cron="* * * * *")
@app.task(name=DELIVER, queueing_lock=DELIVER)
def deliver_waiting(timestamp=0):
    """Hand over what waits, and take in what came: each minute, and when something is sent."""
    with no_other_session() as free:
        if free:
            deliver(chosen_gateway())
