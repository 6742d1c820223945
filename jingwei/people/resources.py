"""The register on the desk: people, their doses, their moves."""

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from jingwei.base.resource import (
    Between,
    Choice,
    Column,
    Contains,
    Exact,
    Figure,
    Moment,
    Panel,
    Region,
    Resource,
    Tab,
    Tool,
    Verb,
    Where,
    YesNo,
    position,
)
from jingwei.directory.models import Region as RegionRow
from jingwei.messages.queries import SEND
from jingwei.people import actions, duplicates, merges, registering, review, statistics
from jingwei.people.models import (
    LATEST,
    Dose,
    DuplicatePair,
    Merge,
    Person,
    PersonAttachment,
    Transfer,
    Unregistered,
)
from jingwei.people.queries import CONDITIONS, aged, household_of, place
from jingwei.people.sheets import RosterSheet, VaccinationSheet


def age(person):
    """Completed years today, not on the day of import (CL-3.2)."""
    return person.age_on(timezone.localdate())


def is_elderly(person):
    years = age(person)
    return "" if years is None else "是" if years >= 60 else "否"


def vaccination(person):
    return f"已接种{person.dose}针" if person.dose else "未接种"


def place_column(name, heading):
    """The list column of the community in the field `name`."""
    return Column(
        name, heading, lambda row: place(getattr(row, name)), name, [f"{name}__name", f"{name}__parent__name"]
    )


def name_of_pair(pair):
    """Both names where they differ."""
    return " / ".join(dict.fromkeys([pair.first.name, pair.second.name]))


def place_of_pair(pair):
    """Both communities where they differ."""
    return " / ".join(dict.fromkeys([pair.first.region.name, pair.second.region.name]))


def doses_not_kept(merge):
    """The doses that gave way to one of the same number; an undone merge has put them back."""
    rows = merge.record.get("dropped", {}).get("people_dose", ())
    return "；".join(f"第{row['dose']}针 {row['on']} {row['unit']}".strip() for row in rows)


def only_after_review(pair):
    """Merging is offered where the two records are seen side by side, on the page of the pair."""
    return False


class CommunityField(forms.ModelChoiceField):
    """Any community in use, of one's own or not: people move beyond the operator's scope (CL-3.7)."""

    def __init__(self, **kwargs):
        communities = RegionRow.objects.filter(enabled=True, code__regex=r"^[0-9]{12}$")
        super().__init__(communities.select_related("parent").order_by("code"), **kwargs)

    def label_from_instance(self, region):
        return place(region)


