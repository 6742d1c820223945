"""Samples on the desk: they come in by sheets and feeds, nobody types or changes one."""

from django.db.models import Q

from jingwei.base.resource import Between, Contains, Exact, Moment, Panel, Region, Resource
from jingwei.people.queries import numbers_of
from jingwei.testing.models import Sample, SampleBefore
from jingwei.testing.sheets import SampleSheet


def samples_of(person):
    """The person's samples, the latest first."""
    return Sample.objects.filter(number__in=numbers_of(person)).order_by("-sampled_at")


def samples_under(entry):
    """The samples of somebody in no register, the latest first."""
    return Sample.objects.filter(number=entry.number).order_by("-sampled_at")


def values_before(sample):
    """What the sample was before loads changed it, the latest first."""
    same = {"number": sample.number, "sampled_at": sample.sampled_at, "point": sample.point}
    return SampleBefore.objects.filter(**same).order_by("-pk")


def told(sample):
    return "，".join(filter(None, ["核酸检测", sample.result, sample.point]))


class SampleResource(Resource):
    name = "samples"
    label = "核酸检测记录"
    icon = "test-pipe"
    model = Sample
    sheet = SampleSheet
    actions = ("view", "import", "export")
    readonly = ["name", "number", "sampled_at", "point", "institution", "result", "result_at", "received_at"]
    columns = ["sampled_at", "name", "number", "point", "result", "institution", "result_at", "received_at"]
    hidden = ["received_at"]
    order = ["-sampled_at", "number"]
    search = ["name", "number", "point"]
    search_hint = "姓名、证件号、采样点"
    filters = [
        Region("region", "所在辖区"),
        Between("sampled_at"),
        Exact("result"),
        Contains("point"),
        Contains("institution"),
        Exact("number"),
    ]
    panels = [Panel("people", "核酸检测", samples_of), Panel("unregistered", "核酸检测", samples_under)]
    moments = [Moment("people", samples_of, at=lambda sample: sample.sampled_at, text=told)]
    empty = "还没有核酸检测记录。导入核酸检测样表后在这里查看。"

    def loaded(self, load):
        return Q(load=load.pk)


class SampleBeforeResource(Resource):
    name = "samples-before"
    label = "被替换的检测结果"
    icon = "history"
    model = SampleBefore
    actions = ("view", "export")
    readonly = [
        *("name", "number", "sampled_at", "point", "institution", "result", "result_at"),
        *("replaced_at", "by_name"),
    ]
    columns = [
        *("replaced_at", "by_name", "sampled_at", "name", "number", "point"),
        *("result", "institution", "result_at"),
    ]
    order = ["-pk"]
    search = ["name", "number", "point"]
    search_hint = "姓名、证件号、采样点"
    filters = [Region("region", "所在辖区"), Between("replaced_at"), Between("sampled_at"), Exact("number")]
    panels = [Panel("samples", "被替换的内容", values_before)]
    empty = "没有被替换的检测结果。同一次采样的结果改变时，原来的结果留在这里。"


RESOURCES = [SampleResource(), SampleBeforeResource()]
