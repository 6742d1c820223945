"""The organisation on the desk: regions, organisations, departments, posts, dictionaries (P-1, P-6.1)."""

from django import forms
from django.db.models import Q

from jingwei.base import actions as base_actions
from jingwei.base.models import Code
from jingwei.base.resource import (
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
    YesNo,
)
from jingwei.directory import actions as acts
from jingwei.directory import region_actions
from jingwei.directory.forms import reason_field
from jingwei.directory.models import Department, Organisation, Post, RegionChange
from jingwei.directory.models import Region as RegionRow
from jingwei.directory.oa_actions import owned
from jingwei.directory.sheets import RegionSheet
from jingwei.kit.coordinates import SYSTEMS as COORDINATES


def _coordinates():
    return forms.ChoiceField(label="坐标系", choices=[(name, name) for name in COORDINATES])


def _degrees(label, most):
    return forms.FloatField(label=label, min_value=-most, max_value=most)


def is_enabled(row):
    return row.enabled


def is_disabled(row):
    return not row.enabled


class RegionResource(Resource):
    name = "regions"
    label = "行政区划"
    icon = "map"
    model = RegionRow
    sheet = RegionSheet
    fields = ["code", "name"]
    readonly = ["parent", "longitude", "latitude", "enabled"]
    columns = [
        "code",
        "name",
        Column("level", "级别", lambda region: region.level, "", ["code"]),
        "parent",
        "longitude",
        "latitude",
        "enabled",
    ]
    link = "name"
    order = ["code"]
    search = ["code", "name"]
    search_hint = "代码、名称"
    tabs = [
        Tab("街道乡镇", Q(code__regex=r"^.{9}$")),
        Tab("社区村", Q(code__regex=r"^.{12}$")),
        Tab("网格", Q(code__regex=r"^.{15}$")),
        Tab("已停用", Q(enabled=False)),
    ]
    filters = [Region("code", "所在辖区"), YesNo("enabled")]
    verbs = [
        Verb("enable", "启用", region_actions.enable_region, offered=is_disabled),
        Verb(
            "disable",
            "停用",
            region_actions.disable_region,
            form={"reason": reason_field()},
            offered=is_enabled,
            note="停用后不能再选作新登记的辖区，已登记的数据不变。",
        ),
        Verb(
            "locate",
            "标注位置",
            region_actions.locate_region,
            form={
                "longitude": _degrees("经度", 180),
                "latitude": _degrees("纬度", 90),
                "system": _coordinates(),
            },
            bulk=False,
            note="高德、腾讯地图的坐标选 GCJ-02，百度地图选 BD-09；保存时换算为 WGS-84。",
        ),
        Verb(
            "outline",
            "设置边界",
            region_actions.outline_region,
            form={
                "boundary": forms.CharField(label="GeoJSON", widget=forms.Textarea, required=False),
                "system": _coordinates(),
            },
            bulk=False,
            note="粘贴 GeoJSON 的 Polygon 或 MultiPolygon；留空则删除边界。",
        ),
        Verb(
            "move",
            "变更代码",
            region_actions.move_region,
            form={"code": forms.CharField(label="新代码", max_length=15), "reason": reason_field()},
            bulk=False,
            danger=True,
            note="本级及全部下级改用新代码，人员、单位和检测记录一并迁移；原代码和名称保留在区划变更记录中。",
        ),
        Verb(
            "merge",
            "合并",
            region_actions.merge_region,
            form={
                "into": forms.ModelChoiceField(RegionRow.objects.order_by("code"), label="并入"),
                "reason": reason_field(),
            },
            bulk=False,
            danger=True,
            note="本区划撤销，登记在这里的数据全部归入所选的同级区划，不能撤回。",
        ),
    ]
    empty = "还没有行政区划。请新增，或导入国家统计用区划代码表。"

    def save(self, actor, obj, *, values, version=None):
        return region_actions.save_region(actor, obj, values=values, version=version)


