"""The directory on the desk: what the three administrators and the territorial managers look after."""

from django import forms
from django.db.models import OuterRef, Q, Subquery, Value
from django.db.models.functions import Concat, Now

from jingwei.base import actions as base_actions
from jingwei.base.models import Code, ErrorEntry, LogEntry
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
    YesNo,
)
from jingwei.directory import actions as acts
from jingwei.directory import region_actions
from jingwei.directory.forms import PermissionsField, RolesField, permission_labels
from jingwei.directory.models import (
    Appointment,
    Department,
    Guard,
    MenuGrant,
    Operator,
    Organisation,
    Post,
    Provider,
    RegionChange,
    Registration,
    Role,
    SecondFactor,
    Session,
    SignIn,
)
from jingwei.directory.models import Region as RegionRow
from jingwei.directory.oa_actions import owned
from jingwei.directory.providers import set_secret
from jingwei.directory.sheets import RegionSheet
from jingwei.directory.signing_in import UNUSED, end_session, lift, online
from jingwei.kit.coordinates import SYSTEMS as COORDINATES
from jingwei.kit.devices import device_in_words


def reason_field():
    """Why something is done, for the log."""
    return forms.CharField(label="事由", max_length=200)


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


class OperatorResource(Resource):
    name = "operators"
    label = "操作员"
    icon = "user-circle"
    model = Operator
    fields = ["login", "name", "phone", "organisation", "ends_on", "networks", "external_id"]
    readonly = ["enabled", "disabled_for", "must_change_password", "password_at", "last_login"]
    columns = [
        "login",
        "name",
        "phone",
        "organisation",
        "enabled",
        Column("locked", "锁定至", lambda operator: operator.locked_until),
        Column("factor", "双因素启用", lambda operator: operator.factor_since),
        "ends_on",
        "last_login",
    ]
    order = ["organisation__path", "pk"]
    search = ["login", "name", "phone", "external_id"]
    search_hint = "登录名、姓名、完整电话号码"
    tabs = [
        Tab("启用", Q(enabled=True)),
        Tab("停用", Q(enabled=False)),
        Tab("已锁定", Q(locked_until__gt=Now())),
        Tab("未任职", Q(appointments=None)),
        Tab("长期未登录停用", Q(enabled=False, disabled_for=UNUSED)),
    ]
    figures = [
        Figure("未任职的账号", "tab=3"),
        Figure("已锁定的账号", "tab=2"),
        Figure("因长期未登录停用的账号", "tab=4"),
    ]
    filters = [
        Region("organisation__region", "所在辖区"),
        Ref("organisation"),
        Exact("phone"),
        Between("ends_on"),
    ]
    verbs = [
        Verb("enable", "启用", acts.enable_operator, offered=is_disabled),
        Verb(
            "disable",
            "停用",
            acts.disable_operator,
            form={"reason": reason_field()},
            offered=is_enabled,
            danger=True,
            note="立即退出登录并不能再登录，记录全部保留。",
        ),
        Verb(
            "unlock",
            "解锁",
            acts.unlock_operator,
            offered=lambda operator: operator.locked_until is not None,
            note="所用的网络地址也被锁定时，另在“登录锁定”中解锁。",
        ),
        Verb(
            "reset",
            "重置口令",
            acts.reset_password,
            most=100,
            danger=True,
            note="生成新的随机口令，只显示一次；该账号立即退出，首次登录时须修改口令。",
        ),
        Verb(
            "reset-factor",
            "重置双因素",
            acts.reset_second_factor,
            form={"reason": reason_field()},
            offered=lambda operator: operator.factor_since is not None,
            bulk=False,
            danger=True,
            note="手机丢失或更换时使用：原动态口令和恢复码作废，该账号立即退出；办理前请核实本人身份。",
        ),
    ]
    empty = "还没有操作员。新增后由安全管理员任职授权、重置口令，才能登录。"

    def rows(self, actor, action="view"):
        name = Concat(Value("name "), OuterRef("login_key"))
        locks = Guard.objects.filter(key=name, locked_until__gt=Now()).values("locked_until")
        factors = SecondFactor.objects.filter(operator=OuterRef("pk")).values("confirmed_at")
        rows = super().rows(actor, action)
        return rows.annotate(locked_until=Subquery(locks), factor_since=Subquery(factors))

    def locked(self, obj):
        return owned(obj)

    def save(self, actor, obj, *, values, version=None):
        return acts.save_operator(actor, obj, values=values, version=version)

    def delete(self, actor, obj):
        return acts.delete_operator(actor, obj)


