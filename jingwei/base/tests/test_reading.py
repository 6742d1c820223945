"""Files of strangers are judged before they are parsed, and read as columns of text."""

import codecs
import datetime
import io
import os
import struct
import time
import zipfile

import openpyxl
import pytest
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from jingwei.base import reading
from jingwei.base.reading import ROW, Unreadable, Wanted

pytestmark = pytest.mark.django_db

WANTED = [
    Wanted("town", ["乡镇（街道）", "乡镇街道"]),
    Wanted("name", ["姓名"], required=True),
    Wanted("number", ["证件号", "身份证号码"], required=True),
    Wanted("phone", ["联系电话", "联系方式"]),
    Wanted("on", ["日期"]),
]
HEADINGS = ["乡镇（街道）", "姓名", "证件号", "联系电话"]
ROW_1 = ["安平街道", "陈新", "990101199003070023", "16000000001"]


def book(tmp_path, *rows, **worksheets):
    """An xlsx with these rows, and further worksheets by their names."""
    made = openpyxl.Workbook()
    for row in rows:
        made.active.append(row)
    for name, content in worksheets.items():
        page = made.create_sheet(name)
        for row in content:
            page.append(row)
    path = tmp_path / "名单.xlsx"
    made.save(path)
    return path


def changed(path, edit):
    """The workbook at `path` after `edit` of it."""
    made = openpyxl.load_workbook(path)
    edit(made.active)
    made.save(path)
    return path


def repacked(path, **parts):
    """The workbook with some parts of its zip replaced by a function of their text, or added."""
    with zipfile.ZipFile(path) as old:
        content = {name: old.read(name) for name in old.namelist()}
    for name, text in parts.items():
        name = name.replace("__", "/")
        content[name] = text(content[name].decode()).encode() if callable(text) else text
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, text in content.items():
            new.writestr(name, text)
    return path


