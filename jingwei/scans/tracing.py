"""Contact searches on the desk: the question, the ranked answer, the meetings of one contact (KP-9.1)."""

from datetime import timedelta

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET

from jingwei.base.resource import Between, Choice, Column, Exact, Panel, Ref, Resource, YesNo
from jingwei.desk.forms import DocumentNumber, dress
from jingwei.desk.guard import require, row_or_404
from jingwei.desk.lists import with_keys
from jingwei.desk.views import record_page
from jingwei.people.models import Person
from jingwei.people.queries import numbers_of
from jingwei.scans.contacts import (
    FOLLOWED,
    KEEP_DAYS,
    MOST_DAYS,
    MOST_MINUTES,
    find_contacts,
    meetings_of,
    span_text,
)
from jingwei.scans.models import Contact, ContactSearch, Scan

USUAL_MINUTES, USUAL_DAYS = 10, timedelta(days=13)
ISO_DATE = forms.DateInput(format="%Y-%m-%d")


# --- asking -----------------------------------------------------------------------------------------------


class SearchForm(forms.Form):
    """Whose contacts, when, how near. What is typed is posted, and stands in no address (P-4.1)."""

    number = DocumentNumber(label="证件号码", max_length=40, help_text="按完整号码查找；结果和日志中打星号")
    since = forms.DateField(label="开始日期", widget=ISO_DATE)
    until = forms.DateField(label="结束日期", widget=ISO_DATE, help_text=f"最多 {MOST_DAYS} 天，含首尾")
    minutes = forms.IntegerField(
        label="相隔分钟",
        min_value=1,
        max_value=MOST_MINUTES,
        initial=USUAL_MINUTES,
        help_text="在同一场所先后相隔不超过多少分钟的扫码算相遇",
    )
    second_ring = forms.TypedChoiceField(
        label="查到哪一圈",
        choices=[("1", "只查一次接触"), ("2", "一次接触和二次接触")],
        coerce=lambda ring: ring == "2",
        help_text=f"二次接触：名次最前的 {FOLLOWED} 名一次接触者，自首次与此人相遇之后又遇到的人",
    )
    reason = forms.CharField(label="事由", max_length=200, help_text="记入操作日志，如：确诊病例流调")

    def __init__(self, *args, known, **kwargs):
        super().__init__(*args, **kwargs)
        if known:
            del self.fields["number"]
        dress(self)


def known_person(request):
    """(number, name, key in the form) of whom a record stands for from which the search begins; else None."""
    asked = request.POST if request.method == "POST" else request.GET
    for name, rows in (
        ("scan", Scan.objects.visible_to(request.actor, "scan-query.view")),
        ("person", Person.objects.visible_to(request.actor, "people.view")),
    ):
        if name in asked:
            row = with_keys(rows, [asked[name]]).first()
            if row is None:
                raise Http404
            return row.number, row.name, (name, asked[name])
    return None


def ask(request, resource):
    """Take the question and show what was found."""
    require(request, resource, "add")
    known, today = known_person(request), timezone.localdate()
    form = SearchForm(
        request.POST or None, known=known, initial={"since": today - USUAL_DAYS, "until": today}
    )
    if request.method == "POST" and form.is_valid():
        asked = dict(form.cleaned_data)
        if known:
            asked["number"] = known[0].clear() if known[0] else ""
        try:
            search = find_contacts(request.actor, **asked)
        except ValidationError as refusal:
            for name, errors in getattr(refusal, "error_dict", {None: refusal}).items():
                form.add_error(name if name in form.fields else None, errors)
        else:
            messages.success(request, f"查找完成：一次接触 {search.first_ring:,} 人")
            return redirect("desk:show", resource=resource, pk=search.pk)
    return render(request, "scans/ask_contacts.html", {"resource": resource, "form": form, "known": known})


# --- answers ----------------------------------------------------------------------------------------------


@require_GET
def show_search(request, resource, pk):
    """A search with how its contacts are ranked; the contacts themselves stand in a panel below."""
    require(request, resource, "view")
    search = row_or_404(request, resource, "view", pk)
    more = {"followed": FOLLOWED, "keep_days": KEEP_DAYS.value()}
    return record_page(request, resource, search, template="scans/contact_search.html", **more)


