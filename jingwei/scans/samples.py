"""One valid row per model, for tests and the shared suite."""

from datetime import date, timedelta
from itertools import count

import polars as pl
from django.utils import timezone

from jingwei.base.access import EVERYTHING, platform_actor
from jingwei.base.attachments import sample_of
from jingwei.places.samples import venue
from jingwei.scans.actions import COLUMNS, store_scans
from jingwei.scans.models import (
    LOW,
    Alert,
    AlertAttachment,
    Contact,
    ContactSearch,
    Scan,
    SuggestedThreshold,
    UnusualDay,
)

_numbers = count(1)


def scan(place=None, **cells) -> Scan:
    """A scan of yesterday noon, entered as by an import; `cells` are its columns."""
    place = place or venue()
    number = next(_numbers)
    at = timezone.make_naive(timezone.now()).replace(hour=12, minute=0, microsecond=0) - timedelta(days=1)
    row = {
        "venue_code": place.code,
        "venue_name": place.name,
        "kind": "超市",
        "city": "安澜区",
        "street": "安平街道",
        "manager": "林经理",
        "number": "990101198001010030",
        "name": f"林样例{number}",
        "phone": "16000000001",
        "result": "正常",
        "test_result": "阴性",
        "tested_at": "2026-10-31 06:12:30",
        "health_code": "绿码",
        "position": "安平街道13号",
        "collected_at": at,
    } | cells
    types = {name: pl.Datetime("us") if name == "collected_at" else pl.String for name in COLUMNS}
    rows = pl.DataFrame({name: [row[name]] for name in COLUMNS}, schema=types)
    store_scans(platform_actor("样例"), rows, timezone.now())
    return Scan.objects.filter(venue_code=row["venue_code"]).order_by("-imported_at").first()


def alert(**values) -> Alert:
    first = date(2026, 10, 24)
    made = {"reason": LOW, "first_day": first, "last_day": first + timedelta(days=6)}
    return Alert.objects.create(**{"venue": venue(), **made, **values})


def attachment() -> AlertAttachment:
    return sample_of(AlertAttachment, alert())


def withdrawn_alert() -> Alert:
    return alert(withdrawn_at=timezone.now())


def contact_search(**values) -> ContactSearch:
    """A search of the operating unit."""
    made = {
        "number": "990101198001010030",
        "name": "林样例",
        "since": date(2026, 11, 1),
        "until": date(2026, 11, 14),
        "minutes": 10,
        "reason": "确诊病例流调",
        "asker": "运维演示账号",
        "reach": EVERYTHING.organisations_text,
        "scans": 3,
        "first_ring": 1,
    }
    return ContactSearch.objects.create(**made | values)


def contact(**values) -> Contact:
    at = timezone.now() - timedelta(days=7)
    made = {
        "search": values.pop("search", None) or contact_search(),
        "ring": Contact.FIRST,
        "place": 1,
        "number": "990101198001010049",
        "name": "周样例",
        "phone": "16000000002",
        "meetings": 2,
        "venues": 1,
        "nearest": 45,
        "apart": 200,
        "first_at": at,
        "last_at": at,
    }
    return Contact.objects.create(**made | values)


def unusual_day(**values) -> UnusualDay:
    made = {
        "day": date(2026, 11, 13),
        "count": 12,
        "usual": 120,
        "low": 85,
        "high": 160,
        "direction": UnusualDay.FEWER,
        "deviation": 9.9,
    }
    return UnusualDay.objects.create(**{"venue": venue(), **made, **values})


def suggested_threshold(**values) -> SuggestedThreshold:
    reason = "近8周工作日中位数 120，正常波动 85–160，建议最小 80、最大 170"
    made = {"low": 80, "high": 170, "reason": reason}
    return SuggestedThreshold.objects.create(**{"venue": venue(), **made, **values})


SAMPLES = {
    Scan: scan,
    Alert: alert,
    AlertAttachment: attachment,
    "withdrawn-alerts": withdrawn_alert,
    ContactSearch: contact_search,
    Contact: contact,
    UnusualDay: unusual_day,
    SuggestedThreshold: suggested_threshold,
}
