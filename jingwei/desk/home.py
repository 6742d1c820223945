"""The home page: what waits for the operator, and the numbers of the own territory (P-6.4)."""

from dataclasses import dataclass

from django.core.cache import cache
from django.http import QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from jingwei import menu
from jingwei.base.models import Job
from jingwei.desk.lists import Selection, Total, counts

BOUND = 1_000_000  # figures are exact up to here
BADGE_SECONDS = 60  # the number of waiting rows on the menu may be this old


@dataclass(frozen=True)
class Counted:
    """A figure of the home page with its number and the list it opens."""

    label: str
    total: Total
    address: str
    icon: str
    waits: bool


def figures(actor) -> list[Counted]:
    """The figures of every resource `actor` may see, counted in one statement."""
    declared = [
        (resource, figure, Selection(resource, actor, QueryDict(figure.query)))
        for resource in menu.resources().values()
        if actor.may(f"{resource.name}.view")
        for figure in resource.figures
    ]
    numbers = counts([selection.rows.order_by()[: BOUND + 1] for *_, selection in declared])
    found = []
    for (resource, figure, selection), number in zip(declared, numbers, strict=True):
        query = selection.query.urlencode()
        address = reverse("desk:list", args=[resource]) + (f"?{query}" if query else "")
        total = Total(min(number, BOUND), exact=number <= BOUND)
        found.append(Counted(figure.label, total, address, resource.icon, figure.waits))
    return found


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
        waiting = sum(1 for figure in figures(request.actor) if figure.waits and figure.total.number)
        cache.set(key, waiting, BADGE_SECONDS)
    return render(
        request, "desk/_badges.html", {"waiting": waiting, "running": running_jobs(request.actor).count()}
    )
