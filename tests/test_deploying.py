"""What ships for running it for real: units, image, settings, run book."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from django.conf import settings

PROJECT = Path(__file__).parent.parent
UNITS = sorted((PROJECT / "deploy" / "systemd").iterdir())
PRODUCTION = {
    "DATABASE_URL": "postgresql://jingwei_app@database.example/jingwei",
    "JINGWEI_TLS": "1",
    "JINGWEI_HOSTS": "jingwei.example",
    "JINGWEI_TRUSTED_PROXY": "127.0.0.1",
}


def django(*arguments, home, **environment):
    inherited = {n: v for n, v in os.environ.items() if n != "DATABASE_URL" and not n.startswith("JINGWEI_")}
    environment = inherited | environment | {"JINGWEI_HOME": str(home)}
    environment["DJANGO_SETTINGS_MODULE"] = "jingwei.settings"
    command = [sys.executable, "-m", "django", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.req("SEC-11")
def test_django_finds_nothing_to_warn_of_in_production(tmp_path):
    checked = django("check", "--deploy", "--fail-level", "DEBUG", home=tmp_path, **PRODUCTION)
    assert checked.returncode == 0 and "0 silenced" not in checked.stdout, checked.stderr
    assert "no issues (1 silenced)" in checked.stdout


@pytest.mark.req("SEC-11", "SEC-2")
def test_tls_needs_the_name_of_the_proxy(tmp_path):
    refused = django("check", home=tmp_path, **PRODUCTION | {"JINGWEI_TRUSTED_PROXY": ""})
    assert refused.returncode and "JINGWEI_TRUSTED_PROXY" in refused.stderr


@pytest.mark.req("P-10.2")
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("JINGWEI_REPLICA_URL", "no address", "JINGWEI_REPLICA_URL 不是有效的 PostgreSQL 连接地址"),
        ("JINGWEI_OWNER_URL", "postgresql://host", "JINGWEI_OWNER_URL 没有写明数据库名"),
        ("JINGWEI_MONITOR", "10.0.0.7/8", "JINGWEI_MONITOR"),
    ],
)
def test_a_wrong_setting_stops_the_start_in_words(tmp_path, name, value, said):
    refused = django("check", home=tmp_path, **PRODUCTION | {name: value})
    assert refused.returncode and said in refused.stderr


@pytest.mark.req("P-10.2")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_accepts_the_units(unit, tmp_path):
    for other in UNITS:
        text = other.read_text().replace("/opt/jingwei/.venv/bin/jingwei", "/bin/true")
        (tmp_path / other.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / unit.name], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.req("P-10.2")
@pytest.mark.parametrize("unit", [u for u in UNITS if u.suffix == ".service"], ids=lambda unit: unit.name)
def test_a_service_can_do_little_beside_its_work(unit):
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=20", unit]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.req("P-10.2")
def test_units_call_commands_that_exist():
    from jingwei.cli.main import COMMANDS

    called = [re.search(r"^ExecStart=\S+/jingwei (\S+)", u.read_text(), re.M) for u in UNITS]
    assert {match[1] for match in called if match} >= {"web", "worker", "integrity"}
    assert all(match[1] in COMMANDS for match in called if match)


@pytest.mark.req("P-10.2")
def test_the_image_is_made_of_files_that_are_there():
    lines = (PROJECT / "deploy" / "Containerfile").read_text().replace("\\\n", "").splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY") and "--from" not in line]
    names = {name for words in copied for name in words}
    assert names and all((PROJECT / name).exists() for name in names)
    let_in = {line[1:] for line in (PROJECT / ".dockerignore").read_text().split() if line.startswith("!")}
    assert names == let_in
    assert [line for line in lines if line.startswith("USER")] == ["USER jingwei"]


@pytest.mark.req("P-10.2")
def test_the_package_that_the_image_installs_has_every_file(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*command, "-w", tmp_path, PROJECT], check=True)
    [wheel] = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    listed = subprocess.run(
        ["git", "ls-files", "jingwei"], cwd=PROJECT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    there = {name for name in listed if (PROJECT / name).exists()}
    assert there and there <= packed


@pytest.mark.req("P-10.2")
def test_the_run_book_lists_every_setting():
    book = (PROJECT / "docs" / "operating.md").read_text()
    read = set()
    for path in settings.PACKAGE.rglob("*.py"):
        if "tests" not in path.parts:
            read |= set(re.findall(r'["\'](JINGWEI_[A-Z_]+|DATABASE_URL|PORT|DEMO)["\']', path.read_text()))
    told = set(re.findall(r"^\| `([A-Z_0-9]+)`", book, re.M))
    inner = {"JINGWEI_PART_OF"}
    assert read - inner == told
