"""Short messages on the desk: templates, the log of messages, group sendings, replies (P-7.1 to P-7.4)."""

from django import forms
from django.db.models import Q

from jingwei.base.resource import (
    Between,
    Choice,
    Column,
    Contains,
    Exact,
    Figure,
    Moment,
    Panel,
    Ref,
    Resource,
    Tab,
    Verb,
    YesNo,
)
from jingwei.desk.forms import WordsField
from jingwei.messages.actions import cancel, cancel_batch, release, resend, settle
from jingwei.messages.models import LONGEST_TEMPLATE, SmsBatch, SmsMessage, SmsReply, SmsTemplate

HELD, WAITING, SENDING = SmsMessage.HELD, SmsMessage.WAITING, SmsMessage.SENDING
SENT, DELIVERED = SmsMessage.SENT, SmsMessage.DELIVERED
FAILED, UNSURE = SmsMessage.FAILED, SmsMessage.UNSURE


class TextField(forms.CharField):
    """The text of a template, with how parameters are written."""

    is_wide = True

    def __init__(self):
        super().__init__(
            label="内容",
            max_length=LONGEST_TEMPLATE,
            widget=forms.Textarea({"rows": 4}),
            help_text="参数写在花括号里，如：{场所}有{条数}条预警待接收。{姓名} 群发时自动填写收信人姓名。",
        )


class VisibleField(WordsField):
    """The parameters whose values the log may show."""

    def __init__(self):
        super().__init__(label="日志中可见的参数", required=False)
        self.help_text = "只填不含个人信息的参数，用顿号隔开；其余参数的值在短信记录中以星号代替"


class SmsTemplateResource(Resource):
    name = "sms-templates"
    label = "短信模板"
    icon = "file-text"
    model = SmsTemplate
    actions = ("view", "add", "change", "delete", "export")
    fields = ["name", "text", "visible", "next", "enabled"]
    readonly = ["offered"]
    form_fields = {"text": lambda actor: TextField(), "visible": lambda actor: VisibleField()}
    columns = [
        "name",
        "text",
        Column("parameters", "参数", lambda template: "、".join(template.parameters), "", ["text"]),
        "visible",
        "next",
        "enabled",
    ]
    hidden = ["visible"]
    sections = [("模板", ["name", "text", "visible", "offered"]), ("规则", ["next", "enabled"])]
    filters = [YesNo("enabled"), Contains("text")]
    search = ["name", "text"]
    search_hint = "名称、内容"
    order = ["name"]
    empty = "还没有短信模板。发送短信前先新增一个模板。"


