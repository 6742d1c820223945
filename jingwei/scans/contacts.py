"""Who was at the same venues at about the same time as a person (KP-9.1).

Scans of the person at a venue that follow each other within the minutes asked for are one stay. Whoever was
scanned there within these minutes of one of its scans, before or after, has met the person: once in the stay,
however often either was scanned, and as close as the two nearest scans are. A ring is ranked by the number of
meetings; where that is the same, by how far apart they were on average.

The second ring are those who met people of the first one likewise, from their first meeting with the person
on. Only those of the first ring who rank highest are followed (`FOLLOWED`).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl
from django.core.exceptions import ValidationError
from django.db import connection, transaction

from jingwei.base import audit
from jingwei.base.copying import copy_into
from jingwei.base.crypto import provider
from jingwei.base.fields import reveal
from jingwei.base.merging import ZONE, as_stored
from jingwei.base.parameters import Parameter
from jingwei.base.wall import beyond_scope
from jingwei.people.models import Person, PersonAlias
from jingwei.people.queries import numbers_of
from jingwei.scans.models import CELL, Contact, ContactSearch, Scan

MOST_DAYS, MOST_MINUTES = 31, 120
MOST_SCANS = 2_000  # of a person in the time asked for: beyond, it is a number that many share
FOLLOWED = 50
MOST_CONTACTS = 50_000

KEEP_DAYS = Parameter(
    "scans.keep_contacts",
    "接触者名单保存天数",
    60,
    "接触者查找及其名单多少天后自动删除",
    "天",
    low=1,
    high=365,
)
PARAMETERS = [KEEP_DAYS]

SHORTEST, LONGEST = 5, 30  # characters of a document number
TIME = pl.Datetime("us", ZONE)


# --- stays and meetings -----------------------------------------------------------------------------------


def stays_of(scans: pl.DataFrame, within: timedelta) -> pl.DataFrame:
    """`scans` (source, venue_code, at) with `stay`, the number of the stay that each belongs to."""
    scans = scans.sort("source", "venue_code", "at")
    same = (pl.col("source") == pl.col("source").shift()) & (
        pl.col("venue_code") == pl.col("venue_code").shift()
    )
    goes_on = same & (pl.col("at") - pl.col("at").shift() <= within)
    return scans.with_columns(stay=(~goes_on).fill_null(True).cum_sum().cast(pl.Int32))


def spans_of(stays: pl.DataFrame, within: timedelta) -> pl.DataFrame:
    """stay, venue_code, and from when to when (both included) who is scanned there meets the person."""
    return stays.group_by("stay", "venue_code").agg(
        begins=pl.col("at").min() - within, ends=pl.col("at").max() + within
    )


def meetings(stays: pl.DataFrame, beside: pl.DataFrame) -> pl.DataFrame:
    """Each meeting once: `beside`, the nearest of its scans, with source, venue_code, `own` time and `gap`.

    `beside` are scans (stay, who, at, …) within the span of their stay.
    """
    own = stays.select("stay", "at", own="at").sort("at")
    nearest = beside.sort("at").join_asof(own, on="at", by="stay", strategy="nearest", check_sortedness=False)
    nearest = nearest.with_columns(gap=(pl.col("at") - pl.col("own")).abs()).sort("gap", "at")
    met = nearest.unique(["who", "stay"], keep="first", maintain_order=True)
    return met.join(stays.select("stay", "venue_code", "source").unique("stay"), on="stay")


def ranked(met: pl.DataFrame) -> pl.DataFrame:
    """A row for each person of `meetings`, the highest in rank first; people alike share the `place`."""
    people = met.group_by("who").agg(
        pl.len().alias("meetings"),
        pl.col("venue_code").n_unique().alias("venues"),
        pl.col("gap").min().alias("nearest"),
        pl.col("gap").sum().alias("total"),
        pl.col("at").min().alias("first_at"),
        pl.col("at").max().alias("last_at"),
        pl.col("source").min(),
    )
    # Of as many meetings the sums compare like the averages.
    people = people.sort("meetings", "total", "last_at", "who", descending=[True, False, True, False])
    alike = (pl.col("meetings") == pl.col("meetings").shift()) & (pl.col("total") == pl.col("total").shift())
    row = pl.int_range(1, pl.len() + 1)
    return people.with_columns(place=pl.when(~alike.fill_null(False)).then(row).forward_fill())


# --- reading scans ----------------------------------------------------------------------------------------

# For each stay one look into the key, venue and time. The bounds of all leave the other months out.
BESIDE = """
SELECT stay, number, name, phone, collected_at
FROM unnest(%(stays)s::int[], %(venues)s::text[], %(begins)s::timestamptz[], %(ends)s::timestamptz[])
     AS stays (stay, venue, begins, ends)
