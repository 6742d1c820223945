"""The embedded server: shared by its users, and none the worse for being killed."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import psycopg
import pytest
from django.conf import settings

from jingwei import embedded

pytestmark = pytest.mark.req("P-10.1")


@pytest.fixture
def home():
    # Not pytest's folder: it closes that to other users, and under root the server runs as one.
    with tempfile.TemporaryDirectory(dir=settings.JINGWEI_HOME) as home:
        yield Path(home)


@pytest.fixture
def folder(home):
    return home / "pg"


def postmaster(folder):
    return psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))


def store_a_row(folder):
    with psycopg.connect(embedded.url(folder)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (word text)")
        connection.execute("INSERT INTO kept VALUES ('kept')")


def rows(folder):
    with psycopg.connect(embedded.url(folder)) as connection:
        return connection.execute("SELECT word FROM kept").fetchall()


def test_a_server_listens_on_its_socket_only(folder):
    with embedded.Server(folder):
        with psycopg.connect(embedded.url(folder)) as connection:
            assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
            assert connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = user").fetchone() == (
                False,
            )
        assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.req("P-10.2")
def test_a_server_that_is_slow_to_begin_is_waited_for(home, folder, monkeypatch):
    """As on a machine with more to do than it can."""
    with embedded.Server(folder):
        pass
    slow = home / "postgres"
    slow.write_text(f'#!/bin/sh\nsleep 0.5\nexec {embedded.BIN}/postgres "$@"\n')
    slow.chmod(0o755)
    home.chmod(0o755)
    monkeypatch.setattr(embedded, "BIN", home)
    with embedded.Server(folder):
        store_a_row(folder)


def test_two_servers_run_side_by_side(home):
    with embedded.Server(home / "one" / "pg") as one, embedded.Server(home / "two" / "pg") as two:
        store_a_row(one.folder)
        store_a_row(two.folder)
        store_a_row(two.folder)
        assert (len(rows(one.folder)), len(rows(two.folder))) == (1, 2)


def test_the_last_user_stops_the_server(folder):
    first, second = embedded.Server(folder), embedded.Server(folder)
    with first:
        with second:
            process = postmaster(folder)
        assert first.is_running()
    assert not process.is_running()


def test_a_killed_server_comes_back_with_what_was_committed(folder):
    with embedded.Server(folder) as server:
        store_a_row(folder)
        busy = psycopg.connect(embedded.url(folder), autocommit=True)
        spin = (
            "DO $$ BEGIN LOOP PERFORM 1; END LOOP; END $$"  # holds the shared memory after its parent's death
        )
        busy.pgconn.send_query(spin.encode())
        killed = postmaster(folder)
        killed.kill()
        killed.wait()
        server.ensure()
        assert rows(folder) == [("kept",)]


def test_a_pid_file_that_names_a_stranger_does_not_hinder_the_start(folder):
    with embedded.Server(folder):
        store_a_row(folder)
    stranger = f"{os.getpid()}\n{folder}\n1\n5432\n{folder}\n\n1 1\nready\n"
    for name in ["postmaster.pid", ".s.PGSQL.5432.lock"]:
        (folder / name).write_text(stranger)
        os.chown(folder / name, folder.stat().st_uid, folder.stat().st_gid)
    with embedded.Server(folder):
        assert rows(folder) == [("kept",)]


def test_a_folder_left_half_made_is_made_anew(folder):
    half = folder.with_name("pg.new")
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    with embedded.Server(folder) as server:
        assert server.is_running()


def test_a_path_too_long_for_a_socket_works(home):
    folder = home / ("very-" * 30 + "long") / "pg"
    with embedded.Server(folder):
        store_a_row(folder)
        assert rows(folder) == [("kept",)]


def test_a_tied_server_ends_with_its_starter_however_that_ends(folder):
    program = (
        "import sys, time, pathlib; from jingwei import embedded\n"
        "with embedded.Server(pathlib.Path(sys.argv[1]), tied=True): print('up', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, folder]
    starter = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent)
    starter.stdout.readline()
    process = postmaster(folder)
    starter.send_signal(signal.SIGKILL)
    starter.communicate()
    process.wait(20)
    with embedded.Server(folder) as server:
        assert server.is_running()


@pytest.mark.req("P-4.1")
def test_the_servers_log_holds_no_value_of_a_refused_statement(folder):
    with embedded.Server(folder) as server, psycopg.connect(embedded.url(folder)) as connection:
        with pytest.raises(psycopg.errors.NumericValueOutOfRange):
            connection.execute("SELECT '35018219900101123X'::int")
        assert "database system is ready" in server.log.read_text()
        assert "35018219900101123X" not in server.log.read_text()


def test_a_server_that_cannot_start_says_why(folder):
    with embedded.Server(folder):
        pass
    with open(folder / "postgresql.conf", "a") as settings:
        settings.write("work_mem = much\n")
    with pytest.raises(embedded.EmbeddedError, match="内置数据库没有启动成功(.|\n)*work_mem"):
        with embedded.Server(folder):
            pass
