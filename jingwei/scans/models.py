"""Scans at venues, by month, and what follows: alerts, contacts, unusual days (KP-3, KP-6, KP-9)."""

from dataclasses import dataclass
from datetime import datetime, time, timedelta

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import ArrayField, BigIntegerRangeField, DateRangeField, RangeOperators
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import F, Func, Q, Value
from django.utils import timezone

from jingwei.base.access import NO_SCOPE, Rows, SameReach, Scope
from jingwei.base.attachments import Attachment
from jingwei.base.fields import SealedField
from jingwei.base.models import Record
from jingwei.directory.models import Organisation
from jingwei.places.models import CODE_LENGTH, Venue

# By these single texts scans are looked for, and by what is known of their venues (KP-4.1).
FOUND_BY = ("number", "phone", "name")
# And by these, where a scan says something else than nearly all do: who looks for what nearly all say meets
# it at once along the time.
ORDINARY = {"result": ("正常", ""), "test_result": ("阴性", ""), "health_code": ("绿码", "")}
CELL = 500  # characters; a longer cell is nothing that was scanned


@dataclass(frozen=True)
class OfRegulators(Scope):
    """Rows of the venues that the organisations within reach regulate.

    They are named by their ids: how many venues each has the database knows, of their paths it knows nothing,
    and among hundreds of millions of rows it has to know where to begin.
    """

    def within(self, reach):
        if reach == NO_SCOPE or reach.everything:
            return super().within(reach)
        regulators = Organisation.objects.filter(Scope(organisation="path").within(reach))
        return Q(venue__regulator__in=list(regulators.values_list("pk", flat=True)))


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
    scope = OfRegulators(organisation="venue__regulator__path")
    internal = ("pk", "digest", "venue")

    class Meta:
        verbose_name = "扫码进场记录"
        ordering = ["-collected_at"]
        indexes = [
            models.Index(fields=["collected_at"], name="scans_by_time"),
            # Without the time: equal values are kept once then. Few rows are sorted; of a frequent value the
            # latest are soon met along the time.
            *(models.Index(fields=[name], name=f"scans_by_{name}") for name in FOUND_BY),
            *(
                models.Index(fields=[name], name=f"scans_by_{name}", condition=~Q(**{f"{name}__in": words}))
                for name, words in ORDINARY.items()
            ),
            # Rows that came together lie together.
            BrinIndex(fields=["imported_at"], name="scans_by_import", pages_per_range=32),
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


class AlertAttachment(Attachment):
    """What was done about an alert."""

    record = models.ForeignKey(Alert, models.CASCADE, verbose_name="扫码预警", related_name="attachments")

    scope = Scope(organisation="record__venue__regulator__path")

    class Meta(Attachment.Meta):
        verbose_name = "预警附件"


class Evaluation(models.Model):
    """The days up to `day` have been held against the thresholds (one row per night)."""

    day = models.DateField("评估至", unique=True)
    at = models.DateTimeField("时间")
    first_day = models.DateField("首个有扫码的日子", null=True)

    class Meta:
        ordering = ["-day"]


# --- who was at the same venues (KP-9.1) ------------------------------------------------------------------


class ContactSearch(Record):
    """A question: who was scanned where and when this person was (接触者查找); `contacts` answer it.

    What was found stays until it is deleted or too old, as a list to work through.
    """

    number = SealedField(
        "证件号码",
        kind="number",
        searchable=True,
        purpose="查找与此人到过同一场所的人员",
        basis="疫情防控流行病学调查",
        keep="核查结束后删除，最长按系统参数",
    )
    name = models.CharField("被查人", max_length=CELL, blank=True)
    since = models.DateField("开始日期")
    until = models.DateField("结束日期")
    minutes = models.PositiveSmallIntegerField("相隔分钟")
    second_ring = models.BooleanField("查二次接触", default=False)
    reason = models.CharField("事由", max_length=200)
    asker = models.CharField("查找人", max_length=80)
    reach = models.TextField("查找范围")
    # What was found: scans of the person, how many people in each ring, scans beside them of nobody known.
    scans = models.PositiveIntegerField("本人扫码", default=0)
    first_ring = models.PositiveIntegerField("一次接触", default=0)
    second_ring_found = models.PositiveIntegerField("二次接触", default=0)
    unknown = models.PositiveIntegerField("没有证件号的扫码", default=0)

    scope = SameReach(reach="reach")
    internal = (*Record.internal, "reach")

    class Meta:
        verbose_name = "接触者查找"
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["number"], name="contact_searches_of")]

    def __str__(self):
        return f"{self.name} {self.number} {self.since}至{self.until}".strip()

    @property
    def within(self) -> timedelta:
        """How far apart two scans at a venue may be, this included, to be a meeting."""
        return timedelta(minutes=self.minutes)

    @property
    def span(self) -> tuple[datetime, datetime]:
        """From when to before when the person's scans are looked at."""
        days = (self.since, self.until + timedelta(days=1))
        begin, end = (timezone.make_aware(datetime.combine(day, time())) for day in days)
        return begin, end


