"""The audit administrator is told of what should not happen (SEC-19)."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.core.exceptions import ValidationError

from jingwei.base import audit, chain
from jingwei.base.access import Actor, platform_actor
from jingwei.base.actions import set_parameter
from jingwei.base.models import Alarm, LogEntry
from jingwei.oversight import alarms, verifying
from tests.tampering import tamper

CLERK = Actor(name="村居演示账号", operator_id=7, login="village", address="192.0.2.1")
NIGHT = platform_actor("定时任务")
NOON = datetime(2026, 11, 18, 12, 0, tzinfo=ZoneInfo("Asia/Shanghai"))


@pytest.fixture(autouse=True)
def log(seals_at_once, monkeypatch):
    """Rows written at a time of the test's own, sealed and looked through: log(act, n, at=…)."""
    chain.seal()
    alarms.watch()
    Alarm.objects.all().delete()

    def log(act, times=1, *about, actor=CLERK, at=NOON, every=timedelta(seconds=1), **said):
        for number in range(times):
            with monkeypatch.context() as patch:
                patch.setattr(audit.timezone, "now", lambda number=number: at + number * every)
                audit.record(actor, act, *about, **said)
        chain.seal()
        alarms.watch()

    return log


def raised():
    return list(Alarm.objects.order_by("subject").values_list("kind", "subject", "number"))


@pytest.mark.req("SEC-19")
def test_a_burst_of_refusals_raises_one_alarm_for_the_account_and_one_for_the_address(log):
    log("访问", 19, result="拒绝")
    assert raised() == []
    log("访问", 1, at=NOON + timedelta(minutes=9), result="拒绝")
    assert [(kind, subject) for kind, subject, _ in raised()] == [
        ("频繁被拒", "地址 192.0.2.1"),
        ("频繁被拒", "账号 village"),
    ]
    assert "10 分钟内被拒绝 20 次" in Alarm.objects.first().said
    log("访问", 5, at=NOON + timedelta(minutes=9, seconds=30), result="拒绝")
    assert len(raised()) == 2, "no flood"
    assert set(raised()) == {("频繁被拒", "地址 192.0.2.1", 25), ("频繁被拒", "账号 village", 25)}
    alarms.watch()
    assert {number for _, _, number in raised()} == {25}, "each refusal counts once"


@pytest.mark.req("SEC-19")
def test_as_many_refusals_in_a_long_time_are_no_burst(log):
    log("访问", 40, every=timedelta(minutes=2), result="拒绝")
    log("查看", 40, at=NOON + timedelta(hours=4))
    assert raised() == []


@pytest.mark.req("SEC-19")
def test_lockouts_failures_and_differences_raise_alarms_once_each(log):
    log("锁定", 2, label="登录名 village")
    log("任务失败", actor=NIGHT, label="同步 OA 组织和人员", result="失败", reason="连不上")
    log(
        "任务失败", label="导出 人员", result="失败", reason="磁盘空间不足"
    )  # an operator's own: seen by them
    log("核对统计数字", actor=NIGHT, result="失败", reason="3 处不一致")
    log("核对统计数字", actor=NIGHT, at=NOON + timedelta(days=1), result="失败", reason="4 处不一致")
    log("更正日扫码量", actor=NIGHT, count=3)
    log("登录限流", 2, label="192.0.2.7", result="拒绝", reason="登录、申请账号的人太多，没有受理", 次数=9)
    assert set(raised()) == {
        ("登录限流", "登录限流", 2),
        ("核对不一致", "更正日扫码量", 1),
        ("核对不一致", "核对统计数字", 2),
        ("登录锁定", "登录名 village", 2),
        ("定时任务失败", "同步 OA 组织和人员", 1),
    }
    assert Alarm.objects.get(subject="核对统计数字").said == "4 处不一致"


