"""What signing in keeps: second factors, other systems, bad tries, sign-ins, sessions (P-2)."""

from django.contrib.postgres.fields import ArrayField
from django.contrib.sessions.base_session import AbstractBaseSession
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone

from jingwei.base.access import Rows, Scope
from jingwei.base.fields import SealedField
from jingwei.base.models import Record
from jingwei.directory.models.accounts import Operator
from jingwei.kit.devices import device_in_words
from jingwei.kit.networks import is_confidential


class SecondFactor(models.Model):
    """The device that tells an operator's one-time codes (RFC 6238), and what stands in for it when lost."""

    operator = models.OneToOneField(Operator, models.CASCADE, primary_key=True, related_name="factor")
    secret = SealedField(
        "动态口令密钥", kind="text", purpose="核对本人的动态口令", basis="账号安全", keep="停用双因素时删除"
    )
    confirmed_at = models.DateTimeField(null=True)  # until then it is only being set up
    last_step = models.BigIntegerField(default=0)  # of the last code taken: none is taken twice
    recovery = ArrayField(models.CharField(max_length=64), default=list)  # digests of codes not used yet

    class Meta:
        verbose_name = "双因素"


class Provider(Record):
    """Another system that says who somebody is (P-2.4)."""

    OPENID, WECHAT = "OpenID Connect", "微信公众号"

    name = models.CharField("名称", max_length=40, unique=True)
    kind = models.CharField(
        "协议", max_length=20, default=OPENID, choices=[(kind, kind) for kind in (OPENID, WECHAT)]
    )
    issuer = models.URLField("签发者地址", max_length=200, blank=True)
    # Of an official account, where requests to WeChat go by way of a gateway; else WeChat's own are asked.
    page = models.URLField("授权页地址", max_length=200, blank=True)
    client = models.CharField("客户端标识", max_length=120)
    claim = models.CharField("对应外部编号的字段", max_length=60, default="sub")
    secret = SealedField(
        "密钥", kind="text", blank=True, purpose="统一认证登录", basis="系统对接", keep="对接期间"
    )
    enabled = models.BooleanField("启用", default=True)

    scope = Scope(shared=True)
    internal = (*Record.internal, "secret")

    class Meta:
        verbose_name = "统一认证"
        ordering = ["name"]

    def __str__(self):
        return self.name

    def clean(self):
        if self.kind == self.OPENID and not self.issuer:
            raise ValidationError({"issuer": "请填写签发者地址"})
        for name in ("issuer", "page"):
            if (address := getattr(self, name)) and not is_confidential(address):
                refusal = "登录不能明文经过外部网络：请用 https 地址，或内网 IP 的 http 地址"
                raise ValidationError({name: refusal})


class Binding(models.Model):
    """Whose name at another system stands in for an operator's password, because they said so (P-2.4)."""

    operator = models.ForeignKey(Operator, models.CASCADE, verbose_name="操作员", related_name="bindings")
    provider = models.ForeignKey(Provider, models.CASCADE, verbose_name="统一认证")
    subject = SealedField(
        "openid",
        kind="text",
        searchable=True,
        purpose="以微信登录本人账号",
        basis="本人绑定",
        keep="解除绑定、重置口令或删除账号时删除",
    )
    at = models.DateTimeField("绑定时间", default=timezone.now)

    objects = Rows.as_manager()
    scope = Scope(
        region="operator__organisation__region__code",
        organisation="operator__organisation__path",
        owner="operator",
    )

    class Meta:
        verbose_name = "微信绑定"
        constraints = [
            models.UniqueConstraint(fields=["provider", "subject"], name="one_account_per_subject"),
            models.UniqueConstraint(fields=["operator", "provider"], name="one_subject_per_account"),
        ]


class Guard(models.Model):
    """Bad tries to sign in with one name, known or not, or from one address (SEC-2)."""

    KINDS = {"name": "登录名", "code": "动态口令", "address": "地址"}

    key = models.CharField("锁定对象", max_length=60, unique=True)  # one of the kinds, a space, which one
    tries = models.JSONField(default=list)  # [seconds since 1970, name as compared], the oldest first
    locked_until = models.DateTimeField("锁定至", null=True)
    updated_at = models.DateTimeField("最近输错", auto_now=True, db_index=True)

    objects = Rows.as_manager()
    scope = Scope(shared=True)
    internal = ("tries",)

    class Meta:
        verbose_name = "登录锁定"

    def __str__(self):
        kind, _, of = self.key.partition(" ")
        return f"{self.KINDS[kind]} {of}"


class AnsweredCaptcha(models.Model):
    """A question that was answered and is worth nothing any more."""

    digest = models.CharField(max_length=64, primary_key=True)  # of the token that stood in the page
    at = models.DateTimeField(default=timezone.now)


class SignIn(models.Model):
    """One try to sign in, good or bad (P-2.3)."""

    at = models.DateTimeField("时间", default=timezone.now, db_index=True)
    login = models.CharField("登录名", max_length=80)
    operator = models.ForeignKey(Operator, models.SET_NULL, null=True, verbose_name="操作员")
    address = models.CharField("地址", max_length=45)
    device = models.CharField("设备", max_length=200, blank=True)
    succeeded = models.BooleanField("成功")
    reason = models.CharField("原因", max_length=80, blank=True)

    objects = Rows.as_manager()
    scope = Scope(region="operator__organisation__region__code", owner="operator")

    class Meta:
        verbose_name = "登录日志"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["login", "-at"], name="signins_by_login"),
            models.Index(fields=["address", "-at"], name="signins_by_address"),
            # Who is at home at an address, asked in the middle of an attack.
            models.Index(
                fields=["login", "address", "-at"], condition=Q(succeeded=True), name="signins_at_home"
            ),
        ]

    def __str__(self):
        return f"{self.login} {timezone.localtime(self.at):%Y-%m-%d %H:%M:%S}"


class Session(AbstractBaseSession):
    """An open session: whose, from where, when last used. Without a row the cookie is worthless (P-2.1)."""

    operator = models.ForeignKey(Operator, models.CASCADE, null=True, verbose_name="操作员")
    address = models.CharField("地址", max_length=45, blank=True)
    device = models.CharField("设备", max_length=200, blank=True)
    begun_at = models.DateTimeField("登录时间", null=True)
    seen_at = models.DateTimeField("最近操作", null=True)

    objects = Rows.as_manager()
    scope = Scope(
        region="operator__organisation__region__code",
        organisation="operator__organisation__path",
        owner="operator",
    )
    internal = ("session_key", "session_data", "expire_date")

    class Meta:
        verbose_name = "在线用户"
        ordering = ["-seen_at"]

    def __str__(self):
        return f"{self.operator}，{device_in_words(self.device)}"
