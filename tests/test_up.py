"""`jingwei up`: one command starts everything, stops everything, and survives the death of any part."""

import signal
import socket
import time
from contextlib import suppress

import psutil
import psycopg
import pytest
from django.conf import settings

from jingwei import embedded
from tests.instance import new_instance

pytestmark = [pytest.mark.req("P-10.1"), pytest.mark.xdist_group("up")]  # most tests share one instance


@pytest.fixture
def empty_instance():
    # Not in pytest's folder: it closes that to other users, and under root the database runs as one.
    with new_instance(settings.JINGWEI_HOME) as instance:
        yield instance


@pytest.fixture(scope="module")
def one_instance():
    with new_instance(settings.JINGWEI_HOME) as instance:
        yield instance


@pytest.fixture
def instance(one_instance):
    """A running instance, whatever the test before has done to it."""
    if not one_instance.is_running():
        one_instance.start()
    return one_instance


def wait_for(fact):
    deadline = time.monotonic() + 30
    while not fact():
        assert time.monotonic() < deadline, "not within 30 seconds"
        time.sleep(0.2)


def test_it_says_where_the_instance_and_the_logins_are(empty_instance):
    instance = empty_instance
    *told, last = instance.start()
    logins = instance.home / "demo-logins.txt"
    assert any(str(logins) in line for line in told)
    assert last == f"ready http://127.0.0.1:{instance.port}/"
    assert logins.stat().st_mode & 0o077 == 0
    assert instance.answers()
    assert instance.stop() == 0


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_and_a_new_start_has_it_all(instance, sent):
    operators, postmaster = instance.operators(), instance.postmaster()
    assert instance.stop(sent) == 0
    assert not instance.parts("") and not postmaster.is_running()
    instance.start()
    assert instance.operators() == operators > 0


def test_a_second_start_on_the_same_instance_is_refused(instance):
    refused = instance.run("up")
    assert refused.returncode == 2
    assert "已经在运行" in refused.stderr


def test_a_port_in_use_is_refused(empty_instance):
    with socket.create_server(("127.0.0.1", empty_instance.port)):
        refused = empty_instance.run("up")
    assert refused.returncode == 2
    assert f"端口 {empty_instance.port}" in refused.stderr


def test_a_lost_key_ring_is_not_replaced(instance):
    instance.stop()
    (instance.home / "keys.json").rename(instance.home / "elsewhere.json")
    refused = instance.run("up")
    assert refused.returncode == 2
    assert "密钥文件" in refused.stderr
    assert not (instance.home / "keys.json").exists()
    (instance.home / "elsewhere.json").rename(instance.home / "keys.json")


@pytest.mark.parametrize("words", ["granian", "procrastinate worker"])
def test_a_killed_part_is_started_again(instance, words):
    killed = instance.parts(words)
    for process in killed:
        process.kill()
    wait_for(lambda: set(instance.parts(words)) - set(killed) and instance.answers())


def test_a_killed_database_is_started_again(instance):
    killed = instance.postmaster()
    killed.kill()
    killed.wait()
    wait_for(instance.answers)
    assert instance.is_running() and instance.operators() > 0


@pytest.mark.req("P-10.2")
def test_a_database_that_does_not_start_is_tried_until_it_does(instance):
    """As when somebody has yet to make room on a full disk."""
    settings_file = instance.home / "pg" / "postgresql.conf"
    right = settings_file.read_text()
    settings_file.write_text(f"{right}work_mem = much\n")
    instance.postmaster().kill()
    wait_for(lambda: "work_mem" in (instance.home / "pg.log").read_text())
    settings_file.write_text(right)

    def is_back():
        with suppress(psycopg.OperationalError):
            return instance.operators()

    wait_for(is_back)
    assert instance.is_running()


def test_after_a_kill_of_everything_at_once_it_starts_again(instance):
    operators = instance.operators()
    for process in [psutil.Process(instance.process.pid), *instance.parts(""), instance.postmaster()]:
        process.kill()
    instance.process.communicate()
    instance.start()
    assert instance.operators() == operators


def test_after_a_kill_of_the_command_alone_it_starts_again(instance):
    instance.process.kill()
    instance.process.communicate()
    instance.start()
    assert instance.answers()


@pytest.mark.req("P-10.2")
def test_with_a_database_elsewhere_there_is_no_embedded_server(empty_instance):
    elsewhere = empty_instance.home / "elsewhere"
    with embedded.Server(elsewhere):
        empty_instance.environment["DATABASE_URL"] = embedded.url(elsewhere, user="jingwei_app")
        empty_instance.environment["JINGWEI_OWNER_URL"] = embedded.url(elsewhere)
        empty_instance.start()
        assert empty_instance.answers()
        assert not (empty_instance.home / "pg").exists()
        assert empty_instance.stop() == 0


def test_a_command_without_an_instance_says_what_to_do(empty_instance):
    refused = empty_instance.run("demo")
    assert refused.returncode == 2
    assert "make run" in refused.stderr