@require_GET
def show_contact(request, resource, pk):
    """A contact with each meeting: where, when, how far apart."""
    require(request, resource, "view")
    contact = row_or_404(request, resource, "view", pk)
    try:
        more = {"met": meetings_of(request.actor, contact)}
    except ValidationError as refusal:
        more = {"met": [], "problem": refusal.messages[0]}
    more["opens_search"] = request.actor.may("contact-searches.view")
    return record_page(request, resource, contact, template="scans/contact.html", **more)


def searches_of(row):
    """The searches about whom a scan or a person of the register stands for."""
    return ContactSearch.objects.filter(number__in=[row.number] if isinstance(row, Scan) else numbers_of(row))


ASKED = ["since", "until", "minutes", "second_ring"]
FOUND = ["scans", "first_ring", "second_ring_found"]
PANEL = ["asked_at", "since", "until", "minutes", "first_ring", "asker", "reason"]


class ContactSearchResource(Resource):
    name = "contact-searches"
    label = "接触者查找"
    icon = "virus"
    model = ContactSearch
    actions = ("view", "add", "delete", "export")
    readonly = ["name", "number", *ASKED, "reason", "asker", *FOUND, "unknown"]
    columns = [
        Column("asked_at", "查找时间", lambda search: search.created_at, "created_at", ["created_at"]),
        *("name", "number", *ASKED, *FOUND, "asker", "reason"),
    ]
    link = "asked_at"
    sections = [
        ("查谁", ["name", "number", *ASKED]),
        ("结果", [*FOUND, "unknown"]),
        ("办理", ["reason", "asker", "asked_at"]),
    ]
    order = ["-created_at"]
    filters = [Exact("number"), Between("created_at", "查找时间"), Exact("asker"), YesNo("second_ring")]
    search = ["number", "name"]
    search_hint = "证件号码、被查人姓名"
    pages = [("new/", ask), ("<int:pk>/", show_search)]
    panels = [
        Panel("scan-query", "接触者查找", searches_of, PANEL, scoped=True, begin="scan"),
        Panel("people", "接触者查找", searches_of, PANEL, scoped=True, begin="person"),
    ]
    empty = "还没有查找过接触者。点“新增”，填写证件号码和时间段，查与此人到过同一场所的人员。"


class ContactResource(Resource):
    name = "contacts"
    label = "接触者名单"
    icon = "clipboard-list"
    model = Contact
    related = ["search", "via"]
    actions = ("view", "export")
    readonly = [
        "search",
        "ring",
        "place",
        "name",
        "number",
        "phone",
        "meetings",
        "venues",
        "first_at",
        "last_at",
    ]
    internal = ["nearest", "apart", "via", "followed"]
    columns = [
        *("place", "name", "number", "phone", "ring", "meetings"),
        Column("nearest", "最近相隔", lambda contact: span_text(contact.nearest), "nearest", ["nearest"]),
        Column("apart", "平均相隔", lambda contact: span_text(contact.apart), "apart", ["apart"]),
        *("venues", "first_at", "last_at"),
        Column("via", "经由", lambda c: c.via.name or str(c.via.number) if c.via_id else "", needs=["via"]),
        "search",
    ]
    link = "name"
    hidden = ["venues", "first_at"]
    sections = [
        ("接触者", ["name", "number", "phone"]),
        (
            "相遇",
            [*("ring", "place", "meetings", "nearest", "apart", "venues"), *("first_at", "last_at", "via")],
        ),
        ("接触者查找", ["search"]),
    ]
    order = ["-search_id", "ring", "place", "pk"]
    filters = [Ref("search"), Choice("ring"), Between("meetings"), Exact("number"), Exact("phone")]
    search = ["number", "phone", "name"]
    search_hint = "证件号码、电话、姓名"
    pages = [("<int:pk>/", show_contact)]
    panels = [
        Panel(
            "contact-searches",
            "接触者",
            lambda search: search.contacts.order_by("ring", "place", "pk"),
            [
                "ring",
                "place",
                "name",
                "number",
                "phone",
                "meetings",
                "nearest",
                "apart",
                "venues",
                "last_at",
                "via",
            ],
        )
    ]
    empty = "还没有接触者。先在“接触者查找”中查找。"


RESOURCES = [ContactSearchResource(), ContactResource()]