@pytest.mark.req("SEC-19")
def test_many_exports_of_a_day_add_up_to_an_alarm_and_those_after_it_was_dealt_with_to_another(
    log, auditadmin
):
    log("导出", 3, 行数=6_000, 明文="否")
    log("查看明文", reason="核对", 行数=1_999)  # by the command line
    assert raised() == []
    log("导出", at=NOON + timedelta(days=1), 行数=19_999, 明文="否")
    assert raised() == [], "another day's"
    log("导出", at=NOON + timedelta(minutes=1), 行数=1, 明文="否")
    assert raised() == [("大量导出", "village", 1)]
    assert "20,000 行" in Alarm.objects.get().said
    alarms.watch()
    assert raised() == [("大量导出", "village", 1)], "each row is looked at once"
    alarms.handle(auditadmin.actor, Alarm.objects.get(), note="经批准")
    log("导出", at=NOON + timedelta(minutes=2), 行数=19_999, 明文="否")
    assert len(raised()) == 1
    log("导出", at=NOON + timedelta(minutes=3), 行数=1, 明文="否")
    assert len(raised()) == 2


@pytest.mark.req("SEC-19")
@pytest.mark.parametrize(("works", "odd"), [("是", False), ("否", True)])
def test_the_weekend_is_working_time_where_the_parameter_says_so(log, sysadmin, works, odd):
    set_parameter(sysadmin.actor, alarms.WEEKEND, works)
    log("查看明文", at=NOON + timedelta(days=2))  # a Friday
    assert raised() == []
    log("紧急查看", at=NOON + timedelta(days=3))
    assert bool(raised()) == odd


@pytest.mark.req("SEC-19")
@pytest.mark.parametrize(("hour", "odd"), [(6, True), (7, False), (19, False), (20, True)])
def test_clear_data_outside_working_hours_raises_an_alarm(log, hour, odd):
    log("查看明文", at=NOON.replace(hour=hour, minute=30))
    log("导出", at=NOON.replace(hour=hour, minute=30), 行数=1, 明文="否")
    assert raised() == ([("非工作时间看明文", "village", 1)] if odd else [])


@pytest.mark.req("SEC-9", "SEC-19", "P-3.2")
def test_a_log_that_was_tampered_with_raises_an_alarm(log):
    log("查看")
    tamper("UPDATE base_logentry SET actor = '别人' WHERE id = %s", LogEntry.objects.last().pk)
    assert not verifying.verify(NIGHT).sound
    chain.seal()
    alarms.watch()
    assert raised() == [("日志被改动", "校验日志", 1)]
    assert "被改动" in Alarm.objects.get().said


@pytest.mark.req("SEC-19")
def test_an_alarm_is_handled_with_a_note_and_the_next_one_is_a_new_one(log, auditadmin, village):
    log("锁定", label="登录名 village")
    home = auditadmin.client.get("/").content.decode()
    assert "未处理的安全告警" in home and "tile-urgent" in home
    assert "登录名 village" in auditadmin.client.get("/alarms/").content.decode()
    alarm = Alarm.objects.get()
    answer = auditadmin.client.post(
        "/alarms/do/handle/", {"pk": alarm.pk, "note": "本人输错，已核实", "confirm": "1"}
    )
    assert answer.status_code in (200, 302)
    alarm.refresh_from_db()
    assert (alarm.handled_by, alarm.note) == (auditadmin.operator.name, "本人输错，已核实")
    assert LogEntry.objects.get(act="处理告警").reason == "本人输错，已核实"
    with pytest.raises(ValidationError, match="已由"):
        alarms.handle(auditadmin.actor, alarm, note="再来一次")
    log("锁定", label="登录名 village")
    assert Alarm.objects.filter(handled_at=None).count() == 1 and Alarm.objects.count() == 2
    assert village.client.get("/alarms/").status_code == 403


@pytest.mark.req("SEC-19", "SEC-6")
def test_an_administrator_whose_password_somebody_resets_raises_an_alarm(log, auditadmin, village, secadmin):
    """Who has the new password could act as the administrator; of a clerk's it is everyday work."""
    log("重置口令", 1, village.operator, actor=secadmin.actor, resource="operators")
    assert raised() == []
    log("重置口令", 1, auditadmin.operator, actor=secadmin.actor, resource="operators")
    log("重置双因素", 1, auditadmin.operator, actor=secadmin.actor, resource="operators", reason="手机丢失")
    assert raised() == [("管理员被重置", str(auditadmin.operator), 2)]
    assert secadmin.actor.name in Alarm.objects.get().said
