"""Workbooks we hand out: the template of a sheet, and the operator's own workbook with its bad rows (P-5.3).

Both are made in memory: a temporary file would hold personal data in clear (P-4.1).
"""

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import openpyxl
import polars as pl
import xlsxwriter
from openpyxl.drawing.spreadsheet_drawing import SpreadsheetDrawing
from openpyxl.styles import PatternFill
from openpyxl.utils import column_index_from_string, get_column_letter
from openpyxl.worksheet._writer import WorksheetWriter
from openpyxl.writer.excel import ExcelWriter

from jingwei.base import reading
from jingwei.base.reading import NUMBER, REASON, ROW, Wanted
from jingwei.base.sheets import Sheet
from jingwei.base.tables import BAD_COLOUR, Bad, Xlsx
from jingwei.kit.limits import limit

if TYPE_CHECKING:  # the process that colours workbooks has no database
    from jingwei.base.findings import Findings

_LARGEST_COLOURED = 4 << 20  # bytes; openpyxl needs some fifty times as much memory
_LAST_ROW = 1_048_575
# What a person entered stays text: never a formula, a link or a number.
_AS_TEXT = {
    "in_memory": True,
    "strings_to_formulas": False,
    "strings_to_urls": False,
    "strings_to_numbers": False,
}


def template(sheet: Sheet) -> bytes:
    """An xlsx to fill in: headings, drop-downs, an example row (left out by the import), a page of notes."""
    content = io.BytesIO()
    with xlsxwriter.Workbook(content, _AS_TEXT) as book:
        text = book.add_format({"num_format": "@"})
        example = book.add_format({"num_format": "@", "italic": True, "font_color": "#6C757D"})
        heading = book.add_format({"num_format": "@", "bold": True, "bg_color": "#E8EEF5", "border": 1})
        needed = book.add_format(
            {"num_format": "@", "bold": True, "bg_color": "#E8EEF5", "border": 1, "font_color": "#B42318"}
        )
        page = book.add_worksheet(sheet.label[:31])
        _write_notes(book.add_worksheet("填写说明"), sheet, heading)
        words = book.add_worksheet("选项")
        words.hide()
        page.freeze_panes(1, 0)
        page.set_column(0, 0, 6, text)
        page.write_string(0, 0, NUMBER, heading)
        page.write_string(1, 0, "示例", example)
        for place, column in enumerate(sheet.columns, start=1):
            page.set_column(place, place, max(2 * len(column.heading) + 2, 12), text)
            page.write_string(0, place, column.heading, needed if column.required else heading)
            page.write_string(1, place, sheet.example.get(column.name, column.type.example), example)
            labels = [label for _, label in column.type.choices() or ()]
            if labels:
                letter = get_column_letter(place)
                words.write_column(0, place - 1, labels)
                page.data_validation(
                    1,
                    place,
                    _LAST_ROW,
                    place,
                    {
                        "validate": "list",
                        "source": f"=选项!${letter}$1:${letter}${len(labels)}",
                        # Synonyms are understood too, so another word is only asked about.
                        "error_type": "warning",
                        "error_title": "不在列表中",
                        "error_message": "这个词不在列表中，导入时可能不被接受。仍要填写吗？",
                    },
                )
    return content.getvalue()


def _write_notes(page, sheet, heading):
    page.set_column(0, 0, 20)
    page.set_column(1, 1, 8)
    page.set_column(2, 2, 60)
    page.set_column(3, 3, 30)
    for place, word in enumerate(["列名", "必填", "填写要求", "例子"]):
        page.write_string(0, place, word, heading)
    for row, column in enumerate(sheet.columns, start=1):
        labels = [label for _, label in column.type.choices() or ()]
        note = column.type.note + (f"：{'、'.join(labels)}" if 0 < len(labels) <= 12 else "")
        page.write_row(row, 0, [column.heading, "是" if column.required else "", note])
        page.write_string(row, 3, sheet.example.get(column.name, column.type.example))
    notes = [
        *sheet.notes,
        "请把证件号、电话等列保持为文本格式，以免末几位丢失。",
        "列的顺序可以改变，不需要的列可以删去；标“是”的列必须填写。",
        "第一列写着“示例”的行不会被导入，可以保留。",
    ]
    for row, note in enumerate(notes, start=len(sheet.columns) + 2):
        page.write_string(row, 0, note)