JOIN scans_scan ON venue_code = venue AND collected_at BETWEEN begins AND ends
WHERE collected_at BETWEEN %(first)s AND %(last)s
"""
BESIDE_COLUMNS = {
    "stay": pl.Int32,
    "number": pl.Binary,
    "name": pl.String,
    "phone": pl.Binary,
    "at": TIME,
}


def tidied(number: str) -> str:
    """A document number as it stands in a scan, in one form: cells are stored as the province writes them."""
    return number.strip().upper()


def tells_who(number: str) -> bool:
    """Whether a tidied number can be somebody's; the column also holds words such as “无”."""
    return SHORTEST <= len(number) <= LONGEST and number.isascii() and any(map(str.isdigit, number))


@beyond_scope()
def numbers_in_any_register(number: str) -> list[str]:
    """The numbers of the person with this one, as any territory's register has them; else this one alone."""
    # One look into each index; both in one condition would read every person.
    found = {*Person.objects.filter(number=number).values_list("pk", flat=True)}
    found |= {*PersonAlias.objects.filter(number=number).values_list("person", flat=True)}
    known = numbers_of(Person.objects.get(pk=found.pop())) if len(found) == 1 else []
    return list(dict.fromkeys([number, *(each.clear() for each in known)]))


def scans_of(actor, permission, numbers: Iterable[str], begin, end, *, most=MOST_SCANS) -> pl.DataFrame:
    """number (tidied), name, venue_code, venue_name, at: these people's scans that `actor` reaches.

    From `begin` to before `end`; ValidationError if there are more than `most`.
    """
    written = {form for number in numbers for form in (number, number.lower())}
    rows = Scan.objects.visible_to(actor, permission).filter(
        number__in=written, collected_at__gte=begin, collected_at__lt=end
    )
    names = ["number", "name", "venue_code", "venue_name", "collected_at"]
    found = list(rows.order_by().values_list(*names)[: most + 1])
    if len(found) > most:
        raise ValidationError(
            f"此期间的扫码超过 {most:,} 次，无法查找。请核对证件号是否本人的，或缩短时间段、不查二次接触。"
        )
    reveal(row[0] for row in found)
    schema = dict.fromkeys(["number", "name", "venue_code", "venue_name"], pl.String) | {"at": TIME}
    return pl.DataFrame([(tidied(row[0].clear()), *row[1:]) for row in found], schema, orient="row")


def scans_beside(stays: pl.DataFrame, within: timedelta) -> pl.DataFrame:
    """stay, who (tidied number, null: nobody known), name, phone (sealed), at: the scans within the spans."""
    spans = spans_of(stays, within)
    told = {
        "stays": spans["stay"].to_list(),
        "venues": spans["venue_code"].to_list(),
        "begins": spans["begins"].to_list(),
        "ends": spans["ends"].to_list(),
        "first": spans["begins"].min(),
        "last": spans["ends"].max(),
    }
    with connection.cursor() as cursor:
        cursor.execute(BESIDE, told)
        beside = pl.DataFrame(cursor.fetchall(), BESIDE_COLUMNS, orient="row")
    return beside.with_columns(who=_who(beside["number"]))


