"""Reading workbooks and text tables of strangers: a cheap look, then their rows as columns of text (P-5.3).

`look` judges a file by its bytes before anything parses it. `outline` finds the worksheet and the heading row
and says which column is which. `read` yields the rows as Polars frames of text. Parsing happens in a child
process with a memory limit, so that a bomb ends the child and not the worker. Nothing is written to disk.
"""

import codecs
import csv
import io
import json
import mmap
import os
import re
import signal
import subprocess
import sys
import traceback
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from itertools import islice, zip_longest
from pathlib import Path

import polars as pl
from django.core.exceptions import ValidationError
from python_calamine import CalamineError, CalamineWorkbook, PasswordError, SheetTypeEnum, SheetVisibleEnum

from jingwei.base.parameters import Parameter
from jingwei.kit.limits import limit
from jingwei.kit.text import without_unseen

ROW = "__row"  # number of the row in the sheet as Excel shows it

LARGEST = Parameter(
    "import.largest",
    "上传文件上限",
    50,
    "网页上传的表格文件最大多少 MB；命令行导入不受限制",
    "MB",
    low=1,
    high=2000,
)
MEMORY = Parameter(
    "import.memory",
    "读取表格的内存上限",
    4096,
    "读一个表格文件最多用多少内存，超过即停止读取",
    "MB",
    low=512,
    high=65536,
)
PARAMETERS = [LARGEST, MEMORY]

ROWS_AT_ONCE = 20_000
_ROWS_AT_FIRST = 2_500  # and then twice as many each time, so that the work on a small file begins early
_ROWS_IN_CACHE = 500
_HEADING_WITHIN = 30  # rows from the top
_SAMPLE = 5  # rows shown beside the mapping
_MOST_COLUMNS = 1000
_LONGEST_NAME = 60  # of a worksheet; Excel allows 31 characters
_LONGEST_HEADING = 200
_MOST_UNPACKED = 4 << 30  # a million full rows are about 1 GB of XML
_MOST_RATIO = 300  # real workbooks shrink to a tenth, very uniform ones to a fiftieth
SECONDS = 600  # of the processor
_MB = 1 << 20

_ZIP = b"PK\x03\x04"
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ASK_XLSX = "请用 Excel 或 WPS 打开后另存为 .xlsx 再导入"
_DAMAGED = f"文件已损坏或格式不对，无法读取；{_ASK_XLSX}"
# Columns of templates and error workbooks that hold no data.
NUMBER, REASON = "序号", "错误原因"
_OURS = (NUMBER, REASON)
# In the first filled cell of a row: a total of the rows above, or the example of a template.
_NO_ROW = r"^(?:(?:本页|本表|全部|全表)?[合总小共]\s*计(?:\s*[:：].*|\s*[0-9]*\s*人?)?|总数|示例|例)$"


class Unreadable(ValidationError):
    """The file cannot be read as the sheet; the message says in Chinese why and what to do."""

    def __str__(self):
        return self.message


@dataclass(frozen=True)
class Wanted:
    """A column to look for: the words that may head it, its own first, and whether it must be there."""

    name: str
    words: Sequence[str]
    required: bool = False


@dataclass
class Outline:
    """What the top of a file says.

    `headings` {column letter: text as written}, `mapping` {column letter: name}, `problems` sentences that
    stand against reading, `notes` sentences about what will be left aside, `sample` the texts of the first
    rows below, in the order of `headings`.
    """

    worksheet: str
    row: int  # number of the heading row
    headings: dict[str, str]
    mapping: dict[str, str]
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sample: list[list[str]] = field(default_factory=list)
    worksheets: list[str] = field(default_factory=list)  # all that hold something

    def heading_of(self, name) -> str:
        """The heading, as written in the file, of the column mapped to `name`; empty without one."""
        return next((self.headings[letter] for letter, mapped in self.mapping.items() if mapped == name), "")


