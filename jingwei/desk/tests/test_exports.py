"""Exports: every row that was asked for, masked, and nothing in them that runs."""

import csv
import io

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from openpyxl import load_workbook
from python_calamine import CalamineWorkbook

from jingwei import menu
from jingwei.base import tables
from jingwei.base.fields import personal_fields
from jingwei.base.models import Job, LogEntry, StoredFile
from jingwei.desk import exports, files, jobs, tasks
from jingwei.directory.models import Role
from jingwei.directory.samples import SAMPLES as DIRECTORY
from jingwei.directory.setup import PERSONAS
from jingwei.messages.samples import SAMPLES as MESSAGES
from jingwei.oversight.samples import SAMPLES as OVERSIGHT
from jingwei.people.models import Person
from jingwei.people.samples import SAMPLES as PEOPLE
from jingwei.people.samples import person
from jingwei.places.samples import SAMPLES as PLACES
from jingwei.scans.samples import SAMPLES as SCANS
from jingwei.testing.samples import SAMPLES as TESTING
from tests.personas import Persona

LOGINS = [persona.login for persona in PERSONAS]
PHONE = "16000000001"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder of the test's own: others write files at the same time."""
    monkeypatch.setattr(files, "folder", lambda: tmp_path / "files")


def content_of(response):
    """Rows of an exported file: headings, then values."""
    if "csv" in response["Content-Type"]:
        return list(csv.reader(io.StringIO(response.content.decode("utf-8-sig"))))
    return rows_of(response.content)


def rows_of(workbook):
    return CalamineWorkbook.from_filelike(io.BytesIO(workbook)).get_sheet_by_index(0).to_python()


def column(rows, heading):
    return [row[rows[0].index(heading)] for row in rows[1:]]


def run(job):
    jobs.run({name: kind.work for name, kind in tasks.KINDS.items()}, job.pk)
    job.refresh_from_db()


# --- what is exported -------------------------------------------------------------------------------------


@pytest.mark.req("P-5.4", "CL-3.4", "CL-2.1")
@pytest.mark.django_db
@pytest.mark.parametrize("file_format", ["xlsx", "csv"])
def test_the_whole_result_is_exported_within_the_scope(village, file_format):
    for name in ("甲", "乙", "丙"):
        person(name=name)
    person(region="990101002001", name="邻镇")
    answer = village.client.post("/people/export/", {"query": "", "rows": "all", "format": file_format})
    assert sorted(column(content_of(answer), "姓名")) == sorted(["甲", "乙", "丙"])
    [line] = LogEntry.objects.filter(act="导出")
    assert (line.operator, line.resource, line.result) == (village.operator.pk, "people", "成功")
    assert line.detail["行数"] == 3


@pytest.mark.req("P-5.4")
@pytest.mark.django_db
def test_the_search_of_the_list_the_page_or_chosen_rows_narrow_an_export(village):
    people = [person(name=f"王{number:02d}") for number in range(30)]
    person(name="李一")

    def exported(**asked):
        answer = village.client.post("/people/export/", {"query": "q=王0", "format": "csv"} | asked)
        return sorted(column(content_of(answer), "姓名"))

    assert exported(rows="all") == [f"王{number:02d}" for number in range(10)]
    assert exported(rows="page", query="page=2&size=25&sort=name") == [
        f"王{number:02d}" for number in range(24, 30)
    ]
    chosen = [people[3].pk, people[4].pk, people[25].pk]
    assert exported(rows="chosen", pk=chosen, query="") == ["王03", "王04", "王25"]


@pytest.mark.req("P-5.4")
@pytest.mark.django_db
def test_a_list_sends_chosen_rows_or_all_of_them_to_be_asked_about(village):
    chosen = [person().pk, person().pk]
    person()
    said = village.client.post("/people/export/", {"query": "", "pk": chosen}).content.decode()
    assert "选中的 2 行" in said and said.count('name="pk"') == 2
    said = village.client.post("/people/export/", {"query": "", "pk": chosen, "all": "1"}).content.decode()
    assert "选中的" not in said and "全部查询结果 3 行" in said


