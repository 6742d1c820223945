"""What the sheets about people look like (CL-6.1), and which of two differing values wins (CL-6.3)."""

from dataclasses import dataclass

import polars as pl

from jingwei.base.columns import Code, Date, DocType, IdNumber, Phone, Sex, Text, Type, YesNo
from jingwei.base.parameters import Parameter
from jingwei.base.reading import ROW
from jingwei.base.sheets import Sheet, SheetColumn
from jingwei.directory.columns import Town, Village
from jingwei.kit import words
from jingwei.people.actions import find_what_came_before, note_transfers, roll_up_doses
from jingwei.people.duplicates import search_after_load
from jingwei.people.following import FOLLOWING, following
from jingwei.people.models import Dose, Person, PersonAlias, UnregisteredDose
from jingwei.people.unregistered import (
    forget_doses_aside,
    keep_aside,
    keep_doses_aside,
    let_wait_again,
    placed,
)

ROSTER_WINS = Parameter(
    "people.roster_wins",
    "居住信息以摸排表为准",
    True,
    "是：摸排表中的村/社区、户籍地、居住地、是否常住、是否租户覆盖已登记的内容；否：只补空缺，已登记的保持不变",
)
NEWER_DOSE_WINS = Parameter(
    "doses.newer_wins",
    "同一针次以接种日期较新的为准",
    True,
    "是：接种日期较新的覆盖已登记的同一针次；否：只补空缺，已登记的保持不变",
)
PARAMETERS = [ROSTER_WINS, NEWER_DOSE_WINS]
RESIDENCE = ("region", "registered_address", "address", "resident", "tenant")


class RosterSheet(Sheet):
    """The community survey roster (摸排表), and the 25-column table of CL-3.1 when it comes back."""

    name = "roster"
    label = "人员摸排表"
    resource = "people"
    model = Person
    columns = [
        SheetColumn(
            "town",
            "乡镇（街道）",
            Town(),
            synonyms=[
                "乡镇街道",
                "乡镇/街道",
                "街道/乡镇",
                "街道（乡镇）",
                "乡镇",
                "街道",
                "所属乡镇",
                "镇街",
            ],
            stored=False,
        ),
        SheetColumn(
            "region",
            "村/社区",
            Village(town="town"),
            synonyms=[
                "村（社区）",
                "社区/村",
                "社区（村）",
                "村社区",
                "村居",
                "村/居",
                "社区",
                "村",
                "行政村",
                "所属村社区",
            ],
            required=True,
        ),
        SheetColumn("name", "姓名", Text(60), synonyms=["人员姓名", "居民姓名", "名字"], required=True),
        SheetColumn("sex", "性别", Sex(), lenient=True),
        SheetColumn(
            "doc_type",
            "证件类型",
            DocType(),
            synonyms=["证件种类", "证件类别", "证件名称"],
            lenient=True,
        ),
        SheetColumn(
            "number",
            "证件号",
            IdNumber(),
            synonyms=[
                *(
                    "证件号码",
                    "身份证号码",
                    "身份证号",
                    "身份证",
                    "居民身份证号码",
                    "公民身份号码",
                    "公民身份证号",
                ),
                *("身份证件号码", "有效证件号码"),
            ],
            required=True,
        ),
        SheetColumn(
            "resident",
            "是否为常住人口",
            YesNo(),
            synonyms=["是否常住", "是否常住人口", "常住人口", "是否为常住"],
            lenient=True,
        ),
        SheetColumn(
            "registered_address",
            "户籍地",
            Text(200),
            synonyms=["户籍地址", "户籍所在地", "户口所在地", "户籍住址", "户籍地详细地址"],
        ),
        SheetColumn(
            "address",
            "居住地",
            Text(200),
            synonyms=[
                *(
                    "居住地址",
                    "现居住地址",
                    "现居住地",
                    "现住址",
                    "现住地址",
                    "家庭住址",
                    "家庭地址",
                    "住址",
                    "详细地址",
                ),
                *("现居地址", "居住详细地址"),
            ],
        ),
        SheetColumn(
            "tenant",
            "是否为租户",
            YesNo(),
            synonyms=["是否租户", "租户", "是否租住", "是否承租"],
            lenient=True,
        ),
        SheetColumn(
            "occupation",
            "单位（从业情况）",
            Text(120),
            synonyms=[
                *(
                    "单位",
                    "工作单位/从业情况",
                    "工作单位",
                    "从业情况",
                    "单位/从业情况",
                    "职业",
                    "工作单位（从业情况）",
                ),
                "工作单位及职业",
            ],
        ),
        SheetColumn(
            "group",
            "人群分类",
            Code("人群分类"),
            synonyms=["人群类别", "人员类别", "人员分类", "人群", "人员类型", "重点人群分类"],
            lenient=True,
        ),
        SheetColumn(
            "phone",
            "联系电话",
            Phone(),
            synonyms=[
                "联系方式",
                "电话",
                "手机",
                "手机号",
                "手机号码",
                "电话号码",
                "联系电话号码",
                "本人电话",
            ],
            lenient=True,
        ),
        SheetColumn(
            "birth_date", "出生日期", Date(), synonyms=["出生年月日", "生日", "出生年月"], lenient=True
        ),
    ]
    key = ("doc_type", "number")
    derived = FOLLOWING
    aliases = (PersonAlias, "person")
    watched = "region"
    elsewhere = "该证件号已在其他辖区登记，不能在此导入"
    notes = [
        "性别和出生日期由居民身份证号得出，可以不填；其它证件照实填写。",
        "同一人（证件类型和号码相同）出现几次时，后面不为空的内容为准；空单元格不会清除已有内容。",
    ]
    example = {
        "town": "安平街道",
        "region": "和园社区",
        "name": "示例姓名",
        "sex": "女",
        "doc_type": "居民身份证",
        "number": "990101199003070023",
        "resident": "是",
        "registered_address": "示例省示例市安澜区安平街道和园社区1号",
        "address": "和园社区1号2栋301室",
        "tenant": "否",
        "occupation": "企业职工",
        "group": "普通人群",
        "phone": "13800000000",
    }

    def kept(self):
        return () if ROSTER_WINS.value() else RESIDENCE

    def conflicts(self):
        residence = (
            "村/社区、住址等居住信息与已登记的不同时，以摸排表为准。"
            if ROSTER_WINS.value()
            else "村/社区、住址等居住信息已登记的保持不变，摸排表只补空缺。"
        )
        return [residence, "其他内容与已登记的不同时，以摸排表为准。", *super().conflicts()]

    def derive(self, rows):
        return following(rows)

    def on_remove(self, ids):
        let_wait_again(ids)

    def on_add(self, ids):
        find_what_came_before(ids)

    def after_load(self, rows):
        search_after_load(rows)

    def on_change(self, actor, changes, reason):
        note_transfers(actor, changes, reason=reason)


