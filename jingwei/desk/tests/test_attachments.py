"""Attachments of records: what goes in comes out for those who see the record, and for nobody else."""

import errno
import io
import re
import uuid
from datetime import timedelta

import boto3
import pytest
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from moto.server import ThreadedMotoServer
from PIL import Image

from jingwei.base import parameters
from jingwei.base.attachments import StrayObject
from jingwei.base.models import LogEntry, ParameterValue
from jingwei.desk import attachments, storage
from jingwei.directory.models import Role
from jingwei.kit.tests.test_clamd import EICAR, scanner
from jingwei.kit.tests.test_contents import PDF, image, photograph
from jingwei.oversight.queries import looks_at
from jingwei.people.models import Person, PersonAttachment
from jingwei.people.samples import person
from jingwei.places.samples import venue
from jingwei.scans.samples import alert

pytestmark = pytest.mark.django_db
BUCKET = "jingwei-test"


@pytest.fixture(scope="module")
def s3():
    """The address of a server that speaks S3, with a bucket."""
    patch = pytest.MonkeyPatch()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.setenv(name, "test")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket=BUCKET)
    yield endpoint
    server.stop()
    patch.undo()


class FolderContents:
    def __init__(self, root):
        self.root = root

    def objects(self):
        """{name: bytes} of all that lies there, drafts too."""
        return {path.name: path.read_bytes() for path in self.root.rglob("*") if path.is_file()}


class BucketContents:
    def __init__(self, endpoint, prefix):
        self.bucket = boto3.resource("s3", endpoint_url=endpoint, region_name="us-east-1").Bucket(BUCKET)
        self.prefix = prefix

    def objects(self):
        found = self.bucket.objects.filter(Prefix=self.prefix)
        return {entry.key.rpartition("/")[2]: entry.get()["Body"].read() for entry in found}


@pytest.fixture
def folder(settings, tmp_path):
    """A store of the test's own: a folder."""
    settings.JINGWEI_STORAGE = str(tmp_path / "attachments")
    return FolderContents(tmp_path / "attachments")


@pytest.fixture(params=["folder", "s3"])
def stored(request, settings):
    """A store of the test's own, of either kind."""
    if request.param == "folder":
        return request.getfixturevalue("folder")
    endpoint, prefix = request.getfixturevalue("s3"), f"at/{uuid.uuid4()}"
    settings.JINGWEI_STORAGE = f"s3://{BUCKET}/{prefix}?endpoint={endpoint}"
    return BucketContents(endpoint, prefix)


@pytest.fixture
def record():
    return person()


def picture():
    return image(size=(160, 120))


def upload(persona, address, *files, **more):
    """Send files as the page's script does, one at a time; returns the last answer."""
    for name, data in files:
        sent = {"file": SimpleUploadedFile(name, data)} | more
        answer = persona.client.post(address, sent, headers={"Accept": "application/json"})
    return answer


def page_of(record, resource="people"):
    return f"/{resource}/{record.pk}/attachments/"


def attached(persona, record, name="照片.jpg", data=None, resource="people"):
    """An attachment, uploaded by the page."""
    answer = upload(persona, page_of(record, resource), (name, data or picture()))
    assert answer.status_code == 201, answer.content.decode()
    return record.attachments.latest("pk")


def content(answer):
    assert answer.status_code == 200
    return b"".join(answer.streaming_content)


# --- in and out -------------------------------------------------------------------------------------------