@pytest.mark.req("P-5.4", "P-5.1")
@pytest.mark.django_db
def test_the_shown_columns_or_all_of_them_are_exported(village):
    person()
    village.client.post("/people/columns/", {"column": ["name", "phone"]})

    def headings(columns):
        asked = {"query": "", "format": "csv", "columns": columns}
        return content_of(village.client.post("/people/export/", asked))[0]

    assert headings("shown") == ["姓名", "联系电话"]
    assert len(headings("all")) >= 25


@pytest.mark.req("P-5.4")
@pytest.mark.django_db
def test_a_filter_that_cannot_be_read_exports_nothing_and_says_so(village):
    person()
    answer = village.client.post("/people/export/", {"query": "tab=99", "format": "csv"})
    assert answer.status_code == 422
    assert "标签页不存在" in answer.content.decode()


@pytest.mark.req("P-1.10")
@pytest.mark.django_db
def test_nobody_exports_without_the_permission(nobody, sysadmin):
    for persona in (nobody, sysadmin):
        assert persona.client.get("/people/export/").status_code == 403
        assert persona.client.post("/people/export/", {"format": "csv", "query": ""}).status_code == 403


# --- masked and clear -------------------------------------------------------------------------------------


SAMPLES = DIRECTORY | PEOPLE | TESTING | MESSAGES | PLACES | SCANS | OVERSIGHT
PERSONAL = [r for r in menu.resources().values() if "export" in r.actions and personal_fields(r.model)]


@pytest.mark.req("P-4.3", "SEC-16")
@pytest.mark.django_db
@pytest.mark.parametrize("resource", PERSONAL, ids=lambda resource: resource.name)
def test_an_export_of_any_resource_is_masked(resource):
    row = (SAMPLES.get(resource.name) or SAMPLES[resource.model])()
    # A text is what a list may be about, as a message's content is (P-7.3); who it is about stays masked.
    names = [field.name for field in personal_fields(resource.model) if field.kind != "text"]
    clear = [value.clear() for name in names if (value := getattr(row, name))]
    assert clear, "a sample has personal values"
    exporter = next(
        persona
        for persona in map(Persona, LOGINS)
        if resource.rows(persona.actor, "export").filter(pk=row.pk).exists()
    )
    asked = {"query": "", "format": "csv", "columns": "all"}
    exported = exporter.client.post(f"/{resource.name}/export/", asked).content.decode("utf-8-sig")
    assert len(exported.splitlines()) > 1
    for value in clear:
        assert value not in exported


@pytest.mark.req("P-4.3", "SEC-16", "SEC-8")
@pytest.mark.django_db
def test_clear_values_need_a_reason_which_the_log_keeps(village):
    person(phone=PHONE)
    asked = {"query": "", "format": "csv", "clear": "on"}
    answer = village.client.post("/people/export/", asked)
    assert answer.status_code == 422
    assert "须填写事由" in answer.content.decode()
    assert not LogEntry.objects.filter(act="导出").exists()
    answer = village.client.post("/people/export/", asked | {"reason": "核对十一月名单"})
    assert PHONE in answer.content.decode()
    [line] = LogEntry.objects.filter(act="导出")
    assert (line.reason, line.detail["明文"]) == ("核对十一月名单", "是")


@pytest.mark.req("P-4.3", "P-1.5")
@pytest.mark.django_db
def test_clear_values_need_their_own_permission(village):
    person()
    for role in Role.objects.filter(appointment__operator=village.operator):
        role.permissions = [p for p in role.permissions if p != "people.clear"]
        role.save()
    wish = exports.Wish(clear=True, reason="核对")
    with pytest.raises(PermissionDenied, match="查看“.*”明文"):
        exports.selection_of(menu.resource("people"), village.actor, wish)


