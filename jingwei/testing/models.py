"""Samples: who was tested when, where, with what result. Insert-only events by month (architecture §5)."""

from django.db import models
from django.utils import timezone

from jingwei.base.access import Rows, Scope
from jingwei.base.fields import SealedField
from jingwei.directory.fields import RegionCodeField
from jingwei.people.day_counts import Counted, day_of

SAMPLES = Counted("samples", "testing_sample", f"SELECT region, {day_of('sampled_at')} FROM {{}}")  # noqa: S608
PENDING = "待出"  # the result of a sample that has none yet


class Sample(models.Model):
    """One swab of one person at one test point (采样/核酸检测记录).

    Person, time and point make it the same sample. `number` is the document number's ciphertext, which joins
    samples with people; a sample of somebody in no register has no region.
    """

    pk = models.CompositePrimaryKey("number", "sampled_at", "point")
    number = SealedField(
        "证件号", kind="number", searchable=True, purpose="关联受检人", basis="疫情防控检测服务", keep="两年"
    )
    sampled_at = models.DateTimeField("采样时间")
    point = models.CharField("采样点名称", max_length=120)
    region = RegionCodeField("受检人所在村/社区", blank=True)
    name = models.CharField("受检人", max_length=60, blank=True)
    institution = models.CharField("检测机构", max_length=120, blank=True)
    result = models.CharField("检测结果", max_length=10, blank=True)
    result_at = models.DateTimeField("检测时间", null=True)
    received_at = models.DateTimeField("入库时间", default=timezone.now)
    load = models.BigIntegerField("导入编号", null=True)  # the one that wrote the row last

    objects = Rows.as_manager()
    scope = Scope(region="region")
    internal = ("region", "pk", "load")

    class Meta:
        verbose_name = "核酸检测"
        ordering = ["-sampled_at"]
        indexes = [
            models.Index(fields=["region", "sampled_at"], name="samples_by_region"),
            models.Index(fields=["load"], name="samples_by_load"),
        ]
        triggers = SAMPLES.triggers()

    def __str__(self):
        return f"{self.name} {self.sampled_at:%Y-%m-%d %H:%M}"


class SampleBefore(models.Model):
    """A sample as it was before a load changed it: its history, and what undoing that load needs (CL-6.3)."""

    number = SealedField(
        "证件号",
        kind="number",
        searchable=True,
        purpose="核对被替换的结果",
        basis="疫情防控检测服务",
        keep="两年",
    )
    sampled_at = models.DateTimeField("采样时间")
    point = models.CharField("采样点名称", max_length=120)
    region = RegionCodeField("受检人所在村/社区", blank=True)
    name = models.CharField("受检人", max_length=60, blank=True)
    institution = models.CharField("检测机构", max_length=120, blank=True)
    result = models.CharField("检测结果", max_length=10, blank=True)
    result_at = models.DateTimeField("检测时间", null=True)
    load = models.BigIntegerField("导入编号", null=True)  # the one that had written these values
    replaced_by = models.BigIntegerField("替换它的导入", null=True)
    replaced_at = models.DateTimeField("替换时间", default=timezone.now)
    by_name = models.CharField("操作员", max_length=80, blank=True)

    objects = Rows.as_manager()
    scope = Scope(region="region")
    internal = ("id", "region", "load", "replaced_by")

    class Meta:
        verbose_name = "被替换的检测结果"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["number", "sampled_at"], name="samples_before"),
            models.Index(fields=["replaced_by"], name="samples_before_load"),
            models.Index(fields=["load"], name="samples_before_by_load"),
        ]

    def __str__(self):
        return f"{self.name} {timezone.localtime(self.sampled_at):%Y-%m-%d %H:%M}"
