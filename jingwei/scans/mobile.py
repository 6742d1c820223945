"""The scan page of a venue: who opens it by the poster's code records an entry (KP-9.3, KP-P5).

For everybody and every telephone: no session, no script needed. The page never looks anybody up, so that its
answer is the same whoever it is.
"""

import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import Http404
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from jingwei.base import codes
from jingwei.base.columns import DOC_TYPES, RESIDENT_ID
from jingwei.base.crypto import Column, provider
from jingwei.base.fields import mask
from jingwei.base.parameters import Parameter
from jingwei.base.wall import beyond_scope
from jingwei.directory.middleware import origin
from jingwei.kit.networks import origin_of
from jingwei.kit.sm4siv import Tampered
from jingwei.places.queries import venue_of_token
from jingwei.scans.entries import FIELDS, SHEET, Entry, record

FRESH_SECONDS = 10  # until a change of the venue is seen
REMEMBERED = "person"  # the cookie
REMEMBERED_DAYS = 180
SEALED = Column("scans.remembered", searchable=False)
LONGEST = 200  # characters of a field

PER_MINUTE = Parameter(
    "scans.per_minute",
    "同一地址每分钟扫码登记",
    600,
    "场所的无线网络里许多人共用一个地址；超过后请稍后再试",
    "次",
    low=1,
    high=1_000_000,
)
PARAMETERS = [PER_MINUTE]

_venues: dict = {}  # token: (until, venue)
_tries: dict = {"minute": 0, "by": {}}


@login_not_required
@beyond_scope()
@never_cache
@require_http_methods(["GET", "POST"])
def scan_page(request, token):
    """Ask who comes in; or say that they have been recorded, and when."""
    venue = _venue(token)
    if venue.archived:
        return _answer(request, "closed", {"venue": venue})
    remembered = read_person(request.COOKIES.get(REMEMBERED, ""))
    if request.method == "GET":
        return _form(request, venue, remembered)
    if "forget" in request.POST:
        answer = redirect(request.path)
        answer.delete_cookie(REMEMBERED, path="/e/")
        return answer
    if _too_many(origin(request)["address"]):
        return _answer(request, "busy", {"venue": venue}, status=429)
    known = remembered if "again" in request.POST else None
    given = known or {name: request.POST.get(name, "")[:LONGEST] for name in FIELDS}
    entry = Entry(venue, given)
    record(entry)
    if entry.errors:
        # What a device remembers it shows masked, whatever has become of the rules since.
        return _form(request, venue, None, None if known else given, entry.errors)
    answer = _answer(request, "recorded", {"venue": venue, "at": entry.at, "who": _shown(entry.person)})
    if "remember" in request.POST:
        answer.set_cookie(
            REMEMBERED,
            sealed_person(entry.person),
            max_age=REMEMBERED_DAYS * 86_400,
            path="/e/",
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )
    return answer


def _venue(token):
    until, venue = _venues.get(token, (0, None))
    if until < time.monotonic():
        venue = venue_of_token(token)
        if venue is None:
            raise Http404
        _venues[token] = time.monotonic() + FRESH_SECONDS, venue
    return venue


def _too_many(address):
    """Count a try by where it comes from; each process counts its own."""
    minute = int(time.monotonic() // 60)
    if _tries["minute"] != minute:
        _tries.update(minute=minute, by={})
    key = origin_of(address)
    _tries["by"][key] = _tries["by"].get(key, 0) + 1
    return _tries["by"][key] > PER_MINUTE.value()


def _form(request, venue, remembered, given=None, errors=None):
    given = given or {"doc_type": RESIDENT_ID}
    fields = [
        (column.name, column.heading, given.get(column.name, ""), (errors or {}).get(column.name, ""))
        for column in SHEET.columns
    ]
    context = {
        "venue": venue,
        "fields": fields,
        "errors": errors,
        "doc_types": codes.choices(DOC_TYPES),
        "known": remembered and _shown(remembered),
    }
    return _answer(request, "form", context)


def _answer(request, state, context, status=200):
    return render(request, "scans/entry.html", context | {"state": state}, status=status)


def _shown(person):
    return {"name": mask("text", person["name"]), "number": mask("number", person["number"])}


def sealed_person(person: dict[str, str]) -> str:
    """A person for the cookie of their own device, which nobody reads or makes without the key."""
    [sealed] = provider().encrypt(SEALED, [json.dumps(person)])
    return urlsafe_b64encode(sealed).decode()


def read_person(cookie: str) -> dict[str, str] | None:
    """The person of a cookie, None if it is none of ours."""
    try:
        [text] = provider().decrypt(SEALED, [urlsafe_b64decode(cookie.encode())]) if cookie else [None]
    except (ValueError, Tampered):
        return None
    return text and json.loads(text)
