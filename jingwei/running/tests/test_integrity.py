"""Files that were changed behind the platform's back."""

import pytest
from django.core.exceptions import ValidationError

from jingwei.base.access import platform_actor
from jingwei.base.models import Job, LogEntry
from jingwei.desk import jobs
from jingwei.desk.tasks import KINDS, TIMETABLE
from jingwei.running import integrity

pytestmark = [pytest.mark.django_db, pytest.mark.req("SEC-20")]


@pytest.fixture
def machine(settings, tmp_path):
    """A machine with three files of the program, one of them below a folder, and one that browsers get."""
    settings.JINGWEI_HOME = tmp_path
    settings.PACKAGE = tmp_path / "program"
    settings.STATIC_ROOT = tmp_path / "static"
    (settings.PACKAGE / "templates").mkdir(parents=True)
    settings.STATIC_ROOT.mkdir()
    for name in ("program/a.py", "program/b.py", "program/templates/page.html", "static/page.js"):
        (tmp_path / name).write_text(name)
    integrity.make(integrity.PROGRAM, integrity.SERVED)
    yield tmp_path
    integrity._kept["until"] = 0.0


def test_what_nobody_touched_is_as_listed(machine):
    (machine / "program" / "a.pyc").write_text("compiled since")
    assert integrity.differences() == []


def test_each_kind_of_change_is_named(machine):
    (machine / "program/a.py").write_text("steal()")
    (machine / "program/b.py").unlink()
    (machine / "program/templates/more.html").write_text("advertisement")
    (machine / "static/page.js").write_text("steal()")
    assert integrity.differences() == [
        "程序 a.py 被修改",
        "程序 b.py 缺少",
        "程序 templates/more.html 多出",
        "静态文件 page.js 被修改",
    ]


def test_a_change_leaves_one_line_in_the_log(machine):
    (machine / "program/a.py").write_text("steal()")
    integrity.verify(platform_actor("测试"))
    entry = LogEntry.objects.get(act="文件校验")
    assert (entry.result, entry.reason) == ("失败", "程序 a.py 被修改")


def test_no_change_leaves_no_line(machine):
    integrity.verify(platform_actor("测试"))
    assert not LogEntry.objects.filter(act="文件校验").exists()


def test_a_manifest_that_was_rewritten_along_is_known_by_its_mac(machine):
    (machine / "program/a.py").write_text("steal()")
    manifest = machine / "integrity.json"
    listed = manifest.read_text()
    manifest.write_text(
        listed.replace(integrity._listed()["program"]["a.py"], integrity._digests("program")["a.py"])
    )
    [said] = integrity.differences()
    assert "被改动过" in said


def test_collecting_files_anew_does_not_forgive_a_changed_program(machine):
    (machine / "program/a.py").write_text("steal()")
    (machine / "static/page.js").write_text("collected anew")
    integrity.make(integrity.SERVED)
    assert integrity.differences() == ["程序 a.py 被修改"]


def test_an_upgrade_takes_the_files_as_they_are(machine):
    (machine / "program/a.py").write_text("version 2")
    integrity.make(integrity.PROGRAM)
    assert integrity.differences() == []


def test_the_night_compares_and_fails_its_job_on_a_difference(machine, django_capture_on_commit_callbacks):
    assert "verify-files" in {entry.kind for entry in TIMETABLE}
    (machine / "program/a.py").write_text("steal()")
    job = jobs.start(platform_actor("定时任务"), "verify-files", "校验程序文件", {})
    jobs.run({"verify-files": KINDS["verify-files"].work}, job.pk)
    job.refresh_from_db()
    assert job.state == Job.FAILED and "a.py 被修改" in job.message
    assert LogEntry.objects.filter(act="文件校验", result="失败").count() == 1


def test_the_night_says_that_all_is_well(machine):
    assert "一致" in integrity.verify_files(platform_actor("定时任务"), None, None)["message"]


def test_a_foreign_manifest_is_not_added_to(machine, settings):
    settings.SECRET_KEY = "another" * 10
    with pytest.raises(ValidationError, match="不是用本机的签名密钥"):
        integrity.make(integrity.SERVED)