class Contact(models.Model):
    """Who met the person of a search at venues (接触者), as the scans said when it was asked."""

    FIRST, SECOND = 1, 2

    search = models.ForeignKey(
        ContactSearch, models.CASCADE, related_name="contacts", verbose_name="接触者查找"
    )
    ring = models.PositiveSmallIntegerField("圈层", choices=[(FIRST, "一次接触"), (SECOND, "二次接触")])
    place = models.PositiveIntegerField("名次")
    number = SealedField(
        "证件号码",
        kind="number",
        searchable=True,
        purpose="核查到过同一场所的人员",
        basis="疫情防控流行病学调查",
        keep="与所属的接触者查找一同删除",
    )
    name = models.CharField("姓名", max_length=CELL, blank=True)
    phone = SealedField(
        "联系电话",
        kind="phone",
        searchable=True,
        blank=True,
        purpose="联系到过同一场所的人员",
        basis="疫情防控流行病学调查",
        keep="与所属的接触者查找一同删除",
    )
    meetings = models.PositiveIntegerField("相遇次数")
    venues = models.PositiveIntegerField("场所数")
    nearest = models.PositiveIntegerField("最近相隔")  # seconds
    apart = models.PositiveIntegerField("平均相隔")  # seconds, over the meetings
    first_at = models.DateTimeField("首次相遇")
    last_at = models.DateTimeField("最近相遇")
    # Of the second ring: whom of the first they met, the highest in rank if several.
    via = models.ForeignKey("self", models.CASCADE, null=True, related_name="+", verbose_name="经由")
    # Of the first ring: whether their own contacts were looked for.
    followed = models.BooleanField("已查其接触者", default=False)

    objects = Rows.as_manager()
    scope = SameReach(reach="search__reach")
    internal = ("id",)

    class Meta:
        verbose_name = "接触者"
        ordering = ["search", "ring", "place"]
        indexes = [
            models.Index(fields=["search", "ring", "place"], name="contacts_in_order"),
            models.Index(fields=["number"], name="contacts_by_number"),
        ]

    def __str__(self):
        return self.name or str(self.number)


# --- unlike the usual days (KP-9.2) -----------------------------------------------------------------------


class UnusualDay(models.Model):
    """A day on which a venue had far fewer or more scans than on the same weekdays before (异常日)."""

    FEWER, MORE = "偏少", "偏多"

    venue = models.ForeignKey(Venue, models.CASCADE, verbose_name="公共场所", related_name="unusual_days")
    day = models.DateField("日期")
    count = models.PositiveIntegerField("扫码量")
    usual = models.FloatField("平常")  # median of the weekday
    low = models.PositiveIntegerField("正常下限")
    high = models.PositiveIntegerField("正常上限")
    direction = models.CharField("偏离方向", max_length=10, choices=[(FEWER, FEWER), (MORE, MORE)])
    deviation = models.FloatField("偏离程度")  # how many times the usual spread

    objects = Rows.as_manager()
    scope = Scope(organisation="venue__regulator__path")
    internal = ("id",)

    class Meta:
        verbose_name = "异常日"
        ordering = ["-deviation"]
        indexes = [models.Index(fields=["-deviation", "venue"], name="unusual_days_ranked")]
        constraints = [models.UniqueConstraint(fields=["venue", "day"], name="one_unusual_day_per_day")]

    def __str__(self):
        return f"{self.venue} {self.day} {self.direction}"


class SuggestedThreshold(models.Model):
    """A minimum and a maximum that a venue's usual days keep, and why (建议阈值); None: no such side."""

    venue = models.OneToOneField(
        Venue, models.CASCADE, verbose_name="公共场所", related_name="suggested_threshold"
    )
    low = models.PositiveIntegerField("建议最小值", null=True)
    high = models.PositiveIntegerField("建议最大值", null=True)
    reason = models.CharField("理由", max_length=200)

    objects = Rows.as_manager()
    scope = Scope(organisation="venue__regulator__path")
    internal = ("id",)

    class Meta:
        verbose_name = "建议阈值"
        ordering = ["venue"]

    def __str__(self):
        return str(self.venue)


class Analysis(models.Model):
    """The last time the usual days were worked out: one row."""

    at = models.DateTimeField("时间")
    through = models.DateField("分析至")
    # Days on which nobody was scanned anywhere: their scans have not come, so nothing is known of them.
    silent = ArrayField(models.DateField(), verbose_name="没有数据的日子")
