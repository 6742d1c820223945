"""No address answers a stranger, and none answers an operator without grants (P-1.10, SEC-7)."""

import pytest
from django.test import Client
from django.urls import URLPattern, get_resolver

from jingwei import menu

pytestmark = pytest.mark.django_db

# What must answer without a session; a new one is written here on purpose.
FOR_STRANGERS = {"register/", "healthz", "sign-in/", "gateway/sms/"}
# One's own account and nothing else: open to every operator, whatever the grants.
FOR_EVERY_OPERATOR = {"", "badges/", "jobs/", "password/"}
EXAMPLES = {"pk": "1", "field": "region", "verb": "transfer", "kind": "x", "resource": "people"}


def routes(patterns, prefix=""):
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            yield route, pattern.callback
        else:
            yield from routes(pattern.url_patterns, route)


def addresses():
    """(route, address with example values) of the whole site; a resource's routes once, with the register."""
    for route, _ in routes(get_resolver().url_patterns):
        address = "/" + route
        while "<" in address:
            before, rest = address.split("<", 1)
            inside, after = rest.split(">", 1)
            kind, _, name = inside.rpartition(":")
            value = "00000000-0000-0000-0000-000000000001" if kind == "uuid" else EXAMPLES.get(name, "1")
            address = before + value + after
        yield route, address


@pytest.mark.req("P-1.10", "SEC-7")
def test_no_view_is_open_to_strangers_but_those_named_here():
    opened = {
        route
        for route, view in routes(get_resolver().url_patterns)
        if not getattr(view, "login_required", True)
    }
    assert opened == FOR_STRANGERS


@pytest.mark.req("P-1.10")
def test_a_stranger_is_sent_to_sign_in_from_every_address():
    browser = Client()
    for route, address in addresses():
        if route not in FOR_STRANGERS:
            for method in ("get", "post"):
                answer = getattr(browser, method)(address)
                assert answer.status_code == 302, (method, address)
                assert answer.headers["Location"].startswith("/sign-in/"), (method, address)


@pytest.mark.req("P-1.10", "SEC-7")
def test_an_operator_without_grants_gets_nothing_from_any_address(nobody):
    for route, address in addresses():
        if route not in FOR_STRANGERS | FOR_EVERY_OPERATOR:
            answer = nobody.client.get(address)
            assert answer.status_code in (403, 404, 405), (answer.status_code, address)


@pytest.mark.req("P-1.10", "P-1.8")
@pytest.mark.parametrize("login", ["sysadmin", "secadmin", "auditadmin", "venueops", "regulator"])
def test_who_has_no_business_with_the_register_opens_none_of_it(login, request):
    persona = request.getfixturevalue(login)
    for name in ("people", "doses", "transfers", "samples"):
        assert persona.client.get(f"/{name}/").status_code == 403
    for page in menu.pages():
        status = persona.client.get(f"/{page.name}/").status_code
        assert status == (200 if persona.actor.may(page.permission) else 403), page.name
        assert not (status == 200 and page.permission.startswith("people.")), page.name
