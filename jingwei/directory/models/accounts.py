"""Accounts, roles, appointments, and which menus a person sees (P-1.4 to P-1.8)."""

import json
import unicodedata
from datetime import date, timedelta

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.postgres.expressions import ArraySubquery
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import Error, models
from django.db.models import OuterRef, Q
from django.db.models.functions import JSONObject
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.functional import cached_property

from jingwei.base.access import Rows, Scope
from jingwei.base.fields import SealedField
from jingwei.base.models import Record
from jingwei.base.wall import beyond_scope
from jingwei.directory import parameters
from jingwei.directory.models.organisation import Organisation, Post, Region, one_per_external_id
from jingwei.kit.networks import clean_network


class NetworksField(ArrayField):
    """Networks in CIDR notation from which one may sign in; none: from anywhere (SEC-19)."""

    def __init__(self, verbose_name, **kwargs):
        kwargs |= {"base_field": models.CharField(max_length=43), "default": list, "blank": True}
        super().__init__(verbose_name=verbose_name, **kwargs)

    def deconstruct(self):
        name, _, args, kwargs = super().deconstruct()
        return name, "django.contrib.postgres.fields.ArrayField", args, kwargs

    def clean(self, value, model_instance):
        try:
            return super().clean([clean_network(text) for text in value or []], model_instance)
        except ValueError as error:
            raise ValidationError(str(error)) from error


class Role(Record):
    """Permissions bundled with the data scope they are held for (P-1.5, P-1.6)."""

    EVERYTHING, REGION, BELOW, ORGANISATION, OWN, LISTED = (
        "全部",
        "本辖区",
        "本单位及下级",
        "本单位",
        "本人",
        "指定范围",
    )

    name = models.CharField("角色名称", max_length=60, unique=True)
    permissions = ArrayField(models.CharField(max_length=80), verbose_name="权限", default=list, blank=True)
    reach = models.CharField(
        "数据范围",
        max_length=10,
        default=REGION,
        choices=[(r, r) for r in (EVERYTHING, REGION, BELOW, ORGANISATION, OWN, LISTED)],
    )
    regions = models.ManyToManyField(Region, blank=True, verbose_name="指定区划")
    organisations = models.ManyToManyField(Organisation, blank=True, verbose_name="指定单位")
    # Which of the three administrators the role makes; follows from its permissions (P-1.8, directory.rules).
    administrator = models.CharField("管理员类别", max_length=10, blank=True, editable=False)
    note = models.CharField("说明", max_length=200, blank=True)
    second_factor = models.BooleanField("须双因素登录", default=False)
    networks = NetworksField("限定网络")
    enabled = models.BooleanField("启用", default=True)

    scope = Scope(shared=True)

    class Meta:
        verbose_name = "角色"
        ordering = ["id"]

    def __str__(self):
        return self.name


def login_key(login: str) -> str:
    """A login name as it is compared: case and width do not tell two apart (SEC-1)."""
    return unicodedata.normalize("NFKC", login).strip().casefold()


WARNED_DAYS = 14  # before its end an account's holder is told of it, and who may renew it


def end_of_account() -> date:
    """The last day of an account that begins, or is renewed, today (SEC-5)."""
    try:
        days = parameters.ACCOUNT_DAYS.value()
    except Error:  # Django's check of this model makes an account, also where there is no database yet
        days = parameters.ACCOUNT_DAYS.default
    return timezone.localdate() + timedelta(days=days)


class OperatorManager(BaseUserManager.from_queryset(Rows)):
    def get_by_natural_key(self, login):
        return self.get(login_key=login_key(login))


