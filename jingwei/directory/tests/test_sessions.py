"""Who is signed in is listed, with forced sign-out; everybody sees and ends their own (P-2.1)."""

import time
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from jingwei import menu
from jingwei.base.actions import set_parameter
from jingwei.base.models import LogEntry
from jingwei.base.parameters import forget
from jingwei.directory import parameters
from jingwei.directory.models import Session
from jingwei.directory.sessions import digest_of
from jingwei.directory.setup import SETUP

pytestmark = [pytest.mark.django_db, pytest.mark.req("P-2.1")]

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


@pytest.fixture
def open_browser(browser, clerk):
    """The clerk's browser, signed in by the page."""
    browser.defaults |= {"HTTP_USER_AGENT": FIREFOX, "REMOTE_ADDR": "192.0.2.7"}
    browser.enter("village")
    return browser


def listed(persona):
    return [session.operator.login for session in menu.resource("sessions").rows(persona.actor)]


def test_who_is_signed_in_is_listed_with_address_device_and_last_action(open_browser, clerk, secadmin):
    session = Session.objects.get(operator=clerk)
    assert (session.address, session.device) == ("192.0.2.7", FIREFOX)
    assert timezone.now() - session.seen_at < timedelta(seconds=30)
    page = secadmin.client.get("/sessions/").content.decode()
    assert "192.0.2.7" in page and "Firefox · Linux" in page and "village" in page


@pytest.mark.req("SEC-3", "SEC-13")
def test_neither_list_nor_database_holds_a_key_that_opens_a_session(open_browser, clerk, secadmin):
    cookie = open_browser.cookies[settings.SESSION_COOKIE_NAME].value
    with connection.cursor() as cursor:
        cursor.execute("SELECT directory_session::text FROM directory_session")
        assert all(cookie not in row for (row,) in cursor.fetchall())
    assert Session.objects.get(operator=clerk).pk == digest_of(cookie)
    assert cookie not in secadmin.client.get("/sessions/").content.decode()
    open_browser.cookies[settings.SESSION_COOKIE_NAME] = digest_of(cookie)
    assert not open_browser.is_in(), "what the list shows opened the session"


@pytest.mark.req("SEC-3")
def test_forced_out_one_is_out_at_the_next_request_and_the_reason_is_logged(open_browser, clerk, secadmin):
    session = Session.objects.get(operator=clerk)
    answer = secadmin.client.post(
        "/sessions/do/end/", {"pk": session.pk, "confirm": "1", "reason": "离开岗位未退出"}
    )
    assert answer.status_code == 302
    assert open_browser.get("/people/").headers["Location"].startswith("/sign-in/")
    row = LogEntry.objects.get(act="强制退出")
    assert (row.operator, row.object_id, row.reason) == (
        secadmin.operator.pk,
        str(clerk.pk),
        "离开岗位未退出",
    )
    assert row.detail == {"地址和设备": [["192.0.2.7", FIREFOX]]}


def test_without_a_reason_nobody_is_forced_out(open_browser, clerk, secadmin):
    session = Session.objects.get(operator=clerk)
    secadmin.client.post("/sessions/do/end/", {"pk": session.pk, "confirm": "1", "reason": " "})
    assert open_browser.is_in()


@pytest.mark.req("P-1.8")
@pytest.mark.parametrize("login", ["sysadmin", "auditadmin", "district", "village"])
def test_only_the_security_administrator_sees_who_is_online(login, request, open_browser):
    persona = request.getfixturevalue(login)
    assert persona.client.get("/sessions/").status_code == 403
    assert listed(persona) == []


@pytest.mark.req("SEC-3")
@pytest.mark.parametrize(("column", "hours"), [("seen_at", 0.6), ("begun_at", 12.1)])
def test_idle_and_old_sessions_are_not_online(open_browser, clerk, secadmin, column, hours):
    assert "village" in listed(secadmin)
    Session.objects.filter(operator=clerk).update(**{column: timezone.now() - timedelta(hours=hours)})
    assert "village" not in listed(secadmin)


def test_the_last_action_moves_on_with_the_address_it_came_from(open_browser, clerk):
    session = open_browser.session
    session["seen"] = time.time() - 120
    session.save()
    before = Session.objects.get(operator=clerk).seen_at
    open_browser.get("/account/", REMOTE_ADDR="192.0.2.8")
    after = Session.objects.get(operator=clerk)
    assert after.seen_at > before and after.address == "192.0.2.8"


def test_on_the_account_page_one_sees_and_ends_the_own_other_sessions(open_browser, clerk, village):
    elsewhere, third = village.browser(), village.browser()
    for browser in (elsewhere, third):
        browser.get("/account/")
    page = open_browser.get("/account/").content.decode()
    assert page.count('name="session"') == 2 and "本次登录" in page and "Firefox · Linux" in page
    key = digest_of(elsewhere.cookies[settings.SESSION_COOKIE_NAME].value)
    open_browser.post("/account/", {"session": key})
    assert elsewhere.get("/account/").status_code == 302
    assert third.get("/account/").status_code == 200
    open_browser.post("/account/")
    assert third.get("/account/").status_code == 302
    assert open_browser.is_in()
    assert LogEntry.objects.filter(act="结束登录", operator=clerk.pk).count() == 2


def test_nobody_ends_a_session_of_somebody_else_on_the_account_page(open_browser, town):
    other = town.client
    other.get("/account/")
    key = digest_of(other.cookies[settings.SESSION_COOKIE_NAME].value)
    open_browser.post("/account/", {"session": key})
    assert other.get("/account/").status_code == 200


@pytest.mark.req("P-6.2")
@pytest.mark.parametrize(("one", "status"), [("是", 302), ("否", 200)])
def test_one_session_per_account_is_a_parameter(open_browser, clerk, one, status):
    set_parameter(SETUP, parameters.ONE_SESSION, one)
    forget()
    again = type(open_browser)()
    again.enter("village")
    assert again.is_in()
    assert open_browser.get("/account/").status_code == status
