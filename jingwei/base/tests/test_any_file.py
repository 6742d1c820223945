"""Whatever a file holds, it comes out as rows or is refused in Chinese, never with a traceback (P-5.3)."""

import contextlib
import io
import json
import os
import random
import re
import subprocess
import sys
import zipfile
from datetime import date, datetime, time, timedelta
from pathlib import Path

import openpyxl
import pytest
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from jingwei.base.tests.test_reading import old_bytes

HEADINGS = ["姓名", "证件号", "日期", "乡镇（街道）"]
TEXTS = [
    *(*HEADINGS, "合计", "示例", "", "=1+1", "𠮷田", "阿卜·杜", "\u200b", "a\nb", "\t", "长" * 32_000),
    *("_x0001_", "<a>&", "1e999", "#REF!", '"', "'", ",", "NULL", "-"),
]
PLAIN = (str, int, float, bool, type(None))
NO_XML = "\ufffe"  # only in texts: no workbook can be made that holds it
VALUES = [
    *(0, -1, 1.5, 1e308, -1e-300, 10**17, 44_000.5, 2_958_466, True, False, None, None, None),
    *(datetime(1900, 1, 1), datetime(9999, 12, 31, 23, 59, 59), date(2020, 2, 29), time(3, 4, 5)),
    timedelta(days=400),
]

# Reads each file in a process of its own, as the import does, and says what came of it.
READER = """
import json, os, sys, traceback
from pathlib import Path
from jingwei.base import reading
from jingwei.kit.limits import limit

columns = [reading.Wanted(word, [word], word in ("姓名", "证件号")) for word in json.loads(sys.argv[2])]
for path in sorted(Path(sys.argv[1]).iterdir()):
    ours, theirs = os.pipe()
    if os.fork() == 0:
        try:
            limit(2 << 30, reading.SECONDS)
            table, top = reading._open(path, reading.look(path), columns, None)
            said = "".join(top.problems) or sum(len(frame) for frame in reading._frames(table, top, 3))
        except reading.Unreadable as refusal:
            said = str(refusal)
        except MemoryError:
            os._exit(1)
        except BaseException as error:
            panic = type(error).__name__ == "PanicException"
            said = reading._DAMAGED if panic else traceback.format_exc()
        os.write(theirs, json.dumps(said).encode())
        os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as told:  # one that is out of memory says nothing; its parent then does
        print(path.name, (told.read() or b"null").decode(), flush=True)
    os.wait()
"""