class Operator(AbstractBaseUser, Record):
    """A person's login (P-1.4). Rights come from appointments only."""

    login = models.CharField("登录名", max_length=40, unique=True)
    login_key = models.CharField("登录名比对", max_length=40, unique=True, blank=True, editable=False)
    name = models.CharField("姓名", max_length=60)
    phone = SealedField(
        "联系电话",
        kind="phone",
        searchable=True,
        blank=True,
        purpose="联系操作员本人",
        basis="岗位职责",
        keep="账号存续期间",
    )
    # The organisation that keeps the account; scope goes by it, also before the first appointment.
    organisation = models.ForeignKey(Organisation, models.PROTECT, verbose_name="所属单位")
    external_id = models.CharField("外部编号", max_length=60, blank=True)
    enabled = models.BooleanField("启用", default=True)
    # Why the account is disabled, for who is asked to enable it.
    disabled_for = models.CharField("停用原因", max_length=200, blank=True, editable=False)
    enabled_at = models.DateTimeField("启用时间", default=timezone.now, editable=False)
    ends_on = models.DateField("有效期至", default=end_of_account, error_messages={"null": "请填写有效期"})
    networks = NetworksField("限定网络")
    must_change_password = models.BooleanField("须改口令", default=True)
    password_at = models.DateTimeField("口令更新时间", null=True, editable=False)
    # Encoded like the password, the latest first: none of them may come again (SEC-1).
    old_passwords = ArrayField(models.CharField(max_length=128), default=list, blank=True, editable=False)

    USERNAME_FIELD = "login_key"
    REQUIRED_FIELDS: list[str] = []

    objects = OperatorManager()
    scope = Scope(region="organisation__region__code", organisation="organisation__path", owner="pk")
    internal = (*Record.internal, "login_key", "password", "old_passwords")

    class Meta:
        verbose_name = "操作员"
        ordering = ["organisation__path", "id"]
        constraints = [one_per_external_id("operator", "另一个账号已用这个外部编号")]

    def __str__(self):
        return f"{self.name}（{self.login}）"

    def clean(self):
        key = login_key(self.login)
        if self.pk and key != self.login_key:
            raise ValidationError({"login": "登录名一经建立不能修改；需要另一个登录名时请新建账号"})
        if not key.isprintable() or any(character.isspace() for character in key):
            # Else two names could look alike that are not.
            raise ValidationError({"login": "登录名不能含有空格和看不见的字符"})
        if len(key) > 40:
            raise ValidationError({"login": "登录名太长，最多 40 个字符"})
        taken = type(self).objects.filter(login_key=key).exclude(pk=self.pk).exists()
        if taken or RetiredLogin.objects.filter(login_key=key).exists():
            raise ValidationError({"login": "登录名已被使用或曾被使用（不区分大小写和全半角），请换一个"})
        self.login_key = key
        latest = timezone.localdate() + timedelta(days=parameters.ACCOUNT_DAYS.high)
        if self.ends_on and self.ends_on > latest:
            raise ValidationError({"ends_on": f"有效期太长，最晚可填 {latest}"})

    @property
    def days_left(self) -> int:
        """Days from today to the last one of the account; negative when that is past."""
        return (self.ends_on - timezone.localdate()).days

    @property
    def is_active(self) -> bool:
        """May this account sign in today: enabled, not past its end, its organisation enabled."""
        return self.enabled and self.organisation.enabled and self.days_left >= 0

    @cached_property
    @beyond_scope()  # they are the same whoever asks: rights, sessions and what is required follow from them
    def appointments_in_force(self) -> list["Appointment"]:
        """The appointments that hold today, the oldest first, in one query with all that rights follow from.

        Each carries `held_roles`, a list of {id, permissions, reach, regions, organisations, second_factor,
        networks} of its enabled roles, and the menu settings that concern the operator: `hidden`, keys, and
        `granted`, {key, allowed}.
        """
        listed = {
            "regions": ArraySubquery(Region.objects.filter(role=OuterRef("pk")).values("code")),
            "organisations": ArraySubquery(Organisation.objects.filter(role=OuterRef("pk")).values("path")),
        }
        roles = Role.objects.filter(appointment=OuterRef("pk"), enabled=True).order_by("pk")
        asked = ("permissions", "reach", "administrator", "second_factor", "networks")
        grants = MenuGrant.objects.filter(operator=OuterRef("operator"))
        return list(
            self.appointments.filter(Appointment.in_force(timezone.localdate()))
            .select_related("organisation", "post")
            .annotate(
                held_roles=ArraySubquery(
                    roles.values(json=JSONObject(id="pk", **{name: name for name in asked}, **listed))
                ),
                hidden=ArraySubquery(MenuSetting.objects.filter(hidden=True).values("key")),
                granted=ArraySubquery(grants.values(json=JSONObject(key="key", allowed="allowed"))),
            )
            .order_by("id")
        )

    @property
    def held_roles(self) -> list[dict]:
        """The roles of all appointments in force, as `appointments_in_force` tells them."""
        return [role for appointment in self.appointments_in_force for role in appointment.held_roles]

    @property
    def second_factor_since(self):
        """When the second factor was confirmed; None without one."""
        factor = getattr(self, "factor", None)
        return factor and factor.confirmed_at

    def _get_session_auth_hash(self, secret=None):
        # A session ends with the password, the second factor, the state, the appointments and the roles it
        # began with (SEC-3).
        held = [[a.pk, [role["id"] for role in a.held_roles]] for a in self.appointments_in_force]
        state = json.dumps([self.password, str(self.second_factor_since), self.is_active, held])
        return salted_hmac("jingwei.directory.session", state, secret=secret, algorithm="sha256").hexdigest()