def text_file(tmp_path, text, encoding="utf-8", name="名单.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def rows_of(path, wanted=WANTED, mapping=None):
    """[{name: text, ROW: number}] of everything read."""
    with reading.read(path, wanted, mapping) as source:
        return [row for frame in source for row in frame.iter_rows(named=True)]


def column(path, name, **kwargs):
    return [row[name] for row in rows_of(path, **kwargs)]


# --- what is read -----------------------------------------------------------------------------------------


@pytest.mark.req("P-5.3", "CL-6.2")
def test_rows_keep_the_numbers_that_excel_shows(tmp_path):
    path = book(tmp_path, ["人员名单"], [], HEADINGS, ROW_1, [], ROW_1, ["合计", None, "2人"], ["小 计：2"])
    assert [row[ROW] for row in rows_of(path)] == [4, 6]


@pytest.mark.req("CL-6.2")
def test_headings_are_known_whatever_their_width_breaks_and_stars(tmp_path):
    path = book(tmp_path, ["乡镇\n(街道)", "* 姓 名", "身份证号码（必填）", "联系方式：", "备注"], ROW_1)
    with reading.read(path, WANTED) as source:
        assert source.outline.mapping == {"A": "town", "B": "name", "C": "number", "D": "phone"}
        assert source.outline.notes == ["没有用到的列：备注"]
        assert source.outline.heading_of("number") == "身份证号码（必填）"


@pytest.mark.req("CL-6.2")
def test_every_row_of_a_merged_cell_has_its_value(tmp_path):
    path = book(tmp_path, HEADINGS, ROW_1, [None, *ROW_1[1:]], [None, *ROW_1[1:]], [None, *ROW_1[1:]])
    changed(path, lambda page: page.merge_cells("A2:A4"))
    assert column(path, "town") == ["安平街道", "安平街道", "安平街道", None]


@pytest.mark.req("CL-6.2")
def test_a_heading_may_be_merged_over_two_rows(tmp_path):
    path = book(tmp_path, ["名单"], HEADINGS, [], ROW_1)
    changed(path, lambda page: [page.merge_cells(f"{letter}2:{letter}3") for letter in "ABCD"])
    assert [row[ROW] for row in rows_of(path)] == [4]


@pytest.mark.req("P-5.3")
def test_of_several_worksheets_the_one_with_the_headings_is_read_and_a_second_one_is_named(tmp_path):
    path = book(tmp_path, ["说明"], 空表=[HEADINGS], 甲村=[HEADINGS, ROW_1], 乙村=[HEADINGS, ROW_1, ROW_1])
    with reading.read(path, WANTED) as source:
        assert source.outline.worksheet == "甲村"
        assert any("“乙村”也有同样的表头" in note for note in source.outline.notes)
        assert not any("空表" in note for note in source.outline.notes)
        assert source.outline.worksheets == ["Sheet", "空表", "甲村", "乙村"]
    with reading.read(path, WANTED, worksheet="乙村") as source:
        assert (source.outline.worksheet, sum(map(len, source))) == ("乙村", 2)
    with pytest.raises(Unreadable, match="没有名为“丙村”的工作表"):
        reading.outline(path, WANTED, worksheet="丙村")


@pytest.mark.req("P-5.3")
def test_hidden_and_filtered_rows_are_rows(tmp_path):
    path = book(tmp_path, HEADINGS, ROW_1, ROW_1)

    def hide(page):
        page.row_dimensions[2].hidden = True
        page.auto_filter.ref = "A1:D3"

    assert len(rows_of(changed(path, hide))) == 2


@pytest.mark.req("P-5.3")
def test_headings_repeated_on_every_printed_page_and_the_example_of_a_template_are_no_rows(tmp_path):
    path = book(
        tmp_path, ["序号", *HEADINGS], ["示例", *ROW_1], [1, *ROW_1], ["序号", *HEADINGS], [2, *ROW_1]
    )
    assert [row[ROW] for row in rows_of(path)] == [3, 5]


@pytest.mark.req("CL-6.2")
def test_cells_come_as_text_that_tells_what_they_were(tmp_path):
    cells = [
        990101199003070023,
        990101900307002,
        3.5,
        7.0,
        True,
        datetime.datetime(2026, 11, 4, 10, 49),
        datetime.date(2026, 11, 4),
        "=1+1",
        " ９ ",
    ]
    path = book(tmp_path, HEADINGS, *[["", "甲", cell] for cell in cells])
    assert column(path, "number") == [
        *(
            "9.901011990030701e+17",
            "990101900307002",
            "3.5",
            "7",
            "TRUE",
            "2026-11-04 10:49:00",
            "2026-11-04",
        ),
        *(None, " ９ "),
    ]


@pytest.mark.req("CL-6.2")
def test_dates_of_the_1904_calendar_are_the_days_they_show(tmp_path):
    made = openpyxl.Workbook()
    made.epoch = CALENDAR_MAC_1904
    made.active.append(["姓名", "证件号", "日期"])
    made.active.append(["甲", "1", datetime.date(2026, 3, 1)])
    made.save(tmp_path / "a.xlsx")
    assert column(tmp_path / "a.xlsx", "on") == ["2026-03-01"]


@pytest.mark.req("CL-6.2", "P-5.3")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_text_tables_are_read_in_every_usual_encoding_and_delimiter(tmp_path, encoding, delimiter):
    text = "\r\n".join(delimiter.join(row) for row in (HEADINGS, ROW_1, [], ["", '"陈,𬭎"', '="007"', ""]))
    path = text_file(tmp_path, text, encoding)
    assert [tuple(row.values()) for row in rows_of(path)] == [(2, *ROW_1), (4, None, "陈,𬭎", "007", None)]


@pytest.mark.req("P-5.3")
def test_many_rows_come_in_frames_and_their_numbers_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "ROWS_AT_ONCE", 7)
    path = text_file(tmp_path, "姓名,证件号\n" + "".join(f"甲,{n}\n" for n in range(20)))
    with reading.read(path, WANTED) as source:
        frames = list(source)
    assert [len(frame) for frame in frames] == [7, 7, 6]
    assert [number for frame in frames for number in frame[ROW]] == list(range(2, 22))


@pytest.mark.req("P-5.3")
def test_a_mapping_overrules_the_guess(tmp_path):
    path = book(tmp_path, ["甲", "姓名", "号", "联系电话"], ROW_1)
    outline = reading.outline(path, WANTED)
    assert outline.mapping == {"B": "name", "D": "phone"}
    assert outline.sample == [ROW_1]
    assert "缺少必需的列：证件号" in outline.problems[0] and "A1“甲”、C1“号”" in outline.problems[0]
    assert column(path, "number", mapping={"B": "name", "C": "number"}) == [ROW_1[2]]


# --- what is refused, and how it is said -------------------------------------------------------------------


def refusal(path, **kwargs):
    with pytest.raises(Unreadable) as refused:
        rows_of(path, **kwargs)
    return str(refused.value)


