"""The command, the page and the nightly copy of the log (P-3.2, SEC-9)."""

import gzip
import json
import stat
from argparse import ArgumentParser
from datetime import timedelta

import pytest
from django.utils import timezone

from jingwei.base import audit, chain
from jingwei.base.access import platform_actor
from jingwei.base.models import Alarm, Job, LogEntry, LogSeal
from jingwei.cli import verify_log
from jingwei.desk import jobs, tasks
from jingwei.oversight import alarms, copies, verifying
from jingwei.oversight.tasks import seal_log
from tests.tampering import tamper

NIGHT = platform_actor("测试")


@pytest.fixture(autouse=True)
def home(seals_at_once, settings, tmp_path):
    settings.JINGWEI_HOME = tmp_path
    audit.record(NIGHT, "查看", label="样例")
    chain.seal()


def command(capsys, *arguments):
    parser = ArgumentParser()
    verify_log.add_arguments(parser)
    code = verify_log.run(parser.parse_args(arguments))
    return code, capsys.readouterr().out


@pytest.mark.req("P-3.2", "SEC-9")
def test_the_command_verifies_and_names_the_first_broken_row(capsys):
    code, said = command(capsys)
    assert code == 0 and said.startswith("完整：")
    first = LogEntry.objects.order_by("pk").first().pk
    tamper("UPDATE base_logentry SET label = '别的' WHERE id = %s", first)
    code, said = command(capsys)
    assert code == 1 and f"第 {first} 号日志被改动" in said.splitlines()[1]
    code, said = command(capsys, "--json")
    found = json.loads(said)
    assert code == 1 and found["sound"] is False and found["breaks"][0]["entry"] == first
    assert set(LogEntry.objects.filter(act="校验日志").values_list("result", flat=True)) == {"成功", "失败"}


@pytest.mark.req("SEC-9", "SEC-13")
def test_each_day_is_copied_once_for_nobody_else_to_read():
    tomorrow = timezone.localdate() + timedelta(days=1)
    [day], lost = copies.write_copies(tomorrow)
    assert not lost and copies.write_copies(tomorrow) == ([], [])
    [path] = copies.folder().glob("*.gz")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(copies.folder().stat().st_mode) == 0o700
    with gzip.open(path, "rt") as file:
        lines = [json.loads(line) for line in file]
    assert len([line for line in lines if isinstance(line, dict)]) == LogSeal.objects.count()
    assert any("样例" in line for line in lines if isinstance(line, list))
    assert copies.day_of(path) == day


@pytest.mark.req("SEC-9")
def test_a_log_whose_end_was_cut_off_is_known_by_its_copy(capsys):
    copies.write_copies(timezone.localdate() + timedelta(days=1))
    assert command(capsys)[0] == 0
    last = LogSeal.objects.last()
    audit.record(NIGHT, "查看", label="新的末尾")
    # Without its end the chain itself is whole.
    tamper("DELETE FROM base_logentry WHERE id >= %s", min(last.entries))
    tamper("DELETE FROM base_logseal WHERE number >= %s", last.number)
    code, said = command(capsys)
    assert code == 1 and f"第 {last.number} 号封存记录" in said


@pytest.mark.req("SEC-9")
def test_the_seals_since_the_last_copy_are_noted_so_that_their_end_cannot_be_cut_off_either(capsys):
    copies.note_seals()
    audit.record(NIGHT, "查看", label="新的末尾")
    chain.seal()
    copies.note_seals()
    copies.note_seals()
    noted = copies.folder() / copies.NOTED
    assert len(noted.read_text().splitlines()) == LogSeal.objects.filter(at__gte=midnight()).count()
    assert stat.S_IMODE(noted.stat().st_mode) == 0o600
    assert command(capsys)[0] == 0
    last = LogSeal.objects.last()
    copies.note_seals()
    tamper("DELETE FROM base_logentry WHERE id >= %s", min(last.entries))
    tamper("DELETE FROM base_logseal WHERE number >= %s", last.number)
    code, said = command(capsys)  # which seals what is there under the same number
    assert code == 1 and f"记下的第 {last.number} 号封存记录" in said


@pytest.mark.req("SEC-9", "SEC-19")
def test_each_minute_rows_are_sealed_alarms_raised_and_seals_noted():
    alarms.watch()
    audit.record(NIGHT, "锁定", label="登录名 village")
    seal_log(0)
    assert chain.waiting().rows == 0
    assert Alarm.objects.filter(kind="登录锁定", subject="登录名 village").exists()
    assert str(LogSeal.objects.last().number) in (copies.folder() / copies.NOTED).read_text().split()


