"""The demonstration logins as fixtures: the name tells the expected answer (issue of the house, item 2).

They are made once by the platform's own set-up, in the district of the region tree that is shipped.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import pytest
from django.test import Client

from jingwei import menu
from jingwei.base.access import EVERYTHING, Actor
from jingwei.directory import middleware
from jingwei.directory.actors import actor_for
from jingwei.directory.models import Operator
from jingwei.directory.setup import PERSONAS


@dataclass
class Persona:
    """One demonstration login at work in a test."""

    login: str

    @property
    def operator(self) -> Operator:
        """The account as it stands in the database now."""
        return Operator.objects.select_related("organisation__region").get(login_key=self.login)

    @property
    def actor(self) -> Actor:
        """The account with the rights of now."""
        return actor_for(self.operator, address="192.0.2.1", device="test", request_id="test")

    @property
    def region(self) -> str:
        """Code of the region of the account's organisation."""
        return self.operator.organisation.region_id

    @cached_property
    def client(self) -> Client:
        """A browser in which the account is signed in."""
        return self.browser()

    def browser(self, **options) -> Client:
        """Another browser in which the account is signed in."""
        client = Client(**options)
        client.force_login(self.operator)
        return client


def _fixture(login):
    @pytest.fixture(name=login)
    def persona(db):
        return Persona(login)

    return persona


for _persona in PERSONAS:
    globals()[f"persona_{_persona.login}"] = _fixture(_persona.login)


@pytest.fixture
def all_powers(db, monkeypatch, tmp_path):
    """A browser of somebody who holds every permission over every row, as nobody does."""
    everything = {permission: EVERYTHING for permission in menu.permissions()}
    real = middleware.actor_for
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    powers = {"grants": everything, "business": EVERYTHING}
    monkeypatch.setattr(middleware, "actor_for", lambda *who, **where: replace(real(*who, **where), **powers))
    return Persona("district").client