def look(path: Path, largest: int | None = None) -> str:
    """Judge a file by its bytes: "xlsx", "xls", "csv" or "json", or Unreadable. `largest` in MB."""
    size = os.stat(path).st_size
    if size == 0:
        raise Unreadable("文件是空的，请选择有内容的表格文件")
    if largest is not None and size > largest * _MB:
        raise Unreadable(
            f"文件有 {size / _MB:.0f} MB，超过上限 {largest} MB；请拆成几个文件，或请管理员用命令行导入"
        )
    with open(path, "rb") as file:
        head = file.read(4096)
        if head.startswith(_ZIP):
            return _look_into_zip(file)
        if head.startswith(_OLE):
            return _look_into_ole(file)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "csv"
    start = head.lstrip(codecs.BOM_UTF8 + b" \t\r\n").lower()
    if start.startswith((b"<html", b"<!doctype", b"<table", b"<?xml", b"<meta", b"<div")):
        raise Unreadable(f"这是网页格式的文件，不是真正的表格；{_ASK_XLSX}")
    if b"\0" in head or start.startswith((b"%pdf", b"{\\rtf")):
        raise Unreadable("这不是表格文件；可以导入的是 .xlsx、.xls 和 .csv 文件")
    return "json" if re.match(rb"\[\s*\{", start) else "csv"


def _look_into_zip(file):
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            names = {entry.filename.lower() for entry in entries}
            if any(entry.flag_bits & 1 for entry in entries):
                raise Unreadable("文件有密码保护，请去掉密码后再导入")
            if "xl/workbook.bin" in names:
                raise Unreadable(f"这是 .xlsb 格式的文件；{_ASK_XLSX}")
            if not any(re.fullmatch(r"xl/workbook\d*\.xml", name) for name in names):
                raise Unreadable("这不是表格文件；可以导入的是 .xlsx、.xls 和 .csv 文件")
            if any(name.endswith("vbaproject.bin") or "/macrosheets/" in name for name in names):
                raise Unreadable(
                    "文件里有宏，为安全起见不能导入；请另存为“Excel 工作簿 (.xlsx)”，即不带宏的格式，再导入"
                )
            unpacked = sum(entry.file_size for entry in entries)
            packed = sum(entry.compress_size for entry in entries) or 1
            if unpacked > _MOST_UNPACKED or (unpacked > 100 * _MB and unpacked / packed > _MOST_RATIO):
                raise Unreadable("文件解压后大得不正常，没有读取；请把数据复制到一个新的工作簿再导入")
            for entry in entries:
                if entry.filename.endswith((".xml", ".rels")):
                    with archive.open(entry) as part:
                        if b"<!DOCTYPE" in part.read(2048):
                            raise Unreadable(f"文件里有不该有的内容（DTD），没有读取；{_ASK_XLSX}")
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, OSError, EOFError, ValueError) as error:
        raise Unreadable(f"文件已损坏，无法打开；{_ASK_XLSX}") from error
    return "xlsx"


