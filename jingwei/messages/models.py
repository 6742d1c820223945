"""Short messages: templates, messages and what became of them, group sendings, receipts, replies (P-7)."""

import re
import uuid

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from jingwei.base.access import Rows, Scope
from jingwei.base.fields import SealedField
from jingwei.base.models import Record
from jingwei.directory.models import Organisation

BASIS = "《传染病防治法》及属地疫情防控职责"
KEEP = "六个月"

LONGEST_TEMPLATE = 500
PARAMETER = re.compile(r"\{([^{}\s]{1,20})\}")
# Line breaks, other controls, and marks that turn the direction of writing.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
NAME, ANSWER = "姓名", "回复"  # parameters filled by themselves: the receiver's name, what they answered


class SmsTemplate(Record):
    """A text with parameters in braces, “{场所}有{条数}条预警”. Every message is made from one (P-7.1)."""

    # By which another package finds its own template (actions.system_template); empty for all others.
    code = models.CharField("系统标识", max_length=60, unique=True, null=True, editable=False)
    name = models.CharField("模板名称", max_length=60, unique=True)
    text = models.CharField("内容", max_length=LONGEST_TEMPLATE)
    offered = ArrayField(
        models.CharField(max_length=20), verbose_name="系统提供的参数", default=list, editable=False
    )
    # Closed unless opened: a parameter may be a name or a code, and the log of messages is read by many.
    visible = ArrayField(
        models.CharField(max_length=20),
        verbose_name="日志中可见的参数",
        default=list,
        blank=True,
    )
    next = models.ForeignKey(
        "self",
        models.PROTECT,
        null=True,
        blank=True,
        verbose_name="收到回复后发送",
    )
    enabled = models.BooleanField("启用", default=True)

    scope = Scope(shared=True)
    internal = (*Record.internal, "code")

    class Meta:
        verbose_name = "短信模板"
        ordering = ["name"]

    def __str__(self):
        return self.name

    @property
    def parameters(self) -> list[str]:
        """Names of the parameters, in the order of the text."""
        return list(dict.fromkeys(PARAMETER.findall(self.text)))

    def clean(self):
        self.text = self.text.replace("\r\n", "\n")
        if CONTROL.search(self.text.replace("\n", "")):
            raise ValidationError({"text": "内容含有看不见的控制字符，请删去后重新填写"})
        if re.search(r"[{}]", PARAMETER.sub("", self.text)):
            raise ValidationError({"text": "花括号要成对，中间写参数名（不超过 20 字、不含空格），如 {场所}"})
        if self.code and (unfilled := [name for name in self.parameters if name not in self.offered]):
            known = "、".join(self.offered) or "无"
            raise ValidationError({"text": f"参数“{'、'.join(unfilled)}”无从填写；该系统模板的参数：{known}"})
        if unknown := [name for name in self.visible if name not in self.parameters]:
            raise ValidationError({"visible": f"内容中没有参数：{'、'.join(unknown)}"})
        if self.next:
            self._clean_next()
        for before in SmsTemplate.objects.filter(next=self.pk) if self.pk else ():
            before.next = self
            before._clean_next()

    def _clean_next(self):
        lacking = [name for name in self.next.parameters if name not in (*self.parameters, ANSWER)]
        if lacking:
            raise ValidationError(
                f"“{self.next}”在“{self}”之后发送，但参数“{'、'.join(lacking)}”不在“{self}”中，无从填写"
            )
        after, passed = self.next, {self.pk}
        while after:
            if after.pk in passed:
                raise ValidationError({"next": "回复后的模板绕回到了自己，请改选"})
            passed.add(after.pk)
            after = after.next


