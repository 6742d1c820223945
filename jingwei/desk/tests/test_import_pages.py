"""The way of a sheet into the platform: upload, columns, preview, load, result, undo."""

import csv
import io
from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone
from openpyxl import Workbook, load_workbook

from jingwei import menu
from jingwei.base.models import ColumnMapping, Job, Load, LoadRow, LogEntry, StoredFile
from jingwei.base.sheets import sheet_of
from jingwei.desk import files, imports, jobs, personal, tasks
from jingwei.people.models import Person
from jingwei.people.samples import number, person

HEADINGS = ["村/社区", "姓名", "证件类型", "证件号", "居住地", "联系电话"]
UPLOAD = "/people/import/"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder of the test's own: others write files at the same time."""
    monkeypatch.setattr(files, "folder", lambda: tmp_path / "files")


def row(name, **cells):
    given = {
        "村/社区": "上埔社区",
        "姓名": name,
        "证件类型": "居民身份证",
        "证件号": number(),
        "居住地": "2栋301室",
    }
    return [(given | {"联系电话": "16000000001"} | cells)[heading] for heading in HEADINGS]


def sheet(*rows, headings=HEADINGS, name="名单.csv"):
    text = io.StringIO(newline="")
    csv.writer(text).writerows([headings, *rows])
    return SimpleUploadedFile(name, text.getvalue().encode())


@pytest.fixture
def clerk(village):
    """The village's browser, in which jobs are done as soon as they are asked for."""
    return Clerk(village)


class Clerk:
    def __init__(self, persona):
        self.persona, self.client = persona, persona.client

    def upload(self, file, **choices):
        """The page after the upload."""
        self.page = self.client.post(UPLOAD, {"file": file} | choices, follow=True)
        return self.text

    def post(self, step, **form):
        """The page after a step of the load."""
        self.page = self.client.post(f"{self.address}{step}/", form, follow=True)
        return self.text

    def work(self):
        """Do the job that waits; the page after it."""
        job = Job.objects.get(state=Job.WAITING)
        jobs.run({name: kind.work for name, kind in tasks.KINDS.items()}, job.pk)
        job.refresh_from_db()
        self.page = self.client.get(self.address)
        return job

    def load_all(self, *rows, **choices):
        """Upload, confirm and load in one go; the result page."""
        self.upload(sheet(*rows), **choices)
        self.work()
        self.post("confirm")
        self.work()
        return self.text

    @property
    def load(self):
        return Load.objects.latest("pk")

    @property
    def address(self):
        return f"{UPLOAD}{self.load.pk}/"

    @property
    def text(self):
        return self.page.content.decode()


# --- upload -----------------------------------------------------------------------------------------------


@pytest.mark.req("P-5.3", "SEC-12")
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "文件是空的"),
        (b"%PDF-1.7 ...", "不是表格文件"),
        (b"<html><table></table></html>", "不是真正的表格"),
        ("甲,乙,丙\n1,2,3\n".encode(), "没有找到表头"),
        (b"PK\x03\x04broken", "已损坏"),
    ],
    ids=["empty", "pdf", "html", "no headings", "broken"],
)
def test_a_file_that_is_no_sheet_is_refused_on_the_upload_page(clerk, content, reason):
    said = clerk.upload(SimpleUploadedFile("名单.xlsx", content), mode="update", bad="stop")
    assert reason in said
    assert 'value="update" checked' in said and 'value="stop" checked' in said, "what was chosen stays"
    assert not Load.objects.exists() and not StoredFile.objects.exists()


@pytest.mark.req("SEC-12")
def test_a_file_of_any_name_is_taken_under_one_that_can_be_shown(clerk):
    given = {
        "a" * 300 + ".csv": "a" * 120 + ".csv",
        "名单\u202exslx.csv": "名单xslx.csv",
        "名单\tX: y.csv": "名单X_ y.csv",
        "名单.\x01\x02": "名单.xlsx",
        ".csv": "csv.xlsx",
    }
    for name in given:
        clerk.upload(sheet(row("甲"), name=name))
    assert list(Load.objects.order_by("pk").values_list("file_name", flat=True)) == [*given.values()]


@pytest.mark.req("P-5.3")
@pytest.mark.django_db
def test_a_file_that_is_too_big_is_refused_with_the_bound(clerk, monkeypatch, settings):
    monkeypatch.setattr(imports.reading, "LARGEST", type("Bound", (), {"value": lambda: 1}))
    assert "超过上限 1 MB" in clerk.upload(SimpleUploadedFile("名单.csv", b"x" * 2_000_000))
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 1_000_000  # Django drops what is bigger
    assert "超过上限 1 MB" in clerk.upload(SimpleUploadedFile("名单.csv", b"x" * 2_000_000))


