"""Scans, their statistics and alerts on the desk (KP-3 … KP-6)."""

from django.db.models import Q

from jingwei.base.resource import (
    Between,
    Choice,
    Column,
    Contains,
    Day,
    Exact,
    Figure,
    Panel,
    Ref,
    Region,
    Resource,
    Tab,
    Verb,
)
from jingwei.people.queries import numbers_of
from jingwei.places.models import Venue
from jingwei.places.queries import with_scans
from jingwei.scans import footfall, pages, tracing
from jingwei.scans.actions import receive_alert
from jingwei.scans.models import Alert, AlertAttachment, Scan
from jingwei.scans.sheets import ScanSheet

SOURCE = [
    *("venue_code", "venue_name", "kind", "city", "street", "manager", "number", "name", "phone", "result"),
    *("test_result", "tested_at", "health_code", "position", "collected_at"),
]


def of_venue(name, heading, **options):
    """A column that shows a field of the row's venue."""
    path = f"venue__{name}"
    get = getattr(Venue, f"get_{name}_display", lambda venue: getattr(venue, name))
    return Column(name, heading, lambda row: get(row.venue), path, [path], **options)


def regulator(scan):
    return scan.venue.regulator.name if scan.venue and scan.venue.regulator_id else "空"


def scans_of(person):
    """Where the person was scanned, the latest first (CL-3.6)."""
    return Scan.objects.filter(number__in=numbers_of(person)).order_by("-collected_at")


class ScanResource(Resource):
    name = "scans"
    label = "扫码进场信息管理"
    icon = "qrcode"
    model = Scan
    sheet = ScanSheet
    actions = ("view", "import", "export")
    readonly = [*SOURCE, "importer", "imported_at"]
    columns = readonly
    has_page = False  # KP-3.4
    order = ["-collected_at"]
    sorts = ["collected_at"]
    filters = [
        Exact("venue_code"),
        Between("collected_at"),
        Between("imported_at"),
    ]
    search = ["number", "phone"]
    search_hint = "身份证号、电话"
    empty = "还没有扫码记录。导入省平台导出的表格后在这里查看。"


class ScanQueryResource(Resource):
    name = "scan-query"
    label = "扫码进场信息查询"
    icon = "search"
    model = Scan
    related = ["venue__regulator"]
    sections = [
        ("场所", [*("venue_code", "venue_name", "kind", "city", "street", "manager"), "regulator"]),
        ("被采集人", ["name", "number", "phone", "position"]),
        ("采集", ["collected_at", "result", "test_result", "tested_at", "health_code"]),
        ("导入", ["importer", "imported_at"]),
    ]
    actions = ("view", "export")
    readonly = [*SOURCE, "importer", "imported_at"]
    columns = [
        *readonly,
        Column("regulator", "监管单位", regulator, needs=["venue__regulator__name"]),
    ]
    panels = [
        Panel(
            "people",
            "扫码进场",
            scans_of,
            columns=["collected_at", "venue_code", "venue_name", "street", "result", "test_result"],
        )
    ]
    order = ["-collected_at"]
    sorts = ["collected_at"]
    filters = [
        Exact("venue_code"),
        Between("collected_at"),
        Exact("name"),
        Exact("number"),
        Exact("phone"),
        Contains("venue__name", "公共场所"),
        Choice("venue__kind", "类别"),
        Exact("venue__street", "所在街道"),
        Exact("result"),
        Exact("test_result"),
        Exact("health_code"),
        Ref("venue__regulator", "监管单位"),
    ]
    search = ["number", "phone"]
    search_hint = "身份证号、电话"
    empty = "还没有扫码记录。运维单位导入后在这里查询。"