@pytest.mark.req("P-5.6", "SEC-18")
def test_files_go_in_are_listed_and_come_out(village, record, stored):
    address = page_of(record)
    answer = upload(village, address, ("现场.JPG", photograph()), ("证明.pdf", PDF))
    assert (answer.status_code, answer.json()) == (201, {"refusal": ""})
    picture, document = record.attachments.all()
    page = village.client.get(f"/people/{record.pk}/").content.decode()
    for shown in ("现场.jpg", "证明.pdf", "480×640", village.operator.name):
        assert shown in page

    saved = village.client.get(f"{address}{picture.pk}/")
    with Image.open(io.BytesIO(content(saved))) as original:
        assert (original.format, original.size) == ("JPEG", (480, 640)) and not original.getexif()
    assert int(saved["Content-Length"]) == picture.size
    assert content(village.client.get(f"{address}{document.pk}/")) == PDF
    for variant, size in (("small", 320), ("large", 640)):
        shown = village.client.get(f"{address}{picture.pk}/{variant}/")
        with Image.open(io.BytesIO(content(shown))) as reduced:
            assert (reduced.format, max(reduced.size)) == ("WEBP", size)
    assert village.client.get(f"{address}{document.pk}/small/").status_code == 404


@pytest.mark.req("P-5.6", "SEC-11", "SEC-18")
def test_a_browser_saves_what_it_gets_and_runs_nothing_of_it(village, record, folder):
    picture, document = attached(village, record), attached(village, record, "<img src=x>说明.pdf", PDF)
    for one, route in ((document, ""), (picture, ""), (picture, "small/"), (picture, "large/")):
        answer = village.client.get(f"{page_of(record)}{one.pk}/{route}")
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["Cache-Control"] == "no-store"
        assert answer["Content-Security-Policy"] == "sandbox; default-src 'none'"
        disposition = answer.get("Content-Disposition", "")
        assert disposition.startswith("attachment") is (route == "")
        assert answer["Content-Type"] == ("image/webp" if route else one.media_type)
        assert "<" not in disposition
    assert "<img src=x>" not in village.client.get(f"/people/{record.pk}/").content.decode()


@pytest.mark.req("P-5.6", "P-4.1", "SEC-13")
def test_neither_store_nor_database_holds_anything_in_clear(village, record, stored):
    words = "林样例990101198001010030身份证"
    one = attached(village, record, f"{words}.pdf", PDF)
    village.client.post(f"{page_of(record)}{one.pk}/caption/", {"caption": f"{words}复印件"})
    attached(village, record, "照片.png", image("PNG"))
    objects = stored.objects()
    assert len(objects) == 4
    assert not [name for name, data in objects.items() if data[:8] in PDF[:8] or b"PNG" in data[:64]]
    assert not [data for data in objects.values() if b"WEBP" in data[:64] or b"endobj" in data]
    with connection.cursor() as cursor:
        for table in ("people_personattachment", "base_logentry"):
            cursor.execute(f"SELECT count(*) FROM {table} t WHERE to_jsonb(t)::text LIKE '%%990101198%%'")
            assert cursor.fetchone() == (0,)
    page = village.client.get(f"/people/{record.pk}/").content.decode()
    assert f"{words}.pdf" in page and f"{words}复印件" in page


@pytest.mark.req("P-4.1", "SEC-14")
def test_the_parts_of_a_picture_are_sealed_with_keys_of_their_own(village, record, folder):
    one = attached(village, record)
    keys = {attachments._key_of(one, variant) for variant in attachments.VARIANTS}
    assert len(keys) == 3
    # One object in another's place does not open.
    small = folder.root / str(one.object)[:2] / f"{one.object}.small"
    small.write_bytes(folder.objects()[f"{one.object}.large"])
    assert village.client.get(f"{page_of(record)}{one.pk}/small/").status_code == 503


@pytest.mark.req("P-5.6", "P-3.4", "SEC-8")
def test_every_upload_download_and_deletion_leaves_one_line(village, record, folder):
    one = attached(village, record)
    village.client.get(f"{page_of(record)}{one.pk}/")
    village.client.get(f"{page_of(record)}{one.pk}/large/")
    village.client.post(f"{page_of(record)}{one.pk}/caption/", {"caption": "整改后"})
    village.client.post(f"{page_of(record)}{one.pk}/delete/")
    upload(village, page_of(record), ("a.svg", b"<svg onload=alert(1)>"))
    entries = LogEntry.objects.filter(resource="people", object_id=str(record.pk)).order_by("pk")
    assert looks_at(record).filter(act="下载").count() == 2
    assert [(e.act, e.result, e.login) for e in entries] == [
        ("上传附件", "成功", "village"),
        ("下载", "成功", "village"),
        ("下载", "成功", "village"),
        ("修改附件说明", "成功", "village"),
        ("删除附件", "成功", "village"),
        ("上传附件", "拒绝", "village"),
    ]
    assert {e.detail.get("attachment") for e in entries} == {one.pk, None}


