"""When too many sign in at once the rest is sent away; the log learns of it by the minute (SEC-2, SEC-8)."""

import time
from contextlib import contextmanager

import pytest
from django.db import Error

from jingwei.base import audit
from jingwei.base.models import LogEntry
from jingwei.directory import turns
from jingwei.directory.models import Guard, SignIn

pytestmark = [pytest.mark.django_db, pytest.mark.req("SEC-2")]


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """The time by which those sent away are counted; tests move it on. Nobody is left over."""

    class Clock:
        now = time.time()

    monkeypatch.setattr(turns.time, "time", lambda: Clock.now)
    yield Clock
    turns._sent_away.clear()


@contextmanager
def full_house():
    for _ in range(turns.AT_ONCE):
        assert turns._room.acquire(blocking=False)
    try:
        yield
    finally:
        for _ in range(turns.AT_ONCE):
            turns._room.release()


def rows():
    found = LogEntry.objects.filter(act="登录限流").order_by("pk")
    return [(row.address, row.label, row.detail["次数"]) for row in found]


def test_they_are_sent_away_before_the_database_is_asked_and_pages_go_on(
    browser, clerk, django_assert_num_queries
):
    with full_house():
        with django_assert_num_queries(0):
            answer = browser.enter("village")
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "5")
        assert "请稍等几秒" in answer.content.decode()
        assert not SignIn.objects.exists() and not Guard.objects.exists()
        assert browser.get("/sign-in/").status_code == 200
    browser.enter("village")
    assert browser.is_in()


@pytest.mark.req("SEC-8")
def test_the_log_keeps_a_row_for_each_address_and_minute_with_its_number(browser, clerk, clock):
    with full_house():
        for address, number in [("192.0.2.7", 3), ("192.0.2.8", 1)]:
            for _ in range(number):
                browser.post("/sign-in/", {"login": "village", "password": "x"}, REMOTE_ADDR=address)
        assert rows() == []
        clock.now += 60
        browser.get("/healthz")
        browser.get("/healthz")
        assert rows() == [("192.0.2.7", "192.0.2.7", 3), ("192.0.2.8", "192.0.2.8", 1)]
        browser.post("/register/", {}, REMOTE_ADDR="192.0.2.7")
        clock.now += 60
        browser.get("/healthz")
    assert rows()[2:] == [("192.0.2.7", "192.0.2.7", 1)]
    assert {row.result for row in LogEntry.objects.filter(act="登录限流")} == {"拒绝"}


@pytest.mark.req("SEC-8")
def test_a_flood_from_everywhere_is_no_flood_of_rows(browser, clock, monkeypatch):
    monkeypatch.setattr(turns, "TOLD_APART", 2)
    with full_house():
        for number in range(6):
            browser.post("/sign-in/", {}, REMOTE_ADDR=f"192.0.2.{number}")
    clock.now += 60
    browser.get("/healthz")
    assert rows() == [("192.0.2.0", "192.0.2.0", 1), ("192.0.2.1", "192.0.2.1", 1), ("", "其他地址", 4)]


@pytest.mark.req("SEC-8", "SEC-10")
def test_what_could_not_be_logged_is_logged_later(browser, clock, monkeypatch):
    with full_house():
        browser.post("/sign-in/", {})
    clock.now += 60

    def away(*arguments, **more):
        raise Error

    with monkeypatch.context() as without_log:
        without_log.setattr(audit, "record", away)
        assert browser.get("/healthz").status_code == 200
    assert rows() == []
    browser.get("/healthz")
    assert rows() == [("127.0.0.1", "127.0.0.1", 1)]
