"""What the nucleic acid sample sheet looks like (CL-6.1), and which of two results wins (CL-6.3)."""

from dataclasses import dataclass

import polars as pl

from jingwei.base.columns import DocType, IdNumber, Phone, Text, Time, Type
from jingwei.base.parameters import Parameter
from jingwei.base.sheets import Sheet, SheetColumn
from jingwei.kit import words
from jingwei.people.models import Person
from jingwei.people.unregistered import NAMED_BY, keep_aside, placed
from jingwei.testing import actions
from jingwei.testing.models import PENDING, Sample, SampleBefore

NEWER_RESULT_WINS = Parameter(
    "samples.newer_wins",
    "同一次采样以检测时间较新的结果为准",
    True,
    "是：检测时间较新的结果覆盖已有的结果；否：只补空缺和“待出”，已有的结果保持不变",
)
PARAMETERS = [NEWER_RESULT_WINS]
NAMED_BY.append(Sample)


@dataclass
class TestResult(Type):
    """The result of a nucleic acid test."""

    note = "阴性、阳性、可疑或待出"
    example = "阴性"

    def clean(self, raw, context):
        return words.clean_result(raw)

    def choices(self):
        return [(result, result) for result in words.RESULTS]


class SampleSheet(Sheet):
    """The nucleic acid sample sheet (核酸检测样表). Samples find their person by the document number."""

    name = "nucleic-samples"
    label = "核酸检测样表"
    resource = "samples"
    model = Sample
    columns = [
        SheetColumn(
            "name",
            "受检人",
            Text(60),
            synonyms=["姓名", "受检人姓名", "受检者", "被采样人", "人员姓名"],
            required=True,
        ),
        SheetColumn(
            "doc_type",
            "证件类型",
            DocType(),
            synonyms=["证件种类", "证件类别", "证件名称"],
            lenient=True,
            stored=False,
            carried=True,
        ),
        SheetColumn(
            "number",
            "证件号",
            IdNumber(typed=False),
            synonyms=[
                *("证件号码", "身份证号码", "身份证号", "身份证", "居民身份证号码", "公民身份号码"),
                *("身份证件号码", "有效证件号码", "证件编号"),
            ],
            required=True,
        ),
        SheetColumn(
            "phone",
            "手机",
            Phone(),
            synonyms=["手机号", "手机号码", "联系电话", "联系方式", "电话", "电话号码"],
            lenient=True,
            stored=False,
            carried=True,
        ),
        SheetColumn(
            "point",
            "采样点",
            Text(120),
            synonyms=["采样点名称", "采样地点", "采样点位", "采样机构", "采样单位"],
        ),
        SheetColumn(
            "sampled_at", "采样时间", Time(), synonyms=["采样日期", "采集时间", "采样日期时间"], required=True
        ),
        SheetColumn(
            "institution", "检测机构", Text(120), synonyms=["检测单位", "检测实验室", "检测医院", "实验室"]
        ),
        SheetColumn(
            "result", "检测结果", TestResult(), synonyms=["结果", "核酸结果", "核酸检测结果"], lenient=True
        ),
        SheetColumn(
            "result_at", "检测时间", Time(), synonyms=["检测日期", "出结果时间", "结果时间", "报告时间"]
        ),
    ]
    key = ("number", "sampled_at", "point")
    events = True
    # A result that is still awaited never replaces one that is known.
    precedence = (pl.col("result").replace(PENDING, None).is_not_null(), pl.col("result_at"))
    aside = "unregistered"
    turns = Person
    notes = ["按证件号找到人员；不在册的人员列入“未登记人员”，登记后检测记录自动归到本人名下。"]
    example = {
        "name": "示例姓名",
        "number": "990101199003070023",
        "point": "安平街道和园社区采样点",
        "sampled_at": "2026-03-01 09:30",
        "institution": "示例检验所",
        "result": "阴性",
        "result_at": "2026-03-01 20:00",
    }

    def kept(self):
        return () if NEWER_RESULT_WINS.value() else ("name", "institution", "result", "result_at")

    def conflicts(self):
        newer = (
            "同一人、同一采样时间和采样点是同一次采样；结果不同时以检测时间较新的为准，分不出新旧的以后导入的为准。"
            if NEWER_RESULT_WINS.value()
            else "同一人、同一采样时间和采样点是同一次采样；已有的结果保持不变，只补空缺。"
        )
        return [newer, "“待出”不会覆盖已有的结果。", *super().conflicts()]

    def place(self, actor, rows):
        return placed(actor, self, rows)

    def store(self, actor, rows, record):
        return actions.load_samples(actor, self, rows, record)

    def keep_aside(self, actor, record, strangers):
        keep_aside(actor, self, strangers, at="sampled_at", place="point")
        actions.load_samples(actor, self, strangers, record)

    def brought(self, record):
        return Sample.objects.filter(load=record.pk)

    def take_back(self, actor, record, most):
        return actions.take_samples_back(actor, record, most)

    def leave(self, record):
        return actions.leave_samples(record)

    def named(self, actor, ids):
        old = SampleBefore.objects.visible_to(actor, "samples.import").filter(pk__in=ids)
        return {row.pk: str(row) for row in old}
