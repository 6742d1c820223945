"""The locked packages are looked up among known weaknesses, wherever advisories can be had."""

import json
import os
import re
import socket
import subprocess
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tools.advisories import Advisories

pytestmark = pytest.mark.req("SEC-20")
PROJECT = Path(__file__).parent.parent
PINS = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (PROJECT / "requirements-dev.lock").read_text(), re.M))


def record(name="django", ecosystem="PyPI", modified=None, **affected):
    """A record of the OSV schema."""
    return {
        "id": "TEST-2026-1",
        "modified": (modified or datetime.now(UTC)).isoformat(),
        "affected": [{"package": {"ecosystem": ecosystem, "name": name}, **affected}],
    }


def within(*events):
    return {"ranges": [{"type": "ECOSYSTEM", "events": [dict([event]) for event in events]}]}


@pytest.fixture
def export(tmp_path):
    """Makes a file as OSV exports it."""

    def make(*records):
        path = tmp_path / "all.zip"
        with zipfile.ZipFile(path, "w") as file:
            for number, one in enumerate(records):
                file.writestr(f"{number}.json", json.dumps(one))
        return path

    return make


def audit(advisories):
    command = [sys.executable, "tools/audit.py", "packages"]  # as `make audit` does
    environment = os.environ | {"ADVISORIES": str(advisories)}
    told = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
    return told.returncode, told.stdout + told.stderr


def test_a_weak_pin_fails_the_audit_and_is_named(export):
    weak = record(versions=[PINS["django"]], **within(("introduced", "0"), ("fixed", "999.1")))
    with Advisories(export(weak)).served() as service:  # as OSV answers
        code, said = audit(service)
    assert code == 1
    assert f"django {PINS['django']}: TEST-2026-1, mended in 999.1" in said
    assert "packages: NOT CLEAN" in said


def test_a_clean_lock_passes_and_an_old_file_is_said_to_be_old(export):
    mended = record(**within(("introduced", "0"), ("fixed", PINS["django"])))
    old = datetime.now(UTC) - timedelta(days=40)
    code, said = audit(export(mended | {"modified": old.isoformat()}))
    assert (code, "older than 30 days" in said) == (0, True), said
    assert f"asked about {len(PINS)} packages" in said and "packages: clean" in said


def test_a_service_that_nobody_reaches_is_not_clean():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        code, said = audit(f"http://127.0.0.1:{closed.getsockname()[1]}/v1/query")
    assert code == 3
    assert "nobody could be asked" in said and "packages: NOT LOOKED AT" in said


@pytest.mark.parametrize(
    ("name", "affected", "versions"),
    [
        ("django", within(("introduced", "5.0"), ("fixed", "5.2.3")), {"5.0", "5.2.2", "5.2.3rc1"}),
        ("Django", within(("introduced", "5.2.3"), ("last_affected", "5.2.10")), {"5.2.3", "5.2.10"}),
        (
            "django",
            within(("fixed", "5.0.1"), ("introduced", "0"), ("introduced", "5.2.10")),
            {"5.0", "5.2.10"},
        ),
        ("django", {"versions": ["5.2.2"]}, {"5.2.2"}),
        ("django", {"versions": ["5.0"], **within(("introduced", "2004d"))}, {"5.0"}),
        ("django", {"ranges": [{"type": "GIT", "events": [{"introduced": "0"}]}]}, set()),
        ("flask", within(("introduced", "0")), set()),
    ],
)
def test_a_version_is_weak_where_a_record_says_so(export, name, affected, versions):
    advisories = Advisories(export(record(name, **affected)))
    asked = ("5.0", "5.2.2", "5.2.3rc1", "5.2.3", "5.2.10")
    assert {version for version in asked if advisories.about("django", version)} == versions


def test_a_package_of_another_registry_is_another_package(export):
    assert not Advisories(export(record(ecosystem="npm", **within(("introduced", "0"))))).about("django", "5")


@pytest.mark.parametrize("content", [b"", b"PK", b"[]"])
def test_what_is_no_export_is_not_taken_for_one(tmp_path, content):
    (tmp_path / "all.zip").write_bytes(content)
    with pytest.raises(ValueError, match="no export"):
        Advisories(tmp_path / "all.zip")


def test_an_export_without_advisories_says_nothing_about_anything(export):
    with pytest.raises(ValueError, match="no advisories"):
        Advisories(export())
