"""Samples: who was tested when, where, with what result. Insert-only events by month (architecture §5)."""

from django.db import models
from django.utils import timezone

from jingwei.base.access import Rows, Scope
from jingwei.base.fields import SealedField
from jingwei.directory.fields import RegionCodeField


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

    objects = Rows.as_manager()
    scope = Scope(region="region")
    internal = ("region", "pk")

    class Meta:
        verbose_name = "核酸检测"
        ordering = ["-sampled_at"]
        indexes = [models.Index(fields=["region", "sampled_at"], name="samples_by_region")]

    def __str__(self):
        return f"{self.name} {self.sampled_at:%Y-%m-%d %H:%M}"
