"""Whatever stands in a cell, of any kind of sheet in any format, is kept exactly or refused in words.

Never an error of ours (SEC-12). A new kind of sheet needs a good row here.
"""

import csv
import io
import re
import unicodedata
import zipfile
from collections import Counter
from datetime import timedelta
from itertools import count

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone
from xlsxwriter import Workbook

from jingwei import menu
from jingwei.base import loading, reading
from jingwei.base.access import platform_actor
from jingwei.base.columns import Text
from jingwei.base.fields import bulk_reveal, personal_fields
from jingwei.base.findings import Findings
from jingwei.base.models import Load
from jingwei.base.sheets import clear_value
from jingwei.base.tests.test_reading import old_book
from jingwei.desk import files, imports
from jingwei.desk.tests.test_import_pages import Clerk
from jingwei.directory.samples import VILLAGE, department, organisation
from jingwei.people.samples import number, person
from jingwei.places.samples import REGULATOR, venue
from jingwei.scans.models import CELL
from jingwei.scans.sheets import AsItStands
from tests.test_bad_input import CORPUS, KEPT, READABLE

pytestmark = [pytest.mark.django_db, pytest.mark.req("SEC-12", "P-5.3")]
SHEETS = menu.sheets()
FREE = Text | AsItStands  # cells that may hold any words
TEXTS = list(CORPUS.values())
OWN_RULES = {("operators", "login")}  # words, but not any
_numbers = count(1)


def on(day):
    return f"{timezone.localtime() - timedelta(days=day):%Y-%m-%d}"


# The cells of a row that can be loaded; `of` is what the rows of the sheet hang on, anew for every five.
HANGS_ON = {
    "vaccinations": person,
    "nucleic-samples": person,
    "thresholds": venue,
    "departments": organisation,
    "posts": department,
    "operators": organisation,
}
GOOD = {
    "roster": lambda n, of: {"region": VILLAGE, "name": "林样例", "number": number(), "resident": "是"},
    "vaccinations": lambda n, of: {
        "name": "林样例",
        "number": of.number.clear(),
        "dose": str(n % 5 + 1),
        "on": on(9),
    },
    "nucleic-samples": lambda n, of: {
        "name": "林样例",
        "number": of.number.clear(),
        "sampled_at": f"{on(2)} 08:{n // 60 % 60:02d}:{n % 60:02d}",
        "point": "样例采样点",
    },
    "venues": lambda n, of: {"code": f"BAD{n}", "name": "样例超市", "kind": "超市", "regulator": REGULATOR},
    "thresholds": lambda n, of: {"venue": of.code, "low": "1", "high": "9", "from_day": on(n % 5)},
    "scans": lambda n, of: {"venue_code": f"BAD{n}", "collected_at": f"{on(2)} 08:00:00"},
    "organisations": lambda n, of: {"name": f"样例单位{n}", "parent": REGULATOR, "region": VILLAGE},
    "departments": lambda n, of: {"organisation": str(of.pk), "name": f"样例科{n}"},
    "posts": lambda n, of: {"department": str(of.pk), "name": f"样例岗{n}"},
    "operators": lambda n, of: {"login": f"bad{n}", "name": "林样例", "organisation": str(of.pk)},
    "regions": lambda n, of: {"code": f"{VILLAGE}{n:03d}", "name": f"样例网格{n}"},
    "codes": lambda n, of: {"kind": "人群分类", "value": f"bad{n}", "label": f"样例{n}"},
}


def rows_of(name, names, texts):
    """Good rows but for the columns `names`: of these each has each of the texts once."""
    for start in range(len(texts)):
        if start % 5 == 0:
            of = HANGS_ON[name]() if name in HANGS_ON else None
        odd = {each: texts[(start + place) % len(texts)] for place, each in enumerate(names)}
        yield GOOD[name](next(_numbers), of) | odd


def as_kept(text):
    """A text as a column of words keeps it: see `kit.text.tidy`."""
    plain = (chr(ord(c) - 0xFEE0) if "\uff01" <= c <= "\uff5e" else c for c in text)
    seen = (c for c in plain if c.isspace() or unicodedata.category(c) not in ("Cc", "Cf"))
    return " ".join("".join(seen).split())


def test_every_kind_of_sheet_has_a_good_row():
    assert GOOD.keys() == SHEETS.keys()


def longest(column):
    return CELL if isinstance(column.type, AsItStands) else column.type.longest


