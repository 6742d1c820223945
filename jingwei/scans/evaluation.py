"""Which venues were beyond their thresholds for days on end: the alerts that follow from the counts (KP-6).

Day by day, a run of breaching days of one reason is counted; at so many (`ALERT_DAYS`) a window is raised and
the run starts again from nought, so windows never overlap. A day without scans counts as zero, but for the
days before the first scan of all, of which nothing is known. Each day is held against the threshold in force
on it. Days of a received alert are used up, whatever the data say later (KP-6.3).

All venues are evaluated at once, by sets. A night looks only at the days since the last one and, of venues
whose counts or thresholds have changed since, at the days from the first change on; the result is what an
evaluation of all days would give.
"""

from dataclasses import dataclass
from datetime import date, timedelta

from django.db import connection, transaction
from django.db.models import Min
from django.utils import timezone

from jingwei.base import audit
from jingwei.base.parameters import Parameter
from jingwei.places.models import VenueDay
from jingwei.scans.models import HIGH, LOW, Alert, Evaluation

ALERT_DAYS = Parameter(
    "scans.alert_days",
    "扫码预警天数",
    7,
    "连续多少天低于最小值或高于最大值时预警，适用于全部场所；修改后从新的一天起按新天数",
    "天",
    low=1,
    high=60,
)
# Changes are found by their time of writing, which a long transaction makes public only at its end.
OVERLAP = timedelta(days=1)

# What has to be looked at: each venue from the day `since` on, read from `start` so that a run that has begun
# before and the windows that may have to go are seen whole.
CHOOSE = """
CREATE TEMP TABLE evaluating ON COMMIT DROP AS
WITH written AS (
    SELECT venue.id, footfall.day
    FROM places_venueday AS footfall JOIN places_venue AS venue ON venue.code = footfall.venue_code
    WHERE footfall.updated_at > %(changed)s
    UNION ALL
    SELECT venue_id, from_day FROM places_venuethreshold WHERE updated_at > %(changed)s
), changed AS (
    SELECT id, min(day) AS day FROM written GROUP BY id
), chosen AS (
    SELECT venue.id AS venue_id, venue.code, least(%(next)s::date, changed.day) AS since
    FROM places_venue AS venue LEFT JOIN changed USING (id)
    WHERE NOT venue.archived
      AND (EXISTS (SELECT FROM places_venuethreshold WHERE venue_id = venue.id)
           OR EXISTS (SELECT FROM scans_alert WHERE venue_id = venue.id AND withdrawn_at IS NULL))
)
SELECT venue_id, code, since,
       least(since - (%(days)s - 1), (SELECT min(first_day) FROM scans_alert AS alert
             WHERE alert.venue_id = chosen.venue_id AND withdrawn_at IS NULL AND last_day >= since)) AS start
FROM chosen WHERE since <= %(through)s
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
                         least(until, %(through)s::date)::timestamp, interval '1 day') AS series (day)
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
  AND last_day >= since
  AND NOT EXISTS (SELECT FROM windows
                  WHERE windows.venue_id = alert.venue_id AND windows.reason = alert.reason
                    AND windows.first_day = alert.first_day AND windows.last_day = alert.last_day)
RETURNING alert.id
"""

RAISE = """
INSERT INTO scans_alert (venue_id, reason, first_day, last_day, raised_at, receiver, outdated,
                         version, created_at, updated_at)
SELECT venue_id, reason, first_day, last_day, %(now)s, '', false, 1, %(now)s, %(now)s FROM windows
WHERE NOT EXISTS (SELECT FROM scans_alert AS alert
                  WHERE alert.venue_id = windows.venue_id AND alert.reason = windows.reason
                    AND alert.first_day = windows.first_day AND alert.last_day = windows.last_day
                    AND withdrawn_at IS NULL)
RETURNING id
"""

MARK = """
UPDATE scans_alert AS alert SET outdated = found.outdated, updated_at = %(now)s, version = version + 1
FROM (
    SELECT received.id, count(breaches.day) <= received.last_day - received.first_day AS outdated
    FROM scans_alert AS received JOIN evaluating USING (venue_id)
    LEFT JOIN breaches ON breaches.venue_id = received.venue_id AND breaches.reason = received.reason
                      AND breaches.day BETWEEN received.first_day AND received.last_day
    WHERE received.received_at IS NOT NULL AND received.withdrawn_at IS NULL AND received.last_day >= since
    GROUP BY received.id
) AS found
WHERE found.id = alert.id AND found.outdated <> alert.outdated
RETURNING alert.id, alert.outdated
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
        first = VenueDay.objects.filter(count__gt=0).aggregate(day=Min("day"))["day"]
        through = max(through, last.day) if last else through
        told = {
            "changed": last.at - OVERLAP if last else started,
            "next": _from_when(last, first, through),
            "first": first or through + timedelta(days=1),
            "through": through,
            "days": ALERT_DAYS.value(),
            "low": LOW,
            "high": HIGH,
            "now": started,
        }
        cursor.execute(CHOOSE, told)
        cursor.execute(BREACHES, told)
        cursor.execute("ANALYZE evaluating, breaches")
        cursor.execute(WINDOWS, told)
        cursor.execute(WITHDRAW, told)
        withdrawn = [pk for (pk,) in cursor.fetchall()]
        cursor.execute(RAISE, told)
        raised = cursor.rowcount
        cursor.execute(MARK, told)
        marked = [pk for pk, outdated in cursor.fetchall() if outdated]
        cursor.execute("DROP TABLE evaluating, breaches, windows")
    Evaluation.objects.update_or_create(day=through, defaults={"at": started, "first_day": first})
    for act, alerts in (("撤回预警", withdrawn), ("标记预警", marked)):
        for alert in Alert.objects.filter(pk__in=alerts).select_related("venue"):
            reason = "补录或删除扫码记录、修改阈值后，按现有数据不再构成预警"
            audit.record(actor, act, alert, resource="alerts", reason=reason)
    return Outcome(raised, len(withdrawn), len(marked))


def _from_when(last, first, through):
    """The first day that has to be looked at for every venue."""
    if last is None:
        return min(filter(None, [first, through]))
    if last.first_day != first:  # there are older scans now, or the oldest were deleted
        return min(filter(None, [last.first_day, first, through]))
    return last.day + timedelta(days=1)


def reevaluate(actor) -> Outcome:
    """Evaluate again what late data touch, as far as the nights have come; nothing before the first night."""
    last = Evaluation.objects.first()
    return evaluate(actor, last.day) if last else Outcome()
