"""What the security and the audit administrator see in lists (P-3, SEC-8)."""

from django.db.models import Q

from jingwei.base.models import ErrorEntry, LogEntry
from jingwei.base.resource import Between, Choice, Column, Contains, Exact, Figure, Resource, Tab


def _changes(entry):
    """What an entry of the operation log says was changed, in words."""
    detail = dict(entry.detail)
    changed = detail.pop("changes", {})
    words = [f"{heading}：{old or '（空）'} → {new or '（空）'}" for heading, (old, new) in changed.items()]
    return "；".join([*words, *(f"{name}：{value}" for name, value in detail.items())])


def _resource_label(entry):
    from jingwei import menu  # it imports this module

    found = menu.resources().get(entry.resource)
    return found.label if found else entry.resource


class LogResource(Resource):
    name = "logs"
    label = "操作日志"
    icon = "clipboard-list"
    model = LogEntry
    actions = ["view", "export"]
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
        Column("resource", "对象类别", _resource_label, "resource", ["resource"]),
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


RESOURCES = [LogResource(), ErrorResource()]