class PersonResource(Resource):
    name = "people"
    label = "人员信息"
    icon = "users"
    model = Person
    attachments = PersonAttachment
    people = ["pk"]
    sheet = RosterSheet
    fields = [
        *(
            "region",
            "name",
            "sex",
            "doc_type",
            "number",
            "resident",
            "registered_address",
            "address",
            "tenant",
        ),
        *("occupation", "group", "phone", "birth_date"),
    ]
    readonly = LATEST
    # The 无疫小区大数据分析表, in its order and with its headings (CL-3.1).
    columns = [
        Column("position", "序号", position),
        Column(
            "town",
            "乡镇（街道）",
            lambda person: person.region.parent.name,
            "region",
            ["region__parent__name"],
        ),
        "region",
        "name",
        "sex",
        "doc_type",
        "number",
        "resident",
        "registered_address",
        "address",
        "tenant",
        "occupation",
        "group",
        "phone",
        "birth_date",
        Column("age", "年龄", age, "-birth_date", ["birth_date"]),
        Column("elderly", "是否为60岁(以上)", is_elderly, "-birth_date", ["birth_date"]),
        Column("vaccination", "疫苗接种情况", vaccination, "dose", ["dose"]),
        "dose_unit",
        "dose",
        "dose_on",
        Column(
            "tested",
            "是否做过核酸检测",
            lambda person: "是" if person.sampled_at else "否",
            "sampled_at",
            ["sampled_at"],
        ),
        "sampled_at",
        "sample_result",
        "sample_point",
    ]
    link = "name"
    related = ["region__parent"]
    order = ["region_id", "pk"]
    tools = [Tool("发短信", "send", "sms-send", SEND)]
    search = ["name", "number", "address", "registered_address", "phone", "occupation"]
    search_hint = "姓名、证件号、住址、电话、从业情况"
    sections = [
        ("基本信息", ["name", "sex", "birth_date", "age", "doc_type", "number", "phone"]),
        ("居住", ["town", "region", "address", "registered_address", "resident", "tenant"]),
        ("从业与分类", ["occupation", "group"]),
        ("疫苗接种", ["dose", "dose_on", "dose_unit"]),
        ("核酸检测", ["sampled_at", "sample_result", "sample_point"]),
    ]
    filters = [
        Region("region", "所在辖区"),
        Where("elderly", "是否为60岁(以上)", CONDITIONS["elderly"]),
        Between("age", "年龄", aged),
        Choice("sex"),
        Choice("group"),
        Exact("occupation"),
        Where("crossing", "经常跨省从业", CONDITIONS["crossing"]),
        YesNo("resident"),
        YesNo("tenant"),
        Where("vaccination", "疫苗接种情况", CONDITIONS["vaccination"]),
        Where("dose_due", "接种到期", CONDITIONS["dose_due"]),
        Between("dose", "接种针次"),
        Between("dose_on"),
        Contains("dose_unit", few_values=True),
        Where("tested", "是否做过核酸检测", CONDITIONS["tested"]),
        Where("last_test", "最后检测距今", CONDITIONS["last_test"]),
        Where("test_due", "检测到期", CONDITIONS["test_due"]),
        Between("sampled_at"),
        Exact("sample_result"),
        Contains("sample_point", few_values=True),
        Contains("name", by_grams=True),
        Choice("doc_type"),
        Exact("number"),
        Exact("phone"),
        Between("birth_date"),
        Between("created_at"),
        Where("missing", "缺少内容", CONDITIONS["missing"]),
    ]
    figures = statistics.FIGURES
    verbs = [
        Verb(
            "transfer",
            "迁移",
            actions.transfer_person,
            form={
                "to_region": CommunityField(label="迁往", empty_label="请选择村或社区"),
                "reason": forms.CharField(label="事由", max_length=200, required=False),
            },
            note="人员转到新的村或社区，历次接种、检测和变更一并保留；原村/社区只保留迁移记录。",
        ),
        Verb(
            "vaccinate",
            "登记接种",
            actions.vaccinate,
            form={
                "dose": forms.IntegerField(label="接种针次", min_value=1, max_value=9),
                "on": forms.DateField(label="接种日期"),
                "vaccine": forms.CharField(label="疫苗名称", max_length=60, required=False),
                "unit": forms.CharField(label="接种单位", max_length=120, required=False),
            },
            bulk=False,
            note="登记本人的一次接种；针次最大的一次显示在人员信息中。",
        ),
    ]
    panels = [
        Panel(
            "people",
            "同住人员",
            household_of,
            ["name", "sex", "age", "phone", "occupation", "vaccination", "sampled_at"],
        )
    ]
    empty = "还没有人员。可以新增一人，或导入摸排表。"

    def kept_counts(self, actor):
        return statistics.figures(actor.data_scope("people.view"), timezone.localdate())

    def save(self, actor, obj, *, values, version=None):
        """Register or change; whoever is registered already is linked to where they may be seen (CL-3.5)."""
        try:
            return actions.save_person(actor, obj, values=values, version=version)
        except actions.Registered as known:
            if not self.rows(actor).filter(pk=known.person.pk).exists():
                raise
            address = reverse("desk:show", kwargs={"resource": self.name, "pk": known.person.pk})
            said = format_html(
                '该证件号已登记，不能重复登记：<a href="{}">查看{}</a>', address, known.person.name
            )
            raise ValidationError({"number": said}) from None

    def delete(self, actor, obj):
        return actions.delete_person(actor, obj)


class DoseResource(Resource):
    name = "doses"
    label = "疫苗接种记录"
    icon = "vaccine"
    model = Dose
    people = ["person_id"]
    sheet = VaccinationSheet
    actions = ("view", "change", "delete", "import", "export")
    fields = ["dose", "vaccine", "on", "unit"]
    readonly = ["person"]
    columns = [
        "person",
        Column(
            "region",
            "村/社区",
            lambda dose: place(dose.person.region),
            "person__region",
            ["person__region__name", "person__region__parent__name"],
        ),
        *("dose", "vaccine", "on", "unit"),
    ]
    related = ["person__region__parent"]
    order = ["-pk"]
    filters = [
        Region("person__region", "所在辖区"),
        Between("dose"),
        Between("on"),
        Contains("vaccine"),
        Contains("unit"),
    ]
    search = ["person__name", "unit"]
    search_hint = "姓名、接种单位"
    panels = [Panel("people", "疫苗接种", lambda person: person.doses.order_by("dose"))]
    moments = [
        Moment(
            "people",
            lambda person: person.doses.all(),
            at=lambda dose: dose.on,
            text=lambda dose: "，".join(filter(None, [f"接种第{dose.dose}针", dose.vaccine, dose.unit])),
        )
    ]
    empty = "还没有接种记录。在人员页面上登记接种，或导入接种表。"

    def save(self, actor, obj, *, values, version=None):
        return actions.save_dose(actor, obj, values=values, version=version)

    def delete(self, actor, obj):
        return actions.delete_dose(actor, obj)