@pytest.mark.req("P-5.2", "SEC-8")
@pytest.mark.parametrize("act", ["delete", "caption"])
def test_two_at_one_attachment_take_turns(village, record, folder, act):
    """Else both would have deleted it, and the log said so twice."""
    one = attached(village, record)
    with CaptureQueriesContext(connection) as asked:
        village.client.post(f"{page_of(record)}{one.pk}/{act}/", {"caption": "整改后"})
    locking = [query["sql"] for query in asked if query["sql"].endswith("FOR UPDATE")]
    assert any("people_personattachment" in sql for sql in locking)


@pytest.mark.req("P-5.6")
def test_shooting_data_stay_and_are_shown_only_when_that_was_asked_for(village, record, folder):
    shot = "北纬25.97500°，东经119.12000°"
    upload(village, page_of(record), ("a.jpg", photograph()))
    assert shot not in village.client.get(f"/people/{record.pk}/").content.decode()
    upload(village, page_of(record), ("a.jpg", photograph()), keep_shot="on")
    assert shot in village.client.get(f"/people/{record.pk}/").content.decode()


@pytest.mark.req("P-5.6")
def test_a_form_without_scripts_sends_several_files_and_hears_what_was_refused(village, record, folder):
    files = [SimpleUploadedFile("一.jpg", picture()), SimpleUploadedFile("二.html", b"<html>")]
    answer = village.client.post(page_of(record), {"file": files}, follow=True)
    assert answer.redirect_chain[-1][0] == f"/people/{record.pk}/"
    page = answer.content.decode()
    assert "一.jpg" in page and "二.html：网页和矢量图" in page
    assert record.attachments.count() == 1
    assert "请先选择文件" in village.client.post(page_of(record), follow=True).content.decode()


# --- who may ----------------------------------------------------------------------------------------------


def questions(address, one):
    """(method, address) of everything about an attachment."""
    yield from [("get", address), ("post", address)]
    for route in ("", "small/", "large/", "delete/"):
        yield "get", f"{address}{one}/{route}"
    yield from [("post", f"{address}{one}/caption/"), ("post", f"{address}{one}/delete/")]


def said(answer):
    """A page without what differs from one moment to the next."""
    return re.sub(r'value="\w{64}"|"X-CSRFToken": "\w+"|<code>\w+</code>', "", answer.content.decode())


@pytest.mark.req("P-1.6", "P-5.6", "SEC-7")
def test_the_attachments_of_another_town_do_not_exist(village, othertown, nobody, record, folder):
    one = attached(village, record)
    own = person(region="990101002001")
    before = folder.objects()
    for method, address in questions(page_of(record), one.pk):
        missing = address.replace(f"/{record.pk}/", "/999999999/")
        answer, reference = (getattr(othertown.client, method)(a) for a in (address, missing))
        assert answer.status_code == 404, (method, address)
        assert said(answer) == said(reference)
        assert getattr(nobody.client, method)(address).status_code == 403, (method, address)
    # Nor by way of a record that is one's own, or of another resource.
    for way in (page_of(own), page_of(record, "doses"), page_of(record, "venues")):
        for method, address in list(questions(way, one.pk))[2:]:
            assert getattr(othertown.client, method)(address).status_code in (403, 404), address
    assert record.attachments.get() == one and folder.objects() == before


