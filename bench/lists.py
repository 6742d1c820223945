"""P-5.1: the list page of the register under any search or filter, for a community and for the district."""

import gc
import time
from statistics import quantiles

from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from bench import Figure
from jingwei.cli.demo import ensure_demo
from jingwei.directory.models import Operator
from jingwei.people.models import Person

SMALL, FULL = 20_000, 1_000_000
ROUNDS = 15
# Quick searches of every kind, every kind of filter, orders, the first pages and a deep one.
QUERIES = """
- q=李 q=上埔 q=上埔社区 q=上埔+李 q=安澜区 q=12号 q=1203 q={number} q={phone}
sex=1 elderly=是 age__from=60&age__to=70 region={region} vaccination=0 dose_due=overdue last_test=7 tenant=是
group=02 occupation=退休 name=李 missing=phone birth_date__from=1990-01-01 sampled_at__from=2026-11-01
sort=age sort=-name sort=occupation page=2 page=100 q=李&sex=2&elderly=是
""".split()


def measure(full):
    """Server time and statements of one page, as `village` and as `district`."""
    count = FULL if full else SMALL
    ensure_demo(count, progress=lambda done, total: None)
    call_command("collectstatic", interactive=False, verbosity=0)  # pages name the hashed files
    figures = []
    for login in ("village", "district"):
        milliseconds, statements = _pages(login)
        p95 = quantiles(milliseconds, n=20)[-1]
        what = f"a list page of {count:,} people as {login}"
        figures.append(Figure("P-5.1", f"{what}: server time, p95 of {len(milliseconds)}", p95, "ms", 60))
        figures.append(Figure("P-5.1", f"{what}: SQL statements at most", statements, "", 12))
    return figures


def _pages(login):
    client = Client(HTTP_HOST="localhost")
    client.force_login(Operator.objects.get(login_key=login))
    known = Person.objects.exclude(phone=None).order_by("pk").first()
    words = {"number": known.number.clear(), "phone": known.phone.clear(), "region": known.region_id}
    client.get("/people/")  # what process and session keep for a while (menu, words, time of use) is fresh
    gc.collect()
    gc.freeze()  # as a web process does at its start (jingwei.wsgi)
    taken, most = [], 0
    for query in QUERIES:
        address = "/people/?" + query.format(**words).removeprefix("-")
        with CaptureQueriesContext(connection) as captured:
            answer = client.get(address)
        if answer.status_code != 200:
            raise RuntimeError(f"{address} answers {answer.status_code}")
        most = max(most, len(captured))
        for _ in range(ROUNDS):
            started = time.perf_counter()
            client.get(address)
            taken.append(1000 * (time.perf_counter() - started))
    return taken, most