class SmsMessageResource(Resource):
    name = "sms-messages"
    label = "短信记录"
    icon = "message"
    model = SmsMessage
    actions = ("view", "export")
    readonly = [
        *("receiver", "name", "content", "shown", "template", "state", "error"),
        *("created_at", "not_before", "sent_at", "delivered_at", "answered_at"),
        *("parts", "attempts", "gateway", "sender", "organisation", "batch", "resends", "follows"),
    ]
    columns = [
        "created_at",
        "shown",
        "receiver",
        "name",
        "state",
        "error",
        "sent_at",
        "delivered_at",
        "answered_at",
        "template",
        "parts",
        "attempts",
        "sender",
        "organisation",
    ]
    hidden = ["answered_at", "template", "parts", "attempts"]
    link = "created_at"
    related = ["template", "organisation"]
    order = ["-pk"]
    sections = [
        ("短信", ["receiver", "name", "shown", "content", "template", "parts"]),
        ("结果", ["state", "error", "created_at", "not_before", "sent_at", "delivered_at", "answered_at"]),
        ("来由", ["sender", "organisation", "batch", "resends", "follows", "gateway", "attempts"]),
    ]
    tabs = [
        Tab("待发", Q(state__in=[HELD, WAITING, SENDING])),
        Tab("已发", Q(state__in=[SENT, DELIVERED])),
        Tab("失败", Q(state=FAILED)),
        Tab("待核实", Q(state=UNSURE)),
    ]
    filters = [
        Choice("state"),
        Exact("receiver"),
        Contains("name"),
        Contains("shown"),
        Between("created_at"),
        Between("sent_at"),
        Ref("template"),
        Ref("batch"),
        Contains("error"),
        Ref("organisation"),
        Contains("sender"),
    ]
    search = ["receiver", "name", "shown", "sender"]
    search_hint = "号码、收信人、内容、发送人"
    figures = [Figure("短信待核实", f"state={UNSURE}", waits=True)]
    verbs = [
        Verb(
            "resend",
            "重发",
            resend,
            offered=lambda message: message.state == FAILED,
            note="作为一条新的短信再发一次，原记录保留。每条失败的短信可重发一次。",
        ),
        Verb(
            "settle",
            "核实",
            settle,
            form={
                "arrived": forms.ChoiceField(
                    label="核实结果", choices=[("", "请选择"), ("yes", "对方已收到"), ("no", "对方未收到")]
                )
            },
            offered=lambda message: message.state == UNSURE,
            note="提交时与网关的连接中断，网关是否收到不明。向网关或对方核实后填写；未收到的可再重发。",
        ),
        Verb(
            "cancel",
            "取消发送",
            cancel,
            offered=lambda message: message.state in (HELD, WAITING),
            danger=True,
            note="尚未发出的短信不再发送。已提交过、正等待再次提交的短信，对方可能已收到。",
        ),
    ]
    panels = [Panel("sms-batches", "短信", lambda batch: batch.messages.order_by("pk"))]
    empty = "还没有短信。在“发送短信”中选择模板发送。"


class SmsBatchResource(Resource):
    name = "sms-batches"
    label = "短信群发"
    icon = "messages"
    model = SmsBatch
    actions = ("view", "export")
    readonly = [
        *("template", "label", "shown", "count", "left_out", "state", "created_at"),
        *("sender", "organisation", "releaser", "released_at"),
    ]
    columns = [
        *("created_at", "label", "shown", "count", "left_out", "state"),
        *("sender", "organisation", "releaser", "released_at"),
    ]
    link = "created_at"
    related = ["template", "organisation"]
    order = ["-pk"]
    tabs = [Tab("待放行", Q(state=SmsBatch.HELD)), Tab("已放行", Q(state=SmsBatch.RELEASED))]
    filters = [Choice("state"), Between("created_at"), Between("count"), Contains("label"), Ref("template")]
    search = ["label", "shown", "sender"]
    search_hint = "发送对象、内容、发送人"
    figures = [Figure("短信群发待放行", f"state={SmsBatch.HELD}", waits=True)]
    verbs = [
        Verb(
            "release",
            "放行",
            release,
            offered=lambda batch: batch.state == SmsBatch.HELD,
            note="核对内容和人数后放行，短信随即发出。须由发送人以外的另一人放行。",
        ),
        Verb(
            "cancel",
            "取消发送",
            cancel_batch,
            offered=lambda batch: batch.has_unsent,
            danger=True,
            note="该群发中尚未发出的短信不再发送，已发出的不受影响。",
        ),
    ]
    empty = "还没有群发。在“发送短信”中选择模板和发送对象。"


class SmsReplyResource(Resource):
    name = "sms-replies"
    label = "短信回复"
    icon = "inbox"
    model = SmsReply
    actions = ("view", "export")
    readonly = ["at", "sender", "text", "message"]
    columns = ["at", "sender", "text", "message"]
    related = ["message__template"]
    order = ["-pk"]
    filters = [Exact("sender"), Between("at")]
    search = ["sender"]
    search_hint = "号码"
    panels = [Panel("sms-messages", "回复", lambda message: message.replies.order_by("pk"))]
    moments = [
        Moment(
            "sms-messages",
            lambda message: message.replies.all(),
            at=lambda reply: reply.at,
            text=lambda reply: f"收到回复：{reply.text or '（空）'}",
        )
    ]
    empty = "还没有收到回复。"


RESOURCES = [SmsMessageResource(), SmsBatchResource(), SmsReplyResource(), SmsTemplateResource()]
