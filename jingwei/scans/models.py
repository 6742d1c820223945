"""Scans at venues, by month, and the alerts that follow from their daily counts (KP-3, KP-6)."""

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import BigIntegerRangeField, DateRangeField, RangeOperators
from django.db import models
from django.db.models import F, Func, Q, Value
from django.utils import timezone

from jingwei.base.access import Rows, Scope
from jingwei.base.fields import SealedField
from jingwei.base.models import Record
from jingwei.places.models import CODE_LENGTH, Venue

CELL = 500  # characters; a longer cell is nothing that was scanned


class Scan(models.Model):
    """One person at one venue at one moment (扫码进场记录), as the province exports it.

    Venue code, time and a keyed digest of the whole source row make it the same scan. The code need not be a
    venue's of ours: `venue` is empty then.
    """

    pk = models.CompositePrimaryKey("venue_code", "collected_at", "digest")
    venue_code = models.CharField("公共场所ID", max_length=CODE_LENGTH)
    # As text, but for the time of collecting: what the province writes is kept as it stands (KP-3.1).
    venue_name = models.CharField("公共场所", max_length=CELL, blank=True)
    kind = models.CharField("类别", max_length=CELL, blank=True)
    city = models.CharField("所在市区", max_length=CELL, blank=True)
    street = models.CharField("所在街道", max_length=CELL, blank=True)
    manager = models.CharField("公共场所管理员", max_length=CELL, blank=True)
    number = SealedField(
        "被采集人身份证",
        kind="number",
        searchable=True,
        blank=True,
        purpose="查找到过同一场所的人员",
        basis="疫情防控场所扫码",
        keep="按批量删除，最长两年",
    )
    name = models.CharField("被采集人", max_length=CELL, blank=True)
    phone = SealedField(
        "联系电话",
        kind="phone",
        searchable=True,
        blank=True,
        purpose="联系到过同一场所的人员",
        basis="疫情防控场所扫码",
        keep="按批量删除，最长两年",
    )
    result = models.CharField("采集结果", max_length=CELL, blank=True)
    test_result = models.CharField("核酸结果", max_length=CELL, blank=True)
    tested_at = models.CharField("核酸结果时间", max_length=CELL, blank=True)
    health_code = models.CharField("健康码状态", max_length=CELL, blank=True)
    position = models.CharField("采集人所在位置", max_length=CELL, blank=True)
    collected_at = models.DateTimeField("采集时间")
    digest = models.BigIntegerField("摘要")
    importer = models.CharField("数据导入人", max_length=80, blank=True)
    imported_at = models.DateTimeField("数据导入时间", default=timezone.now)
    # No constraint, and empty where nobody has registered the code.
    venue = models.ForeignObject(
        Venue,
        models.DO_NOTHING,
        from_fields=["venue_code"],
        to_fields=["code"],
        null=True,
        related_name="+",
        verbose_name="公共场所",
    )

    objects = Rows.as_manager()
    scope = Scope(organisation="venue__regulator__path")
    internal = ("pk", "digest", "venue")

    class Meta:
        verbose_name = "扫码进场记录"
        ordering = ["-collected_at"]
        indexes = [
            models.Index(fields=["collected_at"], name="scans_by_time"),
            models.Index(fields=["number", "collected_at"], name="scans_by_number"),
            models.Index(fields=["phone", "collected_at"], name="scans_by_phone"),
            models.Index(fields=["name", "collected_at"], name="scans_by_name"),
            models.Index(fields=["imported_at"], name="scans_by_import"),
        ]

    def __str__(self):
        return (
            f"{self.venue_name or self.venue_code} {timezone.localtime(self.collected_at):%Y-%m-%d %H:%M:%S}"
        )


LOW, HIGH = "小于阈值", "大于阈值"


def _span(function, first, field, last=None):
    """Both ends included; core PostgreSQL excludes equal numbers only as ranges."""
    return Func(first, last or first, Value("[]"), function=function, output_field=field())


class Alert(Record):
    """So many days in a row on which a venue's scans were beyond its threshold (扫码预警, KP-6)."""

    venue = models.ForeignKey(Venue, models.CASCADE, verbose_name="公共场所", related_name="alerts")
    reason = models.CharField("预警原因", max_length=10, choices=[(LOW, LOW), (HIGH, HIGH)])
    first_day = models.DateField("首日")
    last_day = models.DateField("末日")
    raised_at = models.DateTimeField("预警时间", default=timezone.now)
    received_at = models.DateTimeField("接收时间", null=True)
    received_by = models.BigIntegerField("接收人编号", null=True)  # operator id
    receiver = models.CharField("接收人", max_length=80, blank=True)
    withdrawn_at = models.DateTimeField("撤回时间", null=True)
    # Received, and by the data of now no alert any more.
    outdated = models.BooleanField("与现有数据不符", default=False)

    scope = Scope(organisation="venue__regulator__path")
    internal = (*Record.internal, "received_by")

    class Meta:
        verbose_name = "扫码预警"
        ordering = ["venue", "first_day"]
        indexes = [models.Index(fields=["venue", "last_day"], name="alerts_of_venue")]
        constraints = [
            # Standing windows of one venue and reason never overlap (KP-6.3).
            ExclusionConstraint(
                name=name,
                expressions=[
                    (_span("int8range", F("venue"), BigIntegerRangeField), RangeOperators.OVERLAPS),
                    (
                        _span("daterange", F("first_day"), DateRangeField, F("last_day")),
                        RangeOperators.OVERLAPS,
                    ),
                ],
                condition=Q(withdrawn_at=None, reason=reason),
            )
            for name, reason in (("low_alerts_never_overlap", LOW), ("high_alerts_never_overlap", HIGH))
        ]

    def __str__(self):
        return f"{self.venue} {self.period} {self.reason}"

    @property
    def period(self) -> str:
        """预警时间段."""
        return f"{self.first_day}至{self.last_day}"


class Evaluation(models.Model):
    """The days up to `day` have been held against the thresholds (one row per night)."""

    day = models.DateField("评估至", unique=True)
    at = models.DateTimeField("时间")
    first_day = models.DateField("首个有扫码的日子", null=True)

    class Meta:
        ordering = ["-day"]
