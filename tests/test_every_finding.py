"""Every error of every row comes back, however many there are (P-5.3, CL-6.4)."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import openpyxl
import pytest
from python_calamine import CalamineWorkbook

from jingwei.base import findings, loading
from jingwei.base.findings import KINDS, Findings
from jingwei.base.models import Load
from jingwei.cli import import_sheet
from jingwei.people.samples import number
from jingwei.people.sheets import RosterSheet

pytestmark = [pytest.mark.django_db, pytest.mark.req("P-5.3", "CL-6.4")]
ROSTER = RosterSheet()
HEADINGS = ["村/社区", "姓名", "证件号", "联系电话"]


@pytest.fixture
def wrong(tmp_path):
    """A function that writes so many wrong rows behind a good one, and returns the file's path."""

    def write(count):
        path = tmp_path / "名单.csv"
        with open(path, "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(HEADINGS)
            rows.writerow(["上埔社区", "陈新", number(), "12"])
            rows.writerows(["没有的社区", "", f"{n:018d}", "12"] for n in range(count))
        return path

    return write


def told(load, kind):
    return [(said["row"], said["column"]) for said in Findings(load, kind)]


def test_what_is_found_is_kept_block_by_block_and_comes_out_whole(village, wrong, monkeypatch):
    monkeypatch.setattr(findings, "AT_ONCE", 7)
    monkeypatch.setattr(loading, "MOST_TOLD", 5)
    load = loading.load(village.actor, ROSTER, wrong(30))
    assert len(load.counts["rejected"]) == 5 and load.counts["rejected_rows"] == 30
    every = told(load, "rejected")
    assert {row for row, _ in every} == set(range(3, 33)) and len(every) == 90
    assert {column for _, column in every} == {"村/社区", "姓名", "证件号"}
    messages = Findings(load, "rejected")
    for start, stop in ((0, 7), (5, 20), (13, 14), (88, 120), (90, 95)):
        assert [(said["row"], said["column"]) for said in messages[start:stop]] == every[start:stop]
    assert (messages[-1]["row"], messages[0]["row"], len(messages)) == (32, 3, 90)
    assert told(load, "warnings") == [(row, "联系电话") for row in range(2, 33)]
    assert not {"rejected", "warnings"} & set(Load.objects.get().counts), "kept once"


def test_the_page_and_the_report_have_every_message(village, wrong, monkeypatch):
    monkeypatch.setattr(findings, "AT_ONCE", 100)
    monkeypatch.setattr(loading, "MOST_TOLD", 10)
    load = loading.load(village.actor, ROSTER, wrong(400))
    address = f"/people/import/{load.pk}/"
    page = village.client.get(f"{address}?page=24").content.decode()
    assert "错误 1,200" in page and "提醒 401" in page and "第 24 页，共 24 页" in page
    assert "<td>402</td>" in page
    assert "<td>402</td>" in village.client.get(f"{address}?which=warnings&page=9").content.decode()
    report = openpyxl.load_workbook(io.BytesIO(village.client.get(f"{address}report/").getvalue()))
    assert [sheet.max_row - 1 for sheet in report.worksheets][2:] == [1_200, 401]
    assert report["拒绝"]["A1201"].value == 402


def test_the_command_tells_every_message(village, wrong, monkeypatch, capsys):
    monkeypatch.setattr(loading, "MOST_TOLD", 10)
    options = {
        "sheet": "roster",
        "file": wrong(40),
        "login": "village",
        "mode": "both",
        "bad": "skip",
        "worksheet": "",
    }
    options |= {"today": None, "json": True}
    import_sheet.run(SimpleNamespace(**options))
    said = json.loads(capsys.readouterr().out)
    assert [len(said[kind]) for kind in KINDS] == [120, 41]
    import_sheet.run(SimpleNamespace(**options | {"json": False}))
    assert "共 120 条" in capsys.readouterr().out


# The memory that a process takes to write the errors of a file, in MB.
PROGRAM = """
import resource, sys
import django
django.setup()
from jingwei.base import wall
wall.unplaced = wall.BEYOND
import polars as pl
from pathlib import Path
from jingwei.base import reading, workbooks
from jingwei.base.reading import ROW
from jingwei.people.sheets import RosterSheet
reading.MEMORY = type("Bound", (), {"value": lambda: 2_000})
source, target, count = sys.argv[1:]
outline = reading.Outline("", 1, dict(zip("ABCD", ["村/社区", "姓名", "证件号", "联系电话"])),
                          {"B": "name", "C": "number"})
rows = pl.DataFrame({ROW: range(3, int(count) + 3)}, {ROW: pl.Int64})
columns = ("name", "number")
refused = pl.concat(rows.with_columns(column=pl.lit(name), reason=pl.lit("不能为空")) for name in columns)
refused = refused.sort(ROW, maintain_order=True)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open(target, "wb") as stream:
    workbooks.write_errors(stream, Path(source), RosterSheet(), outline, refused)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_great_many_bad_rows_come_back_in_little_memory(wrong, tmp_path):
    target, count = tmp_path / "错误行.xlsx", 50_000
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, wrong(count), target, str(count)],
        env={"DJANGO_SETTINGS_MODULE": "tests.settings", "PATH": os.environ["PATH"]},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        check=True,
    )
    assert int(done.stdout) < 20, done.stdout
    *_, last = CalamineWorkbook.from_path(target).get_sheet_by_index(0).iter_rows()
    assert last == ["没有的社区", "", f"{count - 1:018d}", "12", "姓名：不能为空；证件号：不能为空"]
