"""What scans at venues keep of people (SEC-17)."""

from django.db.models import Q

from jingwei.base.parameters import Parameter
from jingwei.base.personal import Columns, Gone, Held, Kept, delete_rows
from jingwei.scans.actions import erase_oldest, forget_scans
from jingwei.scans.contacts import KEEP_DAYS
from jingwei.scans.models import (
    Alert,
    Analysis,
    Contact,
    ContactSearch,
    Evaluation,
    Scan,
    SuggestedThreshold,
    UnusualDay,
)

SCAN_DAYS = Parameter(
    "scans.keep_days",
    "扫码记录保存天数",
    730,
    "扫码记录、其日扫码量和预警多少天后删除",
    "天",
    low=30,
    high=3650,
)
PARAMETERS = [SCAN_DAYS]

BASIS = "疫情防控场所扫码"
TRACING = "疫情防控流行病学调查"
KEEP = "按系统参数"

COLUMNS = [
    Columns(
        Scan,
        purpose="查找到过同一场所的人员、统计扫码量",
        basis=BASIS,
        keep=KEEP,
        names=[
            *("venue_code", "venue_name", "manager", "name", "result", "test_result", "tested_at"),
            *("health_code", "position", "collected_at", "importer", "digest"),
        ],
        plain=["kind", "city", "street", "imported_at"],
    ),
    Columns(
        Alert,
        purpose="预警由谁接收",
        basis="岗位职责",
        keep=KEEP,
        names=["received_by", "receiver"],
        plain=["reason", "first_day", "last_day", "raised_at", "received_at", "withdrawn_at", "outdated"],
    ),
    Columns(
        ContactSearch,
        purpose="查找与此人到过同一场所的人员",
        basis=TRACING,
        keep=KEEP,
        names=["name", "since", "until", "reason", "asker", "scans", "first_ring", "second_ring_found"],
        plain=["minutes", "second_ring", "reach", "unknown"],
    ),
    Columns(
        Contact,
        purpose="核查到过同一场所的人员",
        basis=TRACING,
        keep="与所属的接触者查找一同删除",
        names=[
            *("ring", "place", "name", "meetings", "venues", "nearest", "apart", "first_at", "last_at"),
            "followed",
        ],
    ),
]
NOBODYS = [Evaluation, UnusualDay, SuggestedThreshold, Analysis]

KEPT = [
    # Before the scans: an alert about days that nobody can count any more tells nothing.
    Kept("alerts", "扫码预警", Alert, "last_day", SCAN_DAYS),
    Kept("scans", "扫码进场记录", Scan, "collected_at", SCAN_DAYS, erase_before=erase_oldest),
    Kept("contact-searches", "接触者查找及其名单", ContactSearch, "created_at", KEEP_DAYS),
]


# --- one person -------------------------------------------------------------------------------------------


def _written(identity):
    """Numbers as cells of the province may write them."""
    return {form for number in identity.numbers for form in (number, number.lower())}


def _scans(identity):
    """Scans with the number; or with telephone and name, whatever the province writes for the number."""
    phones = identity.phones | identity.shared_phones
    return Scan.objects.filter(
        Q(number__in=_written(identity)) | Q(phone__in=phones, name__in=identity.names)
    )


def _contacts(identity):
    return Contact.objects.filter(number__in=_written(identity))


def _forget_contacts(rows, identity) -> Gone:
    """Delete contacts; whom they led to stay on the list, which counts anew."""
    keys = list(rows.values_list("pk", flat=True))
    Contact.objects.filter(via__in=keys).update(via=None)
    searches = list(ContactSearch.objects.filter(contacts__in=keys).distinct())
    gone = delete_rows(rows)
    for search in searches:
        for ring, name in ((Contact.FIRST, "first_ring"), (Contact.SECOND, "second_ring_found")):
            setattr(search, name, search.contacts.filter(ring=ring).count())
        search.save(update_fields=["first_ring", "second_ring_found"])
    return gone


HELD = [
    Held(
        ContactSearch,
        lambda identity: ContactSearch.objects.filter(number__in=_written(identity)),
        ["number"],
    ),
    Held(Contact, _contacts, ["number", "phone"], forget=_forget_contacts),
    Held(Scan, _scans, ["number", "phone"], forget=lambda rows, identity: forget_scans(rows)),
]
STAYS = []