@pytest.mark.req("P-5.3")
@pytest.mark.django_db
def test_an_upload_without_a_file_says_so(clerk):
    clerk.page = clerk.client.post(UPLOAD, {})
    assert "请先选择要导入的文件" in clerk.text


@pytest.mark.req("P-1.10")
@pytest.mark.django_db
def test_nobody_imports_without_the_permission(nobody, sysadmin):
    for persona in (nobody, sysadmin):
        assert persona.client.get(UPLOAD).status_code == 403
        assert persona.client.post(UPLOAD, {"file": sheet(row("甲"))}).status_code == 403


@pytest.mark.req("P-5.3")
@pytest.mark.django_db
def test_htmx_is_sent_on_to_the_load_or_gets_the_form_again(clerk):
    fragment = {"HX-Request": "true"}
    answer = clerk.client.post(UPLOAD, {"file": sheet(row("甲"))}, headers=fragment)
    assert answer["HX-Redirect"] == clerk.address
    answer = clerk.client.post(UPLOAD, {}, headers=fragment)
    assert answer.content.decode().lstrip().startswith("<form")


@pytest.mark.req("P-4.1", "SEC-13")
@pytest.mark.django_db
def test_an_upload_lies_sealed_on_disk_and_in_the_database(clerk):
    clerk.upload(sheet(row("林样例", 联系电话="16000000007")))
    stored = clerk.load.file
    assert b"16000000007" not in files.place(stored.pk).read_bytes()
    assert "16000000007" not in str(Load.objects.values().get())
    assert b"16000000007" in b"".join(files.blocks(stored))


# --- columns ----------------------------------------------------------------------------------------------


@pytest.mark.req("P-5.3")
@pytest.mark.django_db
def test_known_headings_need_no_mapping(clerk):
    clerk.upload(sheet(row("甲")))
    assert "正在" in clerk.text
    clerk.work()
    assert "确认导入" in clerk.text


@pytest.mark.req("P-5.3")
@pytest.mark.django_db
def test_unknown_headings_are_mapped_by_hand_and_remembered_for_the_organisation(clerk):
    headings = ["村/社区", "姓名", "证件类型", "号码一栏", "居住地", "联系电话"]
    said = clerk.upload(sheet(row("甲"), headings=headings))
    assert "缺少必需的列：证件号" in said and "号码一栏" in said
    mapping = clerk.load.mapping
    clerk.post(
        "mapping", **{f"column-{letter}": name for letter, name in mapping.items()}, **{"column-D": "number"}
    )
    clerk.work()
    clerk.post("confirm")
    clerk.work()
    assert Person.objects.get().name == "甲"
    assert ColumnMapping.objects.get().organisation == clerk.persona.operator.organisation_id
    clerk.upload(sheet(row("乙"), headings=headings))
    assert "正在" in clerk.text, "no question asked the second time"


@pytest.mark.req("P-5.3")
@pytest.mark.django_db
def test_two_headings_for_one_column_are_named(clerk):
    said = clerk.upload(sheet([*row("甲"), "乙"], headings=[*HEADINGS, "姓名"]))
    assert "B1" in said and "G1" in said and "不知道用哪一列" in said
    form = {f"column-{letter}": name for letter, name in clerk.load.mapping.items()}
    clerk.post("mapping", **form | {"column-G": ""})
    clerk.work()
    assert "确认导入" in clerk.text


@pytest.mark.req("P-5.3", "CL-6.2")
@pytest.mark.django_db
def test_which_worksheet_is_read_is_shown_and_can_be_chosen(clerk):
    book, content = Workbook(), io.BytesIO()
    for title, names in (("一组", ["甲"]), ("二组", ["乙", "丙"]), ("说明", [])):
        page = book.create_sheet(title)
        for cells in [HEADINGS, *map(row, names)] if names else [["怎么填"]]:
            page.append(cells)
    del book["Sheet"]
    book.save(content)
    clerk.upload(SimpleUploadedFile("名单.xlsx", content.getvalue()))
    clerk.work()
    assert "3 个工作表" in clerk.text and "<option selected>一组</option>" in clerk.text
    said = clerk.post("worksheet", worksheet="二组")
    assert "<option selected>二组</option>" in said
    assert "没有名为“四组”的工作表" in clerk.post("worksheet", worksheet="四组")
    clerk.post("mapping", **{f"column-{letter}": name for letter, name in clerk.load.mapping.items()})
    clerk.work()
    assert clerk.load.preview["added"] == 2 and "<option selected>二组</option>" in clerk.text
    clerk.post("confirm")
    clerk.work()
    assert sorted(Person.objects.values_list("name", flat=True)) == ["丙", "乙"]