class Strange:
    """Files as nobody writes them on purpose, from a seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def cell(self):
        return self.random.choice(TEXTS if self.random.random() < 0.5 else VALUES)

    def cells(self, most):
        return [self.cell() for _ in range(self.random.randrange(most))]

    def workbook(self) -> bytes:
        """Headings anywhere or nowhere, any cells, merges, several worksheets, hidden ones, another epoch."""
        book, chance = openpyxl.Workbook(), self.random.random
        for number in range(self.random.randrange(1, 4)):
            page = book.create_sheet() if number else book.active
            rows = [self.cells(8) for _ in range(self.random.randrange(8))]
            if chance() < 0.7:
                rows.insert(self.random.randrange(len(rows) + 1), self.random.sample(HEADINGS, 4))
            for cells in rows:
                with contextlib.suppress(openpyxl.utils.exceptions.IllegalCharacterError):
                    page.append(cells)
            for _ in range(self.random.randrange(3)):
                top, left = self.random.randrange(1, 9), self.random.randrange(1, 6)
                bottom, right = top + self.random.randrange(4), left + self.random.randrange(3)
                page.merge_cells(None, top, left, bottom, right)
            page.sheet_state = "hidden" if number and chance() < 0.3 else "visible"
        book.epoch = CALENDAR_MAC_1904 if chance() < 0.2 else book.epoch
        content = io.BytesIO()
        book.save(content)
        return content.getvalue()

    def torn(self, content: bytes) -> bytes:
        """With bytes changed, lost and put in."""
        content = bytearray(content)
        for _ in range(self.random.randrange(1, 8)):
            at = self.random.randrange(len(content) + 1)
            lost = self.random.choice([0, 1, 1, self.random.randrange(50)])
            content[at : at + lost] = self.random.randbytes(self.random.randrange(3))
        return bytes(content)

    def repacked(self, content: bytes) -> bytes:
        """A workbook whose parts are torn, are gone, or claim other numbers."""
        repacked = io.BytesIO()
        odd = [0, 1, 99_999_999, 2**32 - 1, 2**64 - 1]

        def renumbered(found):
            return b'"%d"' % self.random.choice(odd) if self.random.random() < 0.1 else found[0]

        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(repacked, "w") as new:
            for name in old.namelist():
                part = old.read(name)
                match self.random.randrange(8):
                    case 0:
                        part = self.torn(part)
                    case 1:
                        part = re.sub(rb'"\d+"', renumbered, part)
                    case 2:
                        part = part.replace(b't="s"', b't="d"').replace(b'r="A', b'r="XFD')
                if self.random.random() > 0.04:
                    new.writestr(name, part)
        return repacked.getvalue()

    def text(self) -> bytes:
        between = self.random.choice([",", "\t", ";", " "])
        lines = [between.join(str(cell or "") for cell in self.cells(6)) for _ in range(8)] + [NO_XML]
        if self.random.random() < 0.6:
            lines.insert(0, between.join(HEADINGS))
        encoding = self.random.choice(["utf-8", "utf-8-sig", "gb18030", "utf-16", "latin-1"])
        return "\n".join(lines).encode(encoding, "replace")

    def old_workbook(self) -> bytes:
        cells = [HEADINGS, *(self.cells(6) for _ in range(8))]
        return old_bytes(
            [
                [c[:99] if isinstance(c, str) else float(c or 0) for c in row if type(c) in PLAIN]
                for row in cells
            ]
        )

    def records(self) -> bytes:
        """A list of JSON, which knows halves of characters, too."""
        texts = [*TEXTS, "\ud800", "\0", None, 1, 1.5, True, [], {}, float("nan"), 10**30]
        keys = [*HEADINGS, "children", "\udfff\0"]
        rows = [{key: self.random.choice(texts) for key in self.random.sample(keys, 3)} for _ in range(5)]
        return json.dumps(rows).encode()

    def file(self) -> bytes:
        match self.random.randrange(13):
            case 10:
                return self.torn(self.old_workbook())
            case 11:
                return self.torn(self.records())
            case 12:
                return self.records()
            case 0 | 1:
                return self.workbook()
            case 2 | 3 | 4 | 5:
                return self.repacked(self.workbook())
            case 6:
                return self.torn(self.workbook())
            case 7:
                return self.torn(self.text())
            case _:
                return self.text()


def outcomes(folder) -> dict:
    """{name of file: how many rows, why it is refused, or a traceback}"""
    done = subprocess.run(
        [sys.executable, "-c", READER, folder, json.dumps(HEADINGS)],
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings", "POLARS_MAX_THREADS": "1"},
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # the parser says there how it panicked
        check=True,
        text=True,
    )
    lines = (line.split(" ", 1) for line in done.stdout.splitlines())
    return {name: json.loads(said) for name, said in lines}


@pytest.mark.req("P-5.3", "P-3.3")
def test_any_file_is_rows_or_a_refusal_in_chinese(tmp_path):
    seed = random.randrange(2**32)
    strange = Strange(seed)
    for number in range(60):
        (tmp_path / f"{number:03d}").write_bytes(strange.file())
    found = outcomes(tmp_path)
    assert len(found) == 60
    for name, said in found.items():
        assert not isinstance(said, str) or re.match("[“文这没缺工表第无前]|JSON|[A-Z]+[0-9]", said), (
            seed,
            name,
            said,
        )
    assert sum(isinstance(said, int) for said in found.values()) > 8, seed


@pytest.mark.req("P-5.3", "CL-6.2")
def test_an_empty_worksheet_with_merged_cells_and_a_stretch_of_blank_lines_are_no_rows(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(HEADINGS)
    book.active.append(["甲"])
    book.create_sheet("空").merge_cells("A1:C3")
    book.save(tmp_path / "1")
    blank = "\n" * 10
    (tmp_path / "2").write_text(f"姓名,证件号\n甲,1\n{blank}乙,2\n{blank}")
    assert outcomes(tmp_path) == {"1": 1, "2": 2}