def _who(sealed: pl.Series) -> pl.Series:
    """Tidied numbers of ciphertexts; null where they tell nobody."""
    different = sealed.drop_nulls().unique().to_list()
    texts = provider().decrypt(Scan._meta.get_field("number").sealing, different)
    known = {
        blob: number for blob, number in zip(different, map(tidied, texts), strict=True) if tells_who(number)
    }
    return pl.Series([known.get(blob) for blob in sealed.to_list()], dtype=pl.String)


# --- searching --------------------------------------------------------------------------------------------


def find_contacts(actor, *, number, since, until, minutes, second_ring, reason) -> ContactSearch:
    """Find and keep the contacts of the person with this document number, within what `actor` reaches.

    `since` and `until` are days, both included. A refusal is logged like a search.
    """
    search = ContactSearch(
        number=tidied(number),
        since=since,
        until=until,
        minutes=minutes,
        second_ring=second_ring,
        reason=reason.strip(),
        asker=actor.name,
        created_by=actor.operator_id,
        reach=actor.data_scope(ADD).organisations_text,
    )
    asked = {"天数": (until - since).days + 1, "相隔分钟": minutes, "二次接触": "是" if second_ring else "否"}
    try:
        with transaction.atomic():
            _check(search)
            _search(actor, search)
            found = {"一次接触者": search.first_ring, "二次接触者": search.second_ring_found}
            about = {"resource": RESOURCE, "people": audit.marks("number", [search.number.clear()])}
            audit.record(actor, ACT, search, reason=search.reason, **about, **asked, **found)
    except ValidationError as refusal:
        why = "；".join(refusal.messages)
        label = f"{search.number} {since}至{until}"
        audit.record(
            actor, ACT, resource=RESOURCE, label=label, result="拒绝", reason=search.reason, 原因=why, **asked
        )
        raise
    return search


RESOURCE, ACT = "contact-searches", "查找接触者"
ADD = f"{RESOURCE}.add"


def _check(search):
    wrong = {}
    if not tells_who(search.number.clear()):
        wrong["number"] = f"请填写完整的证件号码（{SHORTEST} 至 {LONGEST} 位）"
    if search.since > search.until:
        wrong["until"] = "结束日期不能早于开始日期"
    elif (search.until - search.since).days >= MOST_DAYS:
        wrong["until"] = f"一次最多查 {MOST_DAYS} 天，请缩短时间段"
    if not 1 <= search.minutes <= MOST_MINUTES:
        wrong["minutes"] = f"请填 1 到 {MOST_MINUTES} 之间的整数"
    if len(search.reason) < 2:
        wrong["reason"] = "请填写查找的事由，它会记入操作日志"
    if wrong:
        raise ValidationError(wrong)


def _search(actor, search):
    numbers = numbers_in_any_register(search.number.clear())
    scans = scans_of(actor, ADD, numbers, *search.span).with_columns(source=0)
    search.scans = len(scans)
    search.name = scans.sort("at")["name"].last() or "" if len(scans) else ""
    first, search.unknown = _ring(scans, search, known={*map(tidied, numbers)})
    first = first.with_columns(followed=pl.int_range(pl.len()) < (FOLLOWED if search.second_ring else 0))
    search.first_ring = len(first)
    search.save(force_insert=True)
    keys = _keep(search, Contact.FIRST, first)
    if search.second_ring:
        sources = first.filter("followed").drop("source").with_row_index("source")
        scans = _scans_after(actor, ADD, search, sources)
        second, _ = _ring(scans, search, known={*map(tidied, numbers), *first["who"]})
        search.second_ring_found = len(second)
        search.save(update_fields=["second_ring_found"])
        _keep(search, Contact.SECOND, second.with_columns(followed=False), via=keys)


def _scans_after(actor, permission, search, sources: pl.DataFrame) -> pl.DataFrame:
    """The scans of people of the first ring (source, who, first_at) from their first meeting on."""
    scans = scans_of(actor, permission, sources["who"], *search.span, most=MOST_SCANS * 10)
    scans = scans.join(sources.select("source", "first_at", number="who"), on="number")
    return scans.filter(pl.col("at") >= pl.col("first_at"))