# --- preview ----------------------------------------------------------------------------------------------


@pytest.mark.req("P-5.3", "CL-2.1")
@pytest.mark.django_db
def test_a_preview_counts_and_stores_nothing(clerk):
    there = person(name="旧名")
    clerk.upload(
        sheet(
            row("甲"),
            row("新名", 证件号=there.number.clear()),
            row("", 证件号=number()),
            row("邻镇", **{"村/社区": "没有的社区"}),
        )
    )
    clerk.work()
    counts = clerk.load.preview
    assert (counts["added"], counts["changed"], counts["rejected_rows"]) == (1, 1, 2)
    assert "姓名" in clerk.text and "没有的社区" in clerk.text
    assert Person.objects.count() == 1


@pytest.mark.req("P-5.3")
@pytest.mark.django_db
def test_a_preview_of_a_big_file_says_that_it_is_partial(clerk, monkeypatch):
    monkeypatch.setattr(imports, "PREVIEWED", 3)
    clerk.upload(sheet(*[row(f"人{place}") for place in range(5)]))
    clerk.work()
    assert clerk.load.preview["read"] == 3
    assert "前 3 行试算" in clerk.text
    clerk.post("confirm")
    clerk.work()
    assert Person.objects.count() == 5


@pytest.mark.req("P-5.3")
@pytest.mark.django_db
def test_a_draft_survives_a_reload_and_can_be_thrown_away(clerk):
    clerk.upload(sheet(row("甲")))
    clerk.work()
    for _ in range(2):
        assert "确认导入" in clerk.client.get(clerk.address).content.decode()
    assert "名单.csv" in clerk.client.get(UPLOAD).content.decode()
    assert "已放弃导入" in clerk.post("discard")
    assert not Load.objects.exists() and not StoredFile.objects.exists()


# --- load and result --------------------------------------------------------------------------------------


@pytest.mark.req("P-5.3", "CL-3.5", "CL-6.4")
@pytest.mark.django_db
def test_a_load_adds_changes_and_tells_what_came_of_it(clerk):
    there = person(name="旧名")
    said = clerk.load_all(
        row("甲", 姓名=" 甲 "),
        row("新名", 证件号=there.number.clear()),
        row("乙", 证件号="350182"),
        row("丙", 联系电话="12"),
    )
    assert sorted(Person.objects.values_list("name", flat=True)) == ["丙", "新名", "甲"]
    assert clerk.load.state == Load.DONE
    assert clerk.load.counts["added"] == 2 and clerk.load.counts["changed"] == 1
    assert "第" in said or "证件号" in said
    assert "下载错误行表格" in said and f"/files/{clerk.load.error_file_id}/" in said
    assert "去掉空格" in said, "corrected cells by rule"
    warnings = clerk.client.get(f"{clerk.address}?which=warnings").content.decode()
    assert "不是有效的电话号码" in warnings
    [line] = LogEntry.objects.filter(act="导入")
    assert (line.operator, line.result) == (clerk.persona.operator.pk, "成功")


@pytest.mark.req("P-5.3", "CL-6.4", "P-6.3")
@pytest.mark.django_db
def test_error_rows_that_could_not_be_written_are_written_when_the_job_is_tried_again(clerk, monkeypatch):
    clerk.upload(sheet(row("甲"), row("", 证件号=number())))
    clerk.work()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(imports.workbooks, "write_errors", full)
        clerk.post("confirm")
        clerk.work()
    assert "磁盘空间不足" in clerk.load.job.message and clerk.load.error_file is None
    assert Person.objects.count() == 1, "what is right is stored all the same"
    assert "重试</button>" in clerk.client.get(clerk.address).content.decode()
    clerk.post("again")
    clerk.work()
    assert clerk.load.state == Load.DONE and clerk.load.error_file.size
    assert "下载错误行表格" in clerk.text
    assert Person.objects.count() == LogEntry.objects.filter(act="导入").count() == 1


