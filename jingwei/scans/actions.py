# ruff: noqa: S608
"""What changes scans and alerts: loading, deleting for good, the night, reception (KP-3, KP-6, KP-8.1)."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import polars as pl
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from jingwei.base import audit, codes
from jingwei.base.access import platform_actor
from jingwei.base.copying import copy_into
from jingwei.base.crypto import mac_numbers
from jingwei.base.merging import ZONE, as_stored
from jingwei.base.parameters import Parameter
from jingwei.base.partitions import ensure_months
from jingwei.messages.actions import send, system_template
from jingwei.places.actions import follow_thresholds, settle
from jingwei.places.models import Venue
from jingwei.scans.evaluation import ALERT_DAYS, evaluate, reevaluate
from jingwei.scans.models import Alert, Evaluation, Scan

SMS_HOUR = Parameter(
    "scans.sms_hour",
    "扫码预警短信时间",
    9,
    "每天几点向有未接收预警的监管单位负责人发送短信",
    "点",
    low=0,
    high=23,
)
PARAMETERS = [ALERT_DAYS, SMS_HOUR]

TABLE = Scan._meta.db_table
NIGHT = platform_actor("夜间处理")

# A cell of the source row each, in the order in which they are digested.
COLUMNS = (
    *("venue_code", "venue_name", "kind", "city", "street", "manager", "number", "name", "phone", "result"),
    *("test_result", "tested_at", "health_code", "position", "collected_at"),
)


# --- loading ----------------------------------------------------------------------------------------------

STORE = """
WITH stored AS (
    INSERT INTO scans_scan ({columns}) SELECT {columns} FROM arriving ON CONFLICT DO NOTHING
    RETURNING venue_code, collected_at
), counted AS (
    INSERT INTO places_venueday AS footfall (venue_code, day, count, updated_at)
    SELECT venue_code, (collected_at AT TIME ZONE %(zone)s)::date, count(*), clock_timestamp()
    FROM stored GROUP BY 1, 2
    ON CONFLICT (venue_code, day)
    DO UPDATE SET count = footfall.count + excluded.count, updated_at = excluded.updated_at
)
SELECT count(*) FROM stored
"""


@transaction.atomic
def store_scans(actor, rows: pl.DataFrame, at) -> int:
    """Keep the scans that are not there yet and count them on their days; returns how many these were.

    `rows` has `COLUMNS` in clear, `collected_at` naive in the platform's time zone; `at` is when they came.
    """
    if rows.is_empty():
        return 0
    texts = [rows[name].cast(pl.String).fill_null("") for name in COLUMNS]
    rows_as_text = pl.select(pl.concat_str(texts, separator="\x1f")).to_series()
    digests = mac_numbers("scans.row", [text.encode() for text in rows_as_text], bits=64)
    stored = [as_stored(Scan._meta.get_field(name), rows[name]).alias(name) for name in COLUMNS]
    frame = pl.DataFrame(stored).with_columns(
        pl.Series("digest", digests, dtype=pl.Int64), importer=pl.lit(actor.name[:80]), imported_at=pl.lit(at)
    )
    columns = ", ".join(map(connection.ops.quote_name, frame.columns))
    with connection.cursor() as cursor:
        _alone(cursor)
        for month in rows["collected_at"].dt.truncate("1mo").unique():
            ensure_months(TABLE, month, month)
        cursor.execute(f"CREATE TEMP TABLE arriving ON COMMIT DROP AS SELECT {columns} FROM {TABLE} LIMIT 0")
        copy_into("arriving", frame)
        cursor.execute(STORE.format(columns=columns), {"zone": ZONE})
        [added] = cursor.fetchone()
        cursor.execute("DROP TABLE arriving")
    return added


def _alone(cursor):
    """Nobody else writes scans until the end of the transaction: rows and counters never wait crosswise."""
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [TABLE])


def late_data():
    """After scans have come or gone: bring the alerts in line with the days they touch (KP-6.3)."""
    reevaluate(NIGHT)


# --- deleting for good ------------------------------------------------------------------------------------

COLLECTED, IMPORTED = "collected_at", "imported_at"
BY = {COLLECTED: "采集时间", IMPORTED: "数据导入时间"}


@dataclass(frozen=True)
class Chosen:
    """Scans by a span of collecting or import time, from `since` to before `until`, of one venue or all."""

    by: str
    since: datetime
    until: datetime
    venue_code: str = ""

    @property
    def condition(self) -> Q:
        found = Q(**{f"{self.by}__gte": self.since, f"{self.by}__lt": self.until})
        return found & Q(venue_code=self.venue_code) if self.venue_code else found

    def __str__(self):
        span = " 至 ".join(f"{timezone.localtime(t):%Y-%m-%d %H:%M:%S}" for t in (self.since, self.until))
        return f"{BY[self.by]} {span}" + (f"，公共场所 {self.venue_code}" if self.venue_code else "")


def count_scans(actor, chosen: Chosen) -> int:
    """How many scans `chosen` takes in. PermissionDenied for who does not reach every scan."""
    if not actor.data_scope("scans.erase").everything:
        raise PermissionDenied("批量删除涉及全部场所的扫码记录，须由数据范围为“全部”的账号办理")
    return Scan.objects.filter(chosen.condition).count()


# Deleted scans are counted off their days in the same statement.
ERASE = """
WITH gone AS (
    DELETE FROM scans_scan WHERE {condition} RETURNING venue_code, collected_at
), counted AS (
    SELECT venue_code, (collected_at AT TIME ZONE %(zone)s)::date AS day, count(*) AS number
    FROM gone GROUP BY 1, 2
), taken AS (
    UPDATE places_venueday AS footfall SET count = footfall.count - number, updated_at = clock_timestamp()
    FROM counted WHERE footfall.venue_code = counted.venue_code AND footfall.day = counted.day
)
SELECT count(*) FROM gone
"""

# Months that go whole are emptied at once.
EMPTY_MONTH = """
UPDATE places_venueday SET count = 0, updated_at = clock_timestamp()
WHERE day >= %(first)s AND day < %(next)s AND count > 0
"""


@transaction.atomic
def erase_scans(actor, chosen: Chosen, *, expected: int) -> int:
    """Delete scans for good, as counted before; statistics and alerts follow. Returns how many (KP-3.3).

    ValidationError if there are no longer just `expected` of them: nobody deletes what was not shown.
    """
    with connection.cursor() as cursor:
        _alone(cursor)
        number = count_scans(actor, chosen)
        if number != expected:
            raise ValidationError(
                f"符合条件的记录已由 {expected:,} 条变为 {number:,} 条，没有删除；请重新统计后再确认"
            )
        whole = _whole_months(cursor, chosen) if chosen.by == COLLECTED and not chosen.venue_code else []
        for partition, first, following in whole:
            cursor.execute(f"TRUNCATE {connection.ops.quote_name(partition)}")
            cursor.execute(EMPTY_MONTH, {"first": first, "next": following})
        condition = f"{chosen.by} >= %(since)s AND {chosen.by} < %(until)s"
        if chosen.venue_code:
            condition += " AND venue_code = %(venue)s"
        told = {"since": chosen.since, "until": chosen.until, "venue": chosen.venue_code, "zone": ZONE}
        cursor.execute(ERASE.format(condition=condition), told)
    audit.record(actor, "批量删除", resource="scans", label=str(chosen), count=number, months=len(whole))
    late_data()
    return number


def _whole_months(cursor, chosen):
    """[(partition, first day, first day of the next month)] of the months that lie inside the span."""
    cursor.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass", [TABLE])
    found = []
    for (partition,) in cursor.fetchall():
        first = datetime.strptime(partition[-6:], "%Y%m").date()
        following = (first + timedelta(days=32)).replace(day=1)
        if chosen.since <= _midnight(first) and _midnight(following) <= chosen.until:
            found.append((partition, first, following))
    return found


def _midnight(day):
    return timezone.make_aware(datetime.combine(day, time()))


# --- the night --------------------------------------------------------------------------------------------

# A code of the scans that no venue has, with its latest scan.
UNKNOWN = """
SELECT DISTINCT ON (scan.venue_code)
    scan.venue_code, venue_name, kind, city, street, manager, position
