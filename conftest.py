"""What every test stands on: an instance of its own, with one database per worker.

The database `jingwei` of the run's embedded server is set up once, as by a first start with DEMO=0, and then
only copied: a worker gets a copy at its start, and again after each test that commits, since an append-only
table cannot be emptied.
"""

import fcntl
import os

import hypothesis
import psycopg
import pytest
from django.conf import settings
from django.db import connection, connections
from django.test import TransactionTestCase

from jingwei import embedded
from jingwei.base import chain, codes, parameters, wall
from jingwei.base.crypto import create_key_ring
from jingwei.cli.migrate import migrate
from jingwei.directory import menus
from jingwei.directory.setup import ensure_base
from tests.tampering import settle

pytest_plugins = ["tests.personas"]

# How fast the machine is says nothing about the code.
hypothesis.settings.register_profile("jingwei", deadline=None)
hypothesis.settings.load_profile("jingwei")


wall.unplaced = wall.BEYOND  # threads that tests begin


def pytest_configure(config):
    create_key_ring(settings.JINGWEI_KEYS)


def copy_database(name):
    """Have a fresh copy of the database `jingwei` under another name, whatever stood there."""
    connections.close_all()
    admin = embedded.url(settings.EMBEDDED_SERVER, user="postgres", database="postgres")
    with psycopg.connect(admin, autocommit=True) as server:
        server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        for last in (False, False, False, True):
            try:
                server.execute(f"CREATE DATABASE {name} TEMPLATE jingwei OWNER jingwei")
                return
            except psycopg.errors.ObjectInUse:  # the server's own housekeeping, or what a killed test left
                if last:
                    raise
                server.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'jingwei'"
                )


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment, django_db_blocker, worker_id):
    """Start the server and make the worker's database, in place of Django's own test database."""
    name = f"jingwei_{worker_id}"
    with embedded.Server(settings.EMBEDDED_SERVER), django_db_blocker.unblock():
        with open(settings.JINGWEI_HOME / "template.lock", "a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if lock.tell() == 0:
                with wall.as_owner():
                    migrate()
                ensure_base()
                lock.write("made")
            copy_database(name)
        connection.settings_dict["NAME"] = name
        # Programs that a test starts see the same rows.
        server = settings.EMBEDDED_SERVER
        os.environ["DATABASE_URL"] = embedded.url(server, user="jingwei_app", database=name)
        os.environ["JINGWEI_OWNER_URL"] = embedded.url(server, database=name)
        settings.OWNER_DATABASE["NAME"] = name
        TransactionTestCase._fixture_teardown = lambda case: copy_database(name)
        yield
        connections.close_all()


@pytest.fixture(autouse=True)
def looks_at_everything():
    """A test stands before the wall; what it asks of a page or a command is asked from where these stand."""
    with wall.beyond_scope():
        yield


@pytest.fixture(autouse=True)
def nothing_is_remembered():
    """What a process keeps for some seconds is of rows that are rolled back."""
    yield
    for kept in (codes, menus, parameters):
        kept.forget()


@pytest.fixture
def owner(transactional_db):
    """The owner of the tables, whom nothing but triggers hold up."""
    with psycopg.connect(os.environ["JINGWEI_OWNER_URL"], autocommit=True) as connection:
        yield connection


@pytest.fixture
def seals_at_once(transactional_db, monkeypatch):
    """The log is sealed up to now, whatever other tests are at."""
    sealing = chain.seal

    def seal():
        settle()
        return sealing()

    monkeypatch.setattr(chain, "seal", seal)


@pytest.fixture(autouse=True)
def counts_by_day_stay_right(request):
    """Whatever a test did to people, doses and samples, their counts by day agree with a recount (P-9.4)."""
    if not request.node.get_closest_marker("django_db"):
        yield
        return
    from jingwei.people.day_counts import DOSES, PEOPLE, recount
    from jingwei.testing.models import SAMPLES

    request.getfixturevalue("_django_db_helper")  # the transaction of the test ends after this
    yield
    if wrong := recount(PEOPLE, DOSES, SAMPLES):
        pytest.fail(f"{wrong} counts by day were wrong")