@pytest.mark.req("P-5.3", "CL-6.4")
@pytest.mark.django_db
def test_the_error_rows_come_back_as_a_workbook_that_loads_once_it_is_corrected(clerk):
    clerk.load_all(row("甲"), row("", 证件号=(wanted := number())), row("乙"))
    answer = clerk.client.get(f"/files/{clerk.load.error_file_id}/")
    assert (
        "filename*=utf-8''%E5%90%8D%E5%8D%95-%E9%94%99%E8%AF%AF%E8%A1%8C.xlsx"
        in answer["Content-Disposition"]
    )
    book = load_workbook(io.BytesIO(b"".join(answer.streaming_content)))
    cells = [cell for line in book.active.iter_rows() for cell in line]
    assert not {"甲", "乙"} & {cell.value for cell in cells}
    [number_cell] = [cell for cell in cells if cell.value == wanted]
    number_cell.offset(column=-2).value = "丙"
    corrected = io.BytesIO()
    book.save(corrected)
    clerk.upload(SimpleUploadedFile("改好.xlsx", corrected.getvalue()))
    if clerk.load.job is None:
        clerk.post("mapping", **{f"column-{letter}": name for letter, name in clerk.load.mapping.items()})
    clerk.work()
    clerk.post("confirm")
    clerk.work()
    assert sorted(Person.objects.values_list("name", flat=True)) == sorted(["甲", "乙", "丙"])


@pytest.mark.req("P-5.3")
@pytest.mark.django_db
def test_the_template_loads_as_it_is_filled_in(clerk):
    book = load_workbook(io.BytesIO(clerk.client.get(f"{UPLOAD}template/").content))
    page = book.active
    places = {cell.value: cell.column for cell in page[1]}
    for heading, value in zip(HEADINGS, row("甲"), strict=True):
        page.cell(page.max_row + (heading == HEADINGS[0]), places[heading]).value = value
    filled = io.BytesIO()
    book.save(filled)
    clerk.upload(SimpleUploadedFile("名单.xlsx", filled.getvalue()))
    clerk.work()
    clerk.post("confirm")
    clerk.work()
    assert [one.name for one in Person.objects.all()] == ["甲"]


@pytest.mark.req("P-5.3")
@pytest.mark.django_db
def test_the_result_opens_the_rows_of_the_load(clerk):
    person(name="另一人")
    said = clerk.load_all(row("甲"), row("乙"))
    address = f"/people/?load={clerk.load.pk}"
    assert address in said
    listed = clerk.client.get(address).content.decode()
    assert "甲" in listed and "乙" in listed and "另一人" not in listed


@pytest.mark.req("P-5.3", "SEC-18")
@pytest.mark.django_db
def test_the_upload_is_deleted_when_it_is_loaded(clerk, django_capture_on_commit_callbacks):
    clerk.upload(sheet(row("甲")))
    clerk.work()
    path = files.place(clerk.load.file_id)
    clerk.post("confirm")
    with django_capture_on_commit_callbacks(execute=True):
        clerk.work()
    assert clerk.load.file is None and clerk.load.sample is None
    assert not path.exists()


@pytest.mark.req("P-5.3")
@pytest.mark.django_db
def test_all_or_nothing_stores_nothing_when_one_row_is_bad(clerk):
    said = clerk.load_all(row("甲"), row("乙", 证件号="350182"), bad="stop")
    assert not Person.objects.exists()
    assert clerk.load.state == Load.FAILED
    assert "没有保存任何数据" in said and "下载错误行表格" in said


@pytest.mark.req("P-5.3")
@pytest.mark.django_db
def test_a_load_is_confirmed_once(clerk):
    clerk.upload(sheet(row("甲")))
    clerk.work()
    clerk.post("confirm")
    clerk.post("confirm")
    assert Job.objects.filter(kind="import").count() == 1


@pytest.mark.req("P-5.3", "P-6.3")
@pytest.mark.django_db
def test_a_load_cancelled_in_the_middle_can_go_on_or_be_undone(clerk, monkeypatch):
    def stop(self, done, total):
        if done:
            raise jobs.Cancelled

    clerk.upload(sheet(row("甲"), row("乙")))
    clerk.work()
    clerk.post("confirm")
    with monkeypatch.context() as patch:
        patch.setattr(jobs.Run, "report", stop)
        clerk.work()
    assert clerk.load.state == Load.CANCELLED
    assert "已取消" in clerk.text and "继续导入" in clerk.text and "撤销这次导入" in clerk.text
    clerk.post("again")
    clerk.work()
    assert clerk.load.state == Load.DONE
    assert Person.objects.count() == 2


