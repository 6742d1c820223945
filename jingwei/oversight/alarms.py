"""Alarms: what the audit administrator should look into, found in the operation log (SEC-19).

Once a minute the rows sealed since the last time are looked through, each exactly once. What belongs to an
alarm that nobody has dealt with yet adds to it; so there is one alarm per reason and subject, never a flood.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import CharField, Count, IntegerField, Max, Min, Q, Sum
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, ExtractHour, ExtractIsoWeekDay
from django.utils import timezone

from jingwei.base import audit, chain, wall
from jingwei.base.models import Alarm, AlarmWatch, LogEntry, LogSeal
from jingwei.base.parameters import Parameter
from jingwei.directory.models import Operator

REFUSALS = Parameter(
    "alarms.refusals", "频繁被拒告警次数", 20, "同一账号或同一地址在统计时长内被拒绝达到次数", "次", 3, 1000
)
MINUTES = Parameter("alarms.minutes", "频繁被拒统计时长", 10, "", "分钟", 1, 60)
EXPORTED = Parameter(
    "alarms.exported", "大量导出告警行数", 20_000, "同一账号一天导出的行数达到这个数", "行", 100, 10_000_000
)
OPENS = Parameter("alarms.opens", "工作时间开始", 7, "在此之前查看、导出明文产生告警", "时", 0, 12)
CLOSES = Parameter("alarms.closes", "工作时间结束", 20, "在此之后查看、导出明文产生告警", "时", 12, 24)
WEEKEND = Parameter("alarms.weekend", "周末算工作时间", True, "选“否”则周六周日查看、导出明文都产生告警")
PARAMETERS = [REFUSALS, MINUTES, EXPORTED, OPENS, CLOSES, WEEKEND]

UNSEALED = "日志未封存"
KINDS = (
    *("频繁被拒", "登录限流", "登录锁定", "大量导出", "非工作时间看明文", "管理员被重置"),
    *("日志被改动", UNSEALED, "程序被改动", "核对不一致", "定时任务失败"),
)


@dataclass(frozen=True)
class Finding:
    """What a rule has found about one subject: how often, from when to when, in words."""

    kind: str
    subject: str
    number: int
    first_at: datetime
    last_at: datetime
    said: str


@transaction.atomic
def watch() -> int:
    """Look through what was sealed since the last time; returns how many alarms were raised or added to."""
    with wall.beyond_scope():
        _watch_sealing()
        last = LogSeal.objects.values_list("number", flat=True).last() or 0
        # What was before there were alarms raises none.
        AlarmWatch.objects.get_or_create(pk=1, defaults={"seal": last})
        seen = AlarmWatch.objects.select_for_update().get(pk=1)
        if last <= seen.seal:
            return 0
        found = [finding for rule in RULES for finding in rule(seen.seal)]
        for finding in found:
            _raise(finding)
        seen.seal = last
        seen.save()
    return len(found)


def _watch_sealing():
    """Rows that wait too long for their seal are no row themselves: what holds them up holds up all rules."""
    waiting, now = chain.waiting(), timezone.now()
    if waiting.is_late:
        is_known = Alarm.objects.filter(kind=UNSEALED, handled_at=None).exists()
        _raise(Finding(UNSEALED, "操作日志", 0 if is_known else 1, waiting.since, now, str(waiting)))


def _raise(finding):
    """Add to the open alarm of this kind and subject, or open one."""
    alarm = Alarm.objects.filter(kind=finding.kind, subject=finding.subject, handled_at=None).first()
    if alarm is None:
        alarm = Alarm(kind=finding.kind, subject=finding.subject, first_at=finding.first_at, number=0)
    alarm.number += finding.number
    alarm.last_at, alarm.said = finding.last_at, finding.said[:300]
    alarm.save()


@transaction.atomic
def handle(actor, alarm: Alarm, *, note):
    """Close an alarm with what came of it; the next of its kind opens another."""
    alarm = Alarm.objects.select_for_update().get(pk=alarm.pk)
    if alarm.handled_at:
        raise ValidationError(f"“{alarm}”已由{alarm.handled_by}处理")
    alarm.handled_at, alarm.handled_by, alarm.note = timezone.now(), actor.name, note
    alarm.save()
    audit.record(actor, "处理告警", alarm, resource="alarms", reason=note)


# --- the rules: functions of the last seal seen, giving findings -------------------------------------------


def _new(seal):
    """The rows sealed since."""
    sealed = "base_logentry.id IN (SELECT unnest(entries) FROM base_logseal WHERE number > %s)"
    return LogEntry.objects.extra(where=[sealed], params=[seal]).order_by()  # noqa: S610, no values of others


def _span(rows, *by):
    """One row for each value of `by`, with how often and from when to when."""
    return rows.values(*by).annotate(number=Count("pk"), first_at=Min("at"), last_at=Max("at"))


def _bursts(seal) -> Iterator[Finding]:
    """So many refusals of one account, or from one address, within so many minutes."""
    for column, what in (("login", "账号"), ("address", "地址")):
        with connection.cursor() as cursor:
            # An alarm that was dealt with has had its refusals.
            cursor.execute(
                f"""
                WITH new AS (
                    SELECT id, at, {column} AS subject FROM base_logentry
                     WHERE id IN (SELECT unnest(entries) FROM base_logseal WHERE number > %(seal)s)
                       AND result = '拒绝' AND {column} <> ''
                ), refused AS (
                    SELECT e.id, e.at, e.{column} AS subject,
                           count(*) OVER (PARTITION BY e.{column} ORDER BY e.at
                                          RANGE BETWEEN %(span)s PRECEDING AND CURRENT ROW) AS number
                      FROM base_logentry e
                     WHERE e.{column} IN (SELECT subject FROM new) AND e.result = '拒绝'
                       AND e.at >= (SELECT min(at) FROM new) - %(span)s
                       AND e.at > coalesce((SELECT max(last_at) FROM base_alarm
                                             WHERE kind = '频繁被拒' AND subject = %(what)s || e.{column}
                                               AND handled_at IS NOT NULL), '-infinity')
                )
                SELECT subject, max(refused.number), min(refused.at), max(refused.at),
                       count(*) FILTER (WHERE id IN (SELECT id FROM new) OR NOT EXISTS (
                           SELECT FROM base_alarm WHERE kind = '频繁被拒' AND handled_at IS NULL
                              AND base_alarm.subject = %(what)s || refused.subject))
                  FROM refused GROUP BY subject HAVING max(refused.number) >= %(most)s
                """,  # noqa: S608, names of ours
                {
                    "seal": seal,
                    "span": timedelta(minutes=MINUTES.value()),
                    "what": f"{what} ",
                    "most": REFUSALS.value(),
                },
            )
            for subject, most, first, last, new in cursor.fetchall():
                said = f"{what} {subject} 在 {MINUTES.value()} 分钟内被拒绝 {most} 次"
                yield Finding("频繁被拒", f"{what} {subject}", new, first, last, said)


def _locks(seal) -> Iterator[Finding]:
    for row in _span(_new(seal).filter(act="锁定"), "label"):
        yield Finding("登录锁定", row.pop("label"), **row, said="连续输错，已锁定")


def _exports(seal) -> Iterator[Finding]:
    """One account's exports, and rows in clear by the command line, of a day that has new ones."""
    taken = Q(act="导出") | Q(act="查看明文", detail__has_key="行数")
    for login, day in set(_new(seal).filter(taken, result="成功").values_list("login", "at__date")):
        begin = timezone.make_aware(datetime.combine(day, time()))
        of_day = {"at__gte": begin, "at__lt": begin + timedelta(days=1)}
        rows = LogEntry.objects.filter(taken, result="成功", login=login, **of_day).order_by()
        # An alarm that was dealt with has had its exports.
        handled = Alarm.objects.filter(kind="大量导出", subject=login, handled_at__isnull=False)
        if last := handled.aggregate(last=Max("last_at"))["last"]:
            rows = rows.filter(at__gt=last)
        found = rows.annotate(rows=Cast(KT("detail__行数"), IntegerField())).aggregate(
            sum=Sum("rows"), first_at=Min("at"), last_at=Max("at")
        )
        if (found["sum"] or 0) >= EXPORTED.value():
            said = f"{day:%Y-%m-%d} 导出 {found['sum']:,} 行"
            yield Finding("大量导出", login, 1, found["first_at"], found["last_at"], said)


