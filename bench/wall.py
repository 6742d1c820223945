"""P-1.10: what row security costs the pages of the register, beside the same pages without it."""

import time
from contextlib import contextmanager
from statistics import median, quantiles

from django.core.management import call_command
from django.test import Client

from bench import Figure
from bench.lists import QUERIES
from jingwei.base import wall
from jingwei.cli.demo import ensure_demo
from jingwei.directory.models import Operator
from jingwei.people.models import Person

SMALL, FULL = 20_000, 1_000_000
ROUNDS = 12
LIMIT = 1.1


def measure(full):
    """The list under any search or filter, and the statistics, as `village` and as `district`."""
    count = FULL if full else SMALL
    ensure_demo(count, progress=lambda done, total: None)
    call_command("collectstatic", interactive=False, verbosity=0)  # pages name the hashed files
    known = Person.objects.exclude(phone=None).order_by("pk").first()
    words = {"number": known.number.clear(), "phone": known.phone.clear(), "region": known.region_id}
    lists = ["/people/?" + query.format(**words).removeprefix("-") for query in QUERIES]
    figures = []
    for login in ("village", "district"):
        client = Client(HTTP_HOST="localhost")
        client.force_login(Operator.objects.get(login_key=login))
        for what, addresses in [("list pages", lists), ("the statistics", ["/population/", "/daily/"])]:
            with_wall, without = _side_by_side(client, addresses)
            told = f"{what} of {count:,} people as {login} with / without row security"
            figures.append(Figure("P-1.10", f"{told}, mean", *_figure(with_wall, without, sum)))
            figures.append(Figure("P-1.10", f"{told}, p95", *_figure(with_wall, without, _p95)))
    return figures


def _figure(ours, reference, of):
    return of(ours), "ms", LIMIT, of(reference)


def _p95(taken):
    return quantiles(taken, n=20)[-1]


def _side_by_side(client, addresses):
    """Median milliseconds of each address with and without, in turns so that both meet the same weather."""
    medians = {True: [], False: []}
    for address in addresses:
        taken = {True: [], False: []}
        for turn in range(2 * ROUNDS + 2):
            secured = turn % 2 == 0
            started = time.perf_counter()
            if secured:
                answer = client.get(address)
            else:
                with _no_wall():
                    answer = client.get(address)
            if answer.status_code != 200:
                raise RuntimeError(f"{address} answers {answer.status_code}")
            if turn >= 2:
                taken[secured].append(1000 * (time.perf_counter() - started))
        for secured in medians:
            medians[secured].append(median(taken[secured]))
    return medians[True], medians[False]


@contextmanager
def _no_wall():
    kept = wall.stand_of
    wall.stand_of = lambda actor: wall.BEYOND
    try:
        yield
    finally:
        wall.stand_of = kept
