"""CL-P1: a roster in, beside the bare reader and a bare COPY; and beside django-import-export."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tablib
from django.conf import settings
from django.db import connection
from import_export import resources

from bench import Figure, sheets
from jingwei import embedded
from jingwei.base.wall import as_owner
from jingwei.directory.models import Region
from jingwei.people.models import Person

SMALL, FULL = 100_000, 1_000_000
COMPARED = 20_000  # rows, of which django-import-export makes a minute's work
# The same reader, then COPY of its rows into a table without index: nothing checked, nothing encrypted.
BARE = """
import json, resource, sys, time
import psycopg
from python_calamine import CalamineWorkbook
started = time.monotonic()
rows = CalamineWorkbook.from_path(sys.argv[1]).get_sheet_by_index(0).iter_rows()
columns = [f"c{place}" for place, _ in enumerate(next(rows))]
with psycopg.connect(sys.argv[2]) as connection, connection.cursor() as cursor:
    cursor.execute(f"CREATE TABLE bare ({', '.join(f'{column} text' for column in columns)})")
    with cursor.copy("COPY bare FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
    connection.commit()
    seconds = time.monotonic() - started
    cursor.execute("DROP TABLE bare")
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "peak_mb": peak}))
"""


COMMAND = "from jingwei.cli.main import main; main()"


def measure(full):
    """The load and its memory beside the bare reader and COPY; 20,000 rows beside django-import-export."""
    count = FULL if full else SMALL
    _empty()  # of what other modules have made
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "roster.xlsx"
        _write(path, count)
        bare = _run("-c", BARE, path, embedded.url(settings.JINGWEI_HOME / "pg"))
        ours = _load(path)
        again = _load(path)
        small = Path(folder) / "small.xlsx"
        rows = sheets.roster(COMPARED)
        sheets.write_xlsx(small, sheets.HEADINGS, rows)
        _empty()
        compared = _load(small)["seconds"]
    _empty()
    theirs = _with_import_export(rows)
    _empty()
    named = f"roster of {count:,} rows"
    memory = Figure("CL-P1", f"{named}: memory / bare reader", ours["peak_mb"], "MB", 1.3, bare["peak_mb"])
    return [
        Figure("CL-P1", f"{named}: load / bare reader and COPY", ours["seconds"], "s", 3, bare["seconds"]),
        *([memory] if full else []),  # of a smaller file most of it is the platform at rest
        Figure(
            "CL-P1", f"{named}: the same file again / first time", again["seconds"], "s", 1, ours["seconds"]
        ),
        Figure(
            "I3",
            f"{COMPARED:,} rows by django-import-export's default / by ours",
            theirs,
            "s",
            20,
            compared,
            at_least=True,
        ),
    ]


def _write(path, count):
    """Make the sheet in a process of its own: what this one took would count as memory of all it starts."""
    program = (
        "import sys, django; django.setup(); from bench import sheets; from jingwei.base import wall;"
        "wall.unplaced = wall.BEYOND;"
        "sheets.write_xlsx(sys.argv[1], sheets.HEADINGS, sheets.roster(int(sys.argv[2])))"
    )
    subprocess.run([sys.executable, "-c", program, str(path), str(count)], check=True)


def _load(path):
    counts = _run("-c", COMMAND, "import", "roster", path, "--as", "district", "--json")
    if counts["rejected_rows"]:
        raise RuntimeError(f"rows of the benchmark were refused: {counts['rejected'][:3]}")
    return counts


def _run(*arguments):
    """What a Python program of its own prints as JSON; its memory is its own, too."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def _with_import_export(rows):
    """Seconds for the same people through a plain ModelResource: no checks of ours, no search grams."""

    class People(resources.ModelResource):
        class Meta:
            model = Person
            fields = ("id", "region", "name", "sex", "number", "registered_address", "address", "occupation")

    codes = dict(Region.objects.filter(code__regex="^.{12}$").values_list("name", "code"))
    data = tablib.Dataset(headers=["region", "name", "number", "registered_address", "address", "occupation"])
    for row in rows:
        data.append([codes[row[2]], row[3], row[6], row[8], row[9], row[11]])
    started = time.monotonic()
    with as_owner():  # it sets the sequence anew
        outcome = People().import_data(data, raise_errors=True)
    if outcome.totals["new"] != len(rows):
        raise RuntimeError("django-import-export did not store the rows")
    return time.monotonic() - started


def _empty():
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("TRUNCATE people_person, base_load, base_loadchunk, base_loadrow CASCADE")