@pytest.mark.req("P-4.3", "P-1.6")
@pytest.mark.django_db
def test_clear_values_reach_as_far_as_their_own_permission(district, village):
    """Who may export the district but see only one village in clear gets no clear district."""
    person(name="本村")
    person(region="990101002001", name="邻镇")
    grants = district.actor.grants | {"people.clear": village.actor.data_scope("people.clear")}
    actor = type(district.actor)(operator_id=district.operator.pk, grants=grants)
    resource = menu.resource("people")
    with pytest.raises(ValidationError, match="不在您可以查看明文的范围"):
        exports.selection_of(resource, actor, exports.Wish(clear=True, reason="核对"))
    wish = exports.Wish(clear=True, reason="核对", query="q=本村")
    assert exports.selection_of(resource, actor, wish).total().number == 1


# --- nothing runs, nothing is lost ------------------------------------------------------------------------


@pytest.mark.req("P-5.4", "SEC-12")
@pytest.mark.django_db
@pytest.mark.parametrize("text", ["=1+1", "+1", "-1+1", "@SUM(A1)", '=HYPERLINK("http://x")'])
def test_no_cell_runs_as_a_formula(village, text):
    person(occupation=text)
    answer = village.client.post("/people/export/", {"query": "", "format": "csv"})
    assert column(content_of(answer), "单位（从业情况）") == ["'" + text]
    answer = village.client.post("/people/export/", {"query": "", "format": "xlsx"})
    assert column(content_of(answer), "单位（从业情况）") == [text]
    sheet = load_workbook(io.BytesIO(answer.content)).active
    assert {cell.data_type for row in sheet.rows for cell in row} <= {"s", "n", "d", "inlineStr"}


@pytest.mark.req("P-5.4")
def test_more_rows_than_a_worksheet_holds_go_on_in_the_next(monkeypatch):
    monkeypatch.setattr(tables, "MOST_ROWS", 1_001)
    stream = io.BytesIO()
    with tables.Xlsx(stream, "人员", ["序号", "姓名"]) as table:
        for start in range(0, 2_500, 300):
            numbers = range(start, min(start + 300, 2_500))
            table.write([numbers, [f"第{number}" for number in numbers]])
    book = CalamineWorkbook.from_filelike(io.BytesIO(stream.getvalue()))
    assert book.sheet_names == ["人员", "人员 2", "人员 3"]
    found = []
    for name in book.sheet_names:
        headings, *rows = book.get_sheet_by_name(name).to_python()
        assert headings == ["序号", "姓名"]
        found += [row[0] for row in rows]
    assert found == list(range(2_500))


@pytest.mark.req("SEC-12", "P-5.4")
@pytest.mark.parametrize(
    "text",
    ["𬭎䶮", "a\x01b", "_x0041_", "<b>&amp;</b>", "  前后空格 ", "第一行\n第二行", "长" * 40_000],
)
def test_any_text_makes_a_sound_workbook(text):
    stream = io.BytesIO()
    with tables.Xlsx(stream, "人/员[1]", ["内容"]) as table:
        table.write([[text]])  # a column of one row
    [[_], [found]] = rows_of(stream.getvalue())
    if len(text) > tables.MOST_TEXT:
        assert found == text[: tables.MOST_TEXT - len(tables.CUT)] + tables.CUT
    else:
        assert found == text
    load_workbook(stream)


# --- in the background ------------------------------------------------------------------------------------


@pytest.fixture
def many(monkeypatch):
    """More people than a request exports, in several chunks."""
    monkeypatch.setattr(exports, "AT_ONCE", 3)
    monkeypatch.setattr(exports, "CHUNK", 2)
    return [person(name=f"王{number}") for number in range(7)]


