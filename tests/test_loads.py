"""A load is whole: it goes on after a kill, is undone as one, and two at once lose nothing (P-5.3)."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import date, timedelta

import openpyxl
import polars as pl
import pytest
from django.conf import settings
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import connection
from django.utils import timezone

from jingwei.base import loading, merging, reading, undoing, workbooks
from jingwei.base.models import Job, Load, LoadChunk, LoadRow, LogEntry
from jingwei.desk import personal
from jingwei.kit.idcard import check_digits
from jingwei.people.models import Person, PersonAlias, Transfer
from jingwei.people.samples import VILLAGE, number, person
from jingwei.people.sheets import RosterSheet

pytestmark = pytest.mark.django_db
HEADINGS = ["村/社区", "姓名", "证件类型", "证件号", "居住地", "联系电话", "单位（从业情况）"]
ROSTER = RosterSheet()


def row(number, name="陈新", region="上埔社区", **cells):
    given = {"村/社区": region, "姓名": name, "证件类型": "居民身份证", "证件号": number} | cells
    return [given.get(heading, "") for heading in HEADINGS]


def numbers(count, first=0) -> list[str]:
    """Valid and different ID numbers."""
    days = pl.date_range(date(1950, 1, 1), date(2020, 1, 1), eager=True).dt.strftime("%Y%m%d")
    first17 = pl.Series([f"990101{days[n % 25_000]}{n // 25_000:03d}" for n in range(first, first + count)])
    return (first17 + check_digits(first17)).to_list()


@pytest.fixture
def roster(tmp_path):
    """A function that writes rows into a file and returns its path."""

    def write(*rows, name="名单.csv", headings=HEADINGS):
        text = io.StringIO(newline="")
        csv.writer(text).writerows([headings, *rows])
        path = tmp_path / name
        path.write_text(text.getvalue())
        return path

    return write


def outcome(load):
    """(added, changed, unchanged, rejected rows) of a load."""
    return tuple(load.counts[name] for name in ("added", "changed", "unchanged", "rejected_rows"))


# --- merging ----------------------------------------------------------------------------------------------


@pytest.mark.req("CL-6.3")
def test_an_empty_cell_never_overwrites_a_filled_one(village, roster):
    there = person(name="陈新", phone="16000000001")
    path = roster(row(there.number.clear(), name="陈新", 居住地="9号"))
    assert outcome(loading.load(village.actor, ROSTER, path)) == (0, 1, 0, 0)
    now = Person.objects.get(pk=there.pk)
    assert (now.phone.clear(), now.address.clear(), now.occupation) == ("16000000001", "9号", "企业职工")
    assert now.version == there.version + 1


@pytest.mark.req("CL-6.3")
def test_what_was_overwritten_stays_in_the_history(village, roster):
    there = person(name="陈新", occupation="务农")
    loading.load(village.actor, ROSTER, roster(row(there.number.clear(), **{"单位（从业情况）": "教师"})))
    [event] = there.events.all()
    assert (event.occupation, event.pgh_label) == ("务农", "changed")


@pytest.mark.req("CL-6.2")
def test_a_later_row_of_the_same_person_wins_with_what_it_has(village, roster):
    one, two = numbers(2)
    path = roster(
        row(one, 居住地="1号", 联系电话="16000000001"),
        row(two),
        row(one, 居住地="2号"),
        row(one, 居住地="2号"),
        row(two.replace("990101", "９９０１０１")),
    )
    load = loading.load(village.actor, ROSTER, path)
    assert (load.counts["added"], load.counts["merged"], load.counts["same"]) == (2, 1, 2)
    kept = Person.objects.get(number=one)
    assert (kept.address.clear(), kept.phone.clear()) == ("2号", "16000000001")


@pytest.mark.req("CL-6.2")
def test_repetitions_far_apart_in_the_file_change_nothing_the_second_time(village, roster, monkeypatch):
    monkeypatch.setattr(reading, "ROWS_AT_ONCE", 10)
    some = numbers(40)
    path = roster(*(row(number, 居住地=f"{place}号") for place, number in enumerate(some + some[:25])))
    first = loading.load(village.actor, ROSTER, path)
    assert (first.counts["added"], first.counts["merged"]) == (40, 25)
    assert outcome(loading.load(village.actor, ROSTER, path)) == (0, 0, 40, 0)
    assert Person.objects.get(number=some[0]).address.clear() == "40号"


@pytest.mark.req("CL-3.2", "CL-6.2")
def test_a_sex_that_contradicts_the_number_changes_nothing(village, roster):
    path = roster([*row(number("19800101", 11)), "女"], headings=[*HEADINGS, "性别"])
    loading.load(village.actor, ROSTER, path)
    assert Person.objects.get().sex == "1"
    assert outcome(loading.load(village.actor, ROSTER, path)) == (0, 0, 1, 0)


@pytest.mark.req("CL-3.7", "CL-2.1")
def test_a_row_that_names_another_community_moves_the_person(town, roster):
    there = person()
    load = loading.load(town.actor, ROSTER, roster(row(there.number.clear(), region="990101001002")))
    move = Transfer.objects.get(person=there)
    assert (move.from_region_id, move.to_region_id, move.by_name) == (
        VILLAGE,
        "990101001002",
        town.actor.name,
    )
    undoing.undo(town.actor, ROSTER, load)
    assert Person.objects.get(pk=there.pk).region_id == VILLAGE
    assert there.transfers.count() == 2


@pytest.mark.req("CL-2.1", "CL-3.5", "P-1.6")
def test_of_a_person_registered_elsewhere_only_the_fact_is_told(village, roster):
    there = person(region="990101002001", name="欧远")
    load = loading.load(village.actor, ROSTER, roster(row(there.number.clear(), name="陈新")))
    assert outcome(load) == (0, 0, 0, 1)
    [refusal] = load.counts["rejected"]
    assert refusal == {"row": 2, "column": "证件号", "reason": "该证件号已在其他辖区登记，不能在此导入"}
    assert Person.objects.get(pk=there.pk).name == "欧远"


@pytest.mark.req("P-5.7", "P-5.3")
def test_a_row_with_the_number_of_a_merged_record_is_the_person_s(village, roster):
    there = person(name="陈新", phone="16000000001")
    PersonAlias.objects.create(person=there, doc_type="111", number=numbers(1)[0])
    path = roster(
        row(numbers(1)[0], name="陈新", 居住地="2栋301室"),
        row(there.number.clear(), name="陈新", 居住地="9号"),
    )
    assert outcome(loading.load(village.actor, ROSTER, path)) == (0, 1, 1, 0)
    now = Person.objects.get()
    assert (now.number, now.address.clear()) == (there.number, "9号")


@pytest.mark.req("P-5.3")
def test_adding_only_leaves_those_who_are_there_and_updating_only_adds_nobody(village, roster):
    there = person(name="陈新")
    path = roster(row(there.number.clear(), name="改名"), row(numbers(1)[0]))
    changed = loading.load(village.actor, ROSTER, path, mode="update")
    assert outcome(changed) == (0, 1, 0, 1)
    assert [r["row"] for r in changed.counts["rejected"]] == [3]
    added = loading.load(village.actor, ROSTER, path, mode="add")
    assert outcome(added) == (1, 0, 0, 1)
    assert added.counts["rejected"][0]["reason"] == merging.THERE


@pytest.mark.req("P-5.3", "SEC-8")
def test_all_or_nothing_stores_nothing_when_one_row_is_bad(village, roster, monkeypatch):
    monkeypatch.setattr(reading, "ROWS_AT_ONCE", 5)
    elsewhere = person(region="990101002001")
    good = [row(number) for number in numbers(12)]
    for bad in (row("990101199003070024"), row(elsewhere.number.clear())):
        load = loading.load(village.actor, ROSTER, roster(*good, bad), bad="stop")
        assert (load.state, outcome(load)) == (Load.FAILED, (0, 0, 0, 1))
        assert Person.objects.count() == 1 and not LoadRow.objects.exists()
    assert set(LogEntry.objects.filter(act="导入").values_list("result", flat=True)) == {"失败"}
    assert outcome(loading.load(village.actor, ROSTER, roster(*good), bad="stop")) == (12, 0, 0, 0)


@pytest.mark.req("P-5.3")
def test_a_preview_tells_the_outcome_and_stores_nothing(village, roster):
    there = person(name="陈新")
    rows = [row(there.number.clear(), name="改名"), *(row(number) for number in numbers(3)), row("12")]
    preview = loading.preview(village.actor, ROSTER, roster(*rows))
    told = [preview[name] for name in ("read", "added", "changed", "unchanged", "rejected_rows", "partial")]
    assert told == [5, 3, 1, 0, 1, False]
    assert loading.preview(village.actor, ROSTER, roster(*rows), most=2)["partial"] is True
    assert Person.objects.get().name == "陈新" and not Load.objects.exists()


@pytest.mark.req("P-1.5", "P-5.3")
def test_who_may_not_import_is_told_so(nobody, roster):
    with pytest.raises(PermissionDenied, match="没有导入“人员摸排表”的权限"):
        loading.load(nobody.actor, ROSTER, roster(row(numbers(1)[0])))


@pytest.mark.req("P-5.3", "SEC-8")
def test_a_file_that_cannot_be_read_fails_the_load_in_words_and_in_the_log(village, roster):
    with pytest.raises(reading.Unreadable, match="没有找到表头"):
        loading.load(village.actor, ROSTER, roster(headings=["甲", "乙"]))
    with pytest.raises(reading.Unreadable, match="第 1 行的表头下面没有数据"):
        loading.load(village.actor, ROSTER, roster())
    assert set(Load.objects.values_list("state", flat=True)) == {Load.FAILED}
    assert LogEntry.objects.filter(act="导入", result="失败").count() == 2


@pytest.mark.req("P-5.2", "P-5.3")
def test_a_form_that_registers_the_same_person_meanwhile_is_not_lost(village, roster, monkeypatch):
    """Between the comparison and the storing of a chunk somebody saves one of its people."""
    [wanted] = numbers(1)
    merge = merging.merge

    def late(*arguments):
        if not Person.objects.filter(number=wanted).exists():
            created = person(name="陈新", phone="16000000009")
            Person.objects.filter(pk=created.pk).update(number=wanted)
        return merge(*arguments)

    monkeypatch.setattr(merging, "merge", late)
    path = roster(row(wanted, 居住地="9号"), *(row(number) for number in numbers(3, first=10)))
    assert outcome(loading.load(village.actor, ROSTER, path)) == (3, 1, 0, 0)
    kept = Person.objects.get(number=wanted)
    assert (kept.phone.clear(), kept.address.clear()) == ("16000000009", "9号")


# --- undoing ----------------------------------------------------------------------------------------------


@pytest.mark.req("P-5.3")
def test_undoing_deletes_what_was_added_restores_what_was_changed_and_names_what_changed_since(
    village, roster
):
    was, changed_since = person(name="陈新"), person(name="林一")
    new, used = numbers(2)
    path = roster(
        row(was.number.clear(), name="改名"),
        row(changed_since.number.clear(), name="改名"),
        row(new),
        row(used),
    )
    load = loading.load(village.actor, ROSTER, path)
    Person.objects.filter(pk=changed_since.pk).update(name="又改", version=9)
    Person.objects.get(number=used).doses.create(dose=1, on=date(2021, 1, 1))
    undone = undoing.undo(village.actor, ROSTER, load)
    assert undone == {"deleted": 1, "restored": 1, "left": 2, "total": 4}
    assert [(left.sheet_row, left.outcome) for left in undoing.left_rows(load)] == [
        (3, "此后已被修改"),
        (5, "已有疫苗接种"),
    ]
    assert Person.objects.get(pk=was.pk).name == "陈新"
    assert Person.objects.filter(pk=was.pk, grams__fragment="陈新").exists()
    assert not Person.objects.filter(number=new).exists()
    assert LogEntry.objects.get(act="撤销导入").detail["deleted"] == 1
    with pytest.raises(ValidationError, match="已经撤销"):
        undoing.undo(village.actor, ROSTER, load)


@pytest.mark.req("P-5.3", "SEC-17")
def test_what_undoing_needs_is_forgotten_when_it_is_too_late(village, roster):
    load = loading.load(village.actor, ROSTER, roster(row(numbers(1)[0])))
    Load.objects.update(created_at=timezone.now() - timedelta(days=31))
    with pytest.raises(ValidationError, match="超过 30 天"):
        undoing.undo(village.actor, ROSTER, load)
    [kept] = [kept for kept in personal.KEPT if kept.model is LoadRow]
    assert kept.erase_some(kept.limit(timezone.now())).count == 1
    assert not LoadRow.objects.exists()


@pytest.mark.req("P-4.1", "SEC-13")
def test_what_undoing_needs_is_kept_sealed(village, roster):
    there = person(phone="16000000001", address="上埔社区1号")
    loading.load(
        village.actor, ROSTER, roster(row(there.number.clear(), 联系电话="16000000002", 居住地="9号"))
    )
    kept = json.dumps(LoadRow.objects.get().before)
    assert "1600000" not in kept and there.number.clear() not in kept and "上埔社区" not in kept


# --- the operator's own workbook --------------------------------------------------------------------------


@pytest.mark.req("P-5.3")
def test_the_errors_come_back_in_the_operator_s_own_workbook_and_it_can_be_loaded_again(village, tmp_path):
    path = tmp_path / "名单.xlsx"
    book = openpyxl.Workbook()
    page = book.active
    page.title = "摸排"
    page.append(["上埔社区人员名单"])
    page.merge_cells("A1:I1")
    good, bad, late = number("19800101", 471), number("19800102", 472), number("19800103", 473)
    wrong = bad[:-1] + ("1" if bad[-1] == "2" else "2")
    page.append(["序号", *HEADINGS, "备注"])
    page.append([1, *row(good), "留"])
    page.append([2, *row(wrong, name="=1+1"), "=危险"])
    page["C4"].data_type = page["I4"].data_type = "s"
    page.append([3, *row(late, name="")])
    page["A5"].number_format = "0.00"
    page.column_dimensions["D"].width = 33
    book.save(path)

    load = loading.load(village.actor, ROSTER, path)
    assert outcome(load) == (1, 0, 0, 2)
    refused = load.refused
    errors = tmp_path / "错误行.xlsx"
    with open(errors, "wb") as stream:
        workbooks.write_errors(stream, path, ROSTER, load.outline, refused)

    book = openpyxl.load_workbook(errors)
    page = book["摸排"]
    assert page["A1"].value == "上埔社区人员名单" and page.column_dimensions["D"].width == 33
    assert [page.cell(2, column).value for column in (1, 5, 10)] == ["序号", "证件号", "错误原因"]
    assert page.max_row == 4
    assert page["E3"].fill.fgColor.rgb.endswith("FFC7CE") and page["C4"].fill.fgColor.rgb.endswith("FFC7CE")
    assert not page["D3"].fill.fgColor.rgb.endswith("FFC7CE")
    assert (page["C3"].value, page["C3"].data_type, page["I3"].data_type) == ("=1+1", "s", "s")
    assert "校验位应为" in page["J3"].value and page["J4"].value == "姓名：姓名不能为空，请填写"

    page["E3"], page["C3"], page["C4"] = bad, "陈改", "林补"
    book.save(errors)
    again = loading.load(village.actor, ROSTER, errors)
    assert outcome(again) == (2, 0, 0, 0)


@pytest.mark.req("P-5.3", "P-5.4")
def test_the_errors_of_a_text_file_come_in_a_workbook_with_its_columns(village, roster, tmp_path):
    [good] = numbers(1)
    path = roster([*row(good), "甲"], [*row("123", name="=cmd()"), "=乙"], headings=[*HEADINGS, "备注"])
    load = loading.load(village.actor, ROSTER, path)
    with open(tmp_path / "错误行.xlsx", "wb") as stream:
        workbooks.write_errors(stream, path, ROSTER, load.outline, load.refused)
    page = openpyxl.load_workbook(tmp_path / "错误行.xlsx").active
    headings, cells = page.iter_rows(values_only=True)
    assert headings == (*HEADINGS, "备注", "错误原因")
    assert cells[1] == "=cmd()" and page["B2"].data_type == "s" and page["H2"].data_type == "s"
    assert page["D2"].fill.fgColor.rgb.endswith("FFC7CE")


@pytest.mark.req("P-5.3")
def test_a_template_is_read_as_its_own_sheet_and_its_example_is_no_row(village, tmp_path):
    path = tmp_path / "模板.xlsx"
    path.write_bytes(workbooks.template(ROSTER))
    outline = reading.outline(path, ROSTER.wanted())
    assert list(outline.mapping.values()) == [column.name for column in ROSTER.columns]
    assert not outline.problems and not outline.notes
    book = openpyxl.load_workbook(path)
    page = book.worksheets[0]
    assert {rule.type for rule in page.data_validations.dataValidation} == {"list"}
    assert page["G2"].number_format == "@" and page.freeze_panes == "A2"
    [number] = numbers(1)
    for place, cell in enumerate(["1", "", "上埔社区", "陈新", "", "", number], start=1):
        page.cell(3, place, cell)
    book.save(path)
    assert outcome(loading.load(village.actor, ROSTER, path)) == (1, 0, 0, 0)


# --- cut off, and at the same time ------------------------------------------------------------------------

# The command with small chunks, so that it can be cut off between many of them.
COMMAND = """
import sys
from jingwei.base import reading
reading.ROWS_AT_ONCE = 100
from jingwei.cli.main import main
main()
"""


def start(path, *arguments):
    instance = {"DJANGO_SETTINGS_MODULE": "jingwei.settings", "JINGWEI_HOME": str(settings.JINGWEI_HOME)}
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, "import", "roster", path, "--as", "village", "--json", *arguments],
        stdout=subprocess.PIPE,
        start_new_session=True,
        env=os.environ | instance,
    )


@pytest.mark.django_db(transaction=True)
@pytest.mark.req("P-5.3")
def test_a_load_killed_again_and_again_comes_out_as_if_nothing_had_happened(village, roster):
    people = numbers(2_000)
    path = roster(*(row(number, 居住地=f"{place}号") for place, number in enumerate(people)), row("12"))
    for chunks in (1, 5, 12, 18):
        process = start(path)
        while LoadChunk.objects.count() < chunks:
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert Person.objects.count() == LoadRow.objects.count()  # never half a chunk
    process = start(path)
    counts = json.loads(process.communicate()[0])
    assert process.returncode == 0
    assert [counts[name] for name in ("read", "added", "unchanged", "rejected_rows")] == [2_001, 2_000, 0, 1]
    load = Load.objects.get()
    assert (load.state, load.chunks.count()) == (Load.DONE, 21)
    assert LoadRow.objects.filter(load=load, outcome=merging.ADDED).count() == Person.objects.count() == 2_000
    assert LogEntry.objects.filter(act="导入").count() == 1
    assert undoing.undo(village.actor, ROSTER, load)["deleted"] == 2_000


@pytest.mark.django_db(transaction=True)
@pytest.mark.req("P-5.3")
def test_two_loads_of_the_same_people_at_once_lose_and_double_nobody(district, village, roster, monkeypatch):
    monkeypatch.setattr(reading, "ROWS_AT_ONCE", 50)
    people = numbers(1_200)
    paths = [
        roster(*(row(number, 居住地="1号") for number in people[:800]), name="a.csv"),
        roster(*(row(number, 联系电话="16000000001") for number in reversed(people[400:])), name="b.csv"),
    ]
    loads = {}

    def run(persona, path):
        try:
            loads[path.name] = loading.load(persona.actor, ROSTER, path)
        finally:
            connection.close()

    threads = [
        threading.Thread(target=run, args=pair) for pair in zip((district, village), paths, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [load.state for load in loads.values()] == [Load.DONE, Load.DONE]
    assert sum(load.counts["added"] for load in loads.values()) == Person.objects.count() == 1_200
    both = list(Person.objects.filter(number__in=people[400:800]))
    assert {(one.address.clear(), one.phone.clear()) for one in both} == {("1号", "16000000001")}


@pytest.mark.req("P-5.3", "P-6.3")
def test_a_load_that_is_stopped_between_chunks_keeps_them_and_goes_on_later(village, roster, monkeypatch):
    monkeypatch.setattr(reading, "ROWS_AT_ONCE", 10)
    path = roster(*(row(number) for number in numbers(35)))
    job = Job.objects.create(kind="import", label="名单")

    def stop(done, total):
        if done >= 20:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        loading.load(village.actor, ROSTER, path, job=job, progress=stop)
    load = Load.objects.get()
    assert (load.state, Person.objects.count()) == (Load.RUNNING, 20)
    told = []
    loading.load(village.actor, ROSTER, path, record=load, progress=lambda *step: told.append(step))
    assert (load.state, load.counts["added"], Person.objects.count()) == (Load.DONE, 35, 35)
    assert told[-1] == (35, 35)


@pytest.mark.req("P-5.3")
def test_the_command_tells_a_person_what_came_of_it(village, roster, capsys):
    from types import SimpleNamespace

    from jingwei.cli import import_sheet

    path = roster(row(numbers(1)[0], 联系电话="12"), row("12", name="错"))
    options = {
        "sheet": "roster",
        "file": path,
        "login": "village",
        "mode": "both",
        "bad": "skip",
        "worksheet": "",
    }
    options |= {"today": None, "json": False}
    assert import_sheet.run(SimpleNamespace(**options)) == 0
    said = capsys.readouterr().out
    assert "新增 1" in said and "第 3 行 证件号：身份证号应为 18 位" in said and "第 2 行 联系电话" in said
    assert import_sheet.run(SimpleNamespace(**options | {"bad": "stop"})) == 2
    with pytest.raises(ValidationError, match="没有名为“花名册”的表样，可用：.*roster"):
        import_sheet.run(SimpleNamespace(**options | {"sheet": "花名册"}))
    with pytest.raises(ValidationError, match="找不到文件"):
        import_sheet.run(SimpleNamespace(**options | {"file": path.with_name("无.csv")}))
    with pytest.raises(ValidationError, match="没有登录名为“谁”的账号"):
        import_sheet.run(SimpleNamespace(**options | {"login": "谁"}))