class ScanStatisticsResource(Resource):
    name = "scan-statistics"
    label = "扫码统计查询"
    icon = "chart-bar"
    model = Venue
    actions = ("view", "export")
    readonly = ["code", "name", "kind", "regulator", "city", "street"]
    internal = [
        *("manager", "position", "longitude", "latitude", "regulator_head", "regulator_phone"),
        *("threshold_min", "threshold_max", "archived"),
    ]
    columns = [*readonly, Column("scans", "扫码量", lambda venue: venue.scans, "-scans")]
    annotated = ["scans"]
    link = "name"
    order = ["-scans", "code"]
    filters = [
        Day("from", "开始日期"),
        Day("to", "结束日期"),
        Choice("kind"),
        Ref("regulator"),
        Region("region"),
        Exact("street"),
        Exact("code"),
        Contains("name"),
    ]
    search = ["code", "name"]
    search_hint = "公共场所ID、名称"
    pages = [("<int:pk>/", pages.venue_days)]
    empty = "还没有可以统计的场所。场所由运维单位登记并指定监管单位。"

    def counted(self, rows, days):
        return with_scans(rows, days.get("from"), days.get("to"))


class AlertResource(Resource):
    name = "alerts"
    label = "扫码预警"
    icon = "bell"
    model = Alert
    attachments = AlertAttachment
    actions = ("view", "export")
    readonly = ["reason", "raised_at", "received_at", "receiver", "outdated"]
    internal = ["venue", "first_day", "last_day", "withdrawn_at"]
    columns = [
        of_venue("code", "公共场所ID"),
        of_venue("name", "公共场所"),
        of_venue("kind", "类别"),
        of_venue("city", "所在市区"),
        of_venue("street", "所在街道"),
        Column("period", "预警时间段", lambda alert: alert.period, "first_day", ["first_day", "last_day"]),
        "reason",
    ]
    link = "name"
    related = ["venue"]
    sections = [
        ("预警", ["code", "name", "kind", "city", "street", "period", "reason"]),
        ("接收", ["received_at", "receiver", "outdated", "raised_at"]),
    ]
    order = ["-last_day", "venue__code"]
    tabs = [Tab("未接收", Q(received_at=None)), Tab("已接收", Q(received_at__isnull=False))]
    filters = [
        Choice("reason"),
        Between("last_day", "预警末日"),
        Ref("venue__regulator", "监管单位"),
        Choice("venue__kind", "类别"),
        Exact("venue__street", "所在街道"),
        Exact("venue__code", "公共场所ID"),
    ]
    search = ["venue__code", "venue__name"]
    search_hint = "公共场所ID、名称"
    figures = [Figure("未接收的扫码预警", "tab=0", waits=True)]
    verbs = [
        Verb(
            "receive",
            "接收",
            receive_alert,
            offered=lambda alert: alert.received_at is None and alert.withdrawn_at is None,
            note="表示监管单位已知悉，预警移到“已接收”，记下接收人和时间。",
        )
    ]
    pages = [("<int:pk>/", pages.alert_days)]
    empty = "没有扫码预警。每天夜间按前一天为止的扫码量评估一次。"

    def rows(self, actor, action="view"):
        return super().rows(actor, action).filter(withdrawn_at=None)


class WithdrawnAlertResource(Resource):
    name = "withdrawn-alerts"
    label = "已撤回的扫码预警"
    icon = "rotate"
    model = Alert
    attachments = AlertAttachment
    actions = ("view", "export")
    readonly = ["reason", "raised_at", "withdrawn_at"]
    internal = ["venue", "first_day", "last_day", "received_at", "receiver", "outdated"]
    columns = [*AlertResource.columns, "raised_at", "withdrawn_at"]
    sections = [AlertResource.sections[0], ("撤回", ["raised_at", "withdrawn_at"])]
    link = "name"
    related = ["venue"]
    order = ["-withdrawn_at"]
    filters = [Choice("reason"), Between("withdrawn_at"), Exact("venue__code", "公共场所ID")]
    search = ["venue__code", "venue__name"]
    search_hint = "公共场所ID、名称"
    pages = [("<int:pk>/", pages.alert_days)]
    empty = "没有撤回过预警。补录或删除扫码记录后不再成立、且尚未接收的预警会移到这里。"

    def rows(self, actor, action="view"):
        return super().rows(actor, action).exclude(withdrawn_at=None)


RESOURCES = [
    ScanResource(),
    ScanQueryResource(),
    ScanStatisticsResource(),
    AlertResource(),
    WithdrawnAlertResource(),
    *footfall.RESOURCES,
    *tracing.RESOURCES,
]
