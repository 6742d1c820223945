"""Emergency access on the desk: asking, the record, what the territory is told, the weekly review (P-1.9)."""

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.db.models.functions import Now
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from jingwei.base import wall
from jingwei.base.resource import Between, Choice, Column, Contains, Figure, Page, Region, Resource, Tab, Verb
from jingwei.desk.forms import ByDocument
from jingwei.desk.records import details_of
from jingwei.people import emergency
from jingwei.people.models import EmergencyAccess
from jingwei.people.queries import place
from jingwei.people.resources import PersonResource

PERMISSION = "emergency.open"
SHOWN = 20  # of one's own requests


# --- asking, and the record -------------------------------------------------------------------------------


class RequestForm(ByDocument):
    """Which document, and why."""

    reason = forms.CharField(
        label="事由", min_length=4, max_length=200, help_text="如：120 急救，患者昏迷，需联系家属"
    )


@require_http_methods(["GET", "POST"])
def ask(request):
    """Ask for one person's record; below, what one has asked for lately."""
    form = RequestForm(request.POST or None)
    if form.is_valid():
        try:
            access = emergency.open_record(request.actor, **form.cleaned_data)
        except ValidationError as refusal:
            form.add_error(None, refusal)
        else:
            return redirect("desk:emergency-1", pk=access.pk)
    with wall.beyond_scope():
        context = {
            "form": form,
            "left": emergency.left_today(request.actor),
            "hours": emergency.HOURS.value(),
            "requests": emergency.own_requests(request.actor)[:SHOWN],
        }
        return render(request, "people/emergency.html", context)


@require_GET
def show(request, pk):
    """The record, to be read only, while one's access to it lasts."""
    with wall.beyond_scope():
        access = get_object_or_404(emergency.own_requests(request.actor), pk=pk)
        try:
            person = emergency.look(request.actor, access)
        except ValidationError as refusal:
            messages.error(request, refusal.messages[0])
            return redirect("desk:emergency")
        context = {"access": access, "person": person, "sections": details_of(PersonResource(), person)}
        return render(request, "people/emergency_record.html", context)


@require_POST
def end(request, pk):
    """Give the access back."""
    with wall.beyond_scope():
        access = get_object_or_404(emergency.own_requests(request.actor), pk=pk)
        try:
            emergency.end(request.actor, access)
        except ValidationError as refusal:
            messages.error(request, refusal.messages[0])
        else:
            messages.success(request, "紧急查看已结束")
    return redirect("desk:emergency")


PAGES = [
    Page(
        "emergency",
        "紧急查看",
        PERMISSION,
        [("", ask), ("<int:pk>/", show), ("<int:pk>/end/", end)],
        icon="heartbeat",
    )
]


# --- what the territory is told ---------------------------------------------------------------------------


def whereabouts(access):
    return place(access.region) if access.region else ""


PLACE = Column("region", "村/社区", whereabouts, "region", ["region__name", "region__parent__name"])


class NoticeResource(Resource):
    """Which records of one's own territory others have looked at, until somebody there knows of it."""

    name = "emergency-notices"
    label = "被紧急查看"
    icon = "bell"
    model = EmergencyAccess
    actions = ("view", "export")
    readonly = [
        *("person", "document", "region", "by_name", "organisation", "reason", "at", "until", "looks"),
        *("seen_by", "seen_at", "verdict"),
    ]
    internal = ["opinion", "reviewed_by", "reviewed_at"]
    columns = [
        *("at", "person", PLACE, "by_name", "organisation", "reason", "until", "looks"),
        *("seen_by", "seen_at", "verdict"),
    ]
    hidden = ["seen_at", "verdict"]
    related = ["person", "region__parent"]
    sections = [
        ("被查看的人员", ["person", "document", "region"]),
        ("紧急查看", ["by_name", "organisation", "reason", "at", "until", "looks"]),
        ("知悉和复核", ["seen_by", "seen_at", "verdict"]),
    ]
    order = ["-pk"]
    tabs = [Tab("未知悉", Q(seen_at=None)), Tab("已知悉", Q(seen_at__isnull=False))]
    figures = [Figure("未知悉的紧急查看", "tab=0", waits=True)]
    filters = [Region("region", "所在辖区"), Between("at"), Contains("by_name"), Contains("organisation")]
    search = ["by_name", "organisation", "reason", "person__name"]
    search_hint = "查看人、单位、事由、姓名"
    verbs = [
        Verb(
            "acknowledge",
            "知悉",
            emergency.acknowledge,
            offered=lambda access: access.seen_at is None,
            note="表示本辖区已知道这次查看；认为不应当查看的，请同时告诉安全管理员。",
        )
    ]
    empty = "本辖区的人员没有被紧急查看过。"

    def rows(self, actor, action="view"):
        return super().rows(actor, action).filter(region__isnull=False)


# --- the weekly review ------------------------------------------------------------------------------------


class ReviewResource(Resource):
    """Each request for the security administrator, who learns no name from it."""

    beyond = "安全管理员复核各单位的紧急查看，本身没有业务数据范围"
    name = "emergency-reviews"
    label = "紧急查看复核"
    icon = "clipboard-check"
    model = EmergencyAccess
    actions = ("view", "export")
    readonly = [
        *("at", "by_name", "organisation", "reason", "document", "region", "until", "looks"),
        *("seen_by", "seen_at", "verdict", "opinion", "reviewed_by", "reviewed_at"),
    ]
    internal = ["person"]
    columns = [
        *("at", "by_name", "organisation", "reason", "document", PLACE, "looks", "seen_by"),
        *("verdict", "opinion", "reviewed_by", "reviewed_at"),
    ]
    hidden = ["opinion", "reviewed_by", "reviewed_at"]
    related = ["region__parent"]
    sections = [
        ("紧急查看", ["at", "by_name", "organisation", "reason", "document", "region", "until", "looks"]),
        ("知悉和复核", ["seen_by", "seen_at", "verdict", "opinion", "reviewed_by", "reviewed_at"]),
    ]
    order = ["-pk"]
    tabs = [
        Tab("待复核", Q(verdict="")),
        Tab("逾期未复核", Q(verdict="", at__lt=Now() - emergency.REVIEWED_WITHIN)),
        Tab("正当", Q(verdict=EmergencyAccess.JUSTIFIED)),
        Tab("不当", Q(verdict=EmergencyAccess.UNJUSTIFIED)),
    ]
    figures = [
        Figure("待复核的紧急查看", "tab=0", waits=True),
        Figure("一周以上未复核的紧急查看", "tab=1", waits=True, urgent=True),
    ]
    filters = [
        Region("region", "所在辖区"),
        Between("at"),
        Contains("by_name"),
        Contains("organisation"),
        Choice("verdict"),
    ]
    search = ["by_name", "organisation", "reason"]
    search_hint = "查看人、单位、事由"
    verbs = [
        Verb(
            "justify",
            "复核：正当",
            emergency.justify,
            form={"opinion": forms.CharField(label="复核意见", max_length=200, required=False)},
            offered=lambda access: not access.verdict,
            bulk=False,
        ),
        Verb(
            "object",
            "复核：不当",
            emergency.object_to,
            form={"opinion": forms.CharField(label="复核意见", max_length=200)},
            offered=lambda access: not access.verdict,
            bulk=False,
            danger=True,
            note="结论和意见记入操作日志；需要停用账号或收回授权的，另在“操作员”“任职授权”中办理。",
        ),
    ]
    empty = "还没有紧急查看。"


RESOURCES = [NoticeResource()]
REVIEWS = [ReviewResource()]
