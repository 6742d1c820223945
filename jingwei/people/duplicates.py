"""Likely duplicates: records that look like one person, found over the whole register (P-5.7).

The search knows no territory, what it finds is seen by those who see both records. It brings together records
that agree in some columns (`BLOCKS`) or in a part of the number, works out what each such pair has in common,
and keeps the pairs that a rule of `RULES` calls likely.
"""

from dataclasses import asdict, dataclass

import polars as pl
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils import timezone

from jingwei.base import audit
from jingwei.base.access import platform_actor
from jingwei.base.copying import copy_into
from jingwei.base.crypto import provider
from jingwei.base.models import Job
from jingwei.desk import jobs
from jingwei.kit.slips import count_slips
from jingwei.people.models import DuplicatePair, Person

# Records that agree in one of these sets of columns are compared.
BLOCKS = [
    ["number"],
    ["name", "birth_date"],
    ["name", "phone"],
    ["name", "region_id", "household"],
    ["phone", "birth_date"],
]
MOST_IN_BLOCK = 20  # what more records have in common is a placeholder, and says nothing
MOST_ON_PHONE = 6  # a phone of more people is an office's; parents give theirs for the children
MOST_AT_HOME = 15  # an address of more people is one without house number

# Likely pairs: similarity and what has to be the same, see `_facts`. The first rule that holds is the pair's.
# Different names alone never make one: twins share birthday, phone, home and nearly the number.
RULES = [
    (98, {"number"}),
    (95, {"name", "one_slip"}),
    (93, {"name", "born", "phone"}),
    (90, {"name", "slip"}),
    (85, {"name", "born", "home"}),
    (80, {"other_document", "born", "phone"}),
    (75, {"name", "phone", "home"}),
    (70, {"other_document", "name", "born"}),
    (65, {"name", "phone"}),
    (60, {"name", "home", "undated"}),
]
# The facts in the words of the review, in this order.
WORDS = [
    ("number", "证件号相同、证件类型不同"),
    ("wrong_digit", "证件号只有一位不同"),
    ("swapped_digits", "证件号相邻两位颠倒"),
    ("missing_digit", "证件号少一位"),
    ("two_slips", "证件号有两处不同"),
    ("name", "姓名相同"),
    ("born", "出生日期相同"),
    ("phone", "联系电话相同"),
    ("home", "居住地相同"),
    ("other_document", "证件类型不同"),
]

_CHUNK = 100_000
_LOCK = "people.duplicates"

_BLOCK = """
INSERT INTO candidate
SELECT one, other
FROM (
    SELECT array_agg({key}) AS ids FROM {table} WHERE {known}
    GROUP BY {columns} HAVING count(*) BETWEEN 2 AND %s
) AS alike, unnest(ids) AS one, unnest(ids) AS other
WHERE one < other
"""

_COMPARED = """
SELECT pair.first, pair.second, a.number, b.number,
    a.number = b.number AS "number",
    a.name = b.name AS name,
    a.birth_date = b.birth_date AS born,
    a.birth_date IS NULL OR b.birth_date IS NULL AS undated,
    a.phone = b.phone AND (
        SELECT count(*) FROM (SELECT FROM people_person WHERE phone = a.phone LIMIT %s + 1) AS users
    ) <= %s AS phone,
    a.household = b.household AND a.region_id = b.region_id AND (
        SELECT count(*) FROM (SELECT FROM people_person WHERE household = a.household LIMIT %s + 1) AS members
    ) <= %s AS home,
    a.doc_type <> b.doc_type AND (a.sex = b.sex OR a.sex = '' OR b.sex = '') AS other_document
FROM ({pairs}) AS pair (first, second)
JOIN people_person a ON a.id = pair.first
JOIN people_person b ON b.id = pair.second
"""
_LIMITS = [MOST_ON_PHONE, MOST_ON_PHONE, MOST_AT_HOME, MOST_AT_HOME]
_NOT_DECIDED = """
SELECT DISTINCT first, second FROM candidate
WHERE NOT EXISTS (
    SELECT FROM people_duplicatepair decided
    WHERE (first_id, second_id, state) = (candidate.first, candidate.second, %s)
)
"""

