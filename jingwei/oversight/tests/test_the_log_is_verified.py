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
from jingwei.base.models import Job, LogEntry, LogSeal
from jingwei.cli import verify_log
from jingwei.desk import jobs, tasks
from jingwei.oversight import copies, verifying
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
    [day] = copies.write_copies(tomorrow)
    assert copies.write_copies(tomorrow) == []
    [path] = copies.folder().iterdir()
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
def test_a_copy_that_cannot_be_read_is_told(capsys):
    copies.write_copies(timezone.localdate() + timedelta(days=1))
    [path] = copies.folder().iterdir()
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


@pytest.mark.req("SEC-8")
def test_the_catalogue_of_events_is_there_to_read(auditadmin):
    page = auditadmin.client.get("/log-events/").content.decode()
    assert "查看明文" in page and "提前解除锁定" in page