@pytest.mark.req("P-5.3", "P-6.3")
@pytest.mark.django_db
def test_a_load_cancelled_while_it_waits_can_be_thrown_away(clerk):
    clerk.upload(sheet(row("甲")))
    clerk.work()
    clerk.post("confirm")
    assert "继续导入" in clerk.post("stop")
    clerk.post("discard")
    assert not Load.objects.exists()


# --- undo -------------------------------------------------------------------------------------------------


@pytest.mark.req("P-5.3")
@pytest.mark.django_db
def test_a_load_is_undone_when_that_is_typed(clerk):
    there = person(name="旧名")
    clerk.load_all(row("甲"), row("新名", 证件号=there.number.clear()))
    assert "请在框中输入" in clerk.post("undo", typed="")
    assert Person.objects.count() == 2
    clerk.post("undo", typed="撤销")
    clerk.work()
    assert list(Person.objects.values_list("name", flat=True)) == ["旧名"]
    assert clerk.load.state == Load.UNDONE
    assert "已撤销：删除 1 条，恢复 1 条" in clerk.text
    assert "不能撤销" in clerk.post("undo", typed="撤销"), "once is enough"


@pytest.mark.req("P-5.3")
@pytest.mark.django_db
def test_after_some_days_a_load_stays(clerk):
    clerk.load_all(row("甲"))
    Load.objects.update(created_at=timezone.now() - timedelta(days=31))
    assert "撤销这次导入" not in clerk.client.get(clerk.address).content.decode()
    assert "不能撤销" in clerk.post("undo", typed="撤销")
    assert Person.objects.count() == 1


# --- whose --------------------------------------------------------------------------------------------------


@pytest.mark.req("SEC-7", "P-5.3")
@pytest.mark.django_db
def test_a_load_of_somebody_else_does_not_exist(clerk, town):
    clerk.upload(sheet(row("甲")))
    assert town.client.get(clerk.address).status_code == 404
    for step in ("mapping", "worksheet", "confirm", "discard", "stop", "again", "undo"):
        assert town.client.post(f"{clerk.address}{step}/").status_code == 404
    assert "名单.csv" not in town.client.get(UPLOAD).content.decode()


def erase(name):
    """What the night erases of this kind."""
    [kept] = [kept for kept in personal.KEPT if kept.name == name]
    kept.erase_some(kept.limit(timezone.now()))


@pytest.mark.req("P-5.3", "SEC-18")
@pytest.mark.django_db
def test_an_upload_left_alone_expires(clerk):
    clerk.upload(sheet(row("甲")))
    clerk.work()
    StoredFile.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert "上传的文件已过期" in clerk.client.get(clerk.address).content.decode()
    assert not clerk.client.post(f"{clerk.address}confirm/", follow=True).content.decode().count("正在排队")
    assert not Job.objects.filter(kind="import").exists()
    files.clean_up(clerk.persona.actor, None, None)
    erase("drafts")
    assert not Load.objects.exists()


@pytest.mark.req("P-5.3", "SEC-18")
@pytest.mark.django_db
def test_what_undoing_needs_is_forgotten_when_its_time_is_over(clerk):
    there = person(name="旧名")
    clerk.load_all(row("新名", 证件号=there.number.clear()))
    erase("load-rows")
    assert LoadRow.objects.exists()
    Load.objects.update(created_at=timezone.now() - timedelta(days=40))
    erase("load-rows")
    assert not LoadRow.objects.exists() and Load.objects.exists()


# --- every resource ---------------------------------------------------------------------------------------


@pytest.mark.req("P-5.3", "P-1.4")
@pytest.mark.django_db
@pytest.mark.parametrize("name", [name for name, r in menu.resources().items() if "import" in r.actions])
def test_any_resource_with_a_sheet_shows_its_upload_and_gives_a_template(
    name, district, secadmin, sysadmin, venueops
):
    importer = next(
        (p for p in (district, secadmin, sysadmin, venueops) if p.actor.may(f"{name}.import")), None
    )
    assert importer, "somebody of the shipped roles may import it"
    assert "下载模板" in importer.client.get(f"/{name}/import/").content.decode()
    template = importer.client.get(f"/{name}/import/template/")
    headings = [cell.value for cell in load_workbook(io.BytesIO(template.content)).active[1]]
    assert {column.heading for column in sheet_of(menu.resource(name)).columns} <= set(headings)
