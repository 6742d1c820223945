"""P-4.2, SEC-13: what sealing costs a page, a search, a save and a load.

Beside the provider of the platform stands one that remembers every answer: the same ciphertexts in the same
rows, for the price of a look into a dictionary. Both take turns, so that both meet the same weather.
"""

import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test import Client

from bench import Figure, sheets
from jingwei import menu
from jingwei.base import loading
from jingwei.base.crypto import SoftwareProvider
from jingwei.base.wall import as_owner
from jingwei.cli.demo import ensure_demo
from jingwei.desk.forms import RecordForm
from jingwei.directory.actors import actor_for
from jingwei.directory.models import Operator
from jingwei.people.models import Person
from jingwei.people.sheets import RosterSheet

PEOPLE = 20_000
ROWS = 20_000
ROUNDS = 60
LOADS = 3
SEALING = settings.JINGWEI_CRYPTO


class Remembering(SoftwareProvider):
    """A provider that works out each answer once."""

    def __init__(self):
        super().__init__()
        self.known = {}

    def encrypt(self, column, values, *, key_id=None):
        work = super().encrypt
        return self._each((column, key_id), values, lambda new: work(column, new, key_id=key_id))

    def decrypt(self, column, sealed):
        work = super().decrypt
        return self._each((column, "open"), sealed, lambda new: work(column, new))

    def mac(self, purpose, messages, *, key_id=None):
        work = super().mac
        tags = self._each((purpose, key_id), messages, lambda new: work(purpose, new, key_id=key_id))
        return np.array(tags, np.uint8).reshape(-1, 16)

    def _each(self, about, values, work):
        known = self.known.setdefault(about, {})
        new = [value for value in dict.fromkeys(values) if value not in known]
        if new:
            known.update(zip(new, work(new), strict=True))
        return [known[value] for value in values]


def measure(full):
    """Pages, a search, a save and a load, each beside the same without the work of sealing."""
    ensure_demo(PEOPLE, progress=lambda done, total: None)
    call_command("collectstatic", interactive=False, verbosity=0)  # pages name the hashed files
    client = Client(HTTP_HOST="localhost")
    client.force_login(Operator.objects.get(login_key="village"))
    village = actor_for(Operator.objects.get(login_key="village"), address="", device="", request_id="")
    person = Person.objects.visible_to(village, "people.change").exclude(phone=None).order_by("pk").first()
    form = RecordForm(menu.resource("people"), village, person)
    sent = {name: form[name].value() or "" for name in form.fields}
    asked = {
        "a list page": lambda: client.get("/people/"),
        "a search by number": lambda: client.get("/people/", {"q": person.number.clear()}),
        "a search by address": lambda: client.get("/people/", {"q": "上埔社区"}),
        "saving a person": lambda: _save(client, person, sent),
    }
    figures = [_figure(what, ask, ROUNDS, 1.2) for what, ask in asked.items()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "roster.xlsx"
        sheets.write_xlsx(path, sheets.HEADINGS, sheets.roster(ROWS))
        district = actor_for(Operator.objects.get(login_key="district"), address="", device="", request_id="")

        def load():
            loading.load(district, RosterSheet(), path)

        figures.append(_figure(f"a load of {ROWS:,} people", load, LOADS, 1.3, before=_empty))
    return figures


def _figure(what, ask, rounds, limit, before=lambda: None):
    taken = {True: [], False: []}
    try:
        for turn in range(2 * rounds + 2):
            sealing = turn % 2 == 1
            settings.JINGWEI_CRYPTO = SEALING if sealing else f"{__name__}.Remembering"
            before()
            started = time.perf_counter()
            ask()
            if turn > 1:
                taken[sealing].append(1000 * (time.perf_counter() - started))
    finally:
        settings.JINGWEI_CRYPTO = SEALING
    ours, bare = median(taken[True]), median(taken[False])
    return Figure("P-4.2", f"{what} with / without the work of sealing, median", ours, "ms", limit, bare)


def _save(client, person, sent):
    person.refresh_from_db()
    turn = "甲" if person.occupation == "乙" else "乙"
    answer = client.post(f"/people/{person.pk}/edit/", sent | {"occupation": turn, "version": person.version})
    if answer.status_code != 302:
        raise RuntimeError(f"saving answers {answer.status_code}")


def _empty():
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("TRUNCATE people_person, base_load, base_loadchunk, base_loadrow CASCADE")