class RegionChangeResource(Resource):
    name = "region-changes"
    label = "区划变更记录"
    icon = "history"
    model = RegionChange
    actions = ["view", "export"]
    readonly = ["at", "old", "old_name", "new", "reason"]
    internal = ["id", "by"]
    columns = ["at", "old", "old_name", "new", "reason"]
    order = ["-at"]
    search = ["old", "old_name"]
    empty = "行政区划还没有变更过。"


class OrganisationResource(Resource):
    name = "organisations"
    label = "组织机构"
    icon = "building"
    model = Organisation
    fields = ["name", "short_name", "parent", "region", "nature", "kind", "civility", "term", "external_id"]
    readonly = ["enabled"]
    columns = ["name", "short_name", "parent", "region", "nature", "kind", "civility", "term", "enabled"]
    hidden = ["short_name", "civility", "term"]
    order = ["path"]
    search = ["name", "short_name", "external_id"]
    search_hint = "单位名称、简称"
    tabs = [Tab("启用", Q(enabled=True)), Tab("停用", Q(enabled=False))]
    figures = [Figure("启用的单位", "tab=0")]
    filters = [
        Region("region", "所在辖区"),
        Choice("nature"),
        Choice("kind"),
        Choice("civility"),
        Choice("term"),
    ]
    verbs = [
        Verb("enable", "启用", acts.enable_organisation, offered=is_disabled),
        Verb(
            "disable",
            "停用",
            acts.disable_organisation,
            form={"reason": reason_field()},
            offered=is_enabled,
            danger=True,
            note="该单位的操作员立即退出并不能再登录，数据全部保留。",
        ),
    ]
    empty = "还没有组织机构。请新增，或用“导入”一次加入多个。"

    def locked(self, obj):
        return owned(obj)

    def save(self, actor, obj, *, values, version=None):
        return acts.save_organisation(actor, obj, values=values, version=version)


class DepartmentResource(Resource):
    name = "departments"
    label = "部门"
    icon = "sitemap"
    model = Department
    fields = ["organisation", "name", "order"]
    columns = ["organisation", "name", "order"]
    link = "name"
    order = ["organisation__path", "order", "pk"]
    search = ["name", "organisation__name"]
    search_hint = "部门、单位名称"
    filters = [Region("organisation__region", "所在辖区"), Ref("organisation")]
    panels = [Panel("organisations", "部门", lambda organisation: organisation.department_set.all())]
    empty = "还没有部门。请点“新增”为单位建立部门。"


class PostResource(Resource):
    name = "posts"
    label = "职务"
    icon = "id-badge-2"
    model = Post
    fields = ["department", "name", "order"]
    columns = ["department__organisation", "department", "name", "order"]
    link = "name"
    order = ["department__organisation__path", "department__order", "order", "pk"]
    search = ["name", "department__name", "department__organisation__name"]
    search_hint = "职务、部门、单位名称"
    filters = [Region("department__organisation__region", "所在辖区"), Ref("department")]
    panels = [Panel("departments", "职务", lambda department: department.post_set.all())]
    empty = "还没有职务。请先建立部门，再为部门新增职务。"


class CodeResource(Resource):
    name = "codes"
    label = "公共代码"
    icon = "book"
    model = Code
    fields = ["kind", "value", "label", "synonyms", "order", "flag", "note", "enabled"]
    columns = ["kind", "value", "label", "synonyms", "order", "flag", "enabled", "note"]
    link = "label"
    order = ["kind", "order", "value"]
    search = ["kind", "label", "value"]
    search_hint = "字典、代码、名称"
    filters = [Exact("kind"), Contains("label"), YesNo("flag"), YesNo("enabled")]
    empty = "还没有公共代码。"

    def save(self, actor, obj, *, values, version=None):
        return base_actions.save_word(actor, obj, values=values, version=version)

    def delete(self, actor, obj):
        return base_actions.delete_word(actor, obj)