def _look_into_ole(file):
    """Names in an OLE container are UTF-16; which ones occur tells what it holds."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:

        def has(name):
            return content.find(name.encode("utf-16-le")) >= 0

        if has("EncryptedPackage"):
            raise Unreadable("工作簿有密码保护，请在 Excel 中去掉打开密码后再导入")
        if has("_VBA_PROJECT"):
            raise Unreadable(
                "文件里有宏，为安全起见不能导入；请另存为“Excel 工作簿 (.xlsx)”，即不带宏的格式，再导入"
            )
        if not has("Workbook") and not has("Book"):
            raise Unreadable("这不是表格文件；可以导入的是 .xlsx、.xls 和 .csv 文件")
    return "xls"


def outline(
    path: Path, wanted: Sequence[Wanted], mapping: dict[str, str] | None = None, largest=None, worksheet=""
) -> Outline:
    """What the file at `path` holds: read apart, like `read`, but only its top rows."""
    with _Child(path, wanted, mapping, largest, worksheet, rows=False) as child:
        return child.outline


def read(
    path: Path, wanted: Sequence[Wanted], mapping: dict[str, str] | None = None, largest=None, worksheet=""
) -> "_Child":
    """The rows of the file at `path`, parsed in a child process. Use as `with read(...) as sheet:`.

    `sheet.outline` is the Outline; iterating gives frames of ROW (Int64) and the mapped columns (String,
    empty cells null), up to ROWS_AT_ONCE rows each. Blank rows, totals, repeated headings and examples are
    no rows. Afterwards `sheet.peak_mb` says how much memory the child took. `mapping` {column letter: name}
    overrides the guess, `worksheet` the one that fits best. Unreadable where the file is none, or has
    problems.
    """
    return _Child(path, wanted, mapping, largest, worksheet, rows=True)


class _Child:
    """The reading process as its parent sees it: lines of JSON, each followed by the bytes it announces."""

    def __init__(self, path, wanted, mapping, largest, worksheet, *, rows):
        self._path, self._rows = Path(path), rows
        self._asked = {
            "kind": look(self._path, largest),
            "wanted": [asdict(column) for column in wanted],
            "mapping": mapping,
            "worksheet": worksheet,
            "rows": rows,
            "at_once": ROWS_AT_ONCE,
            "memory": MEMORY.value() * _MB,
        }

    def __enter__(self):
        with open(self._path, "rb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jingwei.base.reading", json.dumps(self._asked)],
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # what is said there may quote cells
                # One thread: each would reserve address space of its own under the memory limit.
                env={**os.environ, "POLARS_MAX_THREADS": "1"},
            )
        try:
            self.outline = Outline(**self._message()["outline"])
            if self._rows and self.outline.problems:
                raise Unreadable("；".join(self.outline.problems))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._process.stdout.close()
        os.kill(self._process.pid, signal.SIGKILL)
        # Not by the methods of Popen, which would keep to themselves how much memory it took.
        _, self._process.returncode, usage = os.wait4(self._process.pid, 0)
        self.peak_mb = usage.ru_maxrss // 1024

    def __iter__(self) -> Iterator[pl.DataFrame]:
        while size := self._message()["frame"]:
            yield pl.read_ipc_stream(io.BytesIO(self._process.stdout.read(size)))

    def _message(self):
        line = self._process.stdout.readline()
        if not line:  # a failed allocation ends the child without a word
            raise Unreadable(
                "读这个文件需要的内存或时间超过上限：表格的范围大得不正常。请把有内容的行列复制到一个新的工作簿再导入"
            )
        message = json.loads(line)
        if "failure" in message:
            raise RuntimeError(f"the reading process failed: {message['failure']}")
        if "error" in message:
            raise Unreadable(message["error"])
        return message


def _main():
    """The child: the file is its standard input, what to do its argument."""
    asked = json.loads(sys.argv[1])
    limit(asked["memory"], SECONDS)
    out = sys.stdout.buffer

    def say(**message):
        out.write(json.dumps(message).encode() + b"\n")
        out.flush()

    try:
        wanted = [Wanted(**column) for column in asked["wanted"]]
        stdin = Path("/proc/self/fd/0")
        table, top = _open(stdin, asked["kind"], wanted, asked["mapping"], asked["worksheet"])
        say(outline=asdict(top))
        if asked["rows"]:
            for frame in _frames(table, top, asked["at_once"]):
                block = io.BytesIO()
                frame.write_ipc_stream(block)
                say(frame=block.tell())
                out.write(block.getbuffer())
            say(frame=0)
    except Unreadable as error:
        say(error=str(error))
    except BrokenPipeError:  # the parent has seen enough
        os._exit(0)
    except MemoryError:
        os._exit(1)
    except BaseException as error:  # the place of the mistake, without the cells its text may quote
        if type(error).__name__ == "PanicException":  # what the parser cannot make sense of, in its own words
            say(error=_DAMAGED)
            return
        place = traceback.extract_tb(error.__traceback__)[-1]
        say(failure=f"{type(error).__name__} in {place.name}, line {place.lineno}")


@dataclass
class _Table:
    """A worksheet or a text file: how to go through its rows, how many columns stand left of the first."""

    name: str
    rows: Callable[[], Iterator[list]]  # the rows from row 1 on, as lists of cells
    left: int = 0


def _open(path, kind, wanted, mapping, worksheet=""):
    """The table of the file that fits best, or of the worksheet of that name, and its outline."""
    tops, best = [], None
    for table in {"csv": _text_table, "json": _record_table}.get(kind, _worksheets)(path):
        top = _outline_of(table, wanted)
        tops.append(top)
        if worksheet in ("", table.name) and (best is None or _fit(top) > _fit(best[1])):
            best = table, top
    if best is None:
        raise Unreadable(f"文件里没有名为“{worksheet}”的工作表；请选择文件里有的工作表")
    table, top = best
    if not top.row:
        raise Unreadable("表格里没有内容；请在模板中填写后再导入")
    top.worksheets = [other.worksheet for other in tops if other.row]
    for other in tops:
        if (
            other is not top
            and other.sample
            and set(other.mapping.values()) == set(top.mapping.values()) != set()
        ):
            top.notes.append(
                f"工作表“{other.worksheet}”也有同样的表头，这次没有读；如要导入，请再导入一次并选择它"
            )
    if mapping is not None:
        top.mapping = {letter: name for letter, name in mapping.items() if letter in top.headings and name}
    top.problems = _problems(top, wanted)
    unused = [
        text for letter, text in top.headings.items() if letter not in top.mapping and text not in _OURS
    ]
    if unused:
        top.notes.append(f"没有用到的列：{'、'.join(unused)}")
    return table, top


def _fit(top):
    return len(top.mapping), bool(top.sample)


def _worksheets(path):
    try:
        book = CalamineWorkbook.from_path(str(path))
        sheets = [
            sheet.name
            for sheet in book.sheets_metadata
            if sheet.typ == SheetTypeEnum.WorkSheet and sheet.visible != SheetVisibleEnum.VeryHidden
        ]
        if not sheets:
            raise Unreadable("工作簿里没有工作表；请选择有数据的文件")
        for name in sheets:
            if len(name) > _LONGEST_NAME or "\0" in name:
                raise Unreadable(f"工作表“{_shown(name)[:20]}”的名称不正常，请改名后再导入")
            sheet = book.get_sheet_by_name(name)
            if sheet.start and sheet.end[1] - sheet.start[1] >= _MOST_COLUMNS:
                columns = sheet.end[1] + 1
                raise Unreadable(f"工作表“{name}”有 {columns} 列，大得不正常；请删去没有内容的列再导入")
            ranges = sheet.merged_cell_ranges if sheet.start else ()  # an empty worksheet may have some, too
            merges = [merge for merge in ranges if merge[1][0] > merge[0][0]]
            yield _Table(name, _rows_of(sheet, merges), sheet.start[1] if sheet.start else 0)
    except PasswordError as error:
        raise Unreadable("工作簿有密码保护，请在 Excel 中去掉打开密码后再导入") from error
    except (CalamineError, OSError, ValueError) as error:
        raise Unreadable(_DAMAGED) from error


def _rows_of(sheet, merges):
    if not merges:
        return sheet.iter_rows
    return lambda: _filled_down(sheet.iter_rows(), merges, sheet.start[1])


def _filled_down(rows, merges, left):
    """Rows in which every row of a merged cell has its value (only the first column of a wide one)."""
    waiting = sorted(merges, reverse=True)
    open_merges = []  # (last row, column, value)
    for number, row in enumerate(rows):
        for _, column, value in open_merges:
            row[column] = value
        while waiting and waiting[-1][0][0] == number:
            (_, column), (last, _) = waiting.pop()
            if left <= column < left + len(row):
                open_merges.append((last, column - left, row[column - left]))
        open_merges = [merge for merge in open_merges if merge[0] > number]
        yield row


def _text_table(path):
    encoding = _encoding_of(path)
    with open(path, encoding=encoding, newline="") as file:
        head = "".join(islice(file, _HEADING_WITHIN))
    csv.field_size_limit(_MB)
    yield _Table("", lambda: _text_rows(path, encoding, max(",\t;", key=head.count)))


def _text_rows(path, encoding, delimiter):
    with open(path, encoding=encoding, newline="") as file:
        rows = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            for row in rows:
                # ="0123" is how programs keep Excel from taking digits for a number.
                yield [cell[2:-1] if cell.startswith('="') and cell.endswith('"') else cell for cell in row]
        except csv.Error as error:
            raise Unreadable(
                f"第 {rows.line_num} 行附近的引号不成对，无法分列；请改正，或另存为 .xlsx 再导入"
            ) from error


def _record_table(path):
    """A JSON list of objects as a table: a row each, their `children` below them, such as a tree of codes."""
    try:
        with open(path, encoding=_encoding_of(path)) as file:
            records = list(_flattened(json.load(file)))
        json.dumps(records, ensure_ascii=False).encode()  # no half of a character, which \ud800 may write
    except (AttributeError, RecursionError, TypeError, ValueError) as error:
        raise Unreadable('JSON 文件无法读取：应为对象的列表，如 [{"名称": "…"}]') from error
    names = list(dict.fromkeys(name for record in records for name in record))
    yield _Table("", lambda: iter([names, *([record.get(name, "") for name in names] for record in records)]))


def _flattened(records):
    for record in records:
        yield {name: value for name, value in record.items() if isinstance(value, str | int | float)}
        yield from _flattened(record.get("children") or [])


def _encoding_of(path):
    with open(path, "rb") as file:
        head = file.read(4)
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            candidates = ["utf-16"]
        else:
            candidates = ["utf-8-sig", "gb18030"]
        for encoding in candidates:
            file.seek(0)
            decoder = codecs.getincrementaldecoder(encoding)()
            try:
                while block := file.read(_MB):
                    decoder.decode(block)
                decoder.decode(b"", final=True)
                return encoding
            except UnicodeDecodeError:
                continue
    raise Unreadable("无法识别文字编码；请用 Excel 或 WPS 打开后另存为“CSV UTF-8”或 .xlsx 再导入")


def _outline_of(table, wanted):
    """The heading row among the top rows: the one that names the most columns."""
    names = _names_of(wanted)
    top = [[_text(cell) for cell in row] for row in islice(table.rows(), _HEADING_WITHIN)]
    guesses = [_guess(row, names) for row in top]
    scores = [len(set(guess.values())) for guess in guesses]
    best = max(scores, default=0)
    if best >= min(2, len(wanted)):
        place = scores.index(best)
        # A heading merged over several rows ends with the last of them.
        while place + 1 < len(top) and top[place + 1] == top[place]:
            place += 1
        guess = guesses[place]
    else:  # the row with the most texts, for the operator to map by hand
        filled = [sum(map(bool, row)) for row in top]
        if not any(filled):
            return Outline(table.name, 0, {}, {})
        place, guess = filled.index(max(filled)), {}
    headings = {
        column_letter(table.left + at): said for at, text in enumerate(top[place]) if (said := _shown(text))
    }
    places = [_index(letter) - table.left for letter in headings]
    return Outline(
        worksheet=table.name,
        row=place + 1,
        headings=headings,
        mapping={column_letter(table.left + at): name for at, name in guess.items()},
        sample=[[row[at] if at < len(row) else "" for at in places] for row in top[place + 1 :] if any(row)][
            :_SAMPLE
        ],
    )


def _shown(text):
    """A heading as it is shown and kept."""
    return without_unseen(text).strip()[:_LONGEST_HEADING]


def recognised(heading: str, wanted: Sequence[Wanted]) -> str:
    """The name of the column that a heading stands for, "" for none."""
    return _guess([heading], _names_of(wanted)).get(0, "")


def _names_of(wanted):
    return {_plain(word): column.name for column in reversed(wanted) for word in reversed(column.words)}


def _guess(row, names):
    """{place: name} of the cells of a row that are known headings."""
    found = {}
    for place, text in enumerate(row):
        plain = _plain(text)
        name = names.get(plain) or names.get(re.sub(r"\([^()]*\)", "", plain))
        if name:
            found[place] = name
    return found


def _problems(outline, wanted):
    problems = []
    if not outline.mapping:
        words = "、".join(column.words[0] for column in wanted[:6])
        return [f"没有找到表头：前 {_HEADING_WITHIN} 行里没有“{words}”这样的列名；请按模板加上表头行"]
    by_name = {}
    for letter, name in outline.mapping.items():
        by_name.setdefault(name, []).append(letter)
    own = {column.name: column.words[0] for column in wanted}
    for name, letters in by_name.items():
        if len(letters) > 1:
            cells = "和".join(f"{letter}{outline.row}“{outline.headings[letter]}”" for letter in letters)
            problems.append(
                f"{cells}都是“{own[name]}”，不知道用哪一列；请删去或改名其中一列，或在列对应中指定"
            )
    missing = [column.words[0] for column in wanted if column.required and column.name not in by_name]
    if missing:
        unknown = [
            f"{letter}{outline.row}“{text}”"
            for letter, text in outline.headings.items()
            if letter not in outline.mapping
        ]
        said = f"；没有认出的列有 {'、'.join(unknown)}" if unknown else ""
        problems.append(f"缺少必需的列：{'、'.join(missing)}{said}。请改成模板中的列名，或在列对应中指定")
    return problems


def _plain(heading):
    """A heading as it is compared: no width, white space, case, star, colon or "(必填)"."""
    text = unicodedata.normalize("NFKC", heading).casefold()
    return re.sub(r"\(必填\)|\(选填\)|[\s*※:\u200b\ufeff]", "", text)


def column_letter(place):
    """Column letter of a place counted from 0: 0 is A, 26 is AA."""
    letters = ""
    place += 1
    while place:
        place, rest = divmod(place - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def _index(letter):
    place = 0
    for character in letter:
        place = place * 26 + ord(character) - ord("A") + 1
    return place - 1


def _frames(table, outline, at_once):
    """The rows below the headings as frames of text."""
    rows = table.rows()
    number = len(list(islice(rows, outline.row))) + 1
    chosen = {name: _index(letter) - table.left for letter, name in outline.mapping.items()}
    again = {
        name: outline.headings[letter] for letter, name in outline.mapping.items()
    }  # headings on every page
    size = min(_ROWS_AT_FIRST, at_once)
    while (frame := _block(rows, number, size)) is not None:
        size = min(2 * size, at_once)
        number += len(frame)
        frame = frame.with_columns(pl.exclude(ROW).replace("", None))
        picked = {
            name: pl.col(str(at)) if str(at) in frame.columns else pl.lit(None, pl.String)
            for name, at in chosen.items()
        }
        texts = frame.drop(ROW).select(pl.all().str.strip_chars().replace("", None))
        filled = texts.select(**picked)
        wanted = (
            filled.select(pl.any_horizontal(pl.all().is_not_null())).to_series()
            & ~texts.select(pl.coalesce(pl.all())).to_series().str.contains(_NO_ROW).fill_null(False)
            & ~filled.select(pl.all_horizontal(pl.col(name) == heading for name, heading in again.items()))
            .to_series()
            .fill_null(False)
        )
        if wanted.any():
            yield frame.select(ROW, **picked).filter(wanted)


def _block(rows, number, size):
    """The next rows, up to `size`: ROW, counted from `number`, and columns by place; None at the end."""
    frames, last = [], number + size
    # A few rows at a time, whose cells stay in the processor's cache.
    while cells := list(islice(rows, min(_ROWS_IN_CACHE, last - number))):
        columns = list(zip_longest(*cells, fillvalue="")) or [[""] * len(cells)]  # of blank lines only
        texts = {str(at): _column(column) for at, column in enumerate(columns)}
        numbers = pl.int_range(number, number + len(cells), dtype=pl.Int64, eager=True)
        frames.append(pl.DataFrame({ROW: numbers, **texts}))
        number += len(cells)
    return pl.concat(frames, how="diagonal") if frames else None


def _column(cells):
    try:
        return pl.Series(cells, dtype=pl.String, strict=True)
    except TypeError:
        return pl.Series([cell if type(cell) is str else _text(cell) for cell in cells], dtype=pl.String)


def _text(cell):
    """A cell as text: whole numbers as digits, times in ISO order, long numbers as Python writes them."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else repr(cell)
    if isinstance(cell, datetime):  # a fraction of a day seldom hits the second
        return f"{cell + timedelta(microseconds=500_000):%Y-%m-%d %H:%M:%S}"
    if isinstance(cell, date):
        return cell.isoformat()
    return str(cell)


if __name__ == "__main__":
    _main()
