"""An error shows a number, keeps places, and tells nobody's data (P-3.3)."""

import io
import logging
import sys

import pytest
from django.db import OperationalError, connection, transaction
from django.test import Client
from django.urls import clear_url_caches, path

from jingwei import urls
from jingwei.base import errors
from jingwei.base.models import ErrorEntry
from jingwei.kit.traces import LineFormatter, LineHandler

pytestmark = pytest.mark.django_db

SECRET = "13812345678"


def broken(request):
    raise RuntimeError(f"the phone {SECRET} broke it")


@pytest.fixture
def browser(village, monkeypatch):
    monkeypatch.setattr(urls, "urlpatterns", [path("broken/", broken), *urls.urlpatterns])
    clear_url_caches()
    yield village.browser(raise_request_exception=False)
    monkeypatch.undo()
    clear_url_caches()


@pytest.mark.req("P-3.3")
def test_an_error_page_has_the_number_of_the_log_entry_and_nothing_else(browser):
    answer = browser.get("/broken/", {"q": SECRET})
    page = answer.content.decode()
    entry = ErrorEntry.objects.get()
    assert answer.status_code == 500
    assert entry.reference == answer.headers["X-Request-Id"]
    assert entry.reference in page
    assert (entry.kind, entry.place) == ("RuntimeError", "GET /broken/")
    assert "test_errors.py" in entry.trace and "broken" in entry.trace
    for text in (page, entry.trace, entry.place):
        assert SECRET not in text
    assert "Traceback" not in page and "RuntimeError" not in page


@pytest.mark.req("P-3.3", "P-4.1")
def test_the_error_stream_holds_places_only(browser, caplog):
    browser.get("/broken/", {"q": SECRET})
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    record.exc_text = None  # what another formatter left
    line = LineFormatter("%(message)s").format(record)
    assert "test_errors.py" in line
    assert SECRET not in line


@pytest.mark.req("P-3.3", "P-4.1", "SEC-13")
@pytest.mark.parametrize("unwritable", [1, 2], ids=["the line", "nor that it was lost"])
def test_a_line_that_cannot_be_written_is_lost_without_quoting_what_it_told_of(monkeypatch, unwritable):
    """A full disk below the error stream: the error that was being told of is named by its places only."""

    class Full(io.StringIO):
        refused = 0

        def write(self, text):
            if self.refused < unwritable:
                self.refused += 1
                raise OSError(28, "No space left on device")
            return super().write(text)

    full = Full()
    monkeypatch.setattr(sys, "stderr", full)
    handler = LineHandler()
    try:
        raise RuntimeError(SECRET)
    except RuntimeError as error:
        handler.handle(
            logging.LogRecord("django", logging.ERROR, "", 1, "broken", (), (type(error), error, None))
        )
    assert full.refused == unwritable
    assert SECRET not in full.getvalue()
    assert ("OSError" in full.getvalue()) == (unwritable == 1)


@pytest.mark.req("P-3.3")
@pytest.mark.parametrize(
    ("method", "address", "status", "title"),
    [("get", "/no/such/page/here/", 404, "没有找到"), ("get", "/people/", 403, "没有权限")],
)
def test_refusals_are_pages_in_chinese_with_a_number(nobody, method, address, status, title):
    answer = getattr(nobody.client, method)(address)
    page = answer.content.decode()
    assert answer.status_code == status
    assert title in page and answer.headers["X-Request-Id"] in page
    assert "style=" not in page and "<script" not in page


@pytest.mark.req("P-3.3")
def test_a_form_without_its_token_is_refused_in_chinese(village):
    browser = village.browser(enforce_csrf_checks=True)
    answer = browser.post("/sign-out/")
    assert answer.status_code == 403
    assert "页面已过期" in answer.content.decode()


@pytest.mark.req("P-3.3")
def test_a_request_for_another_host_is_refused():
    answer = Client(raise_request_exception=False).get("/", headers={"host": "evil.example"})
    assert answer.status_code == 400
    assert "请求无法识别" in answer.content.decode()


@pytest.mark.req("P-3.3")
def test_the_error_log_is_for_the_system_administrator(sysadmin, district, auditadmin):
    assert sysadmin.client.get("/errors/").status_code == 200
    assert district.client.get("/errors/").status_code == 403
    assert auditadmin.client.get("/errors/").status_code == 403


@pytest.mark.req("P-3.3")
def test_what_the_database_refuses_is_a_mistake_of_ours_and_not_its_absence():
    with pytest.raises(OperationalError) as refused, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 1")
        cursor.execute("SELECT pg_sleep(1)")
    assert not errors.is_away(refused.value)
    assert not errors.is_away(RuntimeError())


@pytest.mark.req("P-3.3")
@pytest.mark.parametrize("state", ["53100", "53200", "53300", "57P01", "57P03", "08006"])
def test_a_database_that_is_full_ends_or_was_lost_is_away(state):
    with pytest.raises(OperationalError) as failed, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$")
    assert errors.is_away(failed.value)
