"""Which venues were beyond their thresholds for days on end: the alerts that follow from the counts (KP-6).

Day by day, a run of breaching days of one reason is counted; at so many (`ALERT_DAYS`) a window is raised and
the run starts again from nought, so windows never overlap. A day without scans counts as zero, but for the
days before the first scan of all, of which nothing is known. Each day is held against the threshold in force
on it. Days of a received alert are used up, whatever the data say later (KP-6.3).

All venues are evaluated at once, by sets. A night looks only at the days since the last one and, of venues
whose counts or thresholds have changed since (`ChangedVenue`), at the days from the first change to the next
day after the last one that is within the thresholds: there every run ends. The result is what an evaluation
of all days would give.
"""

from dataclasses import dataclass
from datetime import date, timedelta

from django.db import connection, transaction
from django.utils import timezone

from jingwei.base import audit
from jingwei.base.parameters import Parameter
from jingwei.places.models import ChangedVenue
from jingwei.scans.models import HIGH, LOW, Evaluation

ALERT_DAYS = Parameter(
    "scans.alert_days",
    "扫码预警天数",
    7,
    "连续多少天低于最小值或高于最大值时预警，适用于全部场所；修改后从新的一天起按新天数",
    "天",
    low=1,
    high=60,
)
# {venue, days}: what has changed; a change of a threshold reaches to the last day.
CHANGED = """
CREATE TEMP TABLE changed (venue_id bigint, first_day date, last_day date) ON COMMIT DROP;
WITH gone AS (DELETE FROM places_changedvenue RETURNING venue_code, first_day, last_day)
INSERT INTO changed
SELECT venue.id, min(first_day), max(least(last_day, %(through)s))
FROM gone JOIN places_venue AS venue ON venue.code = venue_code
WHERE first_day <= %(through)s GROUP BY 1
"""

# What has to be looked at: of each venue the days from `since` to `until`, and with them the received alerts
# that begin there; on to `finish`, where every run ends; read from `start`, so that a run that has begun
# before and the windows that may have to go are seen whole.
CHOOSE = """
CREATE TEMP TABLE evaluating ON COMMIT DROP AS
WITH chosen AS (
    SELECT venue.id AS venue_id, code, least(%(since)s::date, first_day) AS since,
           greatest(%(until)s::date, last_day) AS until
    FROM places_venue AS venue LEFT JOIN changed ON venue_id = venue.id
    WHERE NOT venue.archived
      AND (EXISTS (SELECT FROM places_venuethreshold WHERE venue_id = venue.id)
           OR EXISTS (SELECT FROM scans_alert WHERE venue_id = venue.id AND withdrawn_at IS NULL))
      AND (first_day IS NOT NULL OR %(since)s::date IS NOT NULL)
), whole AS (
    SELECT venue_id, code, since,
           greatest(until, (SELECT max(last_day) FROM scans_alert AS alert
                            WHERE alert.venue_id = chosen.venue_id AND withdrawn_at IS NULL
                              AND received_at IS NOT NULL AND first_day <= until)) AS until
    FROM chosen
), bounded AS (
    SELECT *, coalesce((
        SELECT day - 1 FROM places_venueday AS footfall
        WHERE venue_code = code AND day > until AND day <= %(through)s
          AND NOT coalesce((SELECT count < low OR count > high FROM places_venuethreshold AS held
                            WHERE held.venue_id = whole.venue_id AND from_day <= day
                            ORDER BY from_day DESC LIMIT 1), false)
        ORDER BY venue_code, day LIMIT 1
    ), %(through)s) AS finish
    FROM whole
)
SELECT *, least(since - (%(days)s - 1), (SELECT min(first_day) FROM scans_alert AS alert
                WHERE alert.venue_id = bounded.venue_id AND withdrawn_at IS NULL
                  AND last_day >= since AND first_day <= finish)) AS start
FROM bounded
"""

BREACHES = """
CREATE TEMP TABLE breaches ON COMMIT DROP AS
WITH held AS (
    SELECT venue_id, low, high, from_day,
           lead(from_day) OVER (PARTITION BY venue_id ORDER BY from_day) - 1 AS until
    FROM places_venuethreshold
), days AS (
    SELECT venue_id, code, low, high, series.day::date AS day
    FROM evaluating JOIN held USING (venue_id),
         generate_series(greatest(from_day, start, %(first)s::date)::timestamp,
                         least(held.until, finish)::timestamp, interval '1 day') AS series (day)
)
SELECT venue_id, days.day, CASE WHEN coalesce(count, 0) < low THEN %(low)s ELSE %(high)s END AS reason
FROM days LEFT JOIN places_venueday AS footfall ON footfall.venue_code = code AND footfall.day = days.day
WHERE coalesce(count, 0) < low OR coalesce(count, 0) > high
"""

WINDOWS = """
CREATE TEMP TABLE windows ON COMMIT DROP AS
WITH open AS (
    SELECT venue_id, reason, day,
           day - row_number() OVER (PARTITION BY venue_id, reason ORDER BY day)::int AS run
    FROM breaches JOIN evaluating USING (venue_id)
    WHERE NOT EXISTS (
        SELECT FROM scans_alert AS alert
        WHERE alert.venue_id = breaches.venue_id AND alert.reason = breaches.reason
          AND withdrawn_at IS NULL AND (received_at IS NOT NULL OR last_day < since)
          AND day BETWEEN first_day AND last_day
    )
), placed AS (
    SELECT *, row_number() OVER (PARTITION BY venue_id, reason, run ORDER BY day) - 1 AS place FROM open
)
SELECT venue_id, reason, min(day) AS first_day, max(day) AS last_day
FROM placed GROUP BY venue_id, reason, run, place / %(days)s HAVING count(*) = %(days)s
"""

