"""CL-P4: the statistics pages of a large register, beside the same count of the people by bare SQL."""

import time
from statistics import quantiles

from django.core.management import call_command
from django.db import connection
from django.test import Client

from bench import Figure
from jingwei.cli.demo import ensure_demo, settle
from jingwei.directory.models import Operator

SMALL, FULL = 300_000, 10_000_000
PAGES = ("population", "coverage", "coverage/?level=village", "elderly", "crossing", "daily")
ROUNDS = 10
BARE = """
    SELECT left(region_id, 9), count(*), count(*) FILTER (WHERE resident), count(*) FILTER (WHERE tenant),
           count(*) FILTER (WHERE birth_date <= '1966-11-20'), count(dose), count(sampled_at)
      FROM people_person GROUP BY 1
"""


def measure(full):
    """The slowest statistics page as `town` and `district`, after as many changes as a tally may lack."""
    count = FULL if full else SMALL
    ensure_demo(count, progress=lambda done, total: None)
    call_command("collectstatic", interactive=False, verbosity=0)  # pages name the hashed files
    settle()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE people_person SET tenant = NOT tenant WHERE mod(id, %s) = 0", [count // 2_000])
        started = time.perf_counter()
        cursor.execute(BARE)
        bare = 1000 * (time.perf_counter() - started)
    figures = []
    for login in ("town", "district"):
        slowest, page = max((_p95(login, page), page) for page in PAGES)
        what = f"{page}, the slowest statistics page of {count:,} people as {login}, p95"
        figures.append(Figure("CL-P4", what, slowest, "ms", 500))
    what = f"the same / one table of {count:,} people by bare SQL"
    return [*figures, Figure("CL-P4", what, slowest, "ms", 1 if full else 3, bare)]


def _p95(login, page):
    client = Client(HTTP_HOST="localhost")
    client.force_login(Operator.objects.get(login_key=login))
    address, taken = f"/{page}" if "?" in page else f"/{page}/", []
    client.get(address)
    for _ in range(ROUNDS):
        started = time.perf_counter()
        answer = client.get(address)
        taken.append(1000 * (time.perf_counter() - started))
        if answer.status_code != 200:
            raise RuntimeError(f"{address} answers {answer.status_code}")
    return quantiles(taken, n=20)[-1]