@pytest.mark.parametrize("name", SHEETS)
def test_every_cell_of_every_sheet_is_kept_exactly_or_refused_in_words(name, tmp_path):
    """First words where words may stand, of which all are kept; then whatever there is in every column."""
    sheet = SHEETS[name]
    free = [c for c in sheet.columns if isinstance(c.type, FREE) and (name, c.name) not in OWN_RULES]
    good = list(rows_of(name, [column.name for column in free], list(KEPT.values()))) if free else []
    for column in free:
        for row in good:
            row[column.name] = row[column.name][: longest(column)]
    # The other way round, so that no row has the key of one before.
    rows = good + list(rows_of(name, [column.name for column in sheet.columns], TEXTS[::-1]))
    cells = [[row.get(column.name, "") for column in sheet.columns] for row in rows]
    file = table_of("xlsx", tmp_path / "坏.xlsx", [[column.heading for column in sheet.columns], *cells])
    before = set(sheet.model.objects.values_list("pk", flat=True))
    load = loading.load(platform_actor("测试"), sheet, file)

    refused = {}
    for said in Findings(load, "rejected"):
        assert re.search(r"[\u4e00-\u9fff]{3}", said["reason"]) and len(said["reason"]) < 200, said
        refused.setdefault(said["row"], {})[said["column"]] = said["reason"]
    assert load.counts["read"] == len(rows) and load.counts["rejected_rows"] == len(refused)
    assert not [refused[row] for row in refused if row < len(good) + 2]
    accepted = [row for at, row in enumerate(rows, start=2) if at not in refused]
    stored = [row for row in sheet.model.objects.all() if row.pk not in before]
    bulk_reveal(stored, [field.name for field in personal_fields(sheet.model)])
    for column in sheet.stored:
        if column in free:
            kept_as = str if isinstance(column.type, AsItStands) else as_kept
            field = sheet.model._meta.get_field(column.name)
            sent = Counter(kept_as(row.get(column.name, "")) for row in accepted)
            assert Counter(clear_value(field, row) or "" for row in stored) == sent, column.name


# --- the formats ------------------------------------------------------------------------------------------

WRITTEN = {
    "csv": "utf-8",
    "csv with a mark": "utf-8-sig",
    "csv of China": "gb18030",
    "csv of Excel": "utf-16",
}


def table_of(kind, path, rows):
    if kind == "xls":
        return old_book(path, [[cell[:4000] for cell in row] for row in rows])
    if kind == "xlsx":
        with Workbook(path) as book:
            page = book.add_worksheet()
            for at, row in enumerate(rows):
                for place, cell in enumerate(row):
                    page.write_string(at, place, cell)
        return path
    with open(path, "w", encoding=WRITTEN[kind], newline="") as out:
        csv.writer(out).writerows(rows)
    return path


@pytest.mark.parametrize("kind", ["xlsx", "xls", *WRITTEN])
def test_every_format_gives_every_cell_as_it_was_written(kind, tmp_path):
    texts = TEXTS if kind.startswith("xls") else [CORPUS[what] for what in READABLE]
    most = 4000 if kind == "xls" else None
    path = table_of(
        kind, tmp_path / "坏", [["名称", "说明"], *([f"第{n}行", t] for n, t in enumerate(texts))]
    )
    columns = [reading.Wanted("name", ["名称"]), reading.Wanted("note", ["说明"])]
    with reading.read(path, columns) as sheet:
        read = [cell or "" for frame in sheet for cell in frame["note"]]
    assert read == [text[:most] for text in texts]


# --- what stands around the cells -------------------------------------------------------------------------


def workbook(page, extra):
    """A workbook with one resident; the worksheet's name and a heading of no column are anything."""
    content, changed = io.BytesIO(), io.BytesIO()
    with Workbook(content, {"in_memory": True}) as book:
        sheet = book.add_worksheet("NAME")
        sheet.write_row(0, 0, ["证件号", "姓名", "村/社区"])
        sheet.write_row(1, 0, [number(), "林样例", "上埔社区"])
        sheet.write_string(0, 3, extra)
        sheet.write_string(1, 3, extra)
    with zipfile.ZipFile(content) as source, zipfile.ZipFile(changed, "w") as target:
        for part in source.namelist():
            target.writestr(part, source.read(part).replace(b"NAME", page.encode()))
    return changed.getvalue()


@pytest.mark.parametrize(
    ("page", "extra"),
    [
        ("&lt;script&gt;", "\0\x01多余\u202e" + "长" * 30_000),
        ("../x", "=1+1"),
        ("𠮷𰻝", "{{ 7*7 }}"),
        ("_x0000_", "\0"),
        ("样" * 31, "a\nb"),
    ],
    ids=["NUL and long", "formula", "rare", "only NUL", "lines"],
)
def test_whatever_heads_a_worksheet_its_rows_come_in(page, extra, village, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "folder", lambda: tmp_path)
    clerk = Clerk(village)
    clerk.upload(SimpleUploadedFile("a.xlsx", workbook(page, extra)))
    load = Load.objects.get()
    outline = imports.outline_of(load)
    if load.job is None:  # a column that nobody knows: the operator is asked
        clerk.post("worksheet", worksheet=outline.worksheets[0])
        clerk.post("mapping", **{f"column-{letter}": name for letter, name in outline.mapping.items()})
    clerk.work()
    clerk.post("confirm")
    clerk.work()
    load.refresh_from_db()
    assert (load.state, load.counts["added"]) == (Load.DONE, 1)


def test_a_worksheet_under_an_impossible_name_is_refused(village):
    answer = village.client.post(
        "/people/import/", {"file": SimpleUploadedFile("a.xlsx", workbook("样" * 61, "x"))}
    )
    assert "请改名后再导入" in answer.content.decode() and not Load.objects.exists()
