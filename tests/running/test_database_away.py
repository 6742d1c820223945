"""The database is away for a while."""

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import pytest

from jingwei import embedded
from tests.production import SITE, Visitor, monitored, until

pytestmark = [pytest.mark.req("P-10.2"), pytest.mark.xdist_group("running")]


@contextmanager
def without_database(data):
    """Its server is stopped for the length of the block."""
    server = embedded.Server(data)
    server.stop()
    try:
        yield
    finally:
        with open(f"{data}.lock", "w") as server._lock:
            server._start()


@pytest.mark.req("P-3.3", "P-10.2")
def test_while_the_database_is_away_pages_say_so_and_then_everybody_goes_on(site, officer):
    first, _, data = site
    stranger, part = Visitor(first.port), {"HX-Request": "true", "HX-Current-URL": f"https://{SITE}/people/"}
    form = {"csrfmiddlewaretoken": officer.cookies["csrftoken"]}
    with without_database(data):
        asked = [
            partial(officer.get, "/"),
            partial(stranger.get, "/sign-in/"),
            partial(officer.get, "/people/", **part),
            partial(officer.ask, "POST", "/sign-out/", form),
            partial(stranger.get, "/readyz"),
        ]
        with ThreadPoolExecutor() as at_once:
            *answers, readiness = at_once.map(lambda ask: ask(), asked)
        assert readiness.status == 503
        for answer in answers:
            page = answer.data.decode()
            assert (answer.status, answer.headers["Retry-After"]) == (503, "30")
            assert "数据库暂时不能使用" in page and answer.headers["X-Request-Id"] in page
            assert not re.search("Traceback|psycopg|OperationalError|SELECT|socket", page)
        assert stranger.get("/healthz").status == 200
    until(lambda: officer.get("/").status == 200)
    assert monitored(first, "/readyz").json()["parts"]["database"]["good"]