@dataclass
class DoseNumber(Type):
    """Which dose it was, 1 to 9, in figures or words."""

    note = "1 至 9，或“第一针”“第二剂”的样子"
    example = "1"
    dtype = pl.Int64

    def clean(self, raw, context):
        return words.clean_dose(raw)


class VaccinationSheet(Sheet):
    """The vaccination sheet (疫苗接种样表). It names no document type: people are found by their number."""

    name = "vaccinations"
    label = "疫苗接种样表"
    resource = "doses"
    model = Dose
    columns = [
        SheetColumn(
            "name",
            "姓名",
            Text(60),
            synonyms=["人员姓名", "受种者姓名", "受种者", "接种者", "接种人", "接种人姓名"],
            required=True,
            stored=False,
            carried=True,
        ),
        SheetColumn(
            "number",
            "证件号码",
            IdNumber(),
            synonyms=[
                *("证件号", "身份证号码", "身份证号", "身份证", "居民身份证号码", "公民身份号码"),
                *("身份证件号码", "有效证件号码", "证件编号"),
            ],
            required=True,
            stored=False,
            carried=True,
        ),
        SheetColumn(
            "vaccine", "疫苗名称", Text(60), synonyms=["疫苗", "疫苗种类", "疫苗品种", "疫苗厂家", "生产企业"]
        ),
        SheetColumn(
            "dose",
            "剂次",
            DoseNumber(),
            synonyms=["接种针次", "针次", "接种剂次", "针数", "第几针", "第几剂", "剂数"],
            required=True,
        ),
        SheetColumn("on", "接种日期", Date(), synonyms=["接种时间", "接种日", "日期"], required=True),
        SheetColumn(
            "unit",
            "接种单位",
            Text(120),
            synonyms=["接种点", "接种机构", "接种地点", "接种门诊", "接种单位名称"],
        ),
        SheetColumn(
            "phone",
            "电话",
            Phone(),
            synonyms=["联系电话", "联系方式", "手机", "手机号", "手机号码", "电话号码"],
            lenient=True,
            stored=False,
            carried=True,
        ),
    ]
    key = ("person", "dose")
    identity = ("number", "dose")
    places = ("person",)
    precedence = (pl.col("on"),)
    parent = "person"
    aside = "unregistered"
    turns = Person
    elsewhere = "该人员在其他辖区登记，不能在此导入"
    notes = [
        "按证件号码找到人员，不需要证件类型；不在册的人员列入“未登记人员”，登记后接种记录自动归到本人名下。"
    ]
    example = {
        "name": "示例姓名",
        "number": "990101199003070023",
        "vaccine": "科兴",
        "dose": "第1针",
        "on": "2026-03-01",
        "unit": "安平街道卫生院",
    }

    def kept(self):
        return () if NEWER_DOSE_WINS.value() else ("vaccine", "on", "unit")

    def conflicts(self):
        newer = (
            "同一人的同一针次有不同内容时，以接种日期较新的为准，日期相同的以后导入的为准。"
            if NEWER_DOSE_WINS.value()
            else "同一人的同一针次已登记的保持不变，只补空缺。"
        )
        return [newer, *super().conflicts()]

    def place(self, actor, rows):
        found = placed(actor, self, rows)
        # Two documents of one person: the later day's dose, as in the table.
        found.rows = found.rows.sort("on", ROW).unique(self.key, keep="last", maintain_order=True).sort(ROW)
        return found

    def keep_aside(self, actor, record, strangers):
        keep_aside(actor, self, strangers, at="on", place="unit")
        keep_doses_aside(actor, record, strangers)

    def roll_up(self, parents):
        roll_up_doses(parents)

    def has_brought(self, record):
        return super().has_brought(record) or UnregisteredDose.objects.filter(load=record.pk).exists()

    def forget_aside(self, record):
        forget_doses_aside(record)