class TransferResource(Resource):
    name = "transfers"
    label = "迁移记录"
    icon = "arrows-transfer-down"
    model = Transfer
    people = ["person_id"]
    actions = ("view", "export")
    readonly = ["person", "from_region", "to_region", "at", "by_name", "reason"]
    columns = [
        *("at", "person"),
        place_column("from_region", "原村/社区"),
        place_column("to_region", "现村/社区"),
        *("reason", "by_name"),
    ]
    related = ["person", "from_region__parent", "to_region__parent"]
    order = ["-pk"]
    filters = [Region("from_region", "原村/社区"), Region("to_region", "现村/社区"), Between("at")]
    search = ["person__name", "reason"]
    search_hint = "姓名、事由"
    panels = [Panel("people", "迁移记录", lambda person: person.transfers.all())]
    moments = [
        Moment(
            "people",
            lambda person: person.transfers.select_related("from_region__parent", "to_region__parent"),
            at=lambda transfer: transfer.at,
            text=lambda move: f"由{place(move.from_region)}迁至{place(move.to_region)}",
        )
    ]
    empty = "还没有人员迁入或迁出。"
    beyond = "迁出的人员已在别处，原村/社区仍能看到其姓名"


class DuplicateResource(Resource):
    name = "duplicates"
    label = "疑似重复人员"
    icon = "copy"
    model = DuplicatePair
    people = ["first_id", "second_id"]
    records = PersonResource()  # what the two of a pair are
    actions = ("view", "export")
    readonly = ["first", "second", "score", "reasons", "state", "found_at", "by_name", "decided_at"]
    columns = [
        Column("pair", "姓名", name_of_pair, "first__name", ["first", "second"]),
        Column("place", "村/社区", place_of_pair, needs=["first__region", "second__region"]),
        "score",
        "reasons",
        "state",
        "found_at",
        "by_name",
        "decided_at",
    ]
    hidden = ["by_name", "decided_at"]
    related = ["first__region__parent", "second__region__parent"]
    order = ["-score", "pk"]
    tabs = [
        Tab(DuplicatePair.WAITING, Q(state=DuplicatePair.WAITING)),
        Tab(DuplicatePair.DIFFERENT, Q(state=DuplicatePair.DIFFERENT)),
    ]
    filters = [Region("first__region", "所在辖区"), Choice("state"), Between("score"), Between("found_at")]
    search = ["first__name", "second__name", "reasons"]
    search_hint = "姓名、相似之处"
    figures = [Figure("待核的重复人员", "tab=0", waits=True)]
    pages = [("<int:pk>/", review.review)]
    verbs = [
        Verb("merge", "合并", merges.merge, offered=only_after_review, bulk=False),
        Verb(
            "dismiss",
            "不是同一人",
            duplicates.dismiss,
            form={"reason": forms.CharField(label="依据", max_length=200, required=False)},
            offered=lambda pair: pair.state == DuplicatePair.WAITING,
            note="判为两个人，以后查找重复时不再提示。",
        ),
        Verb(
            "reopen",
            "重新核对",
            duplicates.reopen,
            form={"reason": forms.CharField(label="事由", max_length=200, required=False)},
            offered=lambda pair: pair.state == DuplicatePair.DIFFERENT,
            note="撤回“不是同一人”，重新列为待核。",
        ),
    ]
    empty = "没有疑似重复的人员。每天夜间自动查找一次。"

    def rows(self, actor, action="view"):
        return duplicates.pairs_of(actor, action).select_related(*self.related)


