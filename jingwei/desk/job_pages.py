"""The job centre: what runs for me; for the system administrator, what runs at all and when (P-6.3)."""

from datetime import UTC, datetime

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db import transaction
from django.http import Http404
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST
from procrastinate.contrib.django import app

from jingwei.base import audit
from jingwei.base.models import Job
from jingwei.desk import jobs
from jingwei.desk.guard import is_fragment
from jingwei.desk.tasks import KINDS, TIMETABLE, run_scheduled
from jingwei.directory.models import Operator

PER_PAGE = 20


# --- one's own jobs ---------------------------------------------------------------------------------------


@require_GET
def centre(request):
    """The operator's own jobs; the list alone where htmx asks for it, as it does while one of them runs."""
    mine = Job.objects.filter(owner=request.actor.operator_id).select_related("file")
    page = Paginator(mine, PER_PAGE).get_page(request.GET.get("page"))
    context = {"page": page, "now": timezone.now(), "unfinished": any(not job.is_over for job in page)}
    return render(request, "desk/_jobs.html" if is_fragment(request) else "desk/jobs.html", context)


@require_POST
def cancel(request, pk):
    """Stop one of the operator's own jobs."""
    return _done(request, jobs.cancel, pk, "已要求取消，任务会在处理完当前一批后停止。")


@require_POST
def retry(request, pk):
    """Run one of the operator's own jobs again."""
    return _done(request, jobs.retry, pk, "已重新开始。")


def _done(request, act, pk, success):
    job = get_object_or_404(Job, pk=pk, owner=request.actor.operator_id)
    try:
        act(request.actor, job)
        messages.success(request, success)
    except ValidationError as refusal:
        messages.error(request, refusal.messages[0])
    return redirect("desk:jobs")


# --- the system administrator -----------------------------------------------------------------------------


@require_GET
def everyone(request):
    """Every job and the timetable. Kind, state and times only: the rest is business (P-1.8)."""
    page = Paginator(Job.objects.defer("query"), PER_PAGE).get_page(request.GET.get("page"))
    names = dict(Operator.objects.filter(pk__in=[job.owner for job in page]).values_list("pk", "name"))
    rows = [(job, KINDS[job.kind].label, names.get(job.owner, "系统")) for job in page if job.kind in KINDS]
    return render(request, "desk/jobs_of_all.html", {"page": page, "rows": rows, "timetable": timetable()})


def timetable():
    """[(entry, its last job or None, when it runs next)] of the jobs that the clock starts."""
    rows = []
    for entry in TIMETABLE:
        clock = app.periodic_registry.periodic_tasks[(run_scheduled.name, entry.kind)].croniter
        following = clock.get_next(float, start_time=timezone.now().timestamp())
        last = Job.objects.filter(kind=entry.kind).first()
        rows.append((entry, last, datetime.fromtimestamp(following, UTC)))
    return rows


@require_POST
def run_now(request, kind):
    """Start a job of the timetable before its time."""
    entry = next((entry for entry in TIMETABLE if entry.kind == kind), None)
    if entry is None:
        raise Http404
    with transaction.atomic():
        job = jobs.start(request.actor, kind, entry.label, {})
        audit.record(request.actor, "立即运行", job, resource="jobs")
    messages.success(request, f"已开始“{entry.label}”。")
    return redirect("desk:jobs-of-all")