FROM (SELECT DISTINCT venue_code FROM places_venueday WHERE count > 0
      EXCEPT SELECT code FROM places_venue) AS unknown
JOIN scans_scan AS scan USING (venue_code)
ORDER BY scan.venue_code, collected_at DESC
"""

RECOUNT = """
WITH days AS (
    SELECT DISTINCT day FROM places_venueday WHERE %(since)s::timestamptz IS NULL OR updated_at >= %(since)s
), counted AS (
    SELECT venue_code, day, count(*) AS number FROM days JOIN scans_scan
        ON collected_at >= day::timestamp AT TIME ZONE %(zone)s
       AND collected_at < (day + 1)::timestamp AT TIME ZONE %(zone)s
    GROUP BY 1, 2
), kept AS (
    SELECT venue_code, day, count FROM places_venueday JOIN days USING (day)
), wrong AS (
    SELECT venue_code, day, coalesce(number, 0) AS number FROM counted FULL JOIN kept USING (venue_code, day)
    WHERE coalesce(number, 0) <> coalesce(count, 0)
)
INSERT INTO places_venueday (venue_code, day, count, updated_at)
SELECT venue_code, day, number, clock_timestamp() FROM wrong
ON CONFLICT (venue_code, day) DO UPDATE SET count = excluded.count, updated_at = excluded.updated_at
"""


@transaction.atomic
def recount(actor, since=None) -> int:
    """Count the scans of the days anew whose counters changed `since` (None: all); how many were wrong."""
    with connection.cursor() as cursor:
        _alone(cursor)
        cursor.execute(RECOUNT, {"since": since, "zone": ZONE})
        wrong = cursor.rowcount
    if wrong:
        audit.record(actor, "更正日扫码量", resource="scans", count=wrong)
    return wrong


@transaction.atomic
def compare_venues(actor) -> int:
    """Register the venue codes of the scans that nobody knows, with what the scans say; how many (KP-1.4)."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('places_venue'))")
        cursor.execute(UNKNOWN)
        found = cursor.fetchall()
    if not found:
        return 0
    words, length = codes.words("场所类别"), _lengths(Venue)
    venues = [
        Venue(
            code=code,
            name=(name or code)[: length["name"]],
            kind=words.get(kind.strip(), ""),
            city=city[: length["city"]],
            street=street[: length["street"]],
            manager=manager[: length["manager"]],
            position=position[: length["position"]],
        )
        for code, name, kind, city, street, manager, position in found
    ]
    settle(venue.pk for venue in Venue.objects.bulk_create(venues))
    label = f"扫码记录中的未登记场所 {len(venues)} 个"
    audit.record(actor, "新增", resource="venues", label=label, codes=[venue.code for venue in venues])
    return len(venues)


