"""Samples on the desk: they come in by sheets and feeds, nobody types or changes one."""

from jingwei.base.resource import Between, Contains, Exact, Moment, Panel, Region, Resource
from jingwei.people.queries import numbers_of
from jingwei.testing.models import Sample


def samples_of(person):
    """The person's samples, the latest first."""
    return Sample.objects.filter(number__in=numbers_of(person)).order_by("-sampled_at")


def told(sample):
    return "，".join(filter(None, ["核酸检测", sample.result, sample.point]))


class SampleResource(Resource):
    name = "samples"
    label = "核酸检测记录"
    icon = "test-pipe"
    model = Sample
    actions = ("view", "export")
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
    panels = [Panel("people", "核酸检测", samples_of)]
    moments = [Moment("people", samples_of, at=lambda sample: sample.sampled_at, text=told)]
    empty = "还没有核酸检测记录。导入核酸检测样表后在这里查看。"


RESOURCES = [SampleResource()]
