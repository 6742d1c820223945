"""CL-P2: the list of a large register: searches, filters, first and thousandth page, at two sizes."""

import gc
import random
import time
from statistics import quantiles
from urllib.parse import urlencode

from django.core.management import call_command
from django.test import Client

from bench import Figure
from jingwei.base.fields import bulk_reveal
from jingwei.cli.demo import ensure_demo, settle
from jingwei.directory.actors import actor_for
from jingwei.directory.models import Operator
from jingwei.people.models import Person

SMALL, FULL = (100_000, 300_000), (1_000_000, 10_000_000)
LOGINS = ("village", "town", "district")
PEOPLE = 8  # searched for in each way
ROUNDS = 2  # of everything
FILTERS = """
elderly=是 age__from=80&age__to=84 age__from=100 sex=1 group=孕产妇 group=普通人群 occupation=教师
occupation=航空机组人员 occupation=宇航员 crossing=是 resident=否 tenant=是 vaccination=0 vaccination=3
dose_due=overdue dose__from=3 dose_on__from=2021-03-02&dose_on__to=2021-03-03 dose_unit=卫生院 dose_unit=火星
tested=否 last_test=3 last_test=older test_due=elderly test_due=crossing sample_result=阳性 sample_point=采样
sample_point=火星 name=欧阳 name=王伟 name=嬴政
doc_type=553 birth_date__from=1990-03-07&birth_date__to=1990-03-07 created_at__from=2026-01-01
missing=phone missing=occupation missing=address missing=birth_date
""".split()


def measure(full):
    """The slowest kind of page for each login at the larger size; all kinds beside the smaller size."""
    small, large = FULL if full else SMALL
    before, now = _at(small), _at(large)
    figures = []
    for kind in now[LOGINS[0]]:
        slowest = max(LOGINS, key=lambda login: now[login][kind])
        ours, reference = now[slowest][kind], before[slowest][kind]
        what = f"{kind}, {large:,} people, p95, slowest as {slowest}"
        figures.append(Figure("CL-P2", what, ours, "ms", 100))
        figures.append(Figure("CL-P2", f"{kind}: {large:,} / {small:,} people", ours, "ms", 1.5, reference))
    return figures


def _at(size):
    """{login: {kind of page: server time in ms, p95}} of a register of `size` people."""
    ensure_demo(size, progress=lambda done, total: None)
    settle()
    call_command("collectstatic", interactive=False, verbosity=0)  # pages name the hashed files
    return {login: _pages(login) for login in LOGINS}


def _pages(login):
    operator = Operator.objects.get(login_key=login)
    client = Client(HTTP_HOST="localhost")
    client.force_login(operator)
    client.get("/people/")  # what a process and a session keep for a while is fresh
    gc.collect()
    gc.freeze()  # as a web process does at its start (jingwei.wsgi)
    actor = actor_for(operator, address="192.0.2.1", device="bench", request_id="bench")
    kinds = _addresses(Person.objects.visible_to(actor, "people.view"))
    return {kind: _p95(client, addresses * ROUNDS) for kind, addresses in kinds.items()}


def _addresses(rows):
    """{kind of page: parameters of lists}, for people picked from all over the rows."""
    keys = list(rows.order_by("region_id", "pk").values_list("pk", flat=True)[: 100 * PEOPLE * PEOPLE])
    rng = random.Random(len(keys))
    people = rows.filter(pk__in=rng.sample(keys, min(len(keys), 20 * PEOPLE)), doc_type="111")
    people = [p for p in people if p.phone and p.address][:PEOPLE]
    bulk_reveal(people, ["number", "phone", "address"])

    def searched(text):
        return [urlencode({"q": text(p)}) for p in people]

    return {
        "first page": [""] * PEOPLE,
        "page 1,000": ["page=1000"] * PEOPLE,
        "document number": searched(lambda p: p.number.clear()),
        "phone": searched(lambda p: p.phone.clear()),
        "name": searched(lambda p: p.name),
        "two characters of an address": searched(lambda p: p.address.clear()[2:4]),
        "the end of an address": searched(lambda p: p.address.clear()[-5:]),
        "a piece of an address and a name": searched(lambda p: f"{p.address.clear()[:4]} {p.name}"),
        "a single filter": FILTERS,
    }


def _p95(client, queries):
    taken = []
    for query in queries:
        started = time.perf_counter()
        answer = client.get(f"/people/?{query}")
        taken.append(1000 * (time.perf_counter() - started))
        if answer.status_code != 200:
            raise RuntimeError(f"/people/?{query} answers {answer.status_code}")
    return quantiles(taken, n=20)[-1]