def _lengths(model):
    return {field.name: field.max_length for field in model._meta.concrete_fields}


ALERT_SMS = "scan-alerts"


@transaction.atomic
def tell_regulators(actor, today: date) -> int:
    """One SMS to each responsible person whose unit has alerts to receive; how many wait today (KP-8.1).

    The day and the number make it the same SMS: twice is the same as once.
    """
    waiting = Alert.objects.filter(received_at=None, withdrawn_at=None, venue__regulator_phone__isnull=False)
    persons = {}
    for alert in waiting.select_related("venue").order_by("venue_id", "first_day"):
        persons.setdefault(alert.venue.regulator_phone.clear(), alert.venue)
    template = system_template(
        ALERT_SMS,
        name="扫码预警提醒",
        text="您单位监管的公共场所有待接收的扫码预警，请登录疫情防控监管专区查看。",
    )
    at = timezone.make_aware(datetime.combine(today, time(SMS_HOUR.value())))
    told = 0
    for number, digest in zip(
        persons, mac_numbers(ALERT_SMS, [n.encode() for n in persons], bits=64), strict=True
    ):
        venue = persons[number]
        try:
            with transaction.atomic():
                send(
                    actor,
                    template,
                    to=number,
                    name=venue.regulator_head,
                    key=f"{ALERT_SMS}/{today}/{digest}",
                    not_before=max(at, timezone.now()),
                    organisation_id=venue.regulator_id,
                )
            told += 1
        except ValidationError as refusal:  # a telephone that gets no SMS, or the template is switched off
            reason = "；".join(refusal.messages)
            audit.record(actor, "发送短信", venue, resource="alerts", result="失败", reason=reason)
    return told


def run_nightly(today: date) -> dict[str, str]:
    """What the night does on `today`, {what: outcome}; doing it again changes nothing."""
    last = Evaluation.objects.first()
    follow_thresholds(today)
    return {
        "日扫码量核对": f"更正 {recount(NIGHT, last and last.at - timedelta(days=1))} 个",
        "场所比对": f"新增未登记场所 {compare_venues(NIGHT)} 个",
        "扫码预警": str(evaluate(NIGHT, today - timedelta(days=1))),
        "预警短信": f"今天应发 {tell_regulators(NIGHT, today)} 条",
    }


# --- reception --------------------------------------------------------------------------------------------


@transaction.atomic
def receive_alert(actor, alert):
    """Take note of an alert as its regulator: who and when stay with it (KP-6.3)."""
    alert = Alert.objects.visible_to(actor, "alerts.receive").select_for_update(of=("self",)).get(pk=alert.pk)
    if alert.withdrawn_at:
        raise ValidationError("该预警已撤回，不必接收")
    if alert.received_at:
        at = timezone.localtime(alert.received_at)
        raise ValidationError(f"该预警已由{alert.receiver}于 {at:%Y-%m-%d %H:%M} 接收")
    alert.received_at = alert.updated_at = timezone.now()
    alert.received_by, alert.receiver = actor.operator_id, actor.name
    alert.version += 1
    alert.save()
    audit.record(actor, "接收预警", alert, resource="alerts")
