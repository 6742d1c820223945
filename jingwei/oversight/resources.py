"""What the security and the audit administrator see in lists (P-3, SEC-8)."""

from django import forms
from django.db.models import Q

from jingwei.base import loading
from jingwei.base.chain import ABOUT
from jingwei.base.models import Alarm, ErrorEntry, LogEntry
from jingwei.base.resource import (
    ACTION_LABELS,
    Between,
    Choice,
    Column,
    Contains,
    Exact,
    Figure,
    Panel,
    Region,
    Resource,
    Tab,
    Verb,
    Where,
)
from jingwei.desk import imports
from jingwei.directory.resources.signing_in import SignInResource
from jingwei.oversight import alarms
from jingwei.oversight.queries import LOOKS, looks_at

# What the log names in the code's own words, as an auditor reads it.
WORDS = {
    **loading.MODES,
    **loading.BAD,
    **imports.RULES,
    **imports.FIGURES,
    **ACTION_LABELS,
    "action": "权限",
    "attachment": "附件编号",
    "bad": "对错误行",
    "codes": "代码",
    "corrected": "更正",
    "deleted": "删除",
    "differences": "差异",
    "digest": "文件摘要",
    "dose": "针次",
    "event": "事件",
    "into": "并入",
    "left": "保留",
    "merge": "合并编号",
    "mode": "方式",
    "months": "月份",
    "moved": "移动",
    "notes": "说明",
    "on": "日期",
    "outcome": "结果",
    "person": "人员编号",
    "points": "边界点数",
    "restored": "恢复",
    "rows": "行数",
    "seconds": "用时（秒）",
    "sheet": "表样",
    "unit": "单位",
}


def _changes(entry):
    """What an entry of the operation log says was changed, in words."""
    detail = {name: value for name, value in entry.detail.items() if name != ABOUT}
    changed = detail.pop("changes", {})
    words = [f"{heading}：{old or '（空）'} → {new or '（空）'}" for heading, (old, new) in changed.items()]
    return "；".join(
        [*words, *(f"{WORDS.get(name, name)}：{_said(value)}" for name, value in detail.items())]
    )


def _said(value):
    """A value of an entry in words."""
    match value:
        case dict():
            return "，".join(f"{WORDS.get(name, name)} {_said(part)}" for name, part in value.items())
        case list():
            return "、".join(map(_said, value))
        case bool() | None:
            return {True: "是", False: "否"}.get(value, "（空）")
        case str():
            return WORDS.get(value, value)
    return str(value)


# What an entry may be about that has no page in the menu.
ELSEWHERE = {"files": "导出文件", "integrity": "程序文件", "jobs": "后台任务"}


def _resource_label(entry):
    from jingwei import menu  # it imports this module

    pages = {page.name: page for page in menu.pages()}
    found = menu.resources().get(entry.resource) or pages.get(entry.resource)
    return found.label if found else ELSEWHERE.get(entry.resource, entry.resource)


OF_KIND = Column("resource", "对象类别", _resource_label, "resource", ["resource"])


class LogResource(Resource):
    name = "logs"
    label = "操作日志"
    icon = "clipboard-list"
    model = LogEntry
    actions = ["view", "export"]
    reasoned = True
    readonly = [
        *("at", "actor", "login", "organisation", "act", "resource", "object_id", "label", "detail"),
        *("result", "reason", "address", "device", "request_id"),
    ]
    columns = [
        "at",
        "actor",
        "login",
        "organisation",
        "act",
        OF_KIND,
        "label",
        Column("detail", "内容", _changes, "", ["detail"]),
        "result",
        "reason",
        "address",
        "request_id",
    ]
    hidden = ["login", "request_id"]
    order = ["-pk"]
    search = ["actor", "login", "label", "object_id", "request_id"]
    search_hint = "操作员、登录名、对象、请求号"
    figures = [Figure("被拒绝或失败的操作", "tab=0")]
    tabs = [
        Tab("拒绝和失败", ~Q(result="成功")),
        Tab("查看明文", Q(act="查看明文")),
        Tab("导出", Q(act="导出")),
        Tab("登录", Q(act__in=("登录", "退出", "锁定", "解锁"))),
    ]
    filters = [
        Between("at"),
        Exact("login"),
        Contains("organisation"),
        Contains("act"),
        Exact("resource"),
        Choice("result"),
        Exact("address"),
    ]
    empty = "没有符合条件的日志。"


class AlarmResource(Resource):
    """SEC-19."""

    name = "alarms"
    label = "安全告警"
    icon = "bell"
    model = Alarm
    actions = ["view", "export"]
    readonly = [
        *("kind", "subject", "said", "number", "first_at", "last_at"),
        *("handled_at", "handled_by", "note"),
    ]
    columns = ["last_at", "kind", "subject", "said", "number", "handled_by", "handled_at", "note"]
    hidden = ["handled_at"]
    link = "subject"
    order = ["-last_at", "-pk"]
    search = ["subject", "said"]
    search_hint = "登录名、地址、说明"
    tabs = [Tab("未处理", Q(handled_at=None)), Tab("已处理", ~Q(handled_at=None))]
    figures = [Figure("未处理的安全告警", "tab=0", waits=True, urgent=True)]
    filters = [
        Where("kind", "类别", {kind: (kind, lambda today, kind=kind: Q(kind=kind)) for kind in alarms.KINDS}),
        Between("last_at"),
    ]
    verbs = [
        Verb(
            "handle",
            "处理",
            alarms.handle,
            form={"note": forms.CharField(label="处理意见", max_length=200)},
            offered=lambda alarm: alarm.handled_at is None,
            note="核实后写明情况和处理结果；同一对象以后再发生，会产生新的告警。",
        )
    ]
    empty = "没有告警。频繁被拒、大量导出、非工作时间看明文、日志或程序被改动等情况会在这里出现。"


class LookResource(Resource):
    """The looks of a territory's own operators, and on a person's page all looks at that person (P-3.4)."""

    name = "looks"
    label = "查看记录"
    icon = "eye"
    model = LogEntry
    actions = ["view", "export"]
    reasoned = True
    readonly = LogResource.readonly
    columns = ["at", "actor", "organisation", "act", OF_KIND, "label", "reason", "address"]
    order = ["-pk"]
    search = ["actor", "login", "label"]
    search_hint = "操作员、登录名、对象"
    filters = [Region("region", "操作员辖区"), Between("at"), Exact("login"), Exact("act"), Exact("resource")]
    panels = [Panel("people", "谁看过", looks_at, ["at", "actor", "organisation", "act", "label", "reason"])]
    has_page = False
    empty = "没有查看记录。打开、导出、打印个人信息或查看明文后，这里会出现。"

    def rows(self, actor, action="view"):
        return super().rows(actor, action).filter(act__in=LOOKS, result="成功")


class ErrorResource(Resource):
    name = "errors"
    label = "错误日志"
    icon = "alert-triangle"
    model = ErrorEntry
    actions = ["view", "export"]
    readonly = ["at", "reference", "place", "kind", "trace"]
    columns = ["at", "reference", "place", "kind"]
    link = "reference"
    order = ["-pk"]
    search = ["reference", "place", "kind"]
    search_hint = "用户报来的编号"
    figures = [Figure("错误记录")]
    filters = [Between("at"), Contains("kind")]
    empty = "没有错误记录。"


RESOURCES = [AlarmResource(), LogResource(), SignInResource(), LookResource(), ErrorResource()]
