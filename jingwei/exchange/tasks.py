"""The timetable of the feeds, and the job that pulls one before its time."""

from django.core.exceptions import ValidationError

from jingwei.desk.tasks import KINDS, Kind, schedule
from jingwei.exchange.actions import PULL
from jingwei.exchange.models import FrontFeed
from jingwei.exchange.pulling import pull, pull_due
from jingwei.exchange.queries import due_feeds


def pull_one(actor, job, report) -> dict:
    """Kind of job: the pull that somebody has asked for."""
    feed = FrontFeed.objects.filter(pk=job.arguments["feed"]).first()
    if feed is None:
        raise ValidationError("这项取数已被删除")
    return {"message": pull(feed, report)}


def pull_those_due(actor, job, report) -> dict:
    """Kind of job: the pulls whose time has come."""
    return {"message": pull_due(report)}


KINDS[PULL] = Kind("前置库取数", pull_one)
# Looked at each minute; how often a feed is pulled is a parameter.
schedule("front-pulls", "前置库定时取数", pull_those_due, "* * * * *", due=lambda: due_feeds().exists())
