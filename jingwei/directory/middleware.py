"""Who acts in a request, and that nobody who is not signed in gets anywhere (P-1.10, P-2.1, SEC-3)."""

import time
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import logout
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.functional import SimpleLazyObject
from django.utils.http import urlencode

from jingwei.base import audit, wall
from jingwei.directory import factors
from jingwei.directory.actors import actor_for
from jingwei.directory.passwords import must_change
from jingwei.directory.signing_in import may_come_from, session_is_over


class ActorMiddleware:
    """Gives every request its `actor`; sends who is not signed in to the sign-in page.

    Closed unless opened: only a view marked `login_not_required` answers strangers. Costs three statements:
    session, operator, appointments with their roles.
    """

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        request.actor = SimpleLazyObject(lambda: actor_of(request))
        with wall.standing(wall.NOWHERE):
            return self.get_response(request)

    def process_view(self, request, view, args, kwargs):
        if not getattr(view, "login_required", True):
            return None
        with wall.beyond_scope():
            instead = self._instead(request)
            where = wall.NOWHERE if instead else wall.stand_of(request.actor)
        wall.place(where)
        return instead

    def _instead(self, request):
        """What is answered in place of the page; None where it may be asked for."""
        if not request.user.is_authenticated:
            return to_sign_in(request)
        if not _still_open(request):
            logout(request)
            return to_sign_in(request)
        if not may_come_from(request.user, origin(request)["address"]):
            audit.record(request.actor, "访问", resource="operators", result="拒绝", reason="网络不允许")
            logout(request)
            return to_sign_in(request)
        only = page_owed(request.user)
        if only and request.resolver_match.url_name not in (only, "sign-out"):
            return send_to(request, reverse(only))
        return None


def page_owed(operator):
    """The one page open to an operator until something is done there, "" if nothing is (SEC-1, SEC-4)."""
    if operator.has_usable_password() and must_change(operator):
        return "password"
    if factors.is_required(operator) and not operator.second_factor_since:
        return "second-factor"
    return ""


@wall.beyond_scope()
def actor_of(request):
    """The actor of the signed-in operator in the appointment chosen; nobody for a stranger."""
    operator = request.user if request.user.is_authenticated else None
    return actor_for(operator, request.session.get("appointment"), **origin(request))


def origin(request) -> dict[str, str]:
    """Where a request comes from, as the logs keep it."""
    address = request.META["REMOTE_ADDR"]
    if address in settings.JINGWEI_TRUSTED_PROXIES:
        # Each proxy appends whom it heard; what stands further left anybody can have written.
        address = request.headers.get("X-Forwarded-For", address).rpartition(",")[2].strip()
    return {
        "address": address[:45],
        "device": request.headers.get("User-Agent", "")[:200],
        "request_id": request.request_id,
    }


def to_sign_in(request):
    """Send to the sign-in page and, after it, back to the page that was open."""
    back = request.headers["HX-Current-URL"] if _is_fragment(request) else request.path
    try:
        # Without the query: what was searched for does not belong into another address.
        back = urlsplit(back).path
    except ValueError:  # no browser says so
        back = "/"
    return send_to(request, f"{reverse('sign-in')}?{urlencode({'next': back})}")


def send_to(request, address):
    """Have the browser open another page, also where htmx asked for a part of one."""
    if _is_fragment(request):
        return HttpResponse(status=204, headers={"HX-Redirect": address})
    return redirect(address)


def _is_fragment(request):
    return "HX-Current-URL" in request.headers


def begin_session(request):
    """Have the session know when it began and where."""
    now = time.time()
    where = origin(request)
    request.session.update(
        {"begun": now, "seen": now} | {name: where[name] for name in ("address", "device")}
    )


def _still_open(request):
    """Whether the session goes on. A page that asks for news by itself is no activity of its operator."""
    session, now = request.session, time.time()
    if "begun" not in session:
        begin_session(request)
    if session_is_over(session["begun"], session["seen"]):
        return False
    in_background = "X-Background" in request.headers
    if now - session["seen"] > 60 and not in_background:  # written each time it would cost a statement each
        session.update({"seen": now, "address": origin(request)["address"]})
    return True
