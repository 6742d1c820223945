"""The trend by day (CL-4.4), beside the period before and the year before (P-9.3)."""

from datetime import date, timedelta
from urllib.parse import urlencode

from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET

from jingwei.base.resource import Page
from jingwei.desk.statistics import Line, Table, export_table, render_statistics, territory
from jingwei.people.models import DayCount
from jingwei.testing.queries import EVENTS, Period, trend

PERMISSION = "people.statistics"
DAYS = 30
MOST_DAYS = 366


def period_asked(request) -> tuple[Period, str]:
    """The days of the address, by default the last thirty; a refusal in words where they can't be read."""
    today = timezone.localdate()
    usual = Period(today - timedelta(days=DAYS - 1), today)
    first, last = request.GET.get("from", ""), request.GET.get("to", "")
    try:
        asked = Period(
            date.fromisoformat(first) if first else usual.first, date.fromisoformat(last) if last else today
        )
    except ValueError:
        return usual, "日期无法识别，请按 2026-03-01 的样式填写；下面是最近 30 天。"
    if not 1 <= len(asked.days) <= MOST_DAYS or asked.first.year < 1901:
        return usual, f"起止日期应先后有序，最多 {MOST_DAYS} 天；下面是最近 30 天。"
    return asked, ""


def counted(request, within, period):
    """{events: {day: count}} in scope, with the periods that `period` is compared with."""

    counts = DayCount.objects.visible_to(request.actor, PERMISSION).filter(region__startswith=within.region)
    return trend(counts, period)


def sums(found, period):
    return {name: sum(by_day[day] for day in period.days) for name, by_day in found.items()}


def table_of(found, period) -> Table:
    """One line a day."""
    lines = [
        Line(f"{day}", {"from": str(day), "to": str(day)}, {e.name: found[e.name][day] for e in EVENTS})
        for day in period.days
    ]
    total = Line("合计", {"from": str(period.first), "to": str(period.last)}, sums(found, period))
    return Table("day", "每日趋势", "日期", EVENTS, (), lines, total, "line", [e.name for e in EVENTS])


def compared(found, period) -> list[dict]:
    """The sums of the period beside those before (环比) and of last year (同比)."""
    now, before, last_year = (sums(found, p) for p in (period, period.before, period.last_year))
    return [
        {
            "label": events.label,
            "now": f"{now[events.name]:,}",
            "before": change(now[events.name], before[events.name]),
            "last_year": change(now[events.name], last_year[events.name]),
        }
        for events in EVENTS
    ]


def change(now, then) -> str:
    """What the count was, and by how much it has changed since: 120（+8.3%）."""
    return f"{then:,}（{100 * (now - then) / then:+.1f}%）" if then else "0"


def list_of(request, within):
    """Function of line and events: the address of the list of what is counted, "" if it is not to be seen."""

    def href(line, events):
        if request.actor.data_scope(f"{events.resource}.view") != within.reach:
            return ""
        days = {f"{events.at}__from": line.selection["from"], f"{events.at}__to": line.selection["to"]}
        region = {events.region: within.region} if within.selection else {}
        return f"{reverse('desk:list', args=[events.resource])}?{urlencode(region | days)}"

    return href


@require_GET
def daily(request):
    """People registered, doses given and samples taken, day by day."""
    within = territory(request, PERMISSION)
    period, refusal = period_asked(request)
    found = counted(request, within, period)
    return render_statistics(
        request,
        "每日趋势",
        within,
        [table_of(found, period)],
        list_of(request, within),
        template="testing/daily.html",
        period=period,
        refusal=refusal,
        compared=compared(found, period),
    )


@require_GET
def export_daily(request):
    period, _ = period_asked(request)
    found = counted(request, territory(request, PERMISSION), period)
    return export_table(request, "每日趋势", "people", [table_of(found, period)])


PAGES = [
    Page(
        "daily",
        "每日趋势",
        PERMISSION,
        [("", daily), ("export/", export_daily)],
        "chart-line",
        tolerates_lag=True,
    )
]
