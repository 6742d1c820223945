"""What changes venues and their thresholds (KP-1, KP-2)."""

from collections.abc import Iterable

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils import timezone

from jingwei.base import audit
from jingwei.base.saving import StaleRecord, delete_record, save_record, touch
from jingwei.directory.models import Operator, Region
from jingwei.exchange.queries import require_open
from jingwei.places.models import Venue, VenueThreshold
from jingwei.places.queries import scans_of

_DISTRICT, _TOWN = 6, 9  # digits of a region's code

# A street of a name that two towns have, or none, stays without a region.
SETTLE = """
UPDATE places_venue SET region_id = known.code
FROM (
    SELECT venue.id, (SELECT CASE WHEN count(*) = 1 THEN min(region.code) END FROM directory_region AS region
                      WHERE region.name = venue.street AND length(region.code) = %s) AS code
    FROM places_venue AS venue WHERE venue.id = ANY(%s)
) AS known
WHERE known.id = places_venue.id AND places_venue.region_id IS DISTINCT FROM known.code
"""

IN_FORCE = """
UPDATE places_venue SET threshold_min = now.low, threshold_max = now.high
FROM (
    SELECT venue.id, latest.low, latest.high
    FROM places_venue AS venue
    LEFT JOIN LATERAL (
        SELECT low, high FROM places_venuethreshold
        WHERE venue_id = venue.id AND from_day <= %s ORDER BY from_day DESC LIMIT 1
    ) AS latest ON true
) AS now
WHERE now.id = places_venue.id
  AND (places_venue.threshold_min, places_venue.threshold_max) IS DISTINCT FROM (now.low, now.high)
"""


@transaction.atomic
def save_venue(actor, venue, *, values, version=None):
    """Add or change a venue. The head of a regulator that is chosen without one comes from the directory."""
    regulator = values.get("regulator_id", venue.regulator_id)
    moved = regulator != venue.regulator_id
    if moved and regulator and not values.get("regulator_head") and not values.get("regulator_phone"):
        values = values | head_of(regulator)
    save_record(actor, venue, resource="venues", values=values, version=version)
    settle([venue.pk])
    return venue


def head_of(organisation_id) -> dict:
    """Name and telephone of whom the directory lists first at an organisation, {} if it knows none."""
    operators = Operator.objects.filter(organisation=organisation_id, enabled=True, phone__isnull=False)
    first = operators.order_by("appointments__post__order", "pk").first()
    return {"regulator_head": first.name, "regulator_phone": first.phone.clear()} if first else {}


def settle(venues: Iterable[int]):
    """Give the venues with these ids the region of their street and, where it is empty, the city's name."""
    venues = list(venues)
    with connection.cursor() as cursor:
        cursor.execute(SETTLE, [_TOWN, venues])
    districts = list(Region.objects.extra(where=["length(code) = %s"], params=[_DISTRICT])[:2])
    if len(districts) == 1:
        Venue.objects.filter(pk__in=venues, city="").update(city=districts[0].name)


@transaction.atomic
def delete_venue(actor, venue):
    """Delete a venue that has no scans; of one that has, it is said first what happens to them (KP-1.3)."""
    require_open("venues")
    venue = Venue.objects.select_for_update(of=("self",)).get(pk=venue.pk)
    if number := scans_of(venue.code):
        raise ValidationError(
            f"“{venue}”有 {number:,} 条扫码记录，不能直接删除。要保留记录，请改为归档；"
            f"不要保留，请先在“批量删除扫码记录”中删除公共场所ID为 {venue.code} 的记录。"
        )
    delete_record(actor, venue, resource="venues")


@transaction.atomic
def archive_venue(actor, venue, *, reason=""):
    """Take a venue out of supervision; its scans and its alerts stay (KP-1.3)."""
    _set_archived(actor, venue, True, "归档", reason)


@transaction.atomic
def restore_venue(actor, venue, *, reason=""):
    """Take an archived venue into supervision again."""
    _set_archived(actor, venue, False, "恢复", reason)


def _set_archived(actor, venue, archived, act, reason):
    if not touch(Venue.objects.filter(pk=venue.pk, archived=not archived), archived=archived):
        raise ValidationError(f"“{venue}”已经{act}，不必再办")
    audit.record(actor, act, venue, resource="venues", reason=reason)


@transaction.atomic
def set_threshold(actor, venue, *, low, high, version=None):
    """Hold a venue to these daily numbers from today on; None leaves a side open (KP-2.1)."""
    venue = (
        Venue.objects.visible_to(actor, "thresholds.change").select_for_update(of=("self",)).get(pk=venue.pk)
    )
    if version is not None and str(version) != str(venue.version):
        raise StaleRecord()
    before = venue.threshold_min, venue.threshold_max
    if (low, high) == before:
        return
    today = timezone.localdate()
    threshold = VenueThreshold.objects.filter(venue=venue, from_day=today).first() or VenueThreshold(
        venue=venue, from_day=today, created_by=actor.operator_id
    )
    threshold.low, threshold.high, threshold.updated_at = low, high, timezone.now()
    threshold.full_clean()
    threshold.save()
    touch(Venue.objects.filter(pk=venue.pk), threshold_min=low, threshold_max=high)
    shown = {"阈值最小值": (before[0], low), "阈值最大值": (before[1], high)}
    changes = {
        name: ["" if v is None else str(v) for v in pair]
        for name, pair in shown.items()
        if pair[0] != pair[1]
    }
    audit.record(actor, "修改", venue, resource="thresholds", changes=changes)


def keep_threshold(actor, threshold, *, values):
    """Keep one threshold of a sheet; the load is what the log knows of it."""
    for name, value in values.items():
        setattr(threshold, name, value)
    threshold.full_clean()
    if threshold.pk is None:
        threshold.created_by = actor.operator_id
    else:
        threshold.version += 1
    threshold.updated_at = timezone.now()
    threshold.save()


def follow_thresholds(today):
    """Show at each venue the threshold in force on `today`."""
    with connection.cursor() as cursor:
        cursor.execute(IN_FORCE, [today])
