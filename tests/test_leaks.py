"""Nothing the platform keeps or says by itself shows a person's number, phone or address (P-4.1, SEC-13)."""

import io
import os
import subprocess
import tempfile
import zipfile

import pytest
import xlsxwriter
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import clear_url_caches, path

from jingwei import embedded, urls
from jingwei.base.models import ErrorEntry, Job, Load, LogEntry, StoredFile
from jingwei.desk import files, jobs, tasks
from jingwei.people.models import Person
from jingwei.people.samples import number

HEADINGS = ["村/社区", "姓名", "证件类型", "证件号", "户籍地", "居住地", "联系电话"]
ALL = {"query": "", "rows": "all", "columns": "all"}
CLEAR = {"clear": "on", "reason": "核对名单"}


class Secrets:
    """The personal values of the people of this test, which nobody else has."""

    def __init__(self):
        self.values = []

    def person(self, n):
        """A row of the roster by heading."""
        row = {
            "村/社区": "上埔社区",
            "姓名": f"秘样{n}",
            "证件类型": "居民身份证",
            "证件号": number(f"1973041{n}"),
            "户籍地": f"示例省示例市秘密路{n}73号",
            "居住地": f"上埔社区秘密巷{n}71号",
            "联系电话": f"1697310{n}264",
        }
        self.values += [row["证件号"], f"秘密路{n}73号", f"秘密巷{n}71号", row["联系电话"]]
        return row

    def found_in(self, content) -> list[str]:
        """Those that stand in a text or in bytes, a workbook's too, in one of the usual encodings."""
        if isinstance(content, str):
            content = content.encode("utf-8", "replace")
        if content.startswith(b"PK"):
            with zipfile.ZipFile(io.BytesIO(content)) as book:
                content = b"".join(book.read(name) for name in book.namelist())
        encodings = ("utf-8", "utf-16-le", "gb18030", "unicode_escape")
        return [v for v in self.values if any(v.encode(encoding) in content for encoding in encodings)]


def workbook(*rows):
    content = io.BytesIO()
    with xlsxwriter.Workbook(content, {"in_memory": True}) as book:
        page = book.add_worksheet()
        for place, row in enumerate([dict(zip(HEADINGS, HEADINGS, strict=True)), *rows]):
            page.write_row(place, 0, [row[heading] for heading in HEADINGS])
    return content.getvalue()


def work():
    """Do the jobs that wait."""
    for job in Job.objects.filter(state=Job.WAITING):
        jobs.run({name: kind.work for name, kind in tasks.KINDS.items()}, job.pk)
        job.refresh_from_db()
        assert job.state == Job.DONE, job.message


def dump():
    """The whole database as `pg_dump` writes it."""
    command = [embedded.BIN / "pg_dump", "--inserts", "--dbname", os.environ["DATABASE_URL"]]
    return subprocess.run(command, check=True, capture_output=True).stdout


@pytest.fixture
def browser(village, tmp_path, monkeypatch):
    """The village's browser, in which one address fails with what it was asked."""

    def broken(request):
        raise RuntimeError(f"nothing to be done with {request.GET['q']}")

    monkeypatch.setattr(files, "folder", lambda: tmp_path / "files")
    monkeypatch.setattr(urls, "urlpatterns", [path("broken/", broken), *urls.urlpatterns])
    clear_url_caches()
    yield village.browser(raise_request_exception=False)
    monkeypatch.undo()
    clear_url_caches()


def a_day_of_work(actor, browser, secrets, roster):
    """What the village does with a roster; the pages it sees that should be masked."""
    # Loaded from a workbook.
    browser.post("/people/import/", {"file": SimpleUploadedFile("名单.xlsx", roster)})
    load = Load.objects.get()
    work()
    yield browser.get(f"/people/import/{load.pk}/?mapping=1")
    yield browser.get(f"/people/import/{load.pk}/")
    browser.post(f"/people/import/{load.pk}/confirm/")
    work()
    yield browser.get(f"/people/import/{load.pk}/")

    # Searched, kept as a query, changed, refused, seen in clear.
    for words in (secrets.values[0], secrets.values[3], "秘密巷171号"):
        found = browser.get("/people/", {"q": words})
        assert found.context["page"].rows
        query = found.context["query"]
        assert not secrets.found_in(query)
        browser.post("/people/queries/", {"name": f"查{len(words)}", "query": query})
    person = Person.objects.order_by("pk").first()
    row = f"/people/{person.pk}/"
    form = browser.get(f"{row}edit/").context["form"]
    sent = {name: form[name].value() or "" for name in form.fields} | {"version": person.version}
    secrets.values += ["16973109264", "秘密巷988号"]
    changed = {"phone": "16973109264", "address": "秘密巷988号"}
    yield browser.post(f"{row}edit/", sent | changed, follow=True)
    browser.post(f"{row}edit/", sent | changed | {"phone": "1697310"})  # refused, and stale
    assert "16973109264" in browser.post(f"{row}unmask/", {"reason": "核对"}).content.decode()
    for address in ("/", "/people/", row, f"{row}edit/", f"{row}delete/"):
        yield browser.get(address)

    # Exported at once and in the background.
    for file_format in ("xlsx", "csv"):
        yield browser.post("/people/export/", {"format": file_format} | ALL)
        clear = browser.post("/people/export/", {"format": file_format} | ALL | CLEAR)
        assert "16973109264" in secrets.found_in(clear.content)
    wish = {"format": "xlsx", "clear": True, "reason": "核对"}
    arguments = {"resource": "people", "wish": wish}
    jobs.start(actor, "export", "导出人员", arguments, query=f"q={secrets.values[3]}")
    work()

    # A page fails on them.
    yield browser.get("/broken/", {"q": secrets.values[0]})


@pytest.mark.req("P-4.1", "P-4.3", "P-3.1", "P-3.3", "SEC-13", "SEC-16")
@pytest.mark.django_db(transaction=True)
def test_what_was_entered_searched_exported_and_refused_stands_nowhere_in_clear(
    village, browser, tmp_path, monkeypatch, caplog, capfd
):
    secrets = Secrets()
    one, two, bad = [secrets.person(n) for n in (1, 2, 3)]
    bad["证件号"] = bad["证件号"][:-1] + ("0" if bad["证件号"][-1] != "0" else "1")
    secrets.values.append(bad["证件号"])
    roster = workbook(one, two, two | {"居住地": one["居住地"]}, bad)
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))  # no temporary file can be made
        *pages, broken = a_day_of_work(village.actor, browser, secrets, roster)

    assert broken.status_code == 500 and all(page.status_code == 200 for page in pages)
    assert not [found for page in (*pages, broken) if (found := secrets.found_in(page.content))]
    said = capfd.readouterr()
    assert not secrets.found_in(caplog.text + said.out + said.err)
    assert ErrorEntry.objects.count() == 1 and LogEntry.objects.filter(act="查看明文").count() == 1
    stored = [file for file in (tmp_path / "files").rglob("*") if file.is_file()]
    assert len(stored) == StoredFile.objects.count() >= 2
    assert all(file.read_bytes().startswith(files.MARK) for file in stored)
    kept = dump()
    assert "秘样1".encode() in kept
    assert not secrets.found_in(kept)
