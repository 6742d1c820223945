"""Errors: a page with a reference number, a log entry with places and no values (P-3.3, P-4.1)."""

import logging
import sys

import psycopg
from django.db import Error, transaction
from django.shortcuts import render

from jingwei.base import audit
from jingwei.base.models import ErrorEntry
from jingwei.kit.traces import places

logger = logging.getLogger(__name__)
RETRY_SECONDS = 30
# What a server says that ends or starts; without a state nobody answered.
AWAY = {None, "57P01", "57P02", "57P03"}
# Classes: the connection was lost; no disk, memory or connection is left.
OUT = ("08", "53")


def is_away(error: BaseException) -> bool:
    """Whether the database could not be reached, was lost on the way or is full, rather than refuses."""
    cause = error.__cause__
    if isinstance(cause, psycopg.InterfaceError):  # the connection is closed already
        return True
    if not isinstance(cause, psycopg.OperationalError):
        return False
    return cause.sqlstate in AWAY or cause.sqlstate.startswith(OUT)


def keep(error: BaseException, *, reference: str, place: str):
    """Enter an unhandled error in the error log; where the database is the trouble, on the error stream."""
    try:
        with transaction.atomic():
            ErrorEntry.objects.create(
                reference=reference,
                place=place[:200],
                kind=type(error).__qualname__[:120],
                trace=places(error),
            )
    except Error:
        logger.exception("error %s could not be entered", reference)
        logger.error("error %s at %s: %s", reference, place, places(error))


def bad_request(request, exception):
    """400: Django could not make sense of the request."""
    return _page(request, 400, "请求无法识别", "请返回上一页重新操作。")


def forged(request, reason=""):
    """403: the form's token is missing or old, mostly because the page stood open for too long."""
    return _page(
        request,
        403,
        "页面已过期",
        "这个页面打开得太久，或浏览器没有保存 Cookie。请返回上一页刷新后重新提交。",
    )


def refused(request, exception):
    """403: the actor lacks the permission; our own refusals say which.

    Each leaves its row in the log (SEC-8), here, because what the refused view wrote is rolled back by now.
    """
    resource, _, action = getattr(exception, "permission", "").partition(".")
    label = getattr(exception, "label", request.path)
    detail = {"action": action} if action else {}
    audit.record(
        request.actor, "访问", resource=resource, label=label, result="拒绝", reason=str(exception), **detail
    )
    return _page(
        request, 403, "没有权限", f"{exception}" or "您没有打开这个页面的权限。需要时请联系安全管理员授权。"
    )


def not_found(request, exception):
    """404: nothing there, or nothing for this actor."""
    return _page(request, 404, "没有找到", "这个页面或记录不存在，或不在您的管辖范围内。")


def failed(request):
    """500: our mistake; 503 while the database cannot be reached, where nothing could be entered either."""
    error = sys.exc_info()[1]
    if is_away(error):
        logger.error("error %s: the database is away: %s", _reference(request), type(error).__qualname__)
        advice = "数据库暂时不能使用，您填写的内容没有保存。请稍后重试；长时间不能恢复时请联系管理员。"
        response = _page(request, 503, "暂时不能使用", advice)
        response.headers["Retry-After"] = str(RETRY_SECONDS)
        return response
    keep(error, reference=_reference(request), place=f"{request.method} {request.path}")
    return _page(
        request, 500, "系统出错了", "您填写的内容没有保存。请稍后再试；仍不成功时，把下面的编号告诉管理员。"
    )


def _reference(request):
    return getattr(request, "request_id", "")


def _page(request, status, title, advice):
    # No request context: a page about an error must not itself need the session or the database.
    context = {"status": status, "title": title, "advice": advice, "reference": _reference(request)}
    return render(None, "error.html", context, status=status)
