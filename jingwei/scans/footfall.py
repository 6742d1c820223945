"""How many people usually come: unusual days and suggested thresholds on the desk (KP-9.2)."""

from dataclasses import replace

from django.db.models import Q
from django.views.decorators.http import require_GET

from jingwei.base.resource import (
    Between,
    Choice,
    Column,
    Contains,
    Exact,
    Panel,
    Ref,
    Resource,
    Tab,
    Verb,
)
from jingwei.desk.guard import require, row_or_404
from jingwei.desk.views import record_page
from jingwei.scans.models import Analysis, SuggestedThreshold, UnusualDay
from jingwei.scans.unusual import TIMES, WEEK, WEEKS, adopt_threshold, usual_days_of

WEEKDAYS = "一二三四五六日"
BY_VENUE = [
    Exact("venue__code", "公共场所ID"),
    Contains("venue__name", "公共场所"),
    Choice("venue__kind", "类别"),
    Exact("venue__street", "所在街道"),
    Ref("venue__regulator", "监管单位"),
]


def of_venue(name, heading):
    """A column that shows a field of the row's venue."""
    path = f"venue__{name}"
    return Column(name, heading, lambda row: getattr(row.venue, name), path, [path])


@require_GET
def show_day(request, resource, pk):
    """An unusual day among the days around it, with what is usual on each."""
    require(request, resource, "view")
    row = row_or_404(request, resource, "view", pk)
    note = (
        f"正常范围由之前 {WEEKS.value()} 周同一星期几的扫码量得出。偏离倍数：与平常之差是平时波动的多少倍，"
        f"超过 {TIMES.value()} 倍的是异常日。"
    )
    more = {"days": usual_days_of(row.venue), "inside": {row.day}, "inside_name": "这一天"}
    more |= {"title": "每日扫码量与平常", "bounds": ("正常下限", "正常上限")}
    return _page(request, resource, row, note, **more)


@require_GET
def show_suggestion(request, resource, pk):
    """A suggested threshold with the days it follows from."""
    require(request, resource, "view")
    row = row_or_404(request, resource, "view", pk)
    held = {"low": row.low, "high": row.high}
    days = [replace(day, **held) for day in usual_days_of(row.venue, days=WEEK * WEEKS.value())]
    more = {"days": days, "title": "每日扫码量与建议阈值", "bounds": ("建议最小值", "建议最大值")}
    return _page(
        request, resource, row, "采用后每日扫码量按建议的最小值、最大值判断，从采用之日起生效。", **more
    )


def _page(request, resource, row, note, **more):
    """The page of a record with its chart; `note` says how to read it."""
    if analysis := Analysis.objects.first():
        note += f"分析至 {analysis.through}；全部场所都没有扫码的日子视为数据未到，不参与比较。"
    return record_page(request, resource, row, template="scans/days.html", note=note, **more)


class UnusualDayResource(Resource):
    name = "unusual-days"
    label = "扫码量异常日"
    icon = "activity"
    model = UnusualDay
    related = ["venue"]
    actions = ("view", "export")
    readonly = ["day", "count", "usual", "low", "high", "direction"]
    internal = ["venue", "deviation"]
    columns = [
        of_venue("code", "公共场所ID"),
        of_venue("name", "公共场所"),
        of_venue("street", "所在街道"),
        "day",
        Column("weekday", "星期", lambda row: f"星期{WEEKDAYS[row.day.weekday()]}", needs=["day"]),
        *("count", "usual", "low", "high", "direction"),
        Column("times", "偏离倍数", lambda row: row.deviation, "deviation", ["deviation"]),
    ]
    link = "name"
    sections = [
        ("异常日", ["code", "name", "street", "day", "weekday"]),
        ("扫码量", ["count", "usual", "low", "high", "direction", "times"]),
    ]
    order = ["-deviation", "venue_id", "pk"]
    filters = [
        Between("day"),
        Choice("direction"),
        *BY_VENUE,
    ]
    search = ["venue__code", "venue__name"]
    search_hint = "公共场所ID、名称"
    pages = [("<int:pk>/", show_day)]
    panels = [
        Panel(
            on,
            "异常日",
            lambda venue: venue.unusual_days.order_by("-day"),
            ["name", "day", "weekday", "count", "usual", "low", "high", "direction"],
        )
        for on in ("venues", "thresholds")
    ]
    empty = "近四周没有异常日。每天夜间与同一星期几的平常扫码量比较一次，至少要有四周的扫码记录。"


class SuggestedThresholdResource(Resource):
    name = "suggested-thresholds"
    label = "建议阈值"
    icon = "scale"
    model = SuggestedThreshold
    related = ["venue"]
    actions = ("view", "export")
    readonly = ["low", "high", "reason"]
    internal = ["venue"]
    columns = [
        of_venue("code", "公共场所ID"),
        of_venue("name", "公共场所"),
        of_venue("street", "所在街道"),
        of_venue("threshold_min", "阈值最小值"),
        of_venue("threshold_max", "阈值最大值"),
        *("low", "high", "reason"),
    ]
    link = "name"
    sections = [
        ("建议", ["low", "high", "reason"]),
        ("场所", ["code", "name", "street", "threshold_min", "threshold_max"]),
    ]
    order = ["venue__code"]
    tabs = [
        Tab("未设置", Q(venue__threshold_min=None, venue__threshold_max=None)),
        Tab("已设置", ~Q(venue__threshold_min=None, venue__threshold_max=None)),
    ]
    filters = BY_VENUE
    search = ["venue__code", "venue__name"]
    search_hint = "公共场所ID、名称"
    verbs = [
        Verb(
            "adopt",
            "采用建议",
            adopt_threshold,
            offered=lambda row: (row.venue.threshold_min, row.venue.threshold_max) != (row.low, row.high),
            note="把建议的最小值、最大值设为场所的阈值，从今天起生效，与在“场所人流量阈值”中填写相同。",
        )
    ]
    pages = [("<int:pk>/", show_suggestion)]
    panels = [
        Panel(
            "thresholds",
            "建议阈值",
            lambda venue: SuggestedThreshold.objects.filter(venue=venue),
            ["name", "low", "high", "reason"],
        )
    ]
    empty = "还没有建议阈值。每天夜间由近几周的扫码量得出，至少要有四周的扫码记录。"


RESOURCES = [UnusualDayResource(), SuggestedThresholdResource()]