@pytest.mark.req("P-5.4", "P-6.3")
@pytest.mark.django_db
def test_many_rows_are_exported_in_the_background(village, many):
    answer = village.client.post("/people/export/", {"query": "q=王", "format": "xlsx"}, follow=True)
    assert answer.redirect_chain == [("/jobs/", 302)]
    job = Job.objects.get()
    assert "王" not in str(Job.objects.filter(pk=job.pk).values("arguments", "label")), (
        "the search stays sealed"
    )
    run(job)
    assert (job.state, job.message) == (Job.DONE, "共 7 行。")
    page = village.client.get("/jobs/").content.decode()
    assert f"/files/{job.file_id}/" in page
    content = b"".join(village.client.get(f"/files/{job.file_id}/").streaming_content)
    assert sorted(column(rows_of(content), "姓名")) == sorted(row.name for row in many)
    assert list(
        LogEntry.objects.filter(operator=village.operator.pk).values_list("act", flat=True).order_by("id")
    ) == [
        "导出",
        "下载",
    ]


@pytest.mark.req("P-5.4", "SEC-13")
@pytest.mark.django_db
def test_a_clear_export_lies_sealed_in_the_folder(village, many):
    Person.objects.filter(pk=many[0].pk).update(phone=PHONE)
    asked = {"query": "", "format": "csv", "clear": "on", "reason": "核对"}
    village.client.post("/people/export/", asked)
    job = Job.objects.get()
    run(job)
    assert PHONE.encode() in b"".join(files.blocks(job.file))
    for path in files.folder().rglob("*"):
        if path.is_file():
            assert PHONE.encode() not in path.read_bytes()


@pytest.mark.req("P-5.4", "P-6.3")
@pytest.mark.django_db
@pytest.mark.parametrize("end", [jobs.Cancelled(), OSError(28, "No space left on device"), KeyError("x")])
def test_an_export_that_does_not_end_well_leaves_no_file(village, many, monkeypatch, end):
    def stop(self, done, total):
        if done > 2:
            raise end

    village.client.post("/people/export/", {"query": "", "format": "xlsx"})
    monkeypatch.setattr(jobs.Run, "report", stop)
    job = Job.objects.get()
    run(job)
    assert job.state == (Job.CANCELLED if isinstance(end, jobs.Cancelled) else Job.FAILED)
    assert job.file is None
    assert not StoredFile.objects.exists()
    assert not [path for path in files.folder().rglob("*") if path.is_file()]


@pytest.mark.req("P-5.4", "P-1.5")
@pytest.mark.django_db
def test_a_right_lost_while_an_export_waits_is_lost(village, many):
    village.client.post("/people/export/", {"query": "", "format": "xlsx"})
    village.operator.appointments.all().delete()
    job = Job.objects.get()
    run(job)
    assert job.state == Job.FAILED
    assert not StoredFile.objects.exists()


@pytest.mark.req("P-6.3")
@pytest.mark.django_db
def test_a_job_of_somebody_else_does_not_exist(village, district, many):
    village.client.post("/people/export/", {"query": "", "format": "xlsx"})
    job = Job.objects.get()
    assert "还没有任务" in district.client.get("/jobs/").content.decode()
    assert district.client.post(f"/jobs/{job.pk}/cancel/").status_code == 404
    assert district.client.post(f"/jobs/{job.pk}/retry/").status_code == 404
    village.client.post(f"/jobs/{job.pk}/cancel/")
    job.refresh_from_db()
    assert job.state == Job.CANCELLED


@pytest.mark.req("P-6.3", "P-1.8")
@pytest.mark.django_db
def test_the_system_administrator_sees_every_job_but_not_its_business(village, sysadmin, many):
    village.client.post("/people/export/", {"query": "", "format": "xlsx"})
    page = sysadmin.client.get("/jobs-of-all/").content.decode()
    assert village.operator.name in page
    assert "常住人口" not in page.partition("<main")[2] and "导出 人员" not in page
    assert "清理过期文件" in page
    sysadmin.client.post("/jobs-of-all/run/clean-files/")
    assert Job.objects.filter(kind="clean-files", owner=sysadmin.operator.pk).exists()
    assert village.client.get("/jobs-of-all/").status_code == 403
