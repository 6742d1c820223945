"""The machines that the tests of this folder share."""

import pytest
from django.conf import settings

from jingwei import embedded
from tests.instance import new_instance
from tests.production import SITE, Machine, Nginx, Replica, Visitor


@pytest.fixture(scope="package")
def site():
    """(first machine, replica, database folder): `jingwei up` beside a database elsewhere."""
    with new_instance(settings.JINGWEI_HOME) as first:
        data = first.home / "database"
        with embedded.Server(data):
            replica = Replica(data, first.home / "replica")
            replica.start()
            first.environment |= {
                "DATABASE_URL": embedded.url(data, user="jingwei_app"),
                "JINGWEI_OWNER_URL": embedded.url(data),
                "JINGWEI_REPLICA_URL": replica.url,
                "JINGWEI_FILES": str(first.home / "shared"),
                "JINGWEI_WEB": "1",
                "JINGWEI_TLS": "1",
                "JINGWEI_HOSTS": SITE,
                "JINGWEI_TRUSTED_PROXY": "127.0.0.1",
                "JINGWEI_MONITOR": "192.0.2.0/24",
                "JINGWEI_MONITOR_TOKEN": "token-of-monitoring",
            }
            try:
                first.start()
                yield first, replica, data
                first.stop()
            finally:
                replica.stop()


@pytest.fixture(scope="package")
def first(site):
    return site[0]


@pytest.fixture(scope="package")
def second(site):
    machine = Machine(site[0], site[0].home / "second")
    try:
        machine.start("web", "worker")
        yield machine
    finally:
        machine.stop()


@pytest.fixture
def officer(first):
    visitor = Visitor(first.port)
    assert visitor.sign_in("district", first.password("district")).status == 302
    return visitor


@pytest.fixture(scope="package")
def nginx(first, tmp_path_factory):
    with Nginx(first.home, first.port, tmp_path_factory.mktemp("nginx")).running() as nginx:
        yield nginx


@pytest.fixture
def visitor(nginx):
    return Visitor(nginx.https, nginx.certificate)
