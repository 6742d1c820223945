"""The timetable of the messages. A worker imports this module and delivers."""

from procrastinate.contrib.django import app

from jingwei.messages import delivery
from jingwei.messages.actions import DELIVER


@app.periodic(cron="* * * * *")
@app.task(name=DELIVER, lock=DELIVER, queueing_lock=DELIVER)
def deliver(timestamp=0):
    """Hand over what waits, and take in what came; each minute, and when something is sent.

    One at a time, for the gateway's sake; two would not send twice either.
    """
    delivery.deliver(delivery.chosen_gateway())