@pytest.mark.req("P-5.3")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "文件是空的"),
        (b"%PDF-1.7 ...", "不是表格文件"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "不是表格文件"),
        (b"<html><table><tr><td>\xe5\xa7\x93\xe5\x90\x8d</table>", "网页格式"),
        (b'<?xml version="1.0"?><Workbook/>', "网页格式"),
        (b"PK\x03\x04 and nothing more", "已损坏"),
        (codecs.BOM_UTF8, "没有内容"),
        (b"\xff\xfa\xfb\xfc,\x81\n", "文字编码"),
        ('姓名,证件号\n甲,"1\n乙,2\n'.encode(), "引号不成对"),
    ],
)
def test_what_is_no_table_is_refused_with_what_to_do(tmp_path, content, said):
    path = tmp_path / "名单.xlsx"
    path.write_bytes(content)
    assert said in refusal(path)


@pytest.mark.req("P-5.3")
@pytest.mark.parametrize(
    ("stream", "said"),
    [("EncryptedPackage", "密码保护"), ("_VBA_PROJECT_CUR", "宏"), ("WordDocument", "不是表格文件")],
)
def test_containers_of_the_old_office_are_told_apart(tmp_path, stream, said):
    path = tmp_path / "名单.xls"
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600) + stream.encode("utf-16-le"))
    assert said in refusal(path)


@pytest.mark.req("P-5.3", "SEC-12")
def test_a_macro_workbook_is_refused_under_any_name(tmp_path):
    path = book(tmp_path, HEADINGS, ROW_1)
    assert "宏" in refusal(_with(path, "xl/vbaProject.bin", b"macro"))


def _with(path, name, content):
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return path


@pytest.mark.req("P-5.3", "SEC-12")
def test_a_zip_bomb_is_refused_in_moments(tmp_path):
    path = _with(book(tmp_path, HEADINGS, ROW_1), "xl/worksheets/sheet2.xml", bytes(300 << 20))
    started = time.monotonic()
    assert "大得不正常" in refusal(path)
    assert time.monotonic() - started < 5


@pytest.mark.req("P-5.3", "SEC-12")
def test_an_xml_bomb_is_refused(tmp_path):
    lol = '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;">]><sst>&b;</sst>'
    assert "DTD" in refusal(_with(book(tmp_path, HEADINGS, ROW_1), "xl/sharedStrings2.xml", lol))


@pytest.mark.req("P-5.3", "SEC-12")
def test_a_sheet_with_16384_columns_is_refused(tmp_path):
    assert "16384 列" in refusal(book(tmp_path, ["甲"] * 16_384, ["乙"] * 16_384))


@pytest.mark.req("P-5.3", "SEC-12")
def test_a_cell_at_the_far_end_ends_the_reader_and_not_the_worker(tmp_path):
    path = changed(book(tmp_path, HEADINGS, ROW_1), lambda page: page.cell(1_048_576, 900, "x"))
    assert "大得不正常" in refusal(path)


@pytest.mark.req("P-5.3", "SEC-12")
def test_the_size_a_workbook_claims_is_not_believed(tmp_path):
    def claim(text):
        return text.replace('<dimension ref="A1:D2"', '<dimension ref="A1:XFD999999999"')

    path = repacked(book(tmp_path, HEADINGS, ROW_1), **{"xl__worksheets__sheet1.xml": claim})
    assert len(rows_of(path)) == 1


@pytest.mark.req("P-5.3")
def test_a_million_blank_rows_cost_little(tmp_path):
    blank = "".join(f'<row r="{n}" spans="1:4"/>' for n in range(3, 1_000_000))
    path = repacked(
        book(tmp_path, HEADINGS, ROW_1),
        **{"xl__worksheets__sheet1.xml": lambda text: text.replace("</sheetData>", f"{blank}</sheetData>")},
    )
    started = time.monotonic()
    assert len(rows_of(path)) == 1
    assert time.monotonic() - started < 10


@pytest.mark.req("P-5.3")
def test_an_upload_over_the_bound_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "名单.xlsx"
    path.touch()
    os.truncate(path, 60 << 20)
    with pytest.raises(Unreadable, match="60 MB，超过上限 50 MB"):
        reading.look(path, largest=reading.LARGEST.value())


@pytest.mark.req("P-5.3")
@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "没有内容"),
        ([ROW_1, ROW_1], "没有找到表头"),
        ([["甲", "乙", "丙"], ["1", "2", "3"]], "没有找到表头"),
        ([["姓名", "联系电话", "号"], ["1", "2", "3"]], "缺少必需的列：证件号；没有认出的列有 C1“号”"),
        ([[*HEADINGS, "联系方式"], ROW_1], "D1“联系电话”和E1“联系方式”都是“联系电话”"),
    ],
)
def test_headings_that_do_not_fit_are_named_with_their_cells(tmp_path, rows, said):
    assert said in refusal(book(tmp_path, *rows))


