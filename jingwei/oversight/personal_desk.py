"""Personal data on the desk: the register, what the nights erase, requests to be deleted (SEC-17, P-4.6)."""

import re

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_GET, require_POST

from jingwei.base import audit
from jingwei.base.models import Job
from jingwei.base.resource import Between, Choice, Contains, Figure, Page, Resource, Tab, Verb
from jingwei.base.tables import Xlsx
from jingwei.base.wall import beyond_scope
from jingwei.desk.filters import stored_form
from jingwei.desk.guard import require, row_or_404
from jingwei.desk.search import slip_in
from jingwei.desk.views import record_page
from jingwei.oversight import erasing, forgetting, register
from jingwei.oversight.models import Erasure, ErasureRequest

REGISTER = "个人信息登记册"


# --- the register -----------------------------------------------------------------------------------------


@require_GET
def show_register(request):
    """Every personal column: what for, by which rule, how long, where it is seen and how it is stored."""
    rows = list(register.entries())
    context = {"headings": register.HEADINGS, "rows": rows, "tables": len({row.table for row in rows})}
    return render(request, "oversight/personal_data.html", context)


@require_GET
def export_register(request):
    """The register as a workbook."""
    rows = list(register.entries())
    response = HttpResponse(content_type=Xlsx.content_type)
    name = f"{REGISTER}-{timezone.localdate():%Y%m%d}.xlsx"
    response.headers["Content-Disposition"] = content_disposition_header(True, name)
    with Xlsx(response, REGISTER, register.HEADINGS) as table:
        table.write([list(column) for column in zip(*rows, strict=True)])
    audit.record(request.actor, "导出", resource="personal-data", label=REGISTER, 行数=len(rows))
    return response


@require_POST
def print_register(request):
    """Note that the register is printed."""
    audit.record(request.actor, "打印", resource="personal-data", label=REGISTER)
    return HttpResponse(status=204)


# --- what the nights erase --------------------------------------------------------------------------------


@require_GET
def show_retention(request):
    """How long each kind of data is kept, what would go tonight, what went last."""
    now = timezone.now()
    # Who watches over the keeping times has no business with the rows, but is told how many they are.
    with beyond_scope():
        last = {proof.kind: proof for proof in Erasure.objects.order_by("pk")}
        due = erasing.due_tonight(now)
        job = Job.objects.filter(kind="erase-expired").first()
    context = {
        "lines": [(kept, kept.limit(now), count, last.get(kept.name)) for kept, count in due],
        "most": erasing.MOST_COUNTED,
        "job": job,
        "may_open": request.actor.may("erasures.view"),
    }
    return render(request, "oversight/retention.html", context)


class ErasureResource(Resource):
    name = "erasures"
    label = "到期清理证明"
    icon = "checklist"
    model = Erasure
    actions = ("view", "export")
    readonly = ["label", "rule", "before", "count", "begun_at", "ended_at", "digest"]
    columns = ["begun_at", "label", "rule", "before", "count", "ended_at", "digest"]
    hidden = ["ended_at"]
    link = "begun_at"
    order = ["-pk"]
    filters = [Contains("label"), Between("begun_at"), Between("count")]
    search = ["label", "digest"]
    search_hint = "数据、摘要"
    empty = "还没有清理过到期数据。每晚清理，有数据到期时在这里留下证明。"


# --- requests to be deleted -------------------------------------------------------------------------------


class NumberField(forms.CharField):
    """The whole document number, of whatever kind."""

    def __init__(self):
        super().__init__(
            label="证件号码",
            min_length=5,
            max_length=40,
            help_text="完整的证件号；页面和日志中打星号，办结后清空",
            widget=forms.TextInput({"autocomplete": "off"}),
        )

    def clean(self, value):
        number = stored_form(ErasureRequest._meta.get_field("number"), super().clean(value))
        if not re.fullmatch(r"[0-9A-Za-z()/-]+", number) or not any(map(str.isdigit, number)):
            raise forms.ValidationError("请填写完整的证件号，只含字母和数字")
        if slip := slip_in(number):
            raise forms.ValidationError(slip)
        return number


@require_GET
def show_request(request, resource, pk):
    """A request: before the decision what would go, afterwards the proof."""
    require(request, resource, "view")
    row = row_or_404(request, resource, "view", pk)
    with beyond_scope():  # the job is the one's who confirmed
        more = {"job": Job.objects.filter(kind=forgetting.JOB, arguments__request=row.pk).first()}
    if row.state == ErasureRequest.WAITING:
        more["decides"] = request.actor.may(f"{resource.name}.confirm")
        if more["decides"]:
            try:
                more["going"], more["staying"] = forgetting.preview(row)
            except ValidationError as refusal:
                more["refusal"] = "；".join(refusal.messages)
            more["before"] = forgetting.erased_before(row.number.clear())
    return record_page(request, resource, row, template="oversight/erasure_request.html", **more)


class ErasureRequestResource(Resource):
    name = forgetting.RESOURCE
    label = "个人信息删除申请"
    icon = "user-x"
    model = ErasureRequest
    actions = ("view", "add", "export")
    fields = ["number", "reason"]
    form_fields = {"number": lambda actor: NumberField()}
    readonly = ["state", "asker", "confirmer", "confirmed_at", "ended_at", "mark", "digest"]
    columns = ["created_at", "number", "state", "reason", "asker", "confirmer", "ended_at"]
    link = "created_at"
    order = ["-pk"]
    tabs = [
        Tab("待确认", Q(state=ErasureRequest.WAITING)),
        Tab("已删除", Q(state=ErasureRequest.DONE)),
    ]
    filters = [Choice("state"), Between("created_at"), Contains("asker")]
    search = ["number", "asker"]
    search_hint = "证件号、提出人"
    figures = [Figure("个人信息删除申请待确认", f"state={ErasureRequest.WAITING}", waits=True)]
    pages = [("<int:pk>/", show_request)]
    sections = [
        ("申请", ["number", "reason", "asker", "state"]),
        ("办理", ["confirmer", "confirmed_at", "ended_at", "mark", "digest"]),
    ]
    verbs = [
        Verb(
            "confirm",
            "确认删除",
            forgetting.confirm,
            offered=lambda row: row.state == ErasureRequest.WAITING,
            bulk=False,
            danger=True,
            note="全平台与此人有关的数据将一次删除，不能恢复。请先在申请的页面核对将删除的数据。须由提出人以外的另一人确认。",
        ),
        Verb(
            "withdraw",
            "撤回",
            forgetting.withdraw,
            form={"reason": forms.CharField(label="事由", max_length=200)},
            offered=lambda row: row.state == ErasureRequest.WAITING,
            bulk=False,
            note="申请不再办理，已填的证件号随即清空。",
        ),
    ]
    empty = "还没有删除申请。本人要求删除个人信息时，在这里新增申请，由另一人核对后确认。"

    def save(self, actor, obj, *, values, version=None):
        saved = forgetting.ask_to_forget(actor, number=values["number"], reason=values["reason"])
        obj.pk = saved.pk
        return saved


REQUESTS = [ErasureRequestResource()]
RESOURCES = [ErasureResource()]
PAGES = [
    Page(
        "personal-data",
        REGISTER,
        "personal-data.view",
        [("", show_register), ("export/", export_register), ("printed/", print_register)],
        "list-details",
    ),
    Page("retention", "保存期限与清理", "retention.view", [("", show_retention)], "clock"),
]
