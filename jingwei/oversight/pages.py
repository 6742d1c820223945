"""Pages of the audit administrator that are no list: who looked at whom, the chain, the events."""

import io
from itertools import groupby

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from jingwei.base import audit, chain, wall
from jingwei.base.events import CATALOGUE
from jingwei.base.models import Job, LogSeal
from jingwei.base.resource import Page
from jingwei.base.tables import Xlsx
from jingwei.desk import jobs
from jingwei.desk.forms import ByDocument
from jingwei.kit.text import mask_number
from jingwei.oversight import copies, verifying
from jingwei.oversight.queries import looks_at, looks_at_number
from jingwei.people.queries import holder_of

SHOWN = 200
HEADINGS = ["时间", "操作员", "登录名", "单位", "操作", "对象", "事由", "地址", "请求号"]


class PersonForm(ByDocument):
    """Who, by document, and why it is asked."""

    reason = forms.CharField(label="事由", min_length=2, max_length=200, help_text="如：本人投诉信息被查看")


@require_http_methods(["GET", "POST"])
def who_looked(request):
    """Every operator that opened, exported or unmasked one person's record (P-3.4)."""
    form, looks, whom = PersonForm(request.POST or None), None, ""
    person = None
    if form.is_valid():
        reason = form.cleaned_data["reason"]
        with wall.beyond_scope():
            number = form.cleaned_data["number"]
            person = holder_of(form.cleaned_data["doc_type"], number)
            found = looks_at(person) if person else looks_at_number(number)
            looks = list(found[: None if "export" in request.POST else SHOWN])
        whom = str(person or f"未登记的 {mask_number(number)}")
        about = {"resource": "people", "reason": reason, "行数": len(looks)}
        if "export" in request.POST:
            audit.record(request.actor, "导出", person, label=f"谁看过{whom}", **about)
            return _workbook(looks)
        audit.record(request.actor, "查询谁看过", person, label=whom, **about)
    context = {"form": form, "looks": looks, "headings": HEADINGS, "shown": SHOWN}
    context |= {"whom": whom, "person": person}
    return render(request, "oversight/who_looked.html", context)


def _workbook(looks):
    content = io.BytesIO()
    with Xlsx(content, "谁看过", HEADINGS) as table:
        cells = [
            (
                f"{timezone.localtime(e.at):%Y-%m-%d %H:%M:%S}",
                *(e.actor, e.login, e.organisation, e.act, e.label, e.reason, e.address, e.request_id),
            )
            for e in looks
        ]
        if cells:
            table.write([list(column) for column in zip(*cells, strict=True)])
    response = HttpResponse(content.getvalue(), content_type=Xlsx.content_type)
    name = f"谁看过-{timezone.localtime():%Y%m%d-%H%M}.xlsx"
    response.headers["Content-Disposition"] = content_disposition_header(True, name)
    return response


@require_GET
def show_chain(request):
    """How far the log is sealed, what the last verification said, which copies there are."""
    with wall.beyond_scope():
        verifications = Job.objects.filter(kind=verifying.JOB).defer("query").order_by("-pk")
        copied = (copies.day_of(path) for path in copies.folder().glob("*.jsonl.gz"))
        context = {
            "seal": LogSeal.objects.last(),
            "waiting": chain.waiting(),
            "running": verifications.filter(state__in=(Job.WAITING, Job.RUNNING)).first(),
            "last": verifications.filter(state__in=(Job.DONE, Job.FAILED)).first(),
            "copies": sorted(copied, reverse=True),
            "keep": chain.KEEP.value(),
        }
    return render(request, "oversight/chain.html", context)


@require_POST
def start_verification(request):
    """Have the chain verified now, in the background."""
    with wall.beyond_scope():
        if Job.objects.filter(kind=verifying.JOB, state__in=(Job.WAITING, Job.RUNNING)).exists():
            messages.info(request, "校验正在进行，完成后在这里显示结果。")
            return redirect("desk:log-chain")
    jobs.start(request.actor, verifying.JOB, verifying.LABEL, {})
    messages.success(request, "已开始校验，完成后在这里显示结果。")
    return redirect("desk:log-chain")


@require_GET
def show_catalogue(request):
    """Every kind of act the log keeps, and what a row of it means (SEC-8)."""
    groups = [(group, list(events)) for group, events in groupby(CATALOGUE.values(), lambda e: e.group)]
    return render(request, "oversight/catalogue.html", {"groups": groups})


PAGES = [
    Page("who-looked", "谁看过某人", "logs.looks", [("", who_looked)], "eye"),
    Page(
        "log-chain",
        "日志校验",
        "logs.verify",
        [("", show_chain), ("run/", start_verification)],
        "shield-check",
    ),
    Page("log-events", "日志事件", "logs.view", [("", show_catalogue)], "list-details"),
]
