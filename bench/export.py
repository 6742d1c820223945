"""CL-P3: an export of the register, beside a bare xlsxwriter loop and beside COPY TO and decrypting."""

import csv
import io
import tempfile
import time
from array import array
from pathlib import Path

import xlsxwriter
from django.db import connection
from django.http import QueryDict

from bench import Figure
from jingwei import menu
from jingwei.base.crypto import provider
from jingwei.base.fields import personal_fields
from jingwei.base.tables import FORMATS
from jingwei.cli.demo import ensure_demo
from jingwei.desk import exports
from jingwei.desk.lists import Selection
from jingwei.directory.actors import actor_for
from jingwei.directory.models import Operator
from jingwei.people.models import Person

SMALL, FULL = 100_000, 1_000_000
AT_ONCE = 5_000


def measure(full):
    """Both formats, masked, with every column of the list."""
    count = FULL if full else SMALL
    ensure_demo(count, progress=lambda done, total: None)
    with tempfile.TemporaryDirectory() as folder:
        ours = {kind: _timed(_export, Path(folder) / f"people.{kind}", kind, count) for kind in FORMATS}
        bare = {
            "xlsx": _timed(_write_bare, Path(folder) / "people.csv", Path(folder) / "bare.xlsx"),
            "csv": _timed(_copy_and_decrypt, Path(folder) / "bare.csv", count),
        }
    return [
        Figure("CL-P3", f"{count:,} rows to xlsx / bare xlsxwriter loop", ours["xlsx"], "s", 2, bare["xlsx"]),
        Figure("CL-P3", f"{count:,} rows to csv / COPY TO and decrypt", ours["csv"], "s", 1.5, bare["csv"]),
    ]


def _timed(work, *arguments):
    started = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started


def _export(path, kind, count):
    actor = actor_for(Operator.objects.get(login_key="district"), address="", device="", request_id="")
    selection = Selection(menu.resource("people"), actor, QueryDict(), action="export")
    columns = selection.columns(everything=True)
    headings = [column.heading for column in columns]
    with open(path, "wb") as file, FORMATS[kind](file, "人员", headings) as table:
        exports.write(selection, columns, table, clear=False, people=array("q"), limit=count)


def _write_bare(source, path):
    """The cells of our csv, one by one, with constant memory."""
    book = xlsxwriter.Workbook(path, {"constant_memory": True})
    sheet = book.add_worksheet()
    with open(source, encoding="utf-8-sig", newline="") as file:
        for at, row in enumerate(csv.reader(file)):
            for place, cell in enumerate(row):
                sheet.write_string(at, place, cell)
    book.close()


def _copy_and_decrypt(path, count):
    """The columns as they are stored, the sealed ones opened; nothing looked up, masked or put in words."""
    sealed = {field.column: field.sealing for field in personal_fields(Person)}
    plain = [f.column for f in Person._meta.concrete_fields if f.column not in {*sealed, "grams"}]
    columns = ", ".join(connection.ops.quote_name(name) for name in [*sealed, *plain])
    statement = f"COPY (SELECT {columns} FROM people_person LIMIT {count}) TO STDOUT (FORMAT csv)"
    with open(path, "w", newline="") as file, connection.cursor() as cursor, cursor.copy(statement) as copy:
        written, rest = csv.writer(file), b""
        rows = []
        for block in copy:
            *lines, rest = (rest + bytes(block)).split(b"\n")
            rows += csv.reader(io.StringIO("\n".join(line.decode() for line in lines)))
            if len(rows) >= AT_ONCE:
                written.writerows(_opened(rows, sealed.values()))
                rows = []
        written.writerows(_opened(rows, sealed.values()))


def _opened(rows, sealings):
    columns = list(zip(*rows, strict=True))
    opened = [
        provider().decrypt(sealing, [bytes.fromhex(cell[2:]) if cell else None for cell in column])
        for sealing, column in zip(sealings, columns, strict=False)
    ]
    return zip(*opened, *columns[len(opened) :], strict=True)