class RegistrationResource(Resource):
    name = "registrations"
    label = "注册审核"
    icon = "user-plus"
    model = Registration
    actions = ["view"]
    readonly = [
        "kind",
        "name",
        "contact",
        "login",
        "phone",
        "organisation",
        "note",
        "state",
        "opinion",
        "decided_by",
        "decided_at",
    ]
    columns = ["name", "kind", "contact", "login", "phone", "organisation", "note", "state", "decided_by"]
    order = ["-pk"]
    search = ["name", "login", "contact"]
    search_hint = "姓名或团体名称、登录名"
    tabs = [Tab(state, Q(state=state)) for state, _ in Registration._meta.get_field("state").choices]
    figures = [Figure("待审核的注册申请", "tab=1", waits=True)]
    filters = [Region("organisation__region", "所在辖区"), Choice("kind")]
    verbs = [
        Verb(
            "approve",
            "通过",
            acts.approve_registration,
            form={
                "login": forms.CharField(
                    label="登录名", max_length=40, required=False, help_text="留空则用申请的登录名"
                )
            },
            offered=lambda registration: registration.is_waiting,
            bulk=False,
            note="开通账号，用申请时的口令登录；没有任何权限，任职授权后才能办理业务。",
        ),
        Verb(
            "refuse",
            "不通过",
            acts.refuse_registration,
            form={"opinion": forms.CharField(label="审核意见", max_length=200)},
            offered=lambda registration: registration.is_waiting,
        ),
    ]
    empty = "没有注册申请。居民和志愿者团体可在登录页点“申请账号”提交。"


class AppointmentResource(Resource):
    name = "appointments"
    label = "任职授权"
    icon = "user-check"
    model = Appointment
    actions = ["view", "add", "change", "delete", "export"]
    fields = ["operator", "organisation", "post", "roles", "starts_on", "ends_on"]
    form_fields = {"roles": lambda actor: RolesField(label="角色")}
    columns = ["operator", "organisation", "post", "roles", "starts_on", "ends_on"]
    order = ["organisation__path", "pk"]
    search = ["operator__name", "operator__login", "organisation__name"]
    search_hint = "姓名、登录名、单位"
    filters = [
        Region("organisation__region", "所在辖区"),
        Ref("organisation"),
        Ref("roles", "角色"),
        Between("starts_on"),
        Between("ends_on"),
    ]
    panels = [Panel("operators", "任职", lambda operator: operator.appointments.all())]
    empty = "还没有任职。为操作员新增任职、选择角色后，其权限在下一次打开页面时生效。"

    def save(self, actor, obj, *, values, version=None):
        return acts.save_appointment(actor, obj, values=values, version=version)

    def delete(self, actor, obj):
        return acts.delete_appointment(actor, obj)