def _ring(scans, search, *, known: Collection[str]) -> tuple[pl.DataFrame, int]:
    """Who met the people of these scans, ranked, but for those `known`; how many scans beside tell nobody."""
    stays = stays_of(scans, search.within)
    beside = scans_beside(stays, search.within)
    strangers = beside.filter(pl.col("who").is_not_null() & ~pl.col("who").is_in(list(known)))
    people = ranked(meetings(stays, strangers))
    if len(people) > MOST_CONTACTS:
        raise ValidationError(
            f"接触者超过 {MOST_CONTACTS:,} 人，名单过大。请缩短时间段或相隔分钟，或不查二次接触。"
        )
    latest = strangers.sort("at").unique("who", keep="last").select("who", "name", "phone")
    return people.join(latest, on="who", maintain_order="left"), beside["who"].null_count()


def _keep(search, ring, people: pl.DataFrame, via: list[int] | None = None) -> list[int]:
    """Store a ring; the keys of its rows in order. `via` are those of the people whom `source` counts."""
    if people.is_empty():
        return []
    seconds = {name: pl.col(name).dt.total_microseconds() / 1e6 for name in ("nearest", "total")}
    rows = people.select(
        "place",
        as_stored(Contact._meta.get_field("number"), people["who"]).alias("number"),
        pl.col("name").fill_null("").str.slice(0, CELL),
        "phone",
        "meetings",
        "venues",
        seconds["nearest"].round().cast(pl.Int64).alias("nearest"),
        (seconds["total"] / pl.col("meetings")).round().cast(pl.Int64).alias("apart"),
        "first_at",
        "last_at",
        "followed",
        pl.lit(search.pk).alias("search_id"),
        pl.lit(ring).alias("ring"),
    )
    if via is not None:
        rows = rows.with_columns(
            people["source"].replace_strict(range(len(via)), via, default=None).alias("via_id")
        )
    copy_into(Contact._meta.db_table, rows)
    return list(search.contacts.filter(ring=ring).order_by("pk").values_list("pk", flat=True))


# --- the meetings of one contact --------------------------------------------------------------------------


@dataclass(frozen=True)
class Meeting:
    """One meeting: where, when each was scanned, how far apart. `whom`: the person (None) or of ring one."""

    venue_code: str
    venue_name: str
    own: datetime
    at: datetime
    gap: timedelta
    whom: Contact | None

    @property
    def apart(self) -> str:
        """The gap in words."""
        return span_text(round(self.gap.total_seconds()))


def span_text(seconds: int) -> str:
    """A span of time in words: 3分20秒."""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes}分{rest:02d}秒" if minutes else f"{rest}秒"


def meetings_of(actor, contact: Contact) -> list[Meeting]:
    """The meetings of a contact by the scans of now, the latest first; none of scans deleted since."""
    search, permission = contact.search, "contacts.view"
    followed = {}
    if contact.ring == Contact.FIRST:
        numbers = numbers_in_any_register(search.number.clear())
        scans = scans_of(actor, permission, numbers, *search.span).with_columns(source=0)
    else:
        followed = dict(enumerate(search.contacts.filter(followed=True).order_by("pk")))
        reveal(source.number for source in followed.values())
        rows = [(at, each.number.clear(), each.first_at) for at, each in followed.items()]
        sources = pl.DataFrame(rows, {"source": pl.Int32, "who": pl.String, "first_at": TIME}, orient="row")
        scans = _scans_after(actor, permission, search, sources)
    stays = stays_of(scans, search.within)
    begin, end = search.span
    others = scans_of(actor, permission, [contact.number.clear()], begin - search.within, end + search.within)
    beside = others.select("venue_code", "venue_name", "at", who="number").join(
        spans_of(stays, search.within), on="venue_code"
    )
    beside = beside.filter(pl.col("at").is_between("begins", "ends")).drop("venue_code")
    met = meetings(stays, beside).sort("at", descending=True)
    return [
        Meeting(*row, followed.get(source))
        for *row, source in met.select("venue_code", "venue_name", "own", "at", "gap", "source").iter_rows()
    ]