class SmsBatch(Record):
    """A message to a group. Above a number of receivers it waits for a second person (P-7.2, P-7.4)."""

    HELD, RELEASED, CANCELLED = "待放行", "已放行", "已取消"

    key = models.CharField("业务键", max_length=100, unique=True, editable=False)
    template = models.ForeignKey(SmsTemplate, models.PROTECT, verbose_name="模板")
    label = models.CharField("发送对象", max_length=200)
    shown = models.CharField("内容", max_length=2000)  # parameters of each receiver's own are left as {…}
    count = models.PositiveIntegerField("人数")
    left_out = models.PositiveIntegerField("无有效手机号", default=0)
    state = models.CharField("状态", max_length=10, choices=[(s, s) for s in (HELD, RELEASED, CANCELLED)])
    sender = models.CharField("发送人", max_length=80)
    organisation = models.ForeignKey(
        Organisation, models.PROTECT, null=True, verbose_name="发送单位", related_name="+"
    )
    released_at = models.DateTimeField("放行时间", null=True)
    # Empty where the receivers are too few to need a second person.
    released_by = models.BigIntegerField("放行人编号", null=True)
    releaser = models.CharField("放行人", max_length=80, blank=True)

    scope = Scope(region="organisation__region__code", organisation="organisation__path", owner="created_by")
    internal = (*Record.internal, "key", "released_by")

    class Meta:
        verbose_name = "短信群发"
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(released_by=None) | Q(created_by=None) | ~Q(released_by=F("created_by")),
                name="sms_released_by_a_second_person",
            ),
            models.CheckConstraint(
                condition=~Q(state="已放行") | Q(released_at__isnull=False), name="sms_release_has_its_time"
            ),
        ]

    def __str__(self):
        return f"{self.template}（{self.label}，{self.count} 人）"

    @property
    def has_unsent(self) -> bool:
        """Whether any of its messages could still be kept back."""
        return self.messages.filter(state__in=(SmsMessage.HELD, SmsMessage.WAITING)).exists()


class SmsMessage(models.Model):
    """One SMS to one number. Its key stands for the reason to send it: one reason, one SMS (P-7.2)."""

    HELD, WAITING, SENDING, SENT, DELIVERED = "待放行", "等待发送", "发送中", "已发送", "已送达"
    FAILED, UNSURE, CANCELLED = "失败", "待核实", "已取消"
    STATES = (HELD, WAITING, SENDING, SENT, DELIVERED, FAILED, UNSURE, CANCELLED)

    # What the gateway tells messages apart by; it says nothing about the reason or the receiver.
    uid = models.UUIDField("短信标识", unique=True, default=uuid.uuid4)
    key = models.CharField("业务键", max_length=120, unique=True)
    template = models.ForeignKey(SmsTemplate, models.PROTECT, verbose_name="模板")
    batch = models.ForeignKey(
        SmsBatch, models.PROTECT, null=True, verbose_name="群发", related_name="messages"
    )
    resends = models.OneToOneField(
        "self", models.PROTECT, null=True, verbose_name="重发自", related_name="resent"
    )
    follows = models.OneToOneField(
        "self", models.PROTECT, null=True, verbose_name="续发自", related_name="followed"
    )
    receiver = SealedField(
        "接收号码", kind="phone", searchable=True, purpose="发送短信", basis=BASIS, keep=KEEP
    )
    name = models.CharField("收信人", max_length=60, blank=True)
    content = SealedField("全文", kind="text", purpose="发送短信", basis=BASIS, keep=KEEP)
    shown = models.CharField("内容", max_length=2000)  # with stars for what the log may not show
    # JSON of the values, kept only where an answer sends the next template.
    values = SealedField("参数", kind="text", blank=True, purpose="续发短信", basis=BASIS, keep=KEEP)
    parts = models.PositiveSmallIntegerField("条数")
    state = models.CharField("状态", max_length=10, choices=[(s, s) for s in STATES], default=WAITING)
    attempts = models.PositiveSmallIntegerField("提交次数", default=0)
    not_before = models.DateTimeField("发送时间", default=timezone.now)  # when it is to be sent
    retry_at = models.DateTimeField("再次提交", null=True)
    # Until then nobody else hands it over; whoever claimed it and is late has lost it.
    claimed_until = models.DateTimeField(null=True)
    gateway = models.CharField("网关", max_length=10, blank=True)
    gateway_ids = ArrayField(models.CharField(max_length=64), verbose_name="网关编号", default=list)
    error = models.CharField("网关返回", max_length=200, blank=True)
    sent_at = models.DateTimeField("提交时间", null=True)  # when the gateway took it
    delivered_at = models.DateTimeField("送达时间", null=True)
    answered_at = models.DateTimeField("回复时间", null=True)
    organisation = models.ForeignKey(
        Organisation, models.PROTECT, null=True, verbose_name="发送单位", related_name="+"
    )
    sender = models.CharField("发送人", max_length=80)
    created_at = models.DateTimeField("创建时间", default=timezone.now)
    created_by = models.BigIntegerField("发送人编号", null=True)

    objects = Rows.as_manager()
    scope = Scope(region="organisation__region__code", organisation="organisation__path", owner="created_by")
    internal = ("id", "uid", "key", "values", "retry_at", "claimed_until", "gateway_ids", "created_by")

    class Meta:
        verbose_name = "短信"
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(
                    state__in=["待放行", "等待发送", "发送中", "已发送", "已送达", "失败", "待核实", "已取消"]
                ),
                name="sms_state_is_known",
            ),
            models.CheckConstraint(
                condition=Q(state="发送中", claimed_until__isnull=False)
                | (~Q(state="发送中") & Q(claimed_until=None)),
                name="sms_is_claimed_while_sending",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["已发送", "已送达"]) | Q(sent_at__isnull=False),
                name="sms_sent_has_its_time",
            ),
            models.CheckConstraint(
                condition=~Q(state="已送达") | Q(delivered_at__isnull=False),
                name="sms_delivered_has_its_time",
            ),
        ]
        indexes = [
            # The queue: what waits, and what of a receiver stands before it.
            models.Index(fields=["id"], condition=Q(state__in=["等待发送", "发送中"]), name="sms_queue"),
            models.Index(
                fields=["receiver", "id"],
                condition=Q(state__in=["等待发送", "发送中"]),
                name="sms_queue_of_receiver",
            ),
            models.Index(fields=["receiver", "-id"], name="sms_of_receiver"),
            models.Index(fields=["created_at"], name="sms_by_time"),
            GinIndex(fields=["gateway_ids"], name="sms_by_gateway_id"),
        ]

    def __str__(self):
        return f"{self.template} → {self.receiver}"


