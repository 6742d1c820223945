"""What a browser has to fetch before it shows the first list."""

import gzip
import re
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders

pytestmark = pytest.mark.django_db
LIMIT = 350_000  # bytes, compressed


def files_of(page):
    """The files a page asks for, and the modules these import."""
    waiting = re.findall(r'(?:src|href)="/static/([^"#]+)', page)
    found = {}
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name] = Path(finders.find(name)).read_bytes()
        if name.endswith(".js") and "vendor/" not in name:
            folder = name.rpartition("/")[0]
            imported = re.findall(r'import "\./([^"]+)"', found[name].decode())
            waiting += [f"{folder}/{other}" for other in imported]
    return found


@pytest.mark.req("P-10.5", "CL-7.1")
def test_the_first_visit_is_light(village):
    page = village.client.get("/people/").content
    files = files_of(page.decode())
    assert {"css/jingwei.css", "js/desk.js", "js/rows.js", "vendor/htmx/htmx.min.js"} <= set(files)
    assert "echarts" not in " ".join(files)
    assert sum(len(gzip.compress(content)) for content in [page, *files.values()]) <= LIMIT