class MergeResource(Resource):
    name = "merges"
    label = "合并记录"
    icon = "link"
    model = Merge
    people = ["kept_id", "gone"]
    actions = ("view", "export")
    readonly = [
        *("at", "kept", "gone_name", "gone_number", "gone_region", "reasons", "score", "by_name", "state"),
        *("undone_at", "undone_by"),
    ]
    columns = [
        *("at", "kept", "kept__region", "gone_name", "gone_number", "gone_region", "reasons", "score"),
        Column("doses", "未保留的接种", doses_not_kept, needs=["record"]),
        *("by_name", "state", "undone_at", "undone_by"),
    ]
    hidden = ["score", "doses", "undone_at", "undone_by"]
    sections = [
        ("合并", ["kept", "at", "by_name", "state", "undone_at", "undone_by"]),
        ("并入的记录", ["gone_name", "gone_number", "gone_region", "doses"]),
        ("依据", ["reasons", "score"]),
    ]
    related = ["kept__region__parent", "gone_region__parent"]
    order = ["-pk"]
    filters = [Region("kept__region", "所在辖区"), Choice("state"), Between("at"), Exact("gone_number")]
    search = ["kept__name", "gone_name", "gone_number"]
    search_hint = "姓名、并入的证件号"
    verbs = [
        Verb(
            "undo",
            "撤销合并",
            merges.undo,
            form={"reason": forms.CharField(label="事由", max_length=200)},
            offered=lambda merge: merge.state == Merge.DONE,
            bulk=False,
            danger=True,
            note="恢复成合并前的两条记录，名下的记录各归各位；合并后登记的接种留在保留的人员名下。",
        )
    ]
    panels = [
        Panel(
            "people",
            "合并记录",
            lambda person: person.merges.all(),
            ["at", "gone_name", "gone_number", "state"],
        )
    ]
    empty = "还没有合并过重复的人员。"

    def rows(self, actor, action="view"):
        return merges.merges_of(actor, action).select_related(*self.related)


class UnregisteredResource(Resource):
    name = "unregistered"
    label = "未登记人员"
    icon = "user-plus"
    model = Unregistered
    actions = ("view", "export")
    readonly = [
        *("name", "doc_type", "number", "phone", "source", "place", "first_at", "last_at"),
        *("organisation", "state", "reason", "decided_by", "decided_at"),
    ]
    internal = ["region"]  # the organisation says it in words
    columns = [
        *("name", "number", "phone", "source", "place", "last_at", "organisation", "state", "reason"),
        *("doc_type", "first_at", "decided_by", "decided_at"),
    ]
    hidden = ["reason", "doc_type", "first_at", "decided_by", "decided_at"]
    order = ["-last_at", "-pk"]
    tabs = [Tab(state, Q(state=state)) for state, _ in Unregistered._meta.get_field("state").choices]
    filters = [
        Region("region", "上报辖区"),
        Choice("state"),
        Between("last_at"),
        Contains("name"),
        Exact("number"),
        Exact("phone"),
        Contains("place"),
        Exact("source"),
    ]
    search = ["name", "number", "phone", "place"]
    search_hint = "姓名、证件号、电话、采样点"
    figures = [Figure("待登记的人员", "tab=0", waits=True)]
    verbs = [
        Verb(
            "register",
            "登记",
            registering.register,
            form={
                "region": CommunityField(label="登记到", empty_label="请选择村或社区"),
                "doc_type": forms.CharField(
                    label="证件类型",
                    max_length=20,
                    required=False,
                    help_text="名单中没有证件类型、证件号也不是身份证号时填写，如“护照”",
                ),
                "address": forms.CharField(label="居住地", max_length=200, required=False),
            },
            offered=lambda entry: entry.state == Unregistered.WAITING,
            note="按检测、接种名单中的姓名、证件号和电话登记为在册人员；名单中的检测和接种记录归到本人名下。",
        ),
        Verb(
            "dismiss",
            "忽略",
            registering.dismiss,
            form={"reason": forms.CharField(label="原因", max_length=200)},
            offered=lambda entry: entry.state == Unregistered.WAITING,
            note="不登记为在册人员，如外来办事、已离开；以后导入的名单里再出现也不再提示。",
        ),
        Verb(
            "reopen",
            "重新处理",
            registering.reopen,
            offered=lambda entry: entry.state == Unregistered.DISMISSED,
            note="撤回“忽略”，重新列为待处理。",
        ),
    ]
    empty = "没有未登记的人员。导入核酸检测或疫苗接种样表后，不在册的人员列在这里。"


RESOURCES = [
    PersonResource(),
    DoseResource(),
    UnregisteredResource(),
    TransferResource(),
    DuplicateResource(),
    MergeResource(),
]
