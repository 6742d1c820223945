# ruff: noqa: S608
"""What changes scans and alerts: loading, deleting for good, the night, reception (KP-3, KP-6, KP-8.1)."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import polars as pl
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import OperationalError, connection, transaction
from django.db.models import Q, Sum
from django.utils import timezone
from psycopg.errors import LockNotAvailable

from jingwei.base import audit, codes
from jingwei.base.access import platform_actor
from jingwei.base.copying import copy_into
from jingwei.base.crypto import mac_numbers
from jingwei.base.fields import reseal
from jingwei.base.merging import ARRAY, ZONE, as_array, as_stored
from jingwei.base.parameters import Parameter
from jingwei.base.partitions import ensure_months, months_of
from jingwei.base.personal import Gone
from jingwei.exchange.queries import require_open
from jingwei.messages.actions import send, system_template
from jingwei.places.actions import follow_thresholds, settle
from jingwei.places.models import ChangedDay, Venue, VenueDay
from jingwei.scans import contacts, unusual
from jingwei.scans.evaluation import ALERT_DAYS, evaluate, reevaluate
from jingwei.scans.models import Alert, Scan

SMS_HOUR = Parameter(
    "scans.sms_hour",
    "扫码预警短信时间",
    9,
    "每天几点向有未接收预警的监管单位负责人发送短信",
    "点",
    low=0,
    high=23,
)
PARAMETERS = [ALERT_DAYS, SMS_HOUR, *contacts.PARAMETERS, *unusual.PARAMETERS]

TABLE = Scan._meta.db_table
NIGHT = platform_actor("夜间处理")

KEY = ["venue_code", "collected_at", "digest"]
COPIED_AT_ONCE = 10_000  # rows, which take much memory as text
# A cell of the source row each, in the order in which they are digested.
COLUMNS = (
    *("venue_code", "venue_name", "kind", "city", "street", "manager", "number", "name", "phone", "result"),
    *("test_result", "tested_at", "health_code", "position", "collected_at"),
)


# --- loading ----------------------------------------------------------------------------------------------

# What of these keys is there already: each one look-up in the index of its month.
KNOWN = f"""
SELECT place
FROM unnest({ARRAY}, {ARRAY}::timestamptz[], {ARRAY}::bigint[]) WITH ORDINALITY
    AS arriving (venue_code, collected_at, digest, place)