class RetiredLogin(models.Model):
    """The login name of a deleted account, never to be given again (SEC-1)."""

    login_key = models.CharField(max_length=40, primary_key=True)


class Registration(Record):
    """Somebody asks for an account; it works only when it has been reviewed (P-1.4)."""

    PERSON, GROUP = "普通用户", "志愿者团体"
    WAITING, APPROVED, REFUSED = "待审核", "已通过", "未通过"

    kind = models.CharField("类别", max_length=10, choices=[(k, k) for k in (PERSON, GROUP)], default=PERSON)
    name = models.CharField("姓名或团体名称", max_length=60)
    contact = models.CharField("团体负责人", max_length=60, blank=True)
    login = models.CharField("希望的登录名", max_length=40)
    password = models.CharField("口令", max_length=128, editable=False)  # hashed, as an operator's
    phone = SealedField(
        "联系电话", kind="phone", purpose="审核时联系申请人", basis="本人申请", keep="审核后随账号"
    )
    organisation = models.ForeignKey(Organisation, models.PROTECT, verbose_name="所属村社区或单位")
    note = models.CharField("申请说明", max_length=200, blank=True)
    address = models.CharField("申请地址", max_length=45, editable=False)
    state = models.CharField(
        "状态", max_length=10, choices=[(s, s) for s in (WAITING, APPROVED, REFUSED)], default=WAITING
    )
    opinion = models.CharField("审核意见", max_length=200, blank=True)
    decided_by = models.CharField("审核人", max_length=80, blank=True)
    decided_at = models.DateTimeField("审核时间", null=True, blank=True)

    scope = Scope(region="organisation__region__code", organisation="organisation__path")
    internal = (*Record.internal, "password", "address")

    class Meta:
        verbose_name = "注册申请"
        ordering = ["-id"]
        indexes = [models.Index(fields=["address", "-id"], name="registrations_by_address")]

    def __str__(self):
        return self.name

    @property
    def is_waiting(self) -> bool:
        """Nobody has decided yet."""
        return self.state == self.WAITING

    def clean(self):
        if self.kind == self.GROUP and not self.contact:
            raise ValidationError({"contact": "志愿者团体请填写负责人"})


class Appointment(Record):
    """A dated appointment: operator × organisation × post × roles. Rights never add up across two (P-1.4)."""

    operator = models.ForeignKey(Operator, models.CASCADE, verbose_name="操作员", related_name="appointments")
    organisation = models.ForeignKey(Organisation, models.PROTECT, verbose_name="单位")
    post = models.ForeignKey(Post, models.PROTECT, null=True, blank=True, verbose_name="职务")
    roles = models.ManyToManyField(Role, blank=True, verbose_name="角色")
    starts_on = models.DateField("开始日期", default=timezone.localdate)
    ends_on = models.DateField("结束日期", null=True, blank=True)

    scope = Scope(region="organisation__region__code", organisation="organisation__path")

    class Meta:
        verbose_name = "任职"
        ordering = ["id"]

    def __str__(self):
        return f"{self.operator.name} · {self.organisation.name}" + (f" · {self.post}" if self.post else "")

    @staticmethod
    def in_force(day) -> Q:
        """Condition: holds on `day`, and its organisation works."""
        return Q(starts_on__lte=day) & (Q(ends_on=None) | Q(ends_on__gte=day)) & Q(organisation__enabled=True)


class MenuSetting(Record):
    """What an administrator changed about one menu entry: name, group, order, hidden (P-1.7)."""

    key = models.CharField("菜单", max_length=60, unique=True)
    label = models.CharField("显示名称", max_length=40, blank=True)
    group = models.CharField("分组", max_length=40, blank=True)
    order = models.IntegerField("顺序", null=True, blank=True)
    hidden = models.BooleanField("隐藏", default=False)

    scope = Scope(shared=True)

    class Meta:
        verbose_name = "菜单"

    def __str__(self):
        return self.key


class MenuGrant(Record):
    """A menu entry shown to, or withheld from, one person (P-1.7, KP-7.1)."""

    operator = models.ForeignKey(Operator, models.CASCADE, verbose_name="操作员", related_name="menu_grants")
    key = models.CharField("菜单", max_length=60)
    allowed = models.BooleanField("显示", default=True)

    scope = Scope(region="operator__organisation__region__code", organisation="operator__organisation__path")

    class Meta:
        verbose_name = "菜单授权"
        constraints = [models.UniqueConstraint(fields=["operator", "key"], name="one_grant_per_menu")]

    def __str__(self):
        return f"{self.operator.name} · {self.key}"


class KnownPermission(models.Model):
    """A permission the shipped roles have been offered once; what an administrator took away stays away."""

    name = models.CharField(max_length=80, primary_key=True)
