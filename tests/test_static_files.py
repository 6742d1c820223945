"""The files of the pages, as `jingwei up` collects them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from django.test import override_settings

PROJECT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    """The folder with the collected files."""
    folder = tmp_path_factory.mktemp("static")
    hashed = {"staticfiles": {"BACKEND": "jingwei.serving.HashedFiles"}}
    with override_settings(STATIC_ROOT=folder, STORAGES=settings.STORAGES | hashed):
        call_command("collectstatic", interactive=False, verbosity=0)
    return folder


def test_a_module_imports_others_by_names_that_change_with_their_content(collected):
    [desk] = collected.glob("js/desk.*.js")
    imported = re.findall(r'import\s*"\./([^"]+)"', desk.read_text())
    assert imported
    for name in imported:
        assert re.fullmatch(r"\w+\.[0-9a-f]{12}\.js", name)
        assert (desk.parent / name).exists() and (desk.parent / f"{name}.gz").exists()


@pytest.mark.req("P-10.5", "CL-7.1")
def test_no_file_of_ours_names_another_host(collected):
    own = [path for path in collected.rglob("*.*") if "vendor" not in path.parts]
    texts = {path: path.read_text() for path in own if path.suffix in {".css", ".js", ".svg"}}
    assert texts
    for path, text in texts.items():
        hosts = set(re.findall(r"(?:https?:)?//([a-z0-9-]+(?:\.[a-z0-9-]+)+)", text)) - {"www.w3.org"}
        assert not hosts, path


@pytest.mark.req("P-10.5", "CL-7.1")
def test_the_vendored_files_are_as_listed():
    check = [sys.executable, PROJECT / "tools" / "vendor.py", "--check"]
    checked = subprocess.run(check, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