class RoleResource(Resource):
    name = "roles"
    label = "角色"
    icon = "shield-check"
    model = Role
    actions = ["view", "add", "change", "delete", "export", "grant"]
    fields = [
        "name",
        "reach",
        "regions",
        "organisations",
        "permissions",
        "second_factor",
        "networks",
        "note",
        "enabled",
    ]
    readonly = ["administrator"]
    form_fields = {"permissions": lambda actor: PermissionsField(label="权限")}
    columns = [
        "name",
        "reach",
        "administrator",
        Column("permissions", "权限", lambda role: permission_labels(role.permissions), "", ["permissions"]),
        "second_factor",
        "networks",
        "note",
        "enabled",
    ]
    hidden = ["permissions", "networks"]
    order = ["pk"]
    search = ["name", "note"]
    filters = [Choice("reach"), YesNo("enabled")]
    sections = [
        ("角色", ["name", "note", "administrator", "second_factor", "networks", "enabled"]),
        ("数据范围", ["reach", "regions", "organisations"]),
        ("权限", ["permissions"]),
    ]
    verbs = [
        Verb(
            "copy",
            "复制",
            acts.copy_role,
            form={"name": forms.CharField(label="新角色名称", max_length=60)},
            bulk=False,
            note="新角色与原角色的权限、数据范围相同，还没有人持有。",
        )
    ]

    def save(self, actor, obj, *, values, version=None):
        return acts.save_role(actor, obj, values=values, version=version)

    def delete(self, actor, obj):
        return acts.delete_role(actor, obj)


def _menu_keys(actor):
    from jingwei import menu  # it imports this module

    entries = [
        (entry.name, f"{system.label} · {entry.label}") for system in menu.SYSTEMS for entry in system.entries
    ]
    return forms.ChoiceField(label="菜单", choices=entries)


class MenuGrantResource(Resource):
    name = "menu-grants"
    label = "个人菜单"
    icon = "eye"
    model = MenuGrant
    actions = ["view", "add", "change", "delete"]
    fields = ["operator", "key", "allowed"]
    form_fields = {"key": _menu_keys}
    columns = ["operator", "key", "allowed"]
    order = ["pk"]
    search = ["operator__name", "operator__login"]
    filters = [Ref("operator"), YesNo("allowed")]
    empty = "没有为个人单独设置的菜单；所有人看到的菜单由角色和“菜单设置”决定。"


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


def _changes(entry):
    """What an entry of the operation log says was changed, in words."""
    detail = dict(entry.detail)
    changed = detail.pop("changes", {})
    words = [f"{heading}：{old or '（空）'} → {new or '（空）'}" for heading, (old, new) in changed.items()]
    return "；".join([*words, *(f"{name}：{value}" for name, value in detail.items())])


def _resource_label(entry):
    from jingwei import menu  # it imports this module

    found = menu.resources().get(entry.resource)
    return found.label if found else entry.resource


class LogResource(Resource):
    name = "logs"
    label = "操作日志"
    icon = "clipboard-list"
    model = LogEntry
    actions = ["view", "export"]
    readonly = [
        *("at", "actor", "login", "organisation", "act", "resource", "object_id", "label", "detail"),
        *("result", "reason", "address", "device", "request_id"),
    ]
    columns = [
        "at",
        "actor",
        "login",
        "organisation",
        "act",
        Column("resource", "对象类别", _resource_label, "resource", ["resource"]),
        "label",
        Column("detail", "内容", _changes, "", ["detail"]),
        "result",
        "reason",
        "address",
        "request_id",
    ]
    hidden = ["login", "request_id"]
    order = ["-pk"]
    search = ["actor", "login", "label", "object_id", "request_id"]
    search_hint = "操作员、登录名、对象、请求号"
    figures = [Figure("被拒绝或失败的操作", "tab=0")]
    tabs = [
        Tab("拒绝和失败", ~Q(result="成功")),
        Tab("查看明文", Q(act="查看明文")),
        Tab("导出", Q(act="导出")),
    ]
    filters = [
        Between("at"),
        Exact("login"),
        Contains("organisation"),
        Contains("act"),
        Exact("resource"),
        Choice("result"),
        Exact("address"),
    ]
    empty = "没有符合条件的日志。"


class SignInResource(Resource):
    name = "signins"
    label = "登录日志"
    icon = "login"
    model = SignIn
    actions = ["view", "export"]
    internal = ["id"]
    readonly = ["at", "login", "operator", "address", "device", "succeeded", "reason"]
    columns = ["at", "login", "operator", "address", "device", "succeeded", "reason"]
    order = ["-pk"]
    search = ["login", "address"]
    search_hint = "登录名、地址"
    tabs = [Tab("失败", Q(succeeded=False))]
    filters = [Between("at"), Exact("login"), Exact("address"), YesNo("succeeded")]
    empty = "没有符合条件的登录记录。"


