"""Who is only half in, or owes something first, gets nothing from any address (SEC-1, SEC-4)."""

import pytest
from django.test import Client

from jingwei.directory import factors
from jingwei.directory.models import Operator, Role
from tests.test_every_address import FOR_STRANGERS, addresses

pytestmark = pytest.mark.django_db
RIGHT = "Jinwei-9999"


def refused_everywhere(browser, to, but=()):
    """Every route leads to `to` and nowhere else, however it is asked for; htmx is told likewise."""
    closed = {route: address for route, address in addresses({}) if route not in {*FOR_STRANGERS, *but}}
    assert len(closed) > 50
    for address in closed.values():
        for ask in (browser.get, browser.post):
            answer = ask(address)
            assert answer.status_code == 302, address
            assert answer.headers["Location"].partition("?")[0] == to, address
    part = browser.get("/badges/", headers={"HX-Request": "true", "HX-Current-URL": "http://testserver/"})
    assert part.headers["HX-Redirect"].partition("?")[0] == to
    assert not part.content


@pytest.fixture
def clerk(village):
    operator = village.operator
    operator.set_password(RIGHT)
    operator.save()
    return operator


@pytest.mark.req("SEC-4", "P-1.10")
def test_the_password_without_the_code_opens_no_address(clerk, village, monkeypatch):
    factors.set_up(clerk)
    monkeypatch.setattr(factors, "_takes", lambda factor, code: code == "123456")
    factors.confirm(village.actor, clerk, "123456")
    browser = Client()
    answer = browser.post("/sign-in/", {"login": "village", "password": RIGHT})
    assert answer.headers["Location"] == "/sign-in/code/"
    refused_everywhere(browser, "/sign-in/")


@pytest.mark.req("SEC-4", "P-1.10")
def test_who_has_yet_to_set_up_the_second_factor_opens_that_page_alone(village):
    Role.objects.filter(name="村社区操作员").update(second_factor=True)
    refused_everywhere(village.client, "/second-factor/", but={"second-factor/", "sign-out/"})
    assert village.client.get("/second-factor/").status_code == 200


@pytest.mark.req("SEC-1", "P-1.10")
def test_who_has_yet_to_change_the_password_opens_that_page_alone(village):
    Operator.objects.filter(pk=village.operator.pk).update(must_change_password=True)
    refused_everywhere(village.client, "/password/", but={"password/", "sign-out/"})
    assert village.client.get("/password/").status_code == 200
