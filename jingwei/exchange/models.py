"""Front databases of other systems, and what is pulled from their tables (前置库, P-8.4, KP-8.2)."""

import re

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from jingwei.base.access import Scope
from jingwei.base.fields import SealedField
from jingwei.base.models import Load, Record

# What may name a table or a column of a source without quotes of its own.
WORD = r"[A-Za-z_\u4e00-\u9fff][A-Za-z0-9_$\u4e00-\u9fff]{0,62}"


def check_host(value):
    """A host's name or address. A folder, which libpq takes for a socket of this machine, is none."""
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,198}[A-Za-z0-9])?|[0-9A-Fa-f:.]{2,45}", value):
        raise ValidationError("请填主机名或 IP 地址，如 10.0.0.8，不带端口和其他符号")


def check_name(value):
    """The name of a database or of its user."""
    if not re.fullmatch(r"[\w.$@-]{1,63}", value):
        raise ValidationError("只能含文字、数字和 _ . $ @ -，不超过 63 个字")


def check_table(value):
    """A table or view, with the name of its schema or without."""
    if not re.fullmatch(rf"{WORD}(\.{WORD})?", value):
        raise ValidationError(
            "请填表名或视图名，可带模式名，如 scan_record 或 qz.scan_record；只能含文字、数字和 _ $"
        )


class FrontSource(Record):
    """A database of another system, where agreed tables lie. The platform only ever reads it."""

    POSTGRESQL, MYSQL = "postgresql", "mysql"
    PLAIN, ENCRYPTED, VERIFIED = "plain", "encrypted", "verified"
    # What a password is told to: another one must be given anew, lest it be sent somewhere else.
    ADDRESS = ("kind", "host", "port", "database", "user", "security", "authority")

    name = models.CharField("名称", max_length=60, unique=True)
    kind = models.CharField(
        "数据库类型", max_length=20, choices=[(POSTGRESQL, "PostgreSQL"), (MYSQL, "MySQL / MariaDB")]
    )
    host = models.CharField("主机", max_length=200, validators=[check_host])
    port = models.PositiveIntegerField("端口", validators=[MinValueValidator(1), MaxValueValidator(65535)])
    database = models.CharField("库名", max_length=63, validators=[check_name])
    user = models.CharField("用户名", max_length=63, validators=[check_name])
    security = models.CharField(
        "传输加密",
        max_length=20,
        default=ENCRYPTED,
        choices=[(VERIFIED, "加密并核对证书"), (ENCRYPTED, "加密"), (PLAIN, "不加密")],
    )
    authority = models.TextField("签发证书（PEM）", max_length=20_000, blank=True)
    note = models.CharField("说明", max_length=200, blank=True)
    password_at = models.DateTimeField("口令设置时间", null=True, editable=False)

    scope = Scope(shared=True)

    class Meta:
        verbose_name = "前置库"
        ordering = ["name"]

    def __str__(self):
        return self.name

    def clean(self):
        if self.security == self.VERIFIED and "BEGIN CERTIFICATE" not in self.authority:
            raise ValidationError(
                {"authority": "核对证书需要签发机构的证书，请粘贴 PEM 文本（含 BEGIN CERTIFICATE 一行）"}
            )


class FrontPassword(models.Model):
    """The password of a source. It stands apart from what pages show: nobody sees it again."""

    source = models.OneToOneField(FrontSource, models.CASCADE, related_name="password")
    text = SealedField("口令", kind="text", purpose="连接前置库", basis="数据共享协议", keep="前置库停用为止")

    class Meta:
        verbose_name = "前置库口令"


class FrontFeed(Record):
    """Rows of a kind of sheet that come from a table of a source, in the order of its mark (水位).

    The mark is a column that grows: a number or the time of the latest change. What stands below `position`,
    but for a late commit, is here already. The first part says what is pulled, the second where it stands.
    """

    sheet = models.CharField("数据", max_length=40, unique=True)
    source = models.ForeignKey(FrontSource, models.PROTECT, verbose_name="前置库", related_name="feeds")
    table = models.CharField("表或视图", max_length=130, validators=[check_table])
    mark = models.CharField("水位列", max_length=63, blank=True, editable=False)
    # {name of our column: name of theirs}
    columns = models.JSONField("列对应", default=dict, editable=False)
    # Seconds of a time, or steps of a number: what was begun before and committed later lies there.
    overlap = models.PositiveIntegerField("回看", default=600, validators=[MaxValueValidator(100_000_000)])
    enabled = models.BooleanField("启用", default=False, editable=False)

    position = models.CharField("水位", max_length=40, blank=True, editable=False)
    load = models.ForeignKey(Load, models.SET_NULL, null=True, editable=False, related_name="+")
    begun_at = models.DateTimeField("最近取数", null=True, editable=False)
    complete_at = models.DateTimeField("最近取全", null=True, editable=False)
    outcome = models.CharField("结果", max_length=200, blank=True, editable=False)
    waiting = models.PositiveIntegerField("待取行数", null=True, editable=False)
    stored = models.BigIntegerField("累计新增", default=0, editable=False)
    error = models.CharField("故障", max_length=300, blank=True, editable=False)
    failing_since = models.DateTimeField("故障开始", null=True, editable=False)
    # [{at, mark, row, column, reason, kind}] of the latest rows refused or doubted, the last ones first
    problems = models.JSONField("问题行", default=list, editable=False)

    scope = Scope(shared=True)
    internal = (*Record.internal, "load", "problems")

    class Meta:
        verbose_name = "前置库取数"
        ordering = ["pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(enabled=False) | ~Q(mark=""), name="enabled_feed_has_its_mark"
            ),
            models.CheckConstraint(
                condition=Q(error="", failing_since=None) | (~Q(error="") & Q(failing_since__isnull=False)),
                name="feed_fails_since_some_time",
            ),
        ]

    def __str__(self):
        return f"{self.source}：{self.table}"