WITHDRAW = """
UPDATE scans_alert AS alert SET withdrawn_at = %(now)s, updated_at = %(now)s, version = version + 1
FROM evaluating
WHERE evaluating.venue_id = alert.venue_id AND withdrawn_at IS NULL AND received_at IS NULL
  AND last_day >= since AND first_day <= finish
  AND NOT EXISTS (SELECT FROM windows
                  WHERE windows.venue_id = alert.venue_id AND windows.reason = alert.reason
                    AND windows.first_day = alert.first_day AND windows.last_day = alert.last_day)
"""

RAISE = """
INSERT INTO scans_alert (venue_id, reason, first_day, last_day, raised_at, receiver, outdated,
                         version, created_at, updated_at)
SELECT venue_id, reason, first_day, last_day, %(now)s, '', false, 1, %(now)s, %(now)s FROM windows
WHERE NOT EXISTS (SELECT FROM scans_alert AS alert
                  WHERE alert.venue_id = windows.venue_id AND alert.reason = windows.reason
                    AND alert.first_day = windows.first_day AND alert.last_day = windows.last_day
                    AND withdrawn_at IS NULL)
"""

MARK = """
UPDATE scans_alert AS alert SET outdated = found.outdated, updated_at = %(now)s, version = version + 1
FROM (
    SELECT received.id, count(breaches.day) <= received.last_day - received.first_day AS outdated
    FROM scans_alert AS received JOIN evaluating USING (venue_id)
    LEFT JOIN breaches ON breaches.venue_id = received.venue_id AND breaches.reason = received.reason
                      AND breaches.day BETWEEN received.first_day AND received.last_day
    WHERE received.received_at IS NOT NULL AND received.withdrawn_at IS NULL
      AND received.last_day >= since AND received.first_day <= until
    GROUP BY received.id
) AS found
WHERE found.id = alert.id AND found.outdated <> alert.outdated
RETURNING alert.outdated
"""


@dataclass(frozen=True)
class Outcome:
    """What an evaluation changed: alerts raised, withdrawn, received ones marked as outdated."""

    raised: int = 0
    withdrawn: int = 0
    outdated: int = 0

    def __str__(self):
        return f"新预警 {self.raised} 条，撤回 {self.withdrawn} 条，标记与数据不符 {self.outdated} 条"


@transaction.atomic
def evaluate(actor, through: date) -> Outcome:
    """Bring the alerts in line with the counts of the days up to `through`. Twice is the same as once."""
    with connection.cursor() as cursor:
        # One at a time: who comes second finds everything done.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('scans_alert'))")
        last = Evaluation.objects.first()
        started = timezone.now()
        first = _first_day(cursor)
        through = max(through, last.day) if last else through
        since, until = _days_of_all(last, first, through)
        told = {
            "since": since,
            "until": until,
            "first": first or through + timedelta(days=1),
            "through": through,
            "days": ALERT_DAYS.value(),
            "low": LOW,
            "high": HIGH,
            "now": started,
        }
        cursor.execute(CHANGED, told)
        cursor.execute("ANALYZE changed")
        cursor.execute(CHOOSE, told)
        cursor.execute(BREACHES, told)
        cursor.execute("ANALYZE evaluating, breaches")
        cursor.execute(WINDOWS, told)
        cursor.execute(WITHDRAW, told)
        withdrawn = cursor.rowcount
        cursor.execute(RAISE, told)
        raised = cursor.rowcount
        cursor.execute(MARK, told)
        marked = sum(outdated for (outdated,) in cursor.fetchall())
        cursor.execute("DROP TABLE changed, evaluating, breaches, windows")
    Evaluation.objects.update_or_create(day=through, defaults={"at": started, "first_day": first})
    for act, number in (("撤回预警", withdrawn), ("标记预警", marked)):
        if number:  # which ones is told by their time
            reason = "补录或删除扫码记录、修改阈值后，按现有数据不再构成预警"
            told = {"count": number, "at": started.isoformat()}
            audit.record(actor, act, resource="alerts", label=f"扫码预警 {number} 条", reason=reason, **told)
    return Outcome(raised, withdrawn, marked)


FIRST_DAY = """
SELECT min(day) FROM places_venuemonth AS whole JOIN places_venueday AS footfall
    ON footfall.venue_code = whole.venue_code AND day BETWEEN month AND month + 30
WHERE month = (SELECT min(month) FROM places_venuemonth WHERE count > 0)
  AND whole.count > 0 AND footfall.count > 0
"""


def _first_day(cursor):
    """The day of the first scan of all, None without any."""
    cursor.execute(FIRST_DAY)
    return cursor.fetchone()[0]


def _days_of_all(last, first, through):
    """The first and the last day that have to be looked at for every venue, None for none."""
    if last is None:
        return min(filter(None, [first, through])), through
    spans = [(last.day + timedelta(days=1), through)] if last.day < through else []
    if last.first_day != first:  # there are older scans now, or the oldest were deleted
        moved = sorted(day or through for day in (last.first_day, first))
        spans.append((moved[0], min(moved[1], through)))
    return (min(since for since, _ in spans), max(until for _, until in spans)) if spans else (None, None)


def has_late_changes() -> bool:
    """Whether anything has changed of the days that were evaluated."""
    last = Evaluation.objects.first()
    return last is not None and ChangedVenue.objects.filter(first_day__lte=last.day).exists()


def reevaluate(actor) -> Outcome:
    """Evaluate again what late data touch, as far as the nights have come; nothing before the first night."""
    return evaluate(actor, Evaluation.objects.first().day) if has_late_changes() else Outcome()