def report(
    summary: list[tuple[str, str | int]],
    corrected: list[tuple[str, int]],
    rejected: "Findings",
    warnings: "Findings",
) -> Iterator[bytes]:
    """The cleaning report of a load as an xlsx, piece by piece (CL-6.4).

    What came of it, how many cells each rule has corrected, and every message, however many.
    """
    stream = _Pieces()
    with Xlsx(stream, "汇总", ["项目", "结果"]) as book:
        book.write(_across(summary, 2))
        book.turn_to("更正", ["更正规则", "单元格数"])
        book.write(_across(corrected, 2))
        for title, messages in (("拒绝", rejected), ("提醒", warnings)):
            book.turn_to(title, ["行号", "列", "原因"])
            for columns in messages.columns():
                book.write(columns)
                yield stream.taken()
    yield stream.taken()


class _Pieces:
    """A stream whose content is taken away again and again."""

    def __init__(self):
        self._waiting = bytearray()

    def write(self, data):
        self._waiting += data
        return len(data)

    def flush(self):
        """Nothing: what was written can be taken at once."""

    def taken(self) -> bytes:
        """What was written since the last time."""
        taken, self._waiting = bytes(self._waiting), bytearray()
        return taken


def _across(rows, columns):
    """Rows column by column, also where there are none."""
    return list(zip(*rows, strict=True)) or [()] * columns


def write_errors(stream: BinaryIO, path: Path, sheet: Sheet, outline: reading.Outline, refused: pl.DataFrame):
    """Write the refused rows of the file at `path` to `stream` as a workbook that can be loaded again.

    It is the operator's own workbook where that is an xlsx of reasonable size, else a new one with the same
    columns. Good rows are gone, bad cells coloured, a last column says why. `refused` is MESSAGES in order.
    """
    letters = {name: letter for letter, name in outline.mapping.items()}
    headings = {column.name: outline.heading_of(column.name) or column.heading for column in sheet.columns}

    def by_row(messages):
        """{row: {"letters": of bad cells, "reason": [text]}}"""
        bad: dict[int, dict] = {}
        for row, name, reason in messages.iter_rows():
            found = bad.setdefault(row, {"letters": [], "reason": []})
            found["letters"] += [letters[name]] if name in letters else []
            found["reason"].append(f"{headings[name]}：{reason}")
        return bad

    content = None
    if reading.look(path) == "xlsx" and Path(path).stat().st_size <= _LARGEST_COLOURED:
        content = _coloured_apart(path, outline, by_row(refused))
    if content is not None:
        stream.write(content)
    else:
        _write_new(stream, path, outline, refused, by_row)


def _write_new(stream, path, outline, refused, by_row):
    """A workbook with the columns of the file and its bad rows, however many."""
    letters = [letter for letter, said in outline.headings.items() if said != REASON]
    headings = [*(outline.headings[letter] for letter in letters), REASON]
    # Every column of the file under its letter, not only those that were mapped.
    wanted = [Wanted(letter, [outline.headings[letter]]) for letter in letters]
    with (
        Xlsx(stream, "错误行", headings) as table,
        reading.read(
            path, wanted, dict(zip(letters, letters, strict=True)), None, outline.worksheet
        ) as source,
    ):
        for frame in source:
            first = refused[ROW].search_sorted(frame[ROW][0], side="left")
            last = refused[ROW].search_sorted(frame[ROW][-1], side="right")
            bad = by_row(refused[first:last])
            rows = frame.filter(pl.col(ROW).is_in(list(bad)))
            cells = [
                [
                    Bad(cell or "") if letter in bad[row]["letters"] else cell
                    for row, cell in zip(rows[ROW], rows[letter], strict=True)
                ]
                for letter in letters
            ]
            table.write([*cells, ["；".join(bad[row]["reason"]) for row in rows[ROW]]])