JOIN scans_scan USING (venue_code, collected_at, digest)
"""

COUNT = f"""
INSERT INTO places_venueday AS footfall (venue_code, day, count)
SELECT * FROM unnest({ARRAY}, {ARRAY}::date[], {ARRAY}::int[])
ON CONFLICT (venue_code, day) DO UPDATE SET count = footfall.count + excluded.count
"""


def store_scans(actor, rows: pl.DataFrame, at) -> int:
    """Keep the scans that are not there yet and count them on their days; returns how many these were.

    `rows` has `COLUMNS` in clear, `collected_at` naive in the platform's time zone; `at` is when they came.
    """
    return store_sealed(actor, sealed(rows), at)


def sealed(rows: pl.DataFrame) -> pl.DataFrame:
    """Scans as `store_sealed` keeps them, with their digests; this may be done long before."""
    texts = [pl.col(name).cast(pl.String).fill_null("") for name in COLUMNS]
    rows_as_text = rows.select(pl.concat_str(texts, separator="\x1f")).to_series()
    digests = mac_numbers("scans.row", [text.encode() for text in rows_as_text], bits=64)
    kept = [as_stored(Scan._meta.get_field(name), rows[name]).alias(name) for name in COLUMNS]
    return pl.DataFrame([*kept, pl.Series("digest", digests, dtype=pl.Int64)])


@transaction.atomic
def store_sealed(actor, scans: pl.DataFrame, at) -> int:
    """The same for scans that are `sealed` already."""
    if scans.is_empty():
        return 0
    scans = scans.unique(KEY, keep="first", maintain_order=True)
    with connection.cursor() as cursor:
        _alone(cursor)
        scans = scans.with_columns(_as_stored_now(scans, name) for name in ("number", "phone"))
        days = scans.select("venue_code", day=pl.col("collected_at").dt.convert_time_zone(ZONE).dt.date())
        for month in days["day"].dt.truncate("1mo").unique():
            ensure_months(TABLE, month, month)
        known = _known(cursor, scans)
        scans, days = (frame.filter(~known) for frame in (scans, days))
        told = {"importer": pl.lit(actor.name[:80]), "imported_at": pl.lit(at)}
        for some in scans.iter_slices(COPIED_AT_ONCE):
            copy_into(TABLE, some.with_columns(**told))
        counts = days.group_by("venue_code", "day").len().sort("venue_code", "day")
        cursor.execute(COUNT, [as_array(column) for column in counts])
    return len(scans)


def _as_stored_now(scans, name):
    """A sealed column, whose values a rotation of the keys may have moved since."""
    stored = reseal(Scan._meta.get_field(name).sealing, scans[name].to_list())
    return pl.Series(name, stored, dtype=pl.Binary)


def _known(cursor, scans):
    """Boolean: scans that are there already. Nobody else writes meanwhile."""
    first, last = scans["collected_at"].min(), scans["collected_at"].max()
    places = []
    if Scan.objects.filter(collected_at__range=(first, last)).exists():
        cursor.execute("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off")
        cursor.execute(KNOWN, [as_array(scans[name]) for name in KEY])
        places = [place - 1 for (place,) in cursor.fetchall()]
        cursor.execute("SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on")
    return pl.int_range(len(scans), eager=True).is_in(places)


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

    @property
    def days(self) -> tuple[date, date]:
        """The whole days inside: the first, and the one behind the last."""
        since, until = timezone.localtime(self.since), timezone.localtime(self.until)
        return since.date() + timedelta(days=since.time() > time()), until.date()

    def __str__(self):
        span = " 至 ".join(f"{timezone.localtime(t):%Y-%m-%d %H:%M:%S}" for t in (self.since, self.until))
        return f"{BY[self.by]} {span}" + (f"，公共场所 {self.venue_code}" if self.venue_code else "")


def count_scans(actor, chosen: Chosen) -> int:
    """How many scans `chosen` takes in. PermissionDenied for who does not reach every scan.

    Whole days of collecting are told by their counters, at any number of scans.
    """
    if not actor.data_scope("scans.erase").everything:
        raise PermissionDenied("批量删除涉及全部场所的扫码记录，须由数据范围为“全部”的账号办理")
    scans, first, following = Scan.objects.filter(chosen.condition), *chosen.days
    if chosen.by != COLLECTED or first >= following:
        return scans.count()
    days = VenueDay.objects.filter(day__gte=first, day__lt=following)
    if chosen.venue_code:
        days = days.filter(venue_code=chosen.venue_code)
    whole = days.aggregate(number=Sum("count"))["number"] or 0
    parts = Q(collected_at__lt=_midnight(first)) | Q(collected_at__gte=_midnight(following))
    return whole + scans.filter(parts).count()


# Deleted scans are counted off their days in the same statement.
ERASE = """
WITH gone AS (
    DELETE FROM scans_scan WHERE {condition} RETURNING venue_code, collected_at
), counted AS (
    SELECT venue_code, (collected_at AT TIME ZONE %(zone)s)::date AS day, count(*) AS number
    FROM gone GROUP BY 1, 2
)
UPDATE places_venueday AS footfall SET count = footfall.count - number
FROM counted WHERE footfall.venue_code = counted.venue_code AND footfall.day = counted.day
"""

LONGEST_WAIT = "10s"  # for exports and queries that read the months to be emptied


@transaction.atomic
def erase_scans(actor, chosen: Chosen, *, expected: int) -> int:
    """Delete scans for good, as counted before; statistics and alerts follow. Returns how many (KP-3.3).

    ValidationError if there are no longer just `expected` of them: nobody deletes what was not shown; and
    while scans come from a front database, which would bring them again (KP-8.2). Months that go whole are
    emptied at once, with their counters.
    """
    require_open("scans")
    with connection.cursor() as cursor:
        _alone(cursor)
        number = count_scans(actor, chosen)
        if number != expected:
            raise ValidationError(
                f"符合条件的记录已由 {expected:,} 条变为 {number:,} 条，没有删除；请重新统计后再确认"
            )
        months = _whole_months(cursor, chosen) if chosen.by == COLLECTED and not chosen.venue_code else []
        for partition, first, following in months:
            _empty(cursor, partition)
            VenueDay.objects.filter(day__gte=first, day__lt=following).delete()
        condition = f"{chosen.by} >= %(since)s AND {chosen.by} < %(until)s"
        if chosen.venue_code:
            condition += " AND venue_code = %(venue)s"
        told = {"since": chosen.since, "until": chosen.until, "venue": chosen.venue_code, "zone": ZONE}
        cursor.execute(ERASE.format(condition=condition), told)
    audit.record(actor, "批量删除", resource="scans", label=str(chosen), count=number, months=len(months))
    late_data()
    return number


SPAN = "collected_at >= %(since)s AND collected_at < %(until)s"
# What went, in whatever order: the digests of the source rows, added up bit by bit.
TOLD = f"SELECT count(*), bit_xor(digest) FROM {TABLE} WHERE {SPAN}"


@transaction.atomic
def erase_oldest(before: datetime) -> Gone | None:
    """Erase the scans of the oldest month, or of the oldest day of the month of `before`, with their counts.

    `before` is a midnight; None when there are no scans before it. A month that goes whole is emptied at
    once, and goes unfinished for the next night while somebody reads it.
    """
    with connection.cursor() as cursor:
        _alone(cursor)
        oldest = Scan.objects.filter(collected_at__lt=before).order_by("collected_at").first()
        if oldest is None:
            return None
        first = timezone.localdate(oldest.collected_at)
        following = (first.replace(day=1) + timedelta(days=32)).replace(day=1)
        whole = _midnight(following) <= before
        since = _midnight(first.replace(day=1) if whole else first)
        chosen = Chosen(COLLECTED, since, _midnight(following if whole else first + timedelta(days=1)))
        told = {"since": chosen.since, "until": chosen.until, "zone": ZONE}
        cursor.execute(TOLD, told)
        count, digests = cursor.fetchone()
        for partition, start, end in _whole_months(cursor, chosen):
            _empty(cursor, partition)
            VenueDay.objects.filter(day__gte=start, day__lt=end).delete()
        cursor.execute(ERASE.format(condition=SPAN), told)
        VenueDay.objects.filter(day__gte=chosen.days[0], day__lt=chosen.days[1], count=0).delete()
    return Gone(count, [f"{chosen}，{count} 条，{digests}"])


THESE = """
(venue_code, collected_at, digest) IN (
    SELECT * FROM unnest(%(venue_code)s::text[], %(collected_at)s::timestamptz[], %(digest)s::bigint[])
)
"""


@transaction.atomic
def forget_scans(rows) -> Gone:
    """Delete these scans and count them off their days."""
    with connection.cursor() as cursor:
        _alone(cursor)
        keys = list(rows.values_list(*KEY))
        if keys:
            columns = dict(zip(KEY, map(list, zip(*keys, strict=True)), strict=True))
            cursor.execute(ERASE.format(condition=THESE), columns | {"zone": ZONE})
    return Gone(len(keys), (f"{code} {at.isoformat()} {digest}" for code, at, digest in keys))


def _empty(cursor, partition):
    """Empty a month. Who waits for readers keeps everybody else waiting, therefore not for long."""
    try:
        cursor.execute(f"SET LOCAL lock_timeout = '{LONGEST_WAIT}'")
        cursor.execute("SELECT wall_empty_month(%s)", [partition])
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            raise ValidationError("这些月份的记录正被导出或查询，没有删除；请等导出结束后再办理") from error
        raise
    cursor.execute("SET LOCAL lock_timeout = 0")


def _whole_months(cursor, chosen):
    """[(partition, first day, first day of the next month)] of the months that lie inside the span."""
    found = []
    for partition in months_of(TABLE):
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
SELECT unknown.venue_code, venue_name, kind, city, street, manager, position
FROM (SELECT DISTINCT venue_code FROM places_venuemonth WHERE count > 0
      EXCEPT SELECT code FROM places_venue) AS unknown,
LATERAL (SELECT * FROM scans_scan AS scan WHERE scan.venue_code = unknown.venue_code
         ORDER BY collected_at DESC LIMIT 1) AS latest
ORDER BY unknown.venue_code
"""

RECOUNT = """
WITH days AS (
    SELECT unnest(%(days)s::date[]) AS day
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
INSERT INTO places_venueday (venue_code, day, count) SELECT venue_code, day, number FROM wrong
ON CONFLICT (venue_code, day) DO UPDATE SET count = excluded.count
"""


@transaction.atomic
def recount(actor) -> int:
    """Count the scans of the days anew whose counters have changed since then; how many were wrong."""
    with connection.cursor() as cursor:
        _alone(cursor)
        days = list(ChangedDay.objects.values_list("day", flat=True))
        cursor.execute(RECOUNT, {"days": days, "zone": ZONE})
        wrong = cursor.rowcount
        ChangedDay.objects.filter(day__in=days).delete()
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
    follow_thresholds(today)
    return {
        "日扫码量核对": f"更正 {recount(NIGHT)} 个",
        "场所比对": f"新增未登记场所 {compare_venues(NIGHT)} 个",
        "扫码预警": str(evaluate(NIGHT, today - timedelta(days=1))),
        "扫码量分析": str(unusual.analyse(today - timedelta(days=1))),
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
