"""The home page: what waits for the operator, and the numbers of the own territory (P-6.4)."""

from dataclasses import dataclass

from django.core.cache import cache
from django.http import QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from jingwei import menu
from jingwei.base.models import Job
from jingwei.desk.lists import COUNT_BOUND, Selection, Total, counts
from jingwei.desk.tasks import TIMETABLE

BADGE_SECONDS = 60  # the number of waiting rows on the menu may be this old


@dataclass(frozen=True)
class Counted:
    """A figure of the home page with its number and the list it opens."""

    label: str
    total: Total
    address: str
    icon: str
    waits: bool
    urgent: bool


def figures(actor, *, waiting=False) -> list[Counted]:
    """The figures of every resource `actor` may see: as they are kept ready, or counted like their lists.

    With `waiting` only those of work that waits.
    """
    declared = [
        (resource, figure, Selection(resource, actor, QueryDict(figure.query)), kept.get(figure.query))
        for resource in menu.resources().values()
        if resource.figures and actor.may(f"{resource.name}.view")
        for kept in [resource.kept_counts(actor)]
        for figure in resource.figures
        if figure.waits or not waiting
    ]
    counted = _counted(
        [(resource, selection) for resource, _, selection, number in declared if number is None]
    )
    found = []
    for resource, figure, selection, number in declared:
        query = selection.query.urlencode()
        address = reverse("desk:list", args=[resource]) + (f"?{query}" if query else "")
        total = Total.counted(counted[selection]) if number is None else Total(number)
        found.append(Counted(figure.label, total, address, resource.icon, figure.waits, figure.urgent))
    return found


def _counted(selections):
    """{selection: its number} of pairs (resource, selection); one statement for each place to read from."""
    found = {}
    for beyond in (False, True):
        chosen = [(resource, each) for resource, each in selections if bool(resource.beyond) == beyond]
        if chosen:
            with chosen[0][0].standing():
                numbers = counts([each.rows.order_by()[: COUNT_BOUND + 1] for _, each in chosen])
            found |= zip((each for _, each in chosen), numbers, strict=True)
    return found


def failing(actor) -> list[Job]:
    """The last runs of timed jobs that failed, for who watches over them (P-6.3, P-9.4)."""
    if not actor.may_open("jobs-of-all", "jobs.view"):
        return []
    timed = Job.objects.filter(kind__in=[entry.kind for entry in TIMETABLE])
    ended = timed.filter(state__in=(Job.DONE, Job.FAILED)).order_by("kind", "-pk").distinct("kind")
    return [job for job in ended.defer("query") if job.state == Job.FAILED]


def running_jobs(actor):
    """The operator's jobs that are not over."""
    return Job.objects.filter(owner=actor.operator_id, state__in=(Job.WAITING, Job.RUNNING))


@require_GET
def home(request):
    """The first page after signing in."""
    counted = figures(request.actor)
    context = {
        "waiting": [figure for figure in counted if figure.waits and figure.total.number],
        "numbers": [figure for figure in counted if not figure.waits],
        "failing": failing(request.actor),
        "jobs": running_jobs(request.actor)[:5],
        "entries": menu.entries_for(request.actor),
    }
    return render(request, "desk/home.html", context)


@require_GET
def badges(request):
    """The small numbers of the frame of every page: running jobs, kinds of waiting work."""
    key = f"waiting:{request.actor.operator_id}:{request.actor.appointment_id}"
    waiting = cache.get(key)
    if waiting is None:
        waiting = sum(1 for figure in figures(request.actor, waiting=True) if figure.total.number)
        waiting += len(failing(request.actor))
        cache.set(key, waiting, BADGE_SECONDS)
    return render(
        request, "desk/_badges.html", {"waiting": waiting, "running": running_jobs(request.actor).count()}
    )
