"""Pages of their own: the days of a venue as a chart, deleting scans for good (KP-3.3, KP-5.1, KP-6.2)."""

from datetime import date, timedelta

from django import forms
from django.contrib import messages
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET

from jingwei.base.resource import Page
from jingwei.desk import jobs
from jingwei.desk.forms import dress
from jingwei.desk.guard import require, row_or_404
from jingwei.desk.views import record_page
from jingwei.exchange.queries import why_closed
from jingwei.scans.actions import BY, COLLECTED, Chosen, count_scans
from jingwei.scans.queries import days_of, newest

BEFORE, AFTER = 7, 7  # days shown around an alert
USUAL_DAYS, MOST_DAYS = 30, 366


@require_GET
def alert_days(request, resource, pk):
    """An alert with its days, their counts and the thresholds in force on them (KP-6.2)."""
    require(request, resource, "view")
    alert = row_or_404(request, resource, "view", pk)
    last = min(alert.last_day + timedelta(days=AFTER), timezone.localdate())
    days = days_of(alert.venue, alert.first_day - timedelta(days=BEFORE), max(last, alert.last_day))
    inside = {day.day for day in days if alert.first_day <= day.day <= alert.last_day}
    more = {"days": days, "inside": inside, "title": "每日扫码量与阈值"}
    return record_page(request, resource, alert, template="scans/days.html", **more)


@require_GET
def venue_days(request, resource, pk):
    """A venue with the scans of each of the days asked for (KP-5.1)."""
    require(request, resource, "view")
    venue = row_or_404(request, resource, "view", pk)
    first, last, problem = _days_asked(request)
    venue = resource.counted(resource.rows(request.actor), {"from": first, "to": last}).get(pk=venue.pk)
    more = {
        "days": days_of(venue, first, last),
        "first": first,
        "last": last,
        "problem": problem,
        "asks": True,
    }
    return record_page(request, resource, venue, template="scans/days.html", title="每日扫码量与阈值", **more)


def _days_asked(request):
    """The days of the address, by default the latest of which there are scans; a refusal in words."""
    latest = newest()
    last = timezone.localdate(latest) if latest else timezone.localdate()
    usual = last - timedelta(days=USUAL_DAYS - 1), last
    try:
        first, last = (
            date.fromisoformat(request.GET[name]) if request.GET.get(name) else day
            for name, day in zip(("from", "to"), usual, strict=True)
        )
    except ValueError:
        return *usual, "日期无法识别，请按 2026-03-01 的样式填写；下面是最近的日子。"
    if not 0 <= (last - first).days < MOST_DAYS:
        return *usual, f"起止日期应先后有序，最多 {MOST_DAYS} 天；下面是最近的日子。"
    return first, last, ""


# --- deleting for good ------------------------------------------------------------------------------------


class EraseForm(forms.Form):
    """Which scans: a span of days, both included, of the time of collecting or of import."""

    by = forms.ChoiceField(label="按", choices=list(BY.items()), initial=COLLECTED)
    first = forms.DateTimeField(
        label="从", widget=forms.DateTimeInput({"type": "datetime-local", "step": "1"})
    )
    last = forms.DateTimeField(
        label="到（含这一秒）", widget=forms.DateTimeInput({"type": "datetime-local", "step": "1"})
    )
    venue_code = forms.CharField(
        label="公共场所ID", max_length=60, required=False, help_text="不填则不限场所"
    )

    def __init__(self, *args):
        super().__init__(*args)
        dress(self)

    def clean(self):
        first, last = self.cleaned_data.get("first"), self.cleaned_data.get("last")
        if first and last and first > last:
            raise forms.ValidationError("开始时间不能晚于结束时间")
        return self.cleaned_data

    @property
    def chosen(self) -> Chosen:
        data = self.cleaned_data
        return Chosen(
            data["by"], data["first"], data["last"] + timedelta(seconds=1), data["venue_code"].strip()
        )


def erase(request):
    """Count first; delete when the number has been typed (KP-3.3). The deletion is a job."""
    form = EraseForm(request.POST or None)
    context = {"form": form, "newest": newest(), "closed": why_closed("scans")}
    if request.method == "POST" and form.is_valid() and "edit" not in request.POST and not context["closed"]:
        chosen = form.chosen
        number = count_scans(request.actor, chosen)
        context |= {"chosen": chosen, "number": number}
        if number and "typed" in request.POST:
            if request.POST["typed"].strip().replace(",", "") == str(number):
                return _start(request, chosen, number)
            context["problem"] = f"没有删除：请输入要删除的条数 {number} 以确认"
        return render(request, "scans/erase_confirm.html", context)
    return render(request, "scans/erase.html", context)


def _start(request, chosen, number):
    arguments = {
        "by": chosen.by,
        "since": chosen.since.isoformat(),
        "until": chosen.until.isoformat(),
        "venue_code": chosen.venue_code,
        "expected": number,
    }
    jobs.start(request.actor, "erase-scans", f"删除扫码记录 {number:,} 条（{chosen}）", arguments)
    messages.success(request, f"{number:,} 条扫码记录正在后台删除，可在任务中心查看进度")
    return redirect(reverse("desk:jobs"))


PAGES = [Page("scan-erasure", "批量删除扫码记录", "scans.erase", [("", erase)], "trash")]
