"""What the sheets about venues look like (KP-1.3, KP-2)."""

from dataclasses import dataclass

import polars as pl
from django.db.models import Q
from django.utils import timezone

from jingwei.base.columns import Code, Date, Phone, Reference, Text, Type, Whole
from jingwei.base.sheets import Sheet, SheetColumn
from jingwei.directory.models import Organisation
from jingwei.exchange.queries import why_closed
from jingwei.kit.column import Cleaned
from jingwei.kit.text import QUOTED, tidy
from jingwei.places.actions import follow_thresholds, keep_threshold, settle
from jingwei.places.models import CODE_LENGTH, Venue, VenueThreshold


@dataclass
class Regulator(Reference):
    """An organisation by its name, its short name or its number, among those within reach."""

    model: type = Organisation
    note = "组织机构中的单位名称或简称"
    example = "区商务局"

    def clean(self, raw, context):
        reach = Organisation.scope.within(context.actor.data_scope(context.permission))
        short = tidy(raw).values.drop_nulls().unique().to_list()
        found = {}
        for pk, name in Organisation.objects.filter(reach, short_name__in=short).values_list(
            "pk", "short_name"
        ):
            found.setdefault(name, []).append(str(pk))
        single = {name: pks[0] for name, pks in found.items() if len(pks) == 1}
        known = set(Organisation.objects.filter(reach, name__in=short).values_list("name", flat=True))
        numbers = {name: pk for name, pk in single.items() if name not in known}
        cleaned = super().clean(tidy(raw).values.replace(numbers), context)
        reason = pl.format(
            "组织机构中没有“{}”，监管单位没有登记；请先登记该单位或填写全称",
            tidy(raw).values.str.head(QUOTED),
        )
        cleaned.errors = pl.select(pl.when(cleaned.errors.is_not_null()).then(reason)).to_series()
        return cleaned


@dataclass
class Degrees(Type):
    """Degrees of WGS-84, up to `most` either way. `beside` names the other side: both or neither."""

    most: int
    beside: str = ""
    note = "小数，WGS-84 坐标（GPS、天地图）；经度和纬度同时填写"
    dtype = pl.Float64

    def clean(self, raw, context):
        tidied = tidy(raw)
        numbers = tidied.values.cast(pl.Float64, strict=False)
        fine = numbers.is_between(-self.most, self.most).fill_null(False)
        wrong = pl.when(tidied.values.is_not_null() & ~fine).then(
            pl.lit(f"应为 {-self.most} 到 {self.most} 之间的小数")
        )
        if self.beside:
            other = context.raw.get_column(
                self.beside, default=pl.repeat(None, len(raw), dtype=pl.String, eager=True)
            )
            alone = tidy(other).values.is_null() != tidied.values.is_null()
            wrong = wrong.when(alone).then(pl.lit("经度和纬度应同时填写"))
        return Cleaned(numbers, pl.select(wrong).to_series(), tidied.rules)


