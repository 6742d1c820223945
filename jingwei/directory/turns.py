"""Forms that strangers send are looked at one by one, and the pages of those who are in stay quick (SEC-2).

To check a password takes a tenth of a second of a processor. However many ask for it, one request of each
process is at it, some wait, and the rest is sent away before the database is asked for anything. The log
learns of these by the minute: a row of each process for each address, with how many there were (SEC-8).
"""

import time
from collections import Counter
from datetime import UTC, datetime
from functools import cache, wraps
from http import HTTPStatus
from threading import BoundedSemaphore, Lock

from django.db import Error, transaction
from django.http import HttpResponse
from django.template.loader import render_to_string
from django.utils import timezone

from jingwei.base import audit
from jingwei.base.access import Actor
from jingwei.base.wall import beyond_scope
from jingwei.directory.middleware import origin

AT_ONCE = 10
TOLD_APART = 100  # addresses; a flood from more is logged as from one
OTHERS = "其他地址"
_work, _room, _counting = Lock(), BoundedSemaphore(AT_ONCE), Lock()
_sent_away: Counter[tuple[int, str]] = Counter()  # by minute since 1970 and address


def in_turn(view):
    """A view whose forms are looked at one by one; who comes when too many wait is sent away at once."""

    @wraps(view)
    def taking_turns(request, **kwargs):
        if request.method != "POST":
            return view(request, **kwargs)
        if not _room.acquire(blocking=False):
            _count(origin(request)["address"])
            return HttpResponse(_crowded(), status=429, headers={"Retry-After": "5"})
        try:
            with _work:
                began = time.perf_counter()
                response = view(request, **kwargs)
                if response.status_code == HTTPStatus.OK:
                    # Refused. The next waits as long as this one took: guesses get half a processor at most.
                    time.sleep(time.perf_counter() - began)
                return response
        finally:
            _room.release()

    return taking_turns


@cache
def _crowded():
    advice = "现在登录的人太多，请稍等几秒，返回上一页再提交。"
    return render_to_string("error.html", {"status": 429, "title": "请稍后再试", "advice": advice})


def _count(address):
    with _counting:
        key = int(time.time()) // 60, address
        if key not in _sent_away and len(_sent_away) >= TOLD_APART:
            key = key[0], OTHERS
        _sent_away[key] += 1


class SentAwayMiddleware:
    """Logs who was sent away, behind the first request of a later minute, whoever's it is."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        response = self.get_response(request)
        if _sent_away and (counted := _of_past_minutes()):
            _log(counted)
        return response


def _of_past_minutes():
    with _counting:
        now = int(time.time()) // 60
        return {key: _sent_away.pop(key) for key in [*_sent_away] if key[0] < now}


@beyond_scope()
def _log(counted):
    try:
        with transaction.atomic():
            for (minute, address), number in counted.items():
                at = datetime.fromtimestamp(60 * minute, UTC).astimezone(timezone.get_current_timezone())
                audit.record(
                    Actor(address="" if address == OTHERS else address),
                    "登录限流",
                    resource="operators",
                    label=address,
                    result="拒绝",
                    reason="登录、申请账号的人太多，没有受理",
                    分钟=f"{at:%Y-%m-%d %H:%M}",
                    次数=number,
                )
    except Error:  # the log is told once it can be written again
        with _counting:
            _sent_away.update(counted)
