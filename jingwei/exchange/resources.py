"""Front databases and feeds on the desk (P-8.4, KP-8.2)."""

from django import forms
from django.db.models import Q

from jingwei.base.resource import Choice, Column, Figure, Ref, Resource, Tab, Verb, YesNo
from jingwei.exchange import pages
from jingwei.exchange.actions import (
    FEEDS,
    SOURCES,
    delete_feed,
    pull_now,
    save_feed,
    save_source,
    set_password,
    start_over,
    switch_off,
    switch_on,
)
from jingwei.exchange.models import FrontFeed, FrontSource
from jingwei.exchange.queries import label_of, pulled_sheets


class CertificateField(forms.CharField):
    """A certificate as text, its lines kept."""

    is_wide = True

    def __init__(self):
        super().__init__(
            label="签发证书（PEM）",
            required=False,
            max_length=20_000,
            widget=forms.Textarea({"rows": 4, "spellcheck": "false"}),
            help_text="选择“加密并核对证书”时填写：签发对方证书的机构证书，以 BEGIN CERTIFICATE 一行开头",
        )

    def clean(self, value):
        return super().clean(value).replace("\r\n", "\n")


class SheetField(forms.ChoiceField):
    """Which kind of data a feed brings."""

    def __init__(self):
        names = [(name, sheet.label) for name, sheet in pulled_sheets().items()]
        super().__init__(label="数据", choices=[("", "请选择"), *names])


class OverlapField(forms.IntegerField):
    """How far before its position a pull begins."""

    def __init__(self):
        super().__init__(
            label="回看",
            min_value=0,
            max_value=100_000_000,
            help_text="每次从水位之前多少开始，补上对方晚提交的行：水位是时间的按秒计，是编号的按个计；"
            "应比对方最长的一次写入更长",
        )


class FrontSourceResource(Resource):
    name = SOURCES
    label = "前置库"
    icon = "server"
    model = FrontSource
    actions = ("view", "add", "change", "delete")
    fields = ["name", "kind", "host", "port", "database", "user", "security", "authority", "note"]
    readonly = ["password_at"]
    form_fields = {"authority": lambda actor: CertificateField()}
    columns = ["name", "kind", "host", "port", "database", "user", "security", "password_at", "note"]
    sections = [
        ("前置库", ["name", "kind", "note"]),
        ("连接", ["host", "port", "database", "user", "password_at"]),
        ("加密", ["security", "authority"]),
    ]
    filters = [Choice("kind")]
    search = ["name", "host", "database"]
    search_hint = "名称、主机、库名"
    order = ["name"]
    verbs = [
        Verb(
            "password",
            "设置口令",
            set_password,
            form={
                "password": forms.CharField(
                    label="口令",
                    max_length=200,
                    strip=False,
                    widget=forms.PasswordInput({"autocomplete": "new-password"}),
                )
            },
            bulk=False,
            note="口令加密保存，以后不再显示。改变主机、端口、库名、用户名或加密方式后须重新设置。",
        ),
    ]
    pages = [("<int:pk>/", pages.source), ("<int:pk>/try/", pages.try_to_connect)]
    empty = "还没有前置库。新增一个并设置口令后，运维单位就可以从中取数。"

    def save(self, actor, obj, *, values, version=None):
        return save_source(actor, obj, values=values, version=version)


class FrontFeedResource(Resource):
    name = FEEDS
    label = "前置库取数"
    icon = "database"
    model = FrontFeed
    actions = ("view", "add", "change", "delete", "export")
    fields = ["sheet", "source", "table", "overlap"]
    readonly = [
        *("enabled", "mark", "position", "begun_at", "complete_at", "waiting", "outcome", "stored"),
        *("error", "failing_since"),
    ]
    internal = ["columns"]
    form_fields = {"sheet": lambda actor: SheetField(), "overlap": lambda actor: OverlapField()}
    columns = [
        Column("sheet", "数据", lambda feed: label_of(feed.sheet), "sheet", ["sheet"]),
        *("source", "table", "enabled", "position", "complete_at", "waiting", "stored", "error"),
    ]
    link = "sheet"
    related = ["source"]
    sections = [
        ("取什么", ["sheet", "source", "table", "mark", "overlap"]),
        ("取到哪里", ["enabled", "position", "complete_at", "waiting", "stored"]),
        ("最近一次", ["begun_at", "outcome", "error", "failing_since"]),
    ]
    order = ["pk"]
    tabs = [Tab("启用", Q(enabled=True)), Tab("故障", ~Q(error=""))]
    filters = [Ref("source"), YesNo("enabled")]
    figures = [Figure("前置库取数故障", "tab=1", waits=True)]
    bulk_delete = False
    verbs = [
        Verb(
            "switch-on",
            "启用",
            switch_on,
            offered=lambda feed: not feed.enabled,
            bulk=False,
            note="按设定的间隔自动取数。启用期间，同一种数据的手工导入和删除关闭，停用后恢复。",
        ),
        Verb(
            "pull",
            "立即取数",
            pull_now,
            offered=lambda feed: feed.enabled,
            bulk=False,
            note="不等下一次，现在就从水位开始取。",
        ),
        Verb(
            "start-over",
            "重取",
            start_over,
            form={
                "mark": forms.CharField(
                    label="从哪个水位开始",
                    max_length=40,
                    required=False,
                    help_text="编号或时间，与水位列一致；不填则从头取",
                )
            },
            offered=lambda feed: bool(feed.mark),
            bulk=False,
            note="把水位改到指定处，下一次取数从那里开始。已有的行会被认出，不会重复。",
        ),
        Verb(
            "switch-off",
            "停用",
            switch_off,
            offered=lambda feed: feed.enabled,
            bulk=False,
            note="停止取数，正在取的也停下；手工导入和删除恢复。水位保留，再启用时接着取。",
        ),
    ]
    pages = [("<int:pk>/", pages.feed), ("<int:pk>/columns/", pages.columns)]
    empty = "还没有取数设置。系统管理员登记前置库后，在这里新增：取哪种数据、从哪个表取。"

    def save(self, actor, obj, *, values, version=None):
        return save_feed(actor, obj, values=values, version=version)

    def delete(self, actor, obj):
        return delete_feed(actor, obj)


RESOURCES = [FrontFeedResource()]
ADMINISTRATION = [FrontSourceResource()]
