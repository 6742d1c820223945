"""Accounts on the desk: operators, applications, appointments, roles, menus of one's own (P-1.4 to P-1.8)."""

from datetime import timedelta

from django import forms
from django.db.models import OuterRef, Q, Subquery, Value
from django.db.models.functions import Concat, Now, TruncDate

from jingwei.base.resource import (
    Between,
    Choice,
    Column,
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
from jingwei.directory.forms import PermissionsField, RolesField, permission_labels, reason_field
from jingwei.directory.models import (
    Appointment,
    Guard,
    MenuGrant,
    Operator,
    Registration,
    Role,
    SecondFactor,
)
from jingwei.directory.models.accounts import WARNED_DAYS
from jingwei.directory.oa_actions import owned
from jingwei.directory.resources.organisation import is_disabled, is_enabled
from jingwei.directory.signing_in import UNUSED

TODAY, WARNED = TruncDate(Now()), TruncDate(Now() + timedelta(days=WARNED_DAYS))


class OperatorResource(Resource):
    name = "operators"
    label = "操作员"
    icon = "user-circle"
    model = Operator
    fields = ["login", "name", "phone", "organisation", "ends_on", "networks", "external_id"]
    readonly = ["enabled", "enabled_at", "disabled_for", "must_change_password", "password_at", "last_login"]
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
        Tab("即将到期", Q(enabled=True, ends_on__gte=TODAY, ends_on__lte=WARNED)),
        Tab("已到期", Q(enabled=True, ends_on__lt=TODAY)),
    ]
    figures = [
        Figure("未任职的账号", "tab=3"),
        Figure("已锁定的账号", "tab=2"),
        Figure("因长期未登录停用的账号", "tab=4"),
        Figure("即将到期的账号", "tab=5"),
        Figure("已到期的账号", "tab=6"),
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
            "renew",
            "续期",
            acts.renew_operator,
            form={"reason": reason_field()},
            note="有效期从今天起按系统参数“账号有效期”重新计算；办理前请核实本人仍在岗。",
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
        keys = [Concat(Value(f"{what} "), OuterRef("login_key")) for what in ("name", "code")]
        locks = Guard.objects.filter(key__in=keys, locked_until__gt=Now()).order_by("-locked_until")
        factors = SecondFactor.objects.filter(operator=OuterRef("pk")).values("confirmed_at")
        rows = super().rows(actor, action)
        return rows.annotate(
            locked_until=Subquery(locks.values("locked_until")[:1]), factor_since=Subquery(factors)
        )

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
    figures = [Figure("待审核的注册申请", "tab=0", waits=True)]
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
