"""SEC-8 to SEC-10: what the operation log costs a page, how fast it is written, sealed and verified."""

import subprocess
import sys
import time
from contextlib import contextmanager
from statistics import median

from django.core.management import call_command
from django.test import Client

from bench import Figure
from jingwei import menu
from jingwei.base import audit, chain
from jingwei.base.models import LogEntry
from jingwei.cli.demo import ensure_demo
from jingwei.desk.forms import RecordForm
from jingwei.directory.actors import actor_for
from jingwei.directory.models import Operator
from jingwei.people.models import Person

PEOPLE = 20_000
SHORT, FULL = 5, 30  # seconds of writing
WRITERS = 2
ROUNDS = 60


def measure(full):
    """Pages beside the same ones without the log; rows a second of two processes."""
    ensure_demo(PEOPLE, progress=lambda done, total: None)
    call_command("collectstatic", interactive=False, verbosity=0)  # pages name the hashed files
    operator = Operator.objects.get(login_key="village")
    client = Client(HTTP_HOST="localhost")
    client.force_login(operator)
    actor = actor_for(operator, address="", device="", request_id="")
    person = Person.objects.visible_to(actor, "people.change").order_by("pk").first()
    form = RecordForm(menu.resource("people"), actor, person)
    sent = {name: form[name].value() or "" for name in form.fields}
    pages = {
        "a list page": (lambda: client.get("/people/"), 1.05),
        "a person's page": (lambda: client.get(f"/people/{person.pk}/"), 1.15),
        "saving a person": (lambda: _save(client, person, sent), 1.15),
    }
    figures = []
    for what, (ask, limit) in pages.items():
        logged, bare = _side_by_side(ask)
        figures.append(Figure("SEC-8", f"{what} with / without the log, median", logged, "ms", limit, bare))
    seconds = FULL if full else SHORT
    rate = _write(seconds)
    what = f"log rows written by {WRITERS} processes in {seconds} s, each row a transaction"
    figures.append(Figure("SEC-9", what, rate, "/s", 2_000, at_least=True))
    started, rows = time.perf_counter(), LogEntry.objects.count()
    chain.seal()
    sealed = time.perf_counter()
    verdict = chain.verify()
    verified = time.perf_counter()
    if not verdict.sound or verdict.unsealed:
        raise RuntimeError(f"the chain is not whole: {verdict.breaks[:3]}")
    figures.append(Figure("SEC-9", "log rows sealed", rows / (sealed - started), "/s", 10_000, at_least=True))
    rate = verdict.rows / (verified - sealed)
    figures.append(Figure("SEC-9", "log rows verified", rate, "/s", 5_000, at_least=True))
    return figures


def _save(client, person, sent):
    person.refresh_from_db()
    turn = "甲" if person.occupation == "乙" else "乙"
    answer = client.post(f"/people/{person.pk}/edit/", sent | {"occupation": turn, "version": person.version})
    if answer.status_code != 302:
        raise RuntimeError(f"saving answers {answer.status_code}")


def _side_by_side(ask):
    """Median milliseconds with and without the log, taken in turns so that both meet the same weather."""
    taken = {True: [], False: []}
    for turn in range(2 * ROUNDS + 4):
        with_log = turn % 2 == 0
        started = time.perf_counter()
        if with_log:
            ask()
        else:
            with _no_log():
                ask()
        if turn >= 4:
            taken[with_log].append(1000 * (time.perf_counter() - started))
    return median(taken[True]), median(taken[False])


@contextmanager
def _no_log():
    kept = audit.record
    audit.record = lambda *args, **said: None
    try:
        yield
    finally:
        audit.record = kept


def _write(seconds):
    command = [sys.executable, "-m", "bench.log_writer", str(seconds)]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(WRITERS)]
    return sum(int(writer.communicate()[0]) for writer in writers) / seconds
