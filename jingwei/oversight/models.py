"""Proofs that data are gone: what the nights erased, and what went because a person asked (SEC-17)."""

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from jingwei.base.access import Rows, Scope
from jingwei.base.fields import SealedField
from jingwei.base.models import Record
from jingwei.directory.fields import RegionCodeField


class Erasure(models.Model):
    """Proof that rows of one kind were erased in one night because their time was over (P-4.6).

    The digest is that of the keys of the rows: a backup from before tells whether it is right.
    """

    kind = models.CharField("类别", max_length=40)
    label = models.CharField("数据", max_length=60)
    rule = models.CharField("保存期限", max_length=60)
    before = models.DateTimeField("早于")  # of the rows' own time
    begun_at = models.DateTimeField("开始时间", default=timezone.now)
    ended_at = models.DateTimeField("完成时间", null=True)
    count = models.BigIntegerField("删除条数", default=0)
    digest = models.CharField("摘要（SM3）", max_length=64, blank=True)

    objects = Rows.as_manager()
    scope = Scope(shared=True)
    internal = ("id", "kind")

    class Meta:
        verbose_name = "到期清理证明"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["kind"], condition=Q(ended_at=None), name="one_unfinished_erasure_per_kind"
            )
        ]

    def __str__(self):
        return f"{self.label} {timezone.localtime(self.begun_at):%Y-%m-%d}"


class ErasureRequest(Record):
    """Somebody asks that all their data be deleted (个人信息保护法第四十七条); two people decide on it.

    Done, it is the proof: the number itself is gone, too, and is only recognised by its keyed digest.
    """

    WAITING, RUNNING, DONE, WITHDRAWN = "待确认", "正在删除", "已删除", "已撤回"

    number = SealedField(
        "证件号码",
        kind="number",
        searchable=True,
        blank=True,
        purpose="查找并删除本人的个人信息",
        basis="《个人信息保护法》第四十七条",
        keep="删除或撤回后即清空",
    )
    # A MAC in hex: it tells the number to nobody without the key ring.
    mark = models.CharField("号码标识", max_length=32)
    region = RegionCodeField("登记地", blank=True)
    reason = models.CharField("事由", max_length=200)
    asker = models.CharField("提出人", max_length=80)
    state = models.CharField(
        "状态",
        max_length=10,
        default=WAITING,
        choices=[(s, s) for s in (WAITING, RUNNING, DONE, WITHDRAWN)],
    )
    confirmed_by = models.BigIntegerField("确认人编号", null=True)
    confirmer = models.CharField("确认人", max_length=80, blank=True)
    confirmed_at = models.DateTimeField("确认时间", null=True)
    ended_at = models.DateTimeField("办结时间", null=True)
    # [[table, rows]] of what went, [[table, rows, why]] of what stays by law.
    gone = models.JSONField("已删除的数据", default=list)
    stays = models.JSONField("依法保留的数据", default=list)
    digest = models.CharField("摘要（SM3）", max_length=64, blank=True)

    scope = Scope(region="region", owner="created_by")
    internal = (*Record.internal, "region", "confirmed_by", "gone", "stays")

    class Meta:
        verbose_name = "个人信息删除申请"
        ordering = ["-id"]
        indexes = [models.Index(fields=["mark"], name="erasure_requests_by_mark")]
        constraints = [
            models.CheckConstraint(
                condition=Q(confirmed_by=None) | ~Q(confirmed_by=F("created_by")),
                name="erasure_confirmed_by_a_second_person",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["正在删除", "已删除"]) | Q(confirmed_by__isnull=False),
                name="erasure_has_been_confirmed",
            ),
            models.CheckConstraint(
                condition=~Q(state="已删除") | Q(number=None), name="erased_number_is_gone"
            ),
        ]

    def __str__(self):
        return f"第 {self.pk} 号申请 {self.number or ''}".strip()

    @property
    def total(self) -> int:
        """How many rows went."""
        return sum(count for _, count in self.gone)