class VenueSheet(Sheet):
    """The list of venues that the initial load brings (KP-1.3)."""

    name = "venues"
    label = "公共场所"
    resource = "venues"
    model = Venue
    pulled = True
    columns = [
        SheetColumn(
            "code",
            "公共场所ID",
            Text(CODE_LENGTH),
            ["场所ID", "场所编号", "公共场所编号", "场所码"],
            required=True,
        ),
        SheetColumn("name", "公共场所", Text(120), ["场所名称", "公共场所名称", "名称"], required=True),
        SheetColumn("kind", "类别", Code("场所类别"), ["场所类别", "类型"], lenient=True),
        SheetColumn("city", "所在市区", Text(60), ["市区", "所在区县"]),
        SheetColumn("street", "所在街道", Text(60), ["街道", "乡镇街道", "所在乡镇", "乡镇（街道）"]),
        SheetColumn("manager", "公共场所管理员", Text(60), ["场所管理员", "管理员"]),
        SheetColumn("position", "所在位置", Text(200), ["位置", "地址", "详细地址"]),
        SheetColumn("longitude", "经度", Degrees(180), ["东经", "场所经度"]),
        SheetColumn("latitude", "纬度", Degrees(90, beside="longitude"), ["北纬", "场所纬度"]),
        SheetColumn("regulator", "监管单位", Regulator(), ["主管单位"], lenient=True),
        SheetColumn("regulator_head", "监管单位负责人", Text(60), ["负责人", "负责人姓名"]),
        SheetColumn(
            "regulator_phone", "负责人手机号", Phone(), ["负责人手机", "负责人电话", "手机号"], lenient=True
        ),
    ]
    key = ("code",)
    elsewhere = "这个公共场所ID已登记，由其他单位监管，不能在此导入"
    notes = ["同一公共场所ID再次导入时更新该场所；空单元格不会清除已有内容。"]
    example = {
        "code": "KP000001",
        "name": "示例超市",
        "kind": "超市",
        "street": "安平街道",
        "manager": "林经理",
        "position": "219号",
        "longitude": "122.41234",
        "latitude": "35.21234",
        "regulator": "区商务局",
        "regulator_head": "示例姓名",
        "regulator_phone": "13800000000",
    }

    def on_add(self, ids):
        settle(ids)

    def closed(self):
        return why_closed(self.name)


@dataclass
class VenueCode(Type):
    """A venue by its code, among those within reach."""

    note = "已登记的公共场所ID"
    example = "KP000001"
    dtype = pl.Int64

    def clean(self, raw, context):
        tidied = tidy(raw)
        reach = Venue.scope.within(context.actor.data_scope(context.permission))
        asked = tidied.values.drop_nulls().unique().to_list()
        known = dict(Venue.objects.filter(reach, Q(code__in=asked)).values_list("code", "pk"))
        values = tidied.values.replace_strict(
            list(known), list(known.values()), default=None, return_dtype=pl.Int64
        )
        unknown = tidied.values.is_not_null() & values.is_null()
        reason = pl.format("没有公共场所“{}”，请先登记该场所", tidied.values.str.head(QUOTED))
        return Cleaned(values, pl.select(pl.when(unknown).then(reason)).to_series(), tidied.rules)

    def text(self, value):
        return Venue.objects.filter(pk=value).values_list("code", flat=True).first() or ""


@dataclass
class Highest(Whole):
    """The higher side of a threshold, checked beside the lower one in column `low` (KP-2.1)."""

    low_side: str = "low"

    def clean(self, raw, context):
        cleaned = super().clean(raw, context)
        low = context.done[self.low_side]
        given = context.raw[self.low_side] if self.low_side in context.raw.columns else low
        cleaned.errors = pl.select(
            pl.when(cleaned.errors.is_not_null())
            .then(cleaned.errors)
            .when(low > cleaned.values)
            .then(pl.lit("最大值不能小于最小值"))
            .when(given.is_null() & raw.is_null())
            .then(pl.lit("最小值和最大值至少填写一项"))
        ).to_series()
        return cleaned


class ThresholdSheet(Sheet):
    """The daily minimum and maximum of venues, each with the day from which it holds (KP-2.1)."""

    name = "thresholds"
    label = "人流量阈值"
    resource = "threshold-history"
    model = VenueThreshold
    columns = [
        SheetColumn(
            "venue", "公共场所ID", VenueCode(), ["场所ID", "场所编号", "公共场所编号"], required=True
        ),
        SheetColumn("low", "最小值", Whole(), ["阈值最小值", "每日最小值"]),
        SheetColumn("high", "最大值", Highest(), ["阈值最大值", "每日最大值"]),
        SheetColumn(
            "from_day",
            "生效日期",
            Date(allow_future=True),
            ["开始日期", "起始日期", "生效时间"],
            required=True,
        ),
    ]
    key = ("venue", "from_day")
    save = staticmethod(keep_threshold)
    notes = ["最小值、最大值可以只填一项；从生效日期起按新阈值，此前的日子仍按原阈值。"]
    example = {"venue": "KP000001", "low": "4", "high": "100", "from_day": "2026-03-01"}

    def after_load(self, rows):
        follow_thresholds(timezone.localdate())