class SmsReceipt(models.Model):
    """What a gateway reported. The same event twice is one row; one without a message waits for it."""

    gateway = models.CharField("网关", max_length=10)
    event = models.CharField("事件", max_length=80)
    gateway_id = models.CharField("网关编号", max_length=64, blank=True)
    message = models.ForeignKey(SmsMessage, models.CASCADE, null=True, related_name="receipts")
    delivered = models.BooleanField("送达", null=True)
    code = models.CharField("状态码", max_length=40, blank=True)
    at = models.DateTimeField("时间", default=timezone.now)  # by the gateway
    received_at = models.DateTimeField("收到时间", default=timezone.now)

    class Meta:
        verbose_name = "短信回执"
        constraints = [models.UniqueConstraint(fields=["gateway", "event"], name="each_sms_receipt_once")]
        indexes = [
            models.Index(
                fields=["gateway", "gateway_id"], condition=Q(message=None), name="sms_receipts_waiting"
            )
        ]


class SmsReply(models.Model):
    """An SMS that came back. The same event twice is one row."""

    gateway = models.CharField("网关", max_length=10)
    event = models.CharField("事件", max_length=80)
    message = models.ForeignKey(
        SmsMessage, models.CASCADE, null=True, verbose_name="所回复的短信", related_name="replies"
    )
    sender = SealedField(
        "回复号码", kind="phone", searchable=True, purpose="接收回复", basis=BASIS, keep=KEEP
    )
    text = SealedField("回复内容", kind="text", blank=True, purpose="接收回复", basis=BASIS, keep=KEEP)
    at = models.DateTimeField("时间", default=timezone.now)

    objects = Rows.as_manager()
    scope = Scope(
        region="message__organisation__region__code",
        organisation="message__organisation__path",
        owner="message__created_by",
    )
    internal = ("id", "gateway", "event")

    class Meta:
        verbose_name = "短信回复"
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["gateway", "event"], name="each_sms_reply_once")]

    def __str__(self):
        return f"{self.sender} {self.at:%Y-%m-%d %H:%M}"


class Outage(models.Model):
    """A gateway that does not answer now: what the sending page tells while messages wait (P-7.4)."""

    gateway = models.CharField(max_length=10, primary_key=True)
    since = models.DateTimeField(default=timezone.now)
    error = models.CharField(max_length=200)
