"""Files that were changed behind the platform's back."""

import os
import subprocess
from functools import partial

import pytest

from jingwei.base.access import platform_actor
from jingwei.base.models import Job, LogEntry
from jingwei.cli import web
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
    integrity.make()
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
        listed.replace(integrity._listed()["parts"]["program"]["a.py"], integrity._digests("program")["a.py"])
    )
    [said] = integrity.differences()
    assert "被改动过" in said


def commit(folder, *arguments):
    """Have git hold the files of the program as they are; returns the commit."""
    git = ["git", "-C", folder, "-c", "user.name=Tests", "-c", "user.email=tests@example.invalid"]
    for words in (["init", "-q"], ["add", "program"], ["commit", "-q", "-m", "release", *arguments]):
        subprocess.run([*git, *words], check=True)
    told = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return told.stdout.strip()


@pytest.fixture
def checkout(machine):
    """The machine, its program being a checkout whose commit is listed."""
    first = commit(machine)
    integrity.make()
    assert integrity.listed_release().commit == first
    return machine


def test_another_commit_is_an_upgrade(checkout):
    assert not integrity.is_upgraded(on_purpose=False)
    (checkout / "program/a.py").write_text("version 2")
    (checkout / "program/c.py").write_text("version 2")
    commit(checkout)
    assert integrity.is_upgraded(on_purpose=False)


def change(folder):
    (folder / "program/a.py").write_text("steal()")


def add(folder):
    (folder / "program/more.html").write_text("advertisement")


def remove(folder):
    (folder / "program/b.py").unlink()


def change_unseen_by_git(folder):
    subprocess.run(["git", "-C", folder, "update-index", "--assume-unchanged", "program/a.py"], check=True)
    change(folder)


@pytest.mark.parametrize("by", [change, add, remove, change_unseen_by_git])
@pytest.mark.parametrize("on_purpose", [True, False])
def test_what_no_commit_holds_is_no_upgrade_whoever_asks(checkout, by, on_purpose):
    by(checkout)
    assert not integrity.is_upgraded(on_purpose=on_purpose)
    commit(checkout, "--allow-empty", "--only")  # another commit, which does not hold it
    assert not integrity.is_upgraded(on_purpose=on_purpose)
    assert integrity.differences()


def test_a_new_number_is_an_upgrade_only_on_purpose(machine, monkeypatch):
    (machine / "program/a.py").write_text("version 2")
    monkeypatch.setattr("jingwei.running.releases.version", lambda name: "9.9.0")
    assert integrity.is_upgraded(on_purpose=True)
    assert not integrity.is_upgraded(on_purpose=False)


def test_a_rewritten_manifest_is_no_release_to_upgrade_from(checkout):
    manifest = checkout / "integrity.json"
    manifest.write_text(manifest.read_text().replace(integrity.listed_release().commit, "0" * 40))
    assert not integrity.is_upgraded(on_purpose=True)


@pytest.fixture
def shipped(checkout, settings):
    """The checkout, whose files browsers get as they are."""
    settings.STATICFILES_DIRS = [checkout / "program"]
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    }
    return checkout


def test_a_start_after_an_upgrade_lists_it_with_a_line_that_names_both(shipped, capsys):
    before = integrity.listed_release().commit
    (shipped / "program/a.py").write_text("version 2")
    (shipped / "static/page.js").write_text("steal()")
    now = commit(shipped)
    web.check_files()
    entry = LogEntry.objects.get(act="文件登记")
    assert before[:12] in entry.detail["原版本"] and now[:12] in entry.detail["版本"]
    assert now[:12] in capsys.readouterr().out
    assert integrity.differences() == []
    assert (shipped / "static/a.py").read_text() == "version 2"
    assert not (shipped / "static/page.js").exists()  # collected anew: what was changed is not listed along


def test_what_nginx_serves_is_readable_for_it_under_the_umask_of_the_services(shipped, request):
    request.addfinalizer(partial(os.umask, os.umask(0o077)))
    (shipped / "integrity.json").unlink()
    (shipped / "program/css").mkdir()
    (shipped / "program/css/page.css").write_text("body {}")
    web.check_files()
    assert (shipped / "static/css/page.css").stat().st_mode & 0o077 == 0o044
    for folder in (shipped / "static", shipped / "static/css"):
        assert folder.stat().st_mode & 0o077 == 0o055
    assert (shipped / "integrity.json").stat().st_mode & 0o077 == 0


def test_a_start_after_a_change_says_so_and_lists_nothing(shipped, capsys):
    change(shipped)
    web.check_files()
    assert "a.py 被修改" in capsys.readouterr().err
    assert LogEntry.objects.get(act="文件校验").result == "失败"
    assert not LogEntry.objects.filter(act="文件登记").exists()
    assert integrity.differences()


def test_a_manifest_that_was_removed_is_made_anew_with_a_line(shipped):
    (shipped / "integrity.json").unlink()
    change(shipped)
    web.check_files()
    entry = LogEntry.objects.get(act="文件登记")
    assert entry.reason == "本机还没有登记过" and not entry.detail["原版本"]


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