_KEEP = """
WITH written AS (
    INSERT INTO people_duplicatepair (first_id, second_id, score, reasons, state, found_at, by_name)
    SELECT first, second, score, reasons, %(waiting)s, now(), '' FROM likely
    ON CONFLICT (first_id, second_id) DO UPDATE SET score = EXCLUDED.score, reasons = EXCLUDED.reasons
    WHERE people_duplicatepair.state = %(waiting)s
      AND (people_duplicatepair.score, people_duplicatepair.reasons) <> (EXCLUDED.score, EXCLUDED.reasons)
    RETURNING xmax = 0 AS added
)
SELECT count(*) FILTER (WHERE added) FROM written
"""
_DROP = """
DELETE FROM people_duplicatepair
WHERE state = %s
  AND NOT EXISTS (SELECT FROM likely WHERE (likely.first, likely.second) = (first_id, second_id))
"""


@dataclass(frozen=True)
class Found:
    """What a search came to: pairs found for the first time, no longer alike, and waiting in all."""

    added: int
    dropped: int
    waiting: int


@transaction.atomic
def find(report=lambda done, total: None) -> Found:
    """Look for duplicates in the whole register and bring the waiting pairs up to date.

    A pair that was found not to be one person is never proposed again. `report(done, total)` is told how many
    records of how many were looked at.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [_LOCK])
        cursor.execute("SET LOCAL work_mem = '128MB'")
        cursor.execute(
            """
            CREATE TEMP TABLE candidate (first bigint, second bigint) ON COMMIT DROP;
            CREATE TEMP TABLE piece (key bigint, person bigint) ON COMMIT DROP;
            CREATE TEMP TABLE likely (first bigint, second bigint, score int, reasons text) ON COMMIT DROP
            """
        )
        _gather_pieces(report)
        for columns in BLOCKS:
            _gather(cursor, "people_person", columns)
        _gather(cursor, "piece", ["key"], key="person")
        cursor.execute("ANALYZE candidate")
        for compared in _compared(_NOT_DECIDED, [DuplicatePair.DIFFERENT]):
            copy_into("likely", _likely(compared))
        cursor.execute("ANALYZE likely")
        cursor.execute(_KEEP, {"waiting": DuplicatePair.WAITING})
        [added] = cursor.fetchone()
        cursor.execute(_DROP, [DuplicatePair.WAITING])
        dropped = cursor.rowcount
        cursor.execute("DROP TABLE candidate, piece, likely")
    return Found(added, dropped, DuplicatePair.objects.filter(state=DuplicatePair.WAITING).count())


SEARCH = "find-duplicates"  # the kind of job
LABEL = "查找重复人员"
MANY = 1_000  # rows that a load added or changed, from which it is followed by a search


def search(actor, job, report):
    """Kind of job: `find`, and what came of it in words."""
    found = find(report)
    words = f"新发现 {found.added:,} 对，不再相似 {found.dropped:,} 对，共有 {found.waiting:,} 对待核。"
    return {"message": words, "result": asdict(found)}


def search_after_load(rows):
    """Start a search when a load has added or changed many rows, unless one waits already."""
    if rows >= MANY and not Job.objects.filter(kind=SEARCH, state=Job.WAITING).exists():
        jobs.start(platform_actor("导入之后"), SEARCH, LABEL, {})


def likeness(pair: DuplicatePair) -> tuple[int, str] | None:
    """(similarity, reasons) of a pair as its records stand now, None when they are no longer alike."""
    with transaction.atomic():
        compared = pl.concat(_compared("VALUES (%s::bigint, %s::bigint)", [pair.first_id, pair.second_id]))
    found = _likely(compared)
    return found.row(0)[2:] if len(found) else None


def _gather(cursor, table, columns, key="id"):
    """Make candidates of the rows of `table` that agree in all these columns."""
    known = " AND ".join(f"{column} IS NOT NULL" for column in columns)
    block = _BLOCK.format(table=table, key=key, known=known, columns=", ".join(columns))
    cursor.execute(block, [MOST_IN_BLOCK])


def _gather_pieces(report):
    """Keep for every record a digest of its name with a part of its number.

    A slip in the last places of an ID number leaves the birth date, by which the pair is found; one in the
    birth date leaves area and order, which are the part. Of other numbers either end is one.
    """
    total = Person.objects.count()
    done = 0
    for chunk in _chunks("SELECT id, name, number FROM people_person", []):
        people = pl.DataFrame(chunk, ["id", "name", "sealed"], orient="row")
        numbers = provider().decrypt(Person._meta.get_field("number").sealing, people["sealed"].to_list())
        people = people.with_columns(number=pl.Series(numbers, dtype=pl.String))
        is_card = pl.col("number").str.len_chars() == 18
        ends = pl.when(is_card).then(pl.col("number").str.slice(0, 6) + pl.col("number").str.slice(14, 3))
        pieces = [
            ends.otherwise("<" + pl.col("number").str.head(4)),
            pl.when(~is_card).then(">" + pl.col("number").str.tail(4)),
        ]
        for piece in pieces:
            keyed = people.select(pl.col("name") + " " + piece, person="id").drop_nulls()
            copy_into(
                "piece", keyed.select(key=keyed["name"].hash().reinterpret(signed=True), person="person")
            )
        done += len(people)
        report(done, total)


def _compared(pairs, values):
    """Frames of what the pairs of a query have in common."""
    schema = {"first": pl.Int64, "second": pl.Int64, "left": pl.Binary, "right": pl.Binary}
    flags = ["number", "name", "born", "undated", "phone", "home", "other_document"]
    for chunk in _chunks(_COMPARED.format(pairs=pairs), [*_LIMITS, *values]):
        yield pl.DataFrame(chunk, schema | dict.fromkeys(flags, pl.Boolean), orient="row")


def _chunks(query, values):
    """The rows of a query, `_CHUNK` at a time."""
    with connection.chunked_cursor() as cursor:
        cursor.execute(query, values)
        while rows := cursor.fetchmany(_CHUNK):
            yield rows


def _likely(compared: pl.DataFrame) -> pl.DataFrame:
    """Those of the compared pairs that a rule calls likely: first, second, score, reasons."""
    facts = _facts(compared)
    score = pl.coalesce(
        *(pl.when(pl.all_horizontal(sorted(needed))).then(pl.lit(score)) for score, needed in RULES)
    )
    reasons = pl.concat_str(
        *(pl.when(pl.col(fact)).then(pl.lit(words)) for fact, words in WORDS),
        separator="，",
        ignore_nulls=True,
    )
    return facts.select("first", "second", score=score, reasons=reasons).drop_nulls("score")


def _facts(compared):
    """The pairs with what they have in common: Boolean columns as `RULES` and `WORDS` name them."""
    sealing = Person._meta.get_field("number").sealing
    # A number stands in several pairs; opening it twice costs less than sorting that out.
    left, right = (
        pl.Series(provider().decrypt(sealing, compared[side].to_list()), dtype=pl.String)
        for side in ("left", "right")
    )
    slips = count_slips(left, right)
    total = slips["wrong"] + slips["swapped"] + slips["missing"]
    one, two = total == 1, total == 2
    return compared.drop("left", "right").with_columns(
        one_slip=one,
        slip=one | two,
        wrong_digit=one & (slips["wrong"] == 1),
        swapped_digits=one & (slips["swapped"] == 1),
        missing_digit=one & (slips["missing"] == 1),
        two_slips=two,
    )


# --- deciding ---------------------------------------------------------------------------------------------


def pairs_of(actor, action):
    """The pairs on which `actor` may use `action`: those whose records both are seen as well."""
    seen = DuplicatePair.scope.within(actor.data_scope("people.view"))
    return DuplicatePair.objects.visible_to(actor, f"duplicates.{action}").filter(seen)


@transaction.atomic
def dismiss(actor, pair, *, reason=""):
    """Note that the records are two people; they are not proposed again."""
    pair = pairs_of(actor, "dismiss").select_for_update(of=("self",)).get(pk=pair.pk)
    if pair.state != DuplicatePair.WAITING:
        raise ValidationError("这一对已经判为非同一人")
    pair.state = DuplicatePair.DIFFERENT
    pair.by, pair.by_name, pair.decided_at = actor.operator_id, actor.name, timezone.now()
    pair.save()
    audit.record(actor, "判为非同一人", pair, resource="duplicates", reason=reason)


@transaction.atomic
def reopen(actor, pair, *, reason=""):
    """Take back that the records are two people."""
    pair = pairs_of(actor, "reopen").select_for_update(of=("self",)).get(pk=pair.pk)
    if pair.state != DuplicatePair.DIFFERENT:
        raise ValidationError("这一对还在待核")
    pair.state = DuplicatePair.WAITING
    pair.by, pair.by_name, pair.decided_at = None, "", None
    pair.save()
    audit.record(actor, "重新核对", pair, resource="duplicates", reason=reason)