def _odd_hours(seal) -> Iterator[Finding]:
    clear = Q(act__startswith="查看明文") | Q(act="导出", detail__明文="是") | Q(act="紧急查看")
    odd = Q(hour__lt=OPENS.value()) | Q(hour__gte=CLOSES.value())
    if not WEEKEND.value():
        odd |= Q(day__gte=6)
    rows = _new(seal).filter(clear, result="成功", operator__isnull=False)
    rows = rows.annotate(hour=ExtractHour("at"), day=ExtractIsoWeekDay("at")).filter(odd)
    for row in _span(rows, "login"):
        said = f"工作时间（{OPENS.value()}—{CLOSES.value()} 时）以外看明文"
        yield Finding("非工作时间看明文", row.pop("login"), **row, said=said)


def _resets(seal) -> Iterator[Finding]:
    """Whoever gives an administrator a new password, or takes their device off, could act as them (SEC-6)."""
    administrators = Operator.objects.filter(appointments__roles__administrator__gt="")
    keys = administrators.annotate(key=Cast("pk", CharField())).values("key")
    rows = _new(seal).filter(act__in=("重置口令", "重置双因素"), resource="operators", object_id__in=keys)
    for row in _span(rows, "label", "act", "actor"):
        said = f"由{row.pop('actor')}{row.pop('act')}，请向本人核实"
        yield Finding("管理员被重置", row.pop("label")[:120], **row, said=said)


# Rows that are an alarm in themselves: {act: (kind, also when it succeeded)}.
GRAVE = {
    "校验日志": ("日志被改动", False),
    "文件校验": ("程序被改动", False),
    "核对统计数字": ("核对不一致", False),
    "核对每日趋势": ("核对不一致", False),
    "更正日扫码量": ("核对不一致", True),
    "登录限流": ("登录限流", True),
}


def _grave(seal) -> Iterator[Finding]:
    for act, (kind, always) in GRAVE.items():
        rows = _new(seal).filter(act=act)
        for row in _span(rows if always else rows.filter(result="失败"), "act"):
            told = rows.order_by("pk").last()
            said = told.reason or f"{act}：{told.detail.get('count', '')} 处"
            yield Finding(kind, row.pop("act"), **row, said=said)


def _failures(seal) -> Iterator[Finding]:
    rows = _new(seal).filter(act="任务失败", operator=None)
    for row in _span(rows, "label"):
        label = row.pop("label")
        yield Finding(
            "定时任务失败", label[:120], **row, said=rows.filter(label=label).order_by("pk").last().reason
        )


RULES = [_bursts, _locks, _exports, _odd_hours, _resets, _grave, _failures]
