"""Venues and their thresholds on the desk (KP-1, KP-2)."""

from django import forms
from django.db.models import Q

from jingwei.base.resource import (
    Between,
    Choice,
    Column,
    Contains,
    Exact,
    Figure,
    Panel,
    Ref,
    Region,
    Resource,
    Tab,
    Verb,
    Where,
    YesNo,
)
from jingwei.places import actions, pages
from jingwei.places.forms import latitude_field, longitude_field
from jingwei.places.models import Venue, VenueAttachment, VenueThreshold
from jingwei.places.posters import MOST_POSTERS, print_posters
from jingwei.places.sheets import ThresholdSheet, VenueSheet

REASON = forms.CharField(label="事由", max_length=200, required=False)
OF_THE_VENUE = ["code", "name", "kind", "city", "street", "manager", "position"]
OF_THE_REGULATOR = ["regulator", "regulator_head", "regulator_phone"]
PLACE_ON_EARTH = ["longitude", "latitude"]
THRESHOLD = ["threshold_min", "threshold_max"]
COLUMNS = ["code", "name", "kind", "street", "position", "regulator", *THRESHOLD]
FILTERS = [
    Choice("kind"),
    Ref("regulator"),
    Region("region"),
    Exact("street"),
    Contains("name"),
    Exact("code"),
]
PLACED = {
    "yes": ("已标注", lambda today: Q(longitude__isnull=False)),
    "no": ("未标注", lambda today: Q(longitude=None)),
}
SECTIONS = [("场所", OF_THE_VENUE), ("监管", OF_THE_REGULATOR), ("人流量阈值", THRESHOLD)]


class VenueResource(Resource):
    name = "venues"
    label = "场所信息"
    icon = "building-store"
    model = Venue
    attachments = VenueAttachment
    sheet = VenueSheet
    fields = [*OF_THE_VENUE, *PLACE_ON_EARTH, *OF_THE_REGULATOR]
    form_fields = {"longitude": longitude_field, "latitude": latitude_field}
    readonly = [*THRESHOLD, "archived"]
    columns = COLUMNS
    link = "name"
    sections = [SECTIONS[0], ("坐标", PLACE_ON_EARTH), *SECTIONS[1:]]
    order = ["code"]
    tabs = [Tab("未设置", Q(regulator=None)), Tab("已设置", Q(regulator__isnull=False))]
    filters = [*FILTERS, Where("placed", "位置", PLACED), YesNo("archived")]
    search = ["code", "name", "position"]
    search_hint = "公共场所ID、名称、位置"
    figures = [
        Figure("公共场所", "archived=否"),
        Figure("没有监管单位的场所", "tab=0&archived=否", waits=True),
    ]
    bulk_delete = False  # KP-1.3
    verbs = [
        Verb(
            "poster",
            "打印海报",
            print_posters,
            gives_file=True,
            most=MOST_POSTERS,
            offered=lambda venue: not venue.archived,
            note="每个场所一页 A4 的 PDF，上有扫码登记页的二维码。",
        ),
        Verb(
            "archive",
            "归档",
            actions.archive_venue,
            form={"reason": REASON},
            offered=lambda venue: not venue.archived,
            bulk=False,
            note="场所不再监管、不再产生预警；扫码记录和以前的预警都保留。",
        ),
        Verb(
            "restore",
            "恢复",
            actions.restore_venue,
            form={"reason": REASON},
            offered=lambda venue: venue.archived,
            bulk=False,
            note="场所重新纳入监管。",
        ),
    ]
    pages = [("<int:pk>/", pages.venue_page)]
    empty = "还没有公共场所。可以新增一个，或导入场所清单。"

    def save(self, actor, obj, *, values, version=None):
        return actions.save_venue(actor, obj, values=values, version=version)

    def delete(self, actor, obj):
        return actions.delete_venue(actor, obj)


class ThresholdResource(Resource):
    name = "thresholds"
    label = "场所人流量阈值"
    icon = "adjustments"
    model = Venue
    attachments = VenueAttachment
    actions = ("view", "change", "export")
    fields = THRESHOLD
    readonly = [*OF_THE_VENUE, *OF_THE_REGULATOR]
    internal = [*PLACE_ON_EARTH, "archived"]
    columns = COLUMNS
    link = "name"
    sections = [SECTIONS[2], *SECTIONS[:2]]
    order = ["code"]
    tabs = [
        Tab("未设置", Q(threshold_min=None, threshold_max=None)),
        Tab("已设置", ~Q(threshold_min=None, threshold_max=None)),
    ]
    filters = [*FILTERS, Between("threshold_min"), Between("threshold_max")]
    search = ["code", "name", "position"]
    search_hint = "公共场所ID、名称、位置"
    figures = [Figure("没有阈值的场所", "tab=0", waits=True)]
    empty = "没有需要设置阈值的场所。场所由运维单位登记并指定监管单位。"

    def rows(self, actor, action="view"):
        return super().rows(actor, action).filter(archived=False)

    def save(self, actor, obj, *, values, version=None):
        low, high = values["threshold_min"], values["threshold_max"]
        return actions.set_threshold(actor, obj, low=low, high=high, version=version)


class ThresholdHistoryResource(Resource):
    name = "threshold-history"
    label = "阈值变更"
    icon = "history"
    model = VenueThreshold
    sheet = ThresholdSheet
    actions = ("view", "import", "export")
    readonly = ["venue", "low", "high", "from_day"]
    columns = [
        Column("code", "公共场所ID", lambda row: row.venue.code, "venue__code", ["venue__code"]),
        Column("name", "公共场所", lambda row: row.venue.name, "venue__name", ["venue__name"]),
        *("from_day", "low", "high"),
    ]
    related = ["venue"]
    order = ["venue__code", "-from_day"]
    filters = [Exact("venue__code", "公共场所ID"), Ref("venue__regulator"), Between("from_day")]
    search = ["venue__code", "venue__name"]
    search_hint = "公共场所ID、名称"
    panels = [
        Panel(
            on, "阈值变更", lambda venue: venue.thresholds.order_by("-from_day"), ["from_day", "low", "high"]
        )
        for on in ("venues", "thresholds")
    ]
    empty = "还没有设置过阈值。"


RESOURCES = [VenueResource(), ThresholdResource(), ThresholdHistoryResource()]
