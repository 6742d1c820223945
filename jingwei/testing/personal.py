"""What tests keep of people (SEC-17)."""

from jingwei.base.parameters import Parameter
from jingwei.base.personal import Columns, Gone, Held, Kept
from jingwei.people.models import Person
from jingwei.testing.actions import erase_some
from jingwei.testing.models import Sample, SampleBefore

SAMPLE_DAYS = Parameter(
    "testing.keep_samples",
    "检测记录保存天数",
    730,
    "采样和检测结果自采样起多少天后删除，人员的“最后一次核酸检测”随之清空",
    "天",
    low=30,
    high=3650,
)
PARAMETERS = [SAMPLE_DAYS]

COLUMNS = [
    Columns(
        Sample,
        purpose="查询检测结果、统计和催检",
        basis="疫情防控检测服务",
        keep="按系统参数",
        names=["sampled_at", "point", "region", "name", "institution", "result", "result_at"],
        plain=["received_at", "load"],
    ),
    Columns(
        SampleBefore,
        purpose="核对被替换的结果",
        basis="疫情防控检测服务",
        keep="按系统参数",
        names=["sampled_at", "point", "region", "name", "institution", "result", "result_at", "by_name"],
        plain=["load", "replaced_by", "replaced_at"],
    ),
]
NOBODYS = []


def forget_latest(rows) -> Gone:
    """Empty what people of the register show of a sample that is no longer kept."""
    keys = list(rows.values_list("pk", flat=True))
    Person.objects.filter(pk__in=keys).update(sampled_at=None, sample_result="", sample_point="")
    return Gone(len(keys), map(str, keys))


KEPT = [
    Kept("samples", "核酸检测记录", Sample, "sampled_at", SAMPLE_DAYS, erase_before=erase_some),
    Kept("samples-before", "被替换的检测结果", SampleBefore, "sampled_at", SAMPLE_DAYS),
    Kept(
        "latest-samples",
        "人员的最后一次检测",
        Person,
        "sampled_at",
        SAMPLE_DAYS,
        erase=forget_latest,
        whole=False,
    ),
]
HELD = [
    Held(Sample, lambda identity: Sample.objects.filter(number__in=identity.numbers), ["number"]),
    Held(SampleBefore, lambda identity: SampleBefore.objects.filter(number__in=identity.numbers), ["number"]),
]
STAYS = []