def _coloured_apart(path, outline, bad):
    """The operator's workbook with its bad rows, made under the reader's memory limit; None if that fails."""
    asked = {
        "memory": reading.MEMORY.value() << 20,
        "worksheet": outline.worksheet,
        "heading_row": outline.row,
        "bad": sorted(bad.items()),
    }
    with open(path, "rb") as file:
        done = subprocess.run(
            [sys.executable, "-m", "jingwei.base.workbooks", f"/proc/self/fd/{file.fileno()}"],
            input=json.dumps(asked).encode(),
            capture_output=True,
            pass_fds=[file.fileno()],
        )
    return done.stdout if done.returncode == 0 else None


def colour(page, heading_row: int, bad: list):
    """Leave the bad rows of a worksheet, close under its headings, with cells coloured and the reasons.

    `bad` are (row number, {"letters": [column letter], "reason": [text]}) in order.
    """
    for merged in list(page.merged_cells.ranges):
        if merged.max_row > heading_row:
            first = page.cell(merged.min_row, merged.min_col)
            page.unmerge_cells(merged.coord)
            for row in range(merged.min_row + 1, merged.max_row + 1):
                _copy(first, page.cell(row, merged.min_col))
    page.auto_filter.ref = None
    for row in page.row_dimensions.values():
        row.hidden = False
    headings = {cell.value: cell.column for cell in page[heading_row]}
    last = (
        headings.get(REASON) or max((cell.column for cell in page[heading_row] if cell.value), default=0) + 1
    )
    if REASON not in headings:
        page.cell(heading_row, last)._style = copy(page.cell(heading_row, last - 1)._style)
        page.cell(heading_row, last, REASON)
        page.column_dimensions[get_column_letter(last)].width = 40
    fill = PatternFill("solid", fgColor=BAD_COLOUR)
    for target, (row, found) in enumerate(bad, start=heading_row + 1):
        for column in range(1, page.max_column + 1):
            _copy(page.cell(row, column), page.cell(target, column))
        for letter in found["letters"]:
            page.cell(target, column_index_from_string(letter)).fill = fill
        reason = page.cell(target, last, "；".join(found["reason"]))
        reason.data_type = "s"
    page.delete_rows(heading_row + len(bad) + 1, page.max_row)


def _copy(source, target):
    target.value, target._style = source.value, copy(source._style)
    target.data_type = source.data_type  # a text that begins with "=" is no formula


class _InMemory(ExcelWriter):
    """The writer of openpyxl without its temporary file, which would hold the rows in clear (P-4.1)."""

    def write_worksheet(self, ws):
        ws._drawing = SpreadsheetDrawing()
        ws._drawing.charts, ws._drawing.images = ws._charts, ws._images
        writer = WorksheetWriter(ws, io.BytesIO())
        writer.write()
        ws._rels = writer._rels
        self._archive.writestr(ws.path[1:], writer.read())
        self.manifest.append(ws)


def _main():
    """The process that colours: what to do on its standard input, the workbook by its path."""
    asked = json.load(sys.stdin)
    limit(asked["memory"], reading.SECONDS)
    with open(sys.argv[1], "rb") as file:
        book = openpyxl.load_workbook(io.BytesIO(file.read()), data_only=True)
    colour(book[asked["worksheet"]], asked["heading_row"], asked["bad"])
    content = io.BytesIO()
    _InMemory(book, zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED)).save()
    sys.stdout.buffer.write(content.getbuffer())


if __name__ == "__main__":
    _main()