@pytest.mark.req("P-1.10", "P-5.6")
def test_who_only_looks_changes_nothing(village, record, folder):
    one = attached(village, record)
    for role in Role.objects.filter(permissions__contains=["people.attach"]):
        role.permissions.remove("people.attach")
        role.save()
    looker = village.client
    page = looker.get(f"/people/{record.pk}/").content.decode()
    assert (
        "照片.jpg" in page and "data-attach>" not in page and "/delete/" not in page.split("附件")[1][:4000]
    )
    assert looker.get(f"{page_of(record)}{one.pk}/").status_code == 200
    for method, address in questions(page_of(record), one.pk):
        if method == "post" or "delete" in address:
            assert getattr(looker, method)(address).status_code == 403, address
    assert record.attachments.get() == one


@pytest.mark.req("P-5.6", "SEC-7")
def test_a_regulator_documents_a_venue_and_an_alert_and_another_one_sees_nothing(
    regulator, regulator2, venueops, folder
):
    place = venue()
    raised = alert(venue=place)
    for resource, row in (("thresholds", place), ("alerts", raised)):
        one = attached(regulator, row, "整改.jpg", resource=resource)
        assert "整改.jpg" in regulator.client.get(f"/{resource}/{row.pk}/").content.decode()
        for method, address in questions(page_of(row, resource), one.pk):
            assert getattr(regulator2.client, method)(address).status_code == 404, address
    assert "整改.jpg" in venueops.client.get(f"/venues/{place.pk}/").content.decode()


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.req("P-5.6", "SEC-12")
@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.jpg", b"<!DOCTYPE html><script>alert(1)</script>", "脚本"),
        ("a.png", picture()[:-5000], "损坏"),
        ("空.pdf", b"", "空的"),
        ("\u202egpj.exe", b"MZ\x90\0", "程序"),
        ("../../../a\0.jpg", b"\xff\xd8\xff", "不认识|损坏"),
    ],
    ids=["html", "truncated", "empty", "program", "path"],
)
def test_a_bad_file_is_refused_in_words_and_leaves_nothing(village, record, folder, name, data, reason):
    answer = upload(village, page_of(record), (name, data))
    assert answer.status_code == 422
    assert re.search(reason, answer.json()["refusal"])
    assert not record.attachments.exists() and not folder.objects() and not StrayObject.objects.exists()


@pytest.mark.req("P-5.6", "SEC-12")
@pytest.mark.parametrize("name", ["../../etc/passwd", "\u202egnp.jpg", "a\0b.jpg", "'\"<b>.jpg", "𠮷.jpg"])
def test_a_strange_name_does_no_harm(village, record, folder, name):
    one = attached(village, record, name)
    assert not {"/", "\\", "\0", "\u202e", "<"} & set(one.name.clear())
    assert village.client.get(f"{page_of(record)}{one.pk}/").status_code == 200
    assert set(folder.objects()) == {f"{one.object}{variant}" for variant in attachments.VARIANTS}


def set_parameter(name, value):
    ParameterValue.objects.create(name=name, value=value)
    parameters.forget()


@pytest.mark.req("P-5.6", "P-6.2", "SEC-12")
def test_sizes_pixels_and_numbers_have_bounds(village, record, folder):
    set_parameter("attachments.largest", "1")
    set_parameter("attachments.most_pixels", "1")
    set_parameter("attachments.most", "1")
    for name, data, reason in (
        ("大.pdf", PDF[:8] + bytes(1 << 20) + PDF, "超过上限 1 MB"),
        ("多.png", image("PNG", "1", (1200, 1000)), "超过上限 1 百万像素"),
    ):
        assert reason in upload(village, page_of(record), (name, data)).json()["refusal"]
    attached(village, record)
    assert "已有 1 个附件" in upload(village, page_of(record), ("b.jpg", picture())).json()["refusal"]
    file = SimpleUploadedFile("长.pdf", bytes(70 << 20))
    too_long = village.client.post(page_of(record), {"files": file}, follow=True)
    assert "超过上限" in too_long.content.decode()