@pytest.mark.req("SEC-9")
def test_a_log_that_was_emptied_is_no_new_one(capsys):
    copies.note_seals()
    tamper("DELETE FROM base_logentry")
    tamper("DELETE FROM base_logseal")
    code, said = command(capsys)
    assert code == 1 and "记下的第" in said


@pytest.mark.req("SEC-9")
def test_what_is_copied_is_noted_no_more():
    copies.note_seals()
    copies.write_copies(timezone.localdate() + timedelta(days=1))
    assert (copies.folder() / copies.NOTED).read_text() == ""


@pytest.mark.req("SEC-9")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda line: line.replace("样例", "别的"), "号日志被改动"),
        (lambda line: "" if "样例" in line else line, "缺少第"),
        (lambda line: line.replace('"digest"', '"digest": "", "was"'), "与数据库不一致"),
    ],
)
def test_a_copy_that_was_altered_is_named(capsys, change, said):
    copies.write_copies(timezone.localdate() + timedelta(days=1))
    [path] = copies.folder().glob("*.gz")
    with gzip.open(path, "rt") as file:
        lines = [change(line) for line in file]
    with gzip.open(path, "wt") as file:
        file.writelines(lines)
    code, told = command(capsys)
    assert code == 1 and path.name in told and said in told


@pytest.mark.req("SEC-9")
def test_a_copy_that_was_removed_comes_again_and_is_told():
    now = timezone.localtime(LogSeal.objects.last().at)
    copies.write_copies(timezone.localdate() + timedelta(days=1))
    [path] = copies.folder().glob("*.gz")
    path.rename(path.with_name((now + timedelta(days=1)).strftime(copies.BEGUN)))
    made, lost = copies.write_copies(timezone.localdate() + timedelta(days=1))
    assert made == lost == [now.date()]


def midnight():
    return timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.mark.req("SEC-9")
def test_a_copy_that_cannot_be_read_is_told(capsys):
    copies.write_copies(timezone.localdate() + timedelta(days=1))
    [path] = copies.folder().glob("*.gz")
    path.write_bytes(path.read_bytes()[:40])
    code, said = command(capsys)
    assert code == 1 and path.name in said and "损坏" in said


@pytest.mark.req("P-3.2", "SEC-9")
def test_the_audit_administrator_starts_a_verification_and_sees_what_it_says(auditadmin, sysadmin):
    page = auditadmin.client.get("/log-chain/").content.decode()
    assert "还没有校验过" in page and "号，" in page
    assert auditadmin.client.post("/log-chain/run/").status_code == 302
    assert "校验正在进行" in auditadmin.client.get("/log-chain/").content.decode()
    auditadmin.client.post("/log-chain/run/")
    [job] = Job.objects.filter(kind=verifying.JOB)
    jobs.run({kind: known.work for kind, known in tasks.KINDS.items()}, job.pk)
    page = auditadmin.client.get("/log-chain/").content.decode()
    assert "完整：" in page and "alert-success" in page
    assert sysadmin.client.get("/log-chain/").status_code == 403
    assert sysadmin.client.post("/log-chain/run/").status_code == 403


@pytest.mark.req("SEC-9", "SEC-19")
def test_the_page_tells_what_waits_for_its_seal_and_an_alarm_when_that_is_too_long(auditadmin, monkeypatch):
    assert "等待封存" not in auditadmin.client.get("/log-chain/").content.decode()
    audit.record(NIGHT, "查看", label="样例")
    page = auditadmin.client.get("/log-chain/").content.decode()
    assert "1 条日志等待封存" in page and "alert-danger" not in page
    alarms.watch()
    assert not Alarm.objects.filter(kind=alarms.UNSEALED).exists()
    later = timezone.now() + timedelta(minutes=chain.LATE.value(), seconds=5)
    with monkeypatch.context() as patch:
        patch.setattr(timezone, "now", lambda: later)
        for _ in range(2):
            alarms.watch()
        [alarm] = Alarm.objects.filter(kind=alarms.UNSEALED)
        assert alarm.number == 1 and "已等待 10 分钟" in alarm.said
        page = auditadmin.client.get("/log-chain/").content.decode()
        assert "alert-danger" in page and "已等待 10 分钟" in page
        assert "未处理的安全告警" in auditadmin.client.get("/").content.decode()
    chain.seal()
    alarms.watch()
    assert Alarm.objects.filter(kind=alarms.UNSEALED).count() == 1


@pytest.mark.req("SEC-8")
def test_the_catalogue_of_events_is_there_to_read(auditadmin):
    page = auditadmin.client.get("/log-events/").content.decode()
    assert "查看明文" in page and "提前解除锁定" in page and "须有事由" in page and "成功、拒绝" in page
