"""Nothing the platform keeps or says by itself shows a person's number, phone or address (P-4.1, SEC-13)."""

import io
import os
import subprocess
import tempfile
from argparse import Namespace
from contextlib import suppress

import pytest
import xlsxwriter
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import clear_url_caches, path
from django.utils import timezone

from jingwei import embedded, urls
from jingwei.base.models import ErrorEntry, Job, Load, LogEntry, StoredFile
from jingwei.cli import backup as backups
from jingwei.cli import leak_scan
from jingwei.desk import files, jobs, tasks
from jingwei.kit.leaks import Leaks
from jingwei.messages import actions as messages
from jingwei.messages.delivery import deliver
from jingwei.messages.gateways.outbox import OutboxGateway
from jingwei.messages.samples import of_the_village
from jingwei.messages.samples import template as sms_template
from jingwei.people.models import Person
from jingwei.people.samples import number
from jingwei.places.queries import scan_address
from jingwei.places.samples import venue
from jingwei.scans import contacts

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

    def found_in(self, content) -> set[str]:
        """Those that stand in a text or in bytes, however they are written."""
        return Leaks(self.values).found_in(content.encode() if isinstance(content, str) else content)


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


def failing(actor, job, report):
    raise RuntimeError(f"row 2: {Person.objects.first().number.clear()}")


def a_day_elsewhere(secrets, district, venueops, rescue, secadmin):
    """What others do with the same people: a visitor's scan, an SMS, contacts, an emergency, the log."""
    known = Person.objects.order_by("pk").first()
    visitor, place = Client(), venue()
    who = {"name": "秘样访", "doc_type": "111", "number": number("19730419"), "phone": "16973109264"}
    secrets.values.append(who["number"])
    for given in (who, who | {"number": who["number"][:-1]}, who | {"remember": "1"}):
        visitor.post(scan_address(place.pk), given)
    yield visitor.get(scan_address(place.pk))

    messages.send(district.actor, sms_template(), to=who["phone"], name="秘样访", **of_the_village())
    deliver(OutboxGateway())
    with suppress(ValidationError):
        messages.send(district.actor, sms_template(), to=secrets.values[0], **of_the_village())
    today = timezone.localdate()
    span = {"since": today, "until": today, "minutes": 30, "second_ring": True, "reason": "流调核查"}
    for whose in (who["number"], secrets.values[0], "12"):
        with suppress(ValidationError):
            contacts.find_contacts(venueops.actor, number=whose, **span)
    lists = ["sms", "sms-replies", "unregistered", "people-merges", "scans", "contact-searches"]
    for at, name in enumerate(lists):
        client = district.client if at < 4 else venueops.client
        yield client.get(f"/{name}/")
        client.post(f"/{name}/", {"q": who["phone"]})

    asked = {"doc_type": "111", "number": known.number.clear(), "reason": "120 急救，联系家属"}
    yield rescue.client.post("/emergency/", asked, follow=True)
    yield rescue.client.post("/emergency/", asked | {"number": number("19660606")})
    for address in ("/emergency-reviews/", "/cryptography/"):
        yield secadmin.client.get(address)


def dump():
    """The whole database as `pg_dump` writes it."""
    command = [embedded.BIN / "pg_dump", "--inserts", "--dbname", os.environ["JINGWEI_OWNER_URL"]]
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

    # Another sheet without what it must have, and one that fails in the middle.
    kinds = {name: kind.work for name, kind in tasks.KINDS.items()}
    for sheet, works in (("samples", kinds), ("people", dict.fromkeys(kinds, failing))):
        browser.post(f"/{sheet}/import/", {"file": SimpleUploadedFile("另一张.xlsx", roster)})
        for job in Job.objects.filter(state=Job.WAITING):
            jobs.run(works, job.pk)
        yield browser.get("/jobs/")

    # A page fails on them.
    yield browser.get("/broken/", {"q": secrets.values[0]})


@pytest.mark.req("P-4.1", "P-4.3", "P-3.1", "P-3.3", "SEC-13", "SEC-16")
@pytest.mark.django_db(transaction=True)
def test_what_was_entered_searched_exported_and_refused_stands_nowhere_in_clear(
    village, district, venueops, emergency, secadmin, browser, tmp_path, monkeypatch, caplog, capfd
):
    secrets = Secrets()
    one, two, bad = [secrets.person(n) for n in (1, 2, 3)]
    bad["证件号"] = bad["证件号"][:-1] + ("0" if bad["证件号"][-1] != "0" else "1")
    secrets.values.append(bad["证件号"])
    roster = workbook(one, two, two | {"居住地": one["居住地"]}, bad)
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))  # no temporary file can be made
        *pages, broken = a_day_of_work(village.actor, browser, secrets, roster)
        pages += a_day_elsewhere(secrets, district, venueops, emergency, secadmin)

    assert broken.status_code == 500
    assert not [page.request["PATH_INFO"] for page in pages if page.status_code not in (200, 404)]
    assert not [found for page in (*pages, broken) if (found := secrets.found_in(page.content))]
    said = capfd.readouterr()
    assert not secrets.found_in(caplog.text + said.out + said.err)
    assert ErrorEntry.objects.count() == 2 and LogEntry.objects.filter(act="查看明文").count() == 1
    stored = [file for file in (tmp_path / "files").rglob("*") if file.is_file()]
    assert len(stored) == StoredFile.objects.count() >= 2
    assert all(file.read_bytes().startswith(files.MARK) for file in stored)
    kept = dump()
    assert "秘样1".encode() in kept
    assert not secrets.found_in(kept)
    for log in settings.JINGWEI_HOME.rglob("*.log*"):  # of the database, too
        assert not secrets.found_in(log.read_bytes()), log
    backup, _ = backups.make(tmp_path)
    for file in backup.rglob("*"):
        assert not file.is_file() or not secrets.found_in(file.read_bytes()), file

    # The command finds the same, and what it does find it tells without showing it.
    (tmp_path / "clean").mkdir()
    looked = Namespace(folders=[backup], people=10, no_dump=False)
    assert leak_scan.run(looked) == 0
    assert "发现 0 处明文" in capfd.readouterr().out
    (tmp_path / "clean" / "left.csv").write_text(f"a,{secrets.values[0]},上埔社区秘密巷171号")
    assert leak_scan.run(Namespace(folders=[tmp_path / "clean"], people=10, no_dump=True)) == 1
    told = capfd.readouterr().out
    assert "left.csv：证件号 1 个" in told and "居住地 1 个" in told and not secrets.found_in(told)