@pytest.mark.req("P-5.6", "SEC-12")
def test_a_video_is_a_link_to_an_allowed_site_and_nothing_else(village, record):
    good = "https://v.qq.com/x/page/a1.html"
    village.client.post(page_of(record), {"link": good, "name": "整改录像"})
    one = record.attachments.get()
    assert (one.kind, one.link, one.object) == ("视频链接", good, None)
    page = village.client.get(f"/people/{record.pk}/").content.decode()
    assert f'href="{good}" target="_blank" rel="noopener noreferrer"' in page and "整改录像" in page
    for bad in (
        "http://v.qq.com/a",
        "https://evil.example/v.qq.com",
        "https://v.qq.com@evil.example/",
        "https://v.qq.com.evil.example/",
        "https://v.qq.com\\@evil.example/",
        "//v.qq.com/",
        "javascript:alert(1)//https://v.qq.com",
        "https://[v.qq.com",
        "https://v.qq.com/" + "a" * 500,
    ):
        answer = village.client.post(page_of(record), {"link": bad}, headers={"Accept": "application/json"})
        assert "视频地址应以 https:// 开头" in answer.json()["refusal"], bad
    assert record.attachments.count() == 1
    assert village.client.get(f"{page_of(record)}{one.pk}/").status_code == 404
    village.client.post(f"{page_of(record)}{one.pk}/delete/")
    assert not record.attachments.exists() and not StrayObject.objects.exists()


# --- viruses ----------------------------------------------------------------------------------------------


@pytest.mark.req("P-5.6")
def test_a_file_with_a_virus_is_refused_and_a_clean_one_is_open_at_once(village, record, folder, settings):
    with scanner() as server:
        settings.JINGWEI_VIRUS_SCAN = server.address
        answer = upload(village, page_of(record), ("a.pdf", PDF + EICAR))
        assert answer.status_code == 422 and "Eicar-Test-Signature" in answer.json()["refusal"]
        assert not folder.objects()
        one = attached(village, record, "b.pdf", PDF)
        assert village.client.get(f"{page_of(record)}{one.pk}/").status_code == 200
    assert len(server.seen) == 2


@pytest.mark.req("P-5.6")
def test_what_no_scanner_has_seen_is_given_to_nobody(village, record, folder, settings):
    before = attached(village, record, "以前的.pdf", PDF + EICAR + b"\n%%EOF")  # there was no scanner yet
    settings.JINGWEI_VIRUS_SCAN = "tcp://127.0.0.1:9"
    picture = attached(village, record)
    addresses = [f"{page_of(record)}{one.pk}/" for one in (before, picture)]
    for address in (*addresses, f"{addresses[1]}small/", f"{addresses[1]}large/"):
        assert village.client.get(address).status_code == 404
    assert village.client.get(f"/people/{record.pk}/").content.decode().count("等待查毒") == 2
    assert attachments.any_waiting()
    with pytest.raises(ValidationError, match="没有应答"):
        attachments.scan_waiting(village.actor, None, lambda *progress: None)
    with scanner() as server:
        settings.JINGWEI_VIRUS_SCAN = server.address
        outcome = attachments.scan_waiting(village.actor, None, lambda *progress: None)
    assert outcome["message"] == "查毒：1 个附件正常，1 个有病毒并已删除。"
    assert list(record.attachments.all()) == [picture]
    assert village.client.get(addresses[1]).status_code == 200
    assert not attachments.any_waiting()


# --- away -------------------------------------------------------------------------------------------------


def clean_up():
    return attachments.clean_up(None, None, lambda *progress: None)


@pytest.mark.req("P-5.6", "SEC-18")
def test_a_deleted_attachment_is_gone_from_the_store(
    village, record, stored, django_capture_on_commit_callbacks
):
    one, other = attached(village, record), attached(village, record)
    with django_capture_on_commit_callbacks(execute=True):
        village.client.post(f"{page_of(record)}{one.pk}/delete/")
    assert set(stored.objects()) == {f"{other.object}{variant}" for variant in attachments.VARIANTS}
    assert not StrayObject.objects.exists()