class SessionResource(Resource):
    name = "sessions"
    label = "在线用户"
    icon = "users"
    model = Session
    actions = ["view"]
    readonly = ["operator", "address", "device", "begun_at", "seen_at"]
    columns = [
        "operator",
        "operator__organisation",
        "address",
        Column("device", "设备", lambda session: device_in_words(session.device), "", ["device"]),
        "begun_at",
        "seen_at",
    ]
    order = ["-seen_at", "pk"]
    search = ["operator__name", "operator__login", "address"]
    search_hint = "姓名、登录名、地址"
    figures = [Figure("在线用户")]
    filters = [
        Region("operator__organisation__region", "所在辖区"),
        Ref("operator"),
        Exact("address"),
        Between("seen_at"),
    ]
    verbs = [
        Verb(
            "end",
            "强制退出",
            end_session,
            form={"reason": reason_field()},
            danger=True,
            note="对方打开下一个页面时即须重新登录；没有保存的内容会丢失。要禁止再登录，请停用账号。",
        )
    ]
    empty = "没有符合条件的在线用户。"

    def rows(self, actor, action="view"):
        return super().rows(actor, action).filter(online())


class LockResource(Resource):
    name = "locks"
    label = "登录锁定"
    icon = "lock"
    model = Guard
    actions = ["view"]
    readonly = ["key", "locked_until", "updated_at"]
    columns = [Column("of", "锁定对象", str, "key", ["key"]), "locked_until", "updated_at"]
    order = ["-locked_until", "pk"]
    search = ["key"]
    search_hint = "登录名、地址"
    verbs = [
        Verb("unlock", "解锁", lift, note="解锁前请核实是本人或本单位输错，不是有人在猜口令。"),
    ]
    empty = "现在没有锁定的登录名和地址。"
    has_page = False

    def rows(self, actor, action="view"):
        return super().rows(actor, action).filter(locked_until__gt=Now())


class ProviderResource(Resource):
    name = "providers"
    label = "统一认证"
    icon = "key"
    model = Provider
    actions = ["view", "add", "change", "delete"]
    fields = ["name", "issuer", "client", "claim", "enabled"]
    columns = [
        "name",
        "issuer",
        "client",
        "claim",
        Column("back", "回调地址", lambda provider: f"本站网址/sign-in/back/{provider.pk}/", "", ["pk"]),
        "enabled",
    ]
    order = ["name"]
    search = ["name", "issuer"]
    verbs = [
        Verb(
            "secret",
            "更换密钥",
            set_secret,
            form={
                "secret": forms.CharField(
                    label="密钥", max_length=200, strip=False, widget=forms.PasswordInput
                )
            },
            bulk=False,
            note="统一认证系统分配给本平台的客户端密钥，加密保存，不再显示。",
        )
    ]
    empty = "还没有接入统一认证。新增后，登录页会出现它的按钮；账号按“外部编号”对应。"


class ErrorResource(Resource):
    name = "errors"
    label = "错误日志"
    icon = "alert-triangle"
    model = ErrorEntry
    actions = ["view", "export"]
    readonly = ["at", "reference", "place", "kind", "trace"]
    columns = ["at", "reference", "place", "kind"]
    link = "reference"
    order = ["-pk"]
    search = ["reference", "place", "kind"]
    search_hint = "用户报来的编号"
    figures = [Figure("错误记录")]
    filters = [Between("at"), Contains("kind")]
    empty = "没有错误记录。"


RESOURCES = [
    OrganisationResource(),
    DepartmentResource(),
    PostResource(),
    OperatorResource(),
    RegistrationResource(),
    SessionResource(),
    LockResource(),
    AppointmentResource(),
    RoleResource(),
    RegionResource(),
    RegionChangeResource(),
    CodeResource(),
    MenuGrantResource(),
    ProviderResource(),
    LogResource(),
    SignInResource(),
    ErrorResource(),
]
