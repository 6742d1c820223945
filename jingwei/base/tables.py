"""Tables as files, written some rows at a time to any stream in one pass: xlsx and csv (P-5.4).

The usual xlsx writers keep the rows in temporary files first, in clear (P-4.1), and copy them twice. Here
rows go into the zip stream at once, and with `files.create` sealed to disk; memory does not grow with them.
Every text is written as a text: nothing that a person entered runs as a formula.
"""

import csv
import io
import re
import zipfile
from dataclasses import dataclass
from datetime import date, datetime

from jingwei.base.reading import column_letter

MOST_ROWS = 1_048_576  # of an xlsx worksheet, the heading included
MOST_BYTES = 1_900_000_000  # of a worksheet's XML: beyond 2 GiB not every program reads a streamed zip
MOST_TEXT = 32_767  # characters of a cell
ROWS_AT_ONCE = 2_000  # made into XML in one go
CUT = "……（内容超出单元格容量，未完）"
BAD_COLOUR = "FFC7CE"  # the red that spreadsheet programs give to bad cells

# What XML cannot hold is written _x0001_ in a workbook, and a text that looks like that is written so, too.
_NOT_PLAIN = re.compile("[&<>\x00-\x08\x0b-\x1f\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_RUNS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Bad:
    """A text whose cell is coloured, also where it is empty."""

    text: str


class Xlsx:
    """An xlsx workbook: `with Xlsx(stream, "人员", headings) as table: table.write(columns)`.

    Columns hold the text (also `Bad`), numbers, dates, naive times or None of some rows. More rows than a
    worksheet holds go on in further ones under the same headings; `turn_to` begins one with others. `stream`
    needs only `write` and `flush`.
    """

    content_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

    def __init__(self, stream, title, headings):
        self.zip = zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
        self.names = []
        self._take(title, headings)

    def _take(self, title, headings):
        self.title = re.sub(r"[\[\]:*?/\\']", " ", title)[:20].strip() or "数据"
        self.headings = headings
        self.letters = [column_letter(place) for place in range(len(headings))]
        self.sheet, self.part = None, 0

    def turn_to(self, title, headings):
        """Go on in a new worksheet."""
        self._end_page()
        self._take(title, headings)

    def __enter__(self):
        self.zip.writestr("[Content_Types].xml", _CONTENT_TYPES)
        book = _LINK.format(number=1, kind="officeDocument", target="xl/workbook.xml")
        self.zip.writestr("_rels/.rels", _LINKS.format(links=book))
        self.zip.writestr("xl/styles.xml", _STYLES)
        return self

    def __exit__(self, failed, *_):
        try:
            if failed is None:
                self._end_page()
                self._write_book()
                self.zip.close()
        finally:
            self.zip.fp = None  # else one cut off would end itself later, in a stream that is gone

    def write(self, columns):
        """Write some rows, given column by column; columns are as wide as the first lot needs."""
        if self.sheet is None:
            self._begin_sheet(columns)
        start, end = 0, len(columns[0])
        while start < end:
            if self.row == MOST_ROWS or self.size > MOST_BYTES:
                self._end_sheet()
                self._begin_sheet([column[start:] for column in columns])
            stop = min(end, start + ROWS_AT_ONCE, start + MOST_ROWS - self.row)
            self._put(self._rows([column[start:stop] for column in columns], text_style=1))
            self.row += stop - start
            start = stop

    def _rows(self, columns, text_style):
        """The rows below the last one, as XML."""
        numbers = range(self.row + 1, self.row + 1 + len(columns[0]))
        cells = []
        for letters, column in zip(self.letters, columns, strict=True):
            ends = {value: _cell_from_style(value, text_style) for value in set(column)}
            cells.append(
                [
                    f'<c r="{letters}{number}"{end}' if (end := ends[value]) else ""
                    for number, value in zip(numbers, column, strict=True)
                ]
            )
        rows = map("".join, zip(*cells, strict=True))
        return [f'<row r="{number}">{row}</row>' for number, row in zip(numbers, rows, strict=True)]

    def _put(self, parts):
        data = "".join(parts).encode()
        self.size += len(data)
        self.sheet.write(data)

    def _begin_sheet(self, columns):
        self.part += 1
        self.names.append(self.title if self.part == 1 else f"{self.title} {self.part}")
        self.row, self.size = 0, 0
        self.sheet = self.zip.open(f"xl/worksheets/sheet{len(self.names)}.xml", "w")
        widths = [
            _width([heading, *column[:100]]) for heading, column in zip(self.headings, columns, strict=True)
        ]
        shapes = [
            f'<col min="{number}" max="{number}" width="{width}" customWidth="1" style="1"/>'
            for number, width in enumerate(widths, 1)
        ]
        first = self._rows([[heading] for heading in self.headings], text_style=4)
        self._put([_SHEET_HEAD, "<cols>", *shapes, "</cols><sheetData>", *first])
        self.row = 1

    def _end_page(self):
        self.write([[]] * len(self.headings))  # no rows at all still make a worksheet with headings
        self._end_sheet()

    def _end_sheet(self):
        last = f"{self.letters[-1]}{self.row}"
        self._put([_SHEET_END.format(last=last)])
        self.sheet.close()
        self.sheet = None

    def _write_book(self):
        numbers = range(1, len(self.names) + 1)
        sheets = "".join(
            f'<sheet name="{_escaped(name)}" sheetId="{number}" r:id="rId{number}"/>'
            for number, name in enumerate(self.names, 1)
        )
        self.zip.writestr("xl/workbook.xml", _BOOK.format(sheets=sheets))
        links = "".join(
            _LINK.format(number=number, kind="worksheet", target=f"worksheets/sheet{number}.xml")
            for number in numbers
        )
        style = _LINK.format(number=len(numbers) + 1, kind="styles", target="styles.xml")
        self.zip.writestr("xl/_rels/workbook.xml.rels", _LINKS.format(links=links + style))


class Csv:
    """A csv table like `Xlsx`: UTF-8 with a byte order mark, which Excel and WPS need to see Chinese."""

    content_type = "text/csv; charset=utf-8"

    def __init__(self, stream, title, headings):
        self.stream = stream
        self.headings = headings

    def __enter__(self):
        self.stream.write("\ufeff".encode())
        self.write([[heading] for heading in self.headings])
        return self

    def __exit__(self, *_):
        self.stream.flush()

    def write(self, columns):
        """Write some rows, given column by column."""
        lines = io.StringIO(newline="")
        csv.writer(lines).writerows(zip(*map(_plain, columns), strict=True))
        self.stream.write(lines.getvalue().encode())


FORMATS = {"xlsx": Xlsx, "csv": Csv}


def _plain(column):
    """Values as csv has them. Excel runs some texts as formulas; behind an apostrophe they stay texts."""
    written = {}
    for value in set(column):
        if type(value) is str:
            if value.startswith(_RUNS):
                written[value] = "'" + value
        elif type(value) is datetime:
            written[value] = value.isoformat(" ", "seconds")
    return [written.get(value, value) for value in column] if written else column


def _cell_from_style(value, text_style):
    """A cell's XML behind its place; "" for an empty cell."""
    if value is None or value == "":
        return ""
    if type(value) is str:
        shown = _escaped(value)
        return f' s="{text_style}" t="inlineStr"><is><t xml:space="preserve">{shown}</t></is></c>'
    if isinstance(value, Bad):
        return _cell_from_style(value.text, 5) or ' s="5"/>'
    if isinstance(value, datetime):
        days = value - datetime(1899, 12, 30)
        return f' s="3"><v>{days.days + days.seconds / 86400:.10f}</v></c>'
    if isinstance(value, date):
        return f' s="2"><v>{(value - date(1899, 12, 30)).days}</v></c>'
    if isinstance(value, int | float) and abs(value) < 1e15:
        return f"><v>{value}</v></c>"
    return _cell_from_style(str(value), text_style)


def _escaped(text):
    if len(text) > MOST_TEXT:
        text = text[: MOST_TEXT - len(CUT)] + CUT
    return _NOT_PLAIN.sub(_escape, text) if _NOT_PLAIN.search(text) else text


def _escape(match):
    character = match.group()
    return _ESCAPES.get(character) or f"_x{ord(character):04X}_"


def _width(values):
    """Column width for the longest of some values, in characters; a Chinese one takes two."""
    longest = max(sum(1 + (character > "\xff") for character in str(value)) for value in values)
    return min(max(longest + 2, 8), 50)


_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_RELATED = "http://schemas.openxmlformats.org/package/2006/relationships"
_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_CONTENT_TYPES = (
    f'{_XML}<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    f'<Default Extension="xml" ContentType="{_TYPE}.worksheet+xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPE}.sheet.main+xml"/>'
    f'<Override PartName="/xl/styles.xml" ContentType="{_TYPE}.styles+xml"/></Types>'
)
_LINKS = f'{_XML}<Relationships xmlns="{_RELATED}">{{links}}</Relationships>'
_LINK = f'<Relationship Id="rId{{number}}" Type="{_OFFICE}/{{kind}}" Target="{{target}}"/>'
_BOOK = f'{_XML}<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>{{sheets}}</sheets></workbook>'
# Cell styles: 0 numbers, 1 text (Excel keeps a long number that is edited), 2 dates, 3 times, 4 headings,
# 5 bad.
_STYLES = (
    f'{_XML}<styleSheet xmlns="{_MAIN}">'
    '<numFmts count="2"><numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd"/>'
    '<numFmt numFmtId="165" formatCode="yyyy\\-mm\\-dd\\ hh:mm:ss"/></numFmts>'
    '<fonts count="2"><font><sz val="11"/><name val="宋体"/></font>'
    '<font><b/><sz val="11"/><name val="宋体"/></font></fonts>'
    '<fills count="4"><fill><patternFill patternType="none"/></fill>'
    '<fill><patternFill patternType="gray125"/></fill>'
    '<fill><patternFill patternType="solid"><fgColor rgb="FFE8EEF5"/></patternFill></fill>'
    f'<fill><patternFill patternType="solid"><fgColor rgb="FF{BAD_COLOUR}"/></patternFill></fill></fills>'
    '<borders count="1"><border/></borders><cellStyleXfs count="1"><xf/></cellStyleXfs>'
    '<cellXfs count="6"><xf/><xf numFmtId="49" applyNumberFormat="1"/>'
    '<xf numFmtId="164" applyNumberFormat="1"/>'
    '<xf numFmtId="165" applyNumberFormat="1"/>'
    '<xf numFmtId="49" fontId="1" fillId="2" applyNumberFormat="1" applyFont="1" applyFill="1"/>'
    '<xf numFmtId="49" fillId="3" applyNumberFormat="1" applyFill="1"/></cellXfs>'
    '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>'
)
_SHEET_HEAD = (
    f'{_XML}<worksheet xmlns="{_MAIN}"><sheetViews><sheetView workbookViewId="0">'
    '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews>'
)
_SHEET_END = (
    '</sheetData><autoFilter ref="A1:{last}"/>'
    '<ignoredErrors><ignoredError sqref="A1:{last}" numberStoredAsText="1"/></ignoredErrors></worksheet>'
)