@pytest.mark.req("P-5.3")
def test_a_workbook_of_charts_only_has_no_worksheet(tmp_path):
    made = openpyxl.Workbook()
    made.create_chartsheet("图")
    del made["Sheet"]
    made.save(tmp_path / "a.xlsx")
    assert "没有工作表" in refusal(tmp_path / "a.xlsx")


@pytest.mark.req("P-5.3")
def test_a_mistake_in_the_reader_is_told_without_the_cells(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "ROWS_AT_ONCE", "many")
    with pytest.raises(RuntimeError, match=r"TypeError in _frames, line \d+$"):
        rows_of(book(tmp_path, HEADINGS, ROW_1))


@pytest.mark.req("P-4.1", "P-5.3")
def test_a_stream_in_memory_is_read_by_its_descriptor(tmp_path):
    content = io.BytesIO(book(tmp_path, HEADINGS, ROW_1).read_bytes())
    descriptor = os.memfd_create("upload")
    os.write(descriptor, content.getvalue())
    try:
        assert column(f"/proc/self/fd/{descriptor}", "name") == ["陈新"]
    finally:
        os.close(descriptor)


# --- the old binary format ---------------------------------------------------------------------------------


def old_book(path, rows):
    path.write_bytes(old_bytes(rows))
    return path


def old_bytes(rows):
    """A minimal .xls (BIFF8 in an OLE container) with texts and numbers."""

    def record(kind, content):
        return struct.pack("<HH", kind, len(content)) + content

    begin, end = struct.pack("<HHHHII", 0x0600, 0x0005, 0, 1996, 0, 6), record(0x000A, b"")
    sheet = record(0x0809, begin[:2] + struct.pack("<H", 0x0010) + begin[4:])
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            at = struct.pack("<HHH", row, column, 0)
            if isinstance(cell, str):
                units = cell.encode("utf-16-le")
                sheet += record(0x0204, at + struct.pack("<HB", len(units) // 2, 1) + units)
            else:
                sheet += record(0x0203, at + struct.pack("<d", cell))
    sheet += end
    name = struct.pack("<BB", 6, 0) + b"Sheet1"
    globals_size = len(record(0x0809, begin)) + len(record(0x0085, bytes(6) + name)) + len(end)
    book = record(0x0809, begin) + record(0x0085, struct.pack("<IH", globals_size, 0) + name) + end + sheet
    book += bytes(-len(book) % 512 + 4096)
    book = book[: len(book) // 512 * 512]
    # One sector of the allocation table, one of the directory, then the stream.
    sectors = len(book) // 512
    table = [0xFFFFFFFD, 0xFFFFFFFE, *range(3, sectors + 2), 0xFFFFFFFE]
    table += [0xFFFFFFFF] * (128 - len(table))

    def entry(name, kind, child, start, size):
        text = (name + "\0").encode("utf-16-le")
        links = struct.pack("<BBIII", kind, 1, 0xFFFFFFFF, 0xFFFFFFFF, child)
        return (
            text.ljust(64, b"\0")
            + struct.pack("<H", len(text))
            + links
            + bytes(36)
            + struct.pack("<IQ", start, size)
        )

    directory = entry("Root Entry", 5, 1, 0xFFFFFFFE, 0) + entry("Workbook", 2, 0xFFFFFFFF, 2, len(book))
    head = (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
        + bytes(16)
        + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6)
        + bytes(6)
    )
    head += struct.pack("<IIIIIIIII", 0, 1, 1, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0)
    head += struct.pack("<I", 0) + b"\xff" * (512 - len(head) - 4)
    return head + struct.pack("<128I", *table) + directory.ljust(512, b"\0") + book


@pytest.mark.req("P-5.3", "CL-6.2")
def test_an_old_xls_is_read_like_a_new_workbook(tmp_path):
    rows = [
        ["名单"],
        ["姓名", "证件号", "联系电话"],
        ["陈新", ROW_1[2], 16000000001.0],
        ["甲", 9.90101198707309e17],
    ]
    path = old_book(tmp_path / "名单.xls", rows)
    assert reading.look(path) == "xls"
    assert [tuple(row.values()) for row in rows_of(path)] == [
        (3, "陈新", ROW_1[2], "16000000001"),
        (4, "甲", "9.90101198707309e+17", None),
    ]