@pytest.mark.req("P-5.6", "SEC-18")
@pytest.mark.parametrize("way", ["page", "rows", "statement"])
def test_whatever_deletes_a_record_its_attachments_are_gone_from_the_store(village, record, folder, way):
    attached(village, record)
    assert attachments.any_strays() is False
    if way == "page":
        assert "人员附件 1 条" in village.client.get(f"/people/{record.pk}/delete/").content.decode()
        village.client.post(f"/people/{record.pk}/delete/")
    elif way == "rows":
        Person.objects.filter(pk=record.pk).delete()
    else:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM people_personattachment WHERE record_id = %s", [record.pk])
    assert not PersonAttachment.objects.exists()
    assert attachments.any_strays() is True
    assert clean_up()["message"] == "从附件存储中清除了 1 个文件。"
    assert not folder.objects() and not attachments.any_strays()


@pytest.mark.req("P-5.6", "SEC-10", "SEC-18")
@pytest.mark.parametrize("failing", ["store", "disk", "log"])
def test_an_upload_that_fails_leaves_nothing(village, record, folder, monkeypatch, failing):
    put = storage.Folder.put

    def broken(self, name, data):
        if name.endswith(".large"):
            raise storage.Unreachable()
        put(self, name, data)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "full")

    if failing == "store":
        monkeypatch.setattr(storage.Folder, "put", broken)
    elif failing == "disk":
        monkeypatch.setattr(storage.os, "fsync", full)
    else:
        monkeypatch.setattr(attachments.audit, "record", lambda *args, **detail: 1 / 0)
    with pytest.raises((ValidationError, ZeroDivisionError)):
        attachments.attach(village.actor, resource(), record, name="a.jpg", data=picture())
    assert not folder.objects() and not record.attachments.exists() and not StrayObject.objects.exists()


def resource():
    from jingwei import menu

    return menu.resource("people")


@pytest.mark.req("P-5.6", "SEC-18")
def test_what_a_killed_upload_left_goes_with_the_timetable_and_one_under_way_does_not(folder):
    killed, under_way = uuid.uuid4(), uuid.uuid4()
    for name, due in ((killed, -1), (under_way, 30)):
        StrayObject.objects.create(object=name, due_at=timezone.now() + timedelta(minutes=due))
        storage.store().put(f"{name}.small", b"half")
    (folder.root / str(killed)[:2] / f"{killed}.large.new").write_bytes(b"quarter")
    clean_up()
    assert set(folder.objects()) == {f"{under_way}.small"}


@pytest.mark.req("P-5.6")
def test_a_lost_object_and_a_store_that_is_away_are_said_in_words(village, record, settings, s3, folder):
    one = attached(village, record)
    address = f"{page_of(record)}{one.pk}/"
    storage.store().remove([str(one.object)])
    lost = village.client.get(address)
    assert lost.status_code == 404
    settings.JINGWEI_STORAGE = f"s3://{BUCKET}/elsewhere?endpoint={s3}"
    assert village.client.get(address).status_code == 404
    settings.JINGWEI_STORAGE = "s3://no-such-bucket?endpoint=" + s3
    answer = village.client.get(address)
    assert answer.status_code == 503 and "附件存储暂时不可用" in answer.content.decode()
    refused = upload(village, page_of(record), ("a.jpg", picture()))
    assert refused.status_code == 422 and "暂时不可用" in refused.json()["refusal"]
    assert record.attachments.get() == one
    assert LogEntry.objects.filter(act="下载", result="失败").count() == 1


# --- settings ---------------------------------------------------------------------------------------------


@pytest.mark.req("P-5.6")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JINGWEI_STORAGE", "attachments"),
        ("JINGWEI_STORAGE", "s3://"),
        ("JINGWEI_STORAGE", "https://host/bucket"),
        ("JINGWEI_VIRUS_SCAN", "127.0.0.1:3310"),
    ],
)
def test_a_wrong_setting_stops_the_start(name, value, monkeypatch):
    from importlib import util

    from jingwei import settings

    monkeypatch.setenv(name, value)
    spec = util.spec_from_file_location("settings_tried", settings.__file__)
    with pytest.raises(ImproperlyConfigured, match=name):
        spec.loader.exec_module(util.module_from_spec(spec))
