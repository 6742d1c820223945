"""The content policy opens for the host of the tiles, and only where one is set (P-10.5)."""

import os
import subprocess
import sys

import pytest

from jingwei import settings

TIANDITU = (
    "https://t0.tianditu.gov.cn/vec_w/wmts?LAYER=vec&TILEMATRIX={z}&TILEROW={y}&TILECOL={x}&tk=0"
    " https://t0.tianditu.gov.cn/cva_w/wmts?LAYER=cva&TILEMATRIX={z}&TILEROW={y}&TILECOL={x}&tk=0"
)
SHOW = """
from jingwei import settings
for name, sources in settings.CONTENT_SECURITY_POLICY["DIRECTIVES"].items():
    print(name, *sources)
"""


def policy(folder, **environment):
    """{directive: sources} of an instance started with these variables, or what it says on refusing."""
    given = {"JINGWEI_HOME": str(folder), "DATABASE_URL": "postgresql:///none", "PATH": os.environ["PATH"]}
    run = subprocess.run(
        [sys.executable, "-c", SHOW], env=given | environment, capture_output=True, text=True
    )
    if run.returncode:
        return run.stderr
    return {name: sources for name, *sources in map(str.split, run.stdout.splitlines())}


@pytest.mark.req("P-10.5", "SEC-11")
def test_without_tiles_no_other_host_is_allowed():
    directives = settings.CONTENT_SECURITY_POLICY["DIRECTIVES"]
    assert not [s for sources in directives.values() for s in sources if "//" in s or "*" in s]
    assert "blob:" not in directives["worker-src"] + directives["script-src"] + directives["connect-src"]


@pytest.mark.req("P-10.5", "SEC-11")
def test_with_tiles_their_host_alone_is_allowed_for_pictures(tmp_path):
    plain, opened = policy(tmp_path), policy(tmp_path, JINGWEI_TILES=TIANDITU)
    host = ["https://t0.tianditu.gov.cn"]
    for name, sources in opened.items():
        more = host if name in ("img-src", "connect-src") else []
        assert sources == plain[name] + more


@pytest.mark.req("P-10.5", "SEC-11")
@pytest.mark.parametrize(
    "variables",
    [
        {"JINGWEI_TILES": "https://tiles.example/{z}/{x}.png"},
        {"JINGWEI_TILES": "javascript:{z}{x}{y}"},
        {"JINGWEI_TILES": "https://*/{z}/{x}/{y}"},
        {"JINGWEI_TILES": "https://a;script-src/{z}/{x}/{y}"},
        {"JINGWEI_TILES_SYSTEM": "BD-09"},
    ],
)
def test_tiles_that_are_none_stop_the_start_in_words(tmp_path, variables):
    said = policy(tmp_path, **variables)
    assert "ImproperlyConfigured" in said and "环境变量 JINGWEI_TILES" in said
