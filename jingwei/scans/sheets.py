"""What the province's export of scans looks like (KP-3.1)."""

from dataclasses import dataclass

import polars as pl
from django.utils import timezone

from jingwei.base.columns import Text, Time, Type
from jingwei.base.sheets import Sheet, SheetColumn, Stored
from jingwei.exchange.queries import why_closed
from jingwei.kit.column import Cleaned
from jingwei.places.models import CODE_LENGTH
from jingwei.scans.actions import late_data, sealed, store_sealed
from jingwei.scans.models import CELL, Scan
from jingwei.scans.queries import newest


@dataclass
class AsItStands(Type):
    """A cell as the province wrote it: neither cleaned nor checked."""

    note = "原样存入"

    def clean(self, raw, context):
        too_long = raw.str.len_chars() > CELL
        reason = pl.when(too_long.fill_null(False)).then(pl.lit(f"超过 {CELL} 个字，不像扫码记录的内容"))
        # The database has no text with a NUL in it.
        return Cleaned(raw.str.replace_all("\0", "", literal=True), pl.select(reason).to_series(), {})


def _as_it_stands(name, *synonyms):
    return SheetColumn(name, str(Scan._meta.get_field(name).verbose_name), AsItStands(), synonyms)


class ScanSheet(Sheet):
    """Scans, taken as they are; a row without venue or time is none (KP-3.1)."""

    name = "scans"
    label = "扫码进场记录"
    resource = "scans"
    model = Scan
    events = True
    together = 5  # a venue's counters change once for all its scans of a transaction
    pulled = True
    columns = [
        SheetColumn("venue_code", "公共场所ID", Text(CODE_LENGTH), ["场所ID", "场所编号"], required=True),
        _as_it_stands("venue_name", "场所名称", "公共场所名称"),
        _as_it_stands("kind", "场所类别"),
        _as_it_stands("city", "市区"),
        _as_it_stands("street", "街道"),
        _as_it_stands("manager", "场所管理员"),
        _as_it_stands("number", "身份证号", "身份证", "证件号", "被采集人身份证号"),
        _as_it_stands("name", "姓名", "被采集人姓名"),
        _as_it_stands("phone", "电话", "手机号"),
        _as_it_stands("result"),
        _as_it_stands("test_result", "核酸检测结果"),
        _as_it_stands("tested_at", "核酸时间", "核酸检测时间"),
        _as_it_stands("health_code", "健康码"),
        _as_it_stands("position", "所在位置"),
        SheetColumn("collected_at", "采集时间", Time(allow_future=True), ["扫码时间"], required=True),
    ]
    notes = ["省平台导出的内容原样存入；同一行再次导入会被认出，不重复计数。"]
    example = {"venue_code": "KP000001", "venue_name": "示例超市", "collected_at": "2026-03-01 09:30:00"}

    def ready(self, rows):
        return sealed(rows)

    def store(self, actor, rows, record):
        added = store_sealed(actor, rows, record.created_at)
        return Stored(added, same=len(rows) - added)

    def closed(self):
        return why_closed(self.name)

    def remark(self):
        latest = newest()
        if latest is None:
            return "还没有扫码记录。"
        return (
            f"已有记录中最新的采集时间：{timezone.localtime(latest):%Y-%m-%d %H:%M:%S}。请从这之后继续导入。"
        )

    def after_load(self, rows):
        late_data()
