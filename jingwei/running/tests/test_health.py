"""Ready, or why not."""

import pytest
from django.db import OperationalError, connection, connections
from django.test import Client

from jingwei.base import parameters
from jingwei.base.models import ParameterValue
from jingwei.running import health, integrity

pytestmark = [pytest.mark.django_db, pytest.mark.req("P-10.2")]


@pytest.fixture(autouse=True)
def program(settings, tmp_path):
    """A small program with a manifest, on a machine of its own."""
    settings.JINGWEI_HOME = tmp_path
    settings.JINGWEI_FILES = tmp_path / "files"
    settings.JINGWEI_STORAGE = f"{tmp_path}/attachments"
    settings.PACKAGE = tmp_path / "program"
    settings.STATIC_ROOT = tmp_path / "static"
    for folder in (settings.PACKAGE, settings.STATIC_ROOT):
        folder.mkdir()
        (folder / "page.js").write_text("let all = 'well';")
    integrity.make()
    yield settings.PACKAGE
    integrity._kept["until"] = 0.0


@pytest.fixture
def worker():
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO procrastinate_workers DEFAULT VALUES")


def ask():
    """(status, {part: what it says}) of the page."""
    answer = Client().get("/readyz")
    return answer.status_code, {name: part["good"] for name, part in answer.json()["parts"].items()}


def test_all_is_well(worker):
    status, parts = ask()
    assert status == 200 and all(parts.values())
    places = {"disk", "files-disk", "attachments-disk"}
    assert {"database", "migrations", "keys", "integrity", "worker"} | places == set(parts)


def test_without_a_worker_visitors_are_still_served():
    status, parts = ask()
    assert status == 200 and not parts["worker"]


def test_a_worker_that_fell_silent_is_told_of(worker):
    with connection.cursor() as cursor:
        cursor.execute("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '2 minutes'")
    assert ask()[1]["worker"] is False


def test_a_full_disk_is_not_ready():
    ParameterValue.objects.create(name="running.free", value="10000")
    parameters.forget()
    status, parts = ask()
    assert status == 503 and not parts["disk"] and not parts["files-disk"] and not parts["attachments-disk"]


def test_a_folder_that_is_not_mounted_is_not_ready(settings):
    settings.JINGWEI_FILES = settings.JINGWEI_HOME / "mount" / "files"
    status, parts = ask()
    assert status == 503 and not parts["files-disk"] and parts["disk"]
    told = Client().get("/metrics").content.decode()
    assert 'jingwei_check{part="files-disk"} 0.0' in told
    assert 'jingwei_disk_free_bytes{part="disk"}' in told and '_bytes{part="files-disk"}' not in told


def test_without_the_keys_it_is_not_ready(settings, tmp_path):
    settings.JINGWEI_KEYS = tmp_path / "nowhere.json"
    status, parts = ask()
    assert status == 503 and not parts["keys"]


def test_a_missing_migration_is_not_ready(owner, monkeypatch):
    monkeypatch.setattr(health, "_found", set())
    owner.execute("DELETE FROM django_migrations WHERE app = 'running'")
    status, parts = ask()
    assert status == 503 and not parts["migrations"]


@pytest.mark.req("SEC-20")
def test_a_changed_file_is_not_ready(program):
    (program / "page.js").write_text("steal()")
    integrity._kept["until"] = 0.0  # a minute later
    status, parts = ask()
    assert status == 503 and not parts["integrity"]


def test_without_a_database_the_process_is_alive_but_not_ready(monkeypatch):
    def gone(*args, **kwargs):
        raise OperationalError("gone")

    with monkeypatch.context() as broken:
        broken.setattr(connections["default"], "cursor", gone)
        assert ask() == (503, {"database": False})
        assert Client().get("/healthz").content == b"ok"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_nothing_is_done_by_asking_otherwise(path):
    assert Client().post(path).status_code == 405


def test_an_answer_is_never_kept():
    assert Client().get("/readyz")["Cache-Control"] == "no-store"
