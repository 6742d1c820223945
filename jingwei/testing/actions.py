# ruff: noqa: S608
"""Samples in, and the latest one onto the person (CL-3.3).

What stands in the statements is ours; every value is a parameter.
"""

from collections.abc import Sequence
from datetime import datetime

import polars as pl
from django.db import connection, transaction

from jingwei.base.copying import copy_into
from jingwei.base.fields import show
from jingwei.base.merging import THERE, UNKNOWN, as_clear, as_stored, overlay
from jingwei.base.partitions import ensure_months
from jingwei.base.personal import Gone
from jingwei.base.reading import ROW
from jingwei.base.sheets import MESSAGES, Stored
from jingwei.people.models import Unregistered
from jingwei.people.unregistered import forget_unnamed
from jingwei.testing.models import PENDING, Sample

KEY = ("number", "sampled_at", "point")
VALUES = ("name", "institution", "result", "result_at")
COLUMNS = (*KEY, *VALUES)

# Whoever writes samples adds new ones first, then holds those that are there, then the people, each in the
# order of their keys: so two feeds, loads or look-ups at once never wait for each other crosswise.

# Where a person lives is what the register says when the sample comes in. The oldest record is found by
# an aggregate: for "the first in order" the database may walk all people in order, for each sample.
STORE = """
INSERT INTO testing_sample
    (number, sampled_at, point, region, name, institution, result, result_at, received_at, load)
SELECT number, sampled_at, point, coalesce(
        (SELECT (array_agg(region_id ORDER BY id))[1]
         FROM people_person WHERE people_person.number = arriving.number),
        (SELECT (array_agg(region_id ORDER BY alias.id))[1]
         FROM people_personalias AS alias JOIN people_person ON people_person.id = person_id
         WHERE alias.number = arriving.number),
        ''
    ), name, institution, result, result_at, now(), %s
FROM arriving
ORDER BY number, sampled_at, point
ON CONFLICT DO NOTHING
"""

# A person is known by the numbers of records merged into theirs as well; without a sample nothing is shown.
KNOWN = """
WITH known AS NOT MATERIALIZED (
    SELECT id, number, region_id FROM people_person
    UNION ALL
    SELECT person_id, alias.number, region_id
    FROM people_personalias AS alias JOIN people_person ON people_person.id = person_id
)
"""

# Held, so that of two who roll up the later sees the samples that the earlier has seen.
HOLD = "SELECT id FROM people_person WHERE id = ANY(%s) ORDER BY id FOR UPDATE"

ROLL_UP = f"""
{KNOWN}
UPDATE people_person
SET sampled_at = latest.sampled_at, sample_result = latest.result, sample_point = latest.point
FROM (
    SELECT DISTINCT ON (id) id, sampled_at, coalesce(result, '') AS result, coalesce(point, '') AS point
    FROM known LEFT JOIN testing_sample USING (number)
    WHERE id = ANY(%s)
    ORDER BY id, sampled_at DESC NULLS LAST, point
) AS latest
WHERE people_person.id = latest.id
  AND (people_person.sampled_at, sample_result, sample_point)
      IS DISTINCT FROM (latest.sampled_at, latest.result, latest.point)
"""

# Samples that came before their person was registered.
SETTLE = f"""
{KNOWN}, lives AS (
    SELECT DISTINCT ON (number) number, region_id FROM known WHERE id = ANY(%s) ORDER BY number, id
), waiting AS (
    SELECT number, sampled_at, point, region_id
    FROM testing_sample AS sample JOIN lives USING (number) WHERE region = ''
    ORDER BY number, sampled_at, point FOR UPDATE OF sample
)
UPDATE testing_sample AS sample SET region = waiting.region_id
FROM waiting
WHERE sample.number = waiting.number AND sample.sampled_at = waiting.sampled_at
  AND sample.point = waiting.point
"""

ARRIVING = """
CREATE TEMP TABLE arriving (number bytea, sampled_at timestamptz, point text, name text,
    institution text, result text, result_at timestamptz) ON COMMIT DROP
"""


@transaction.atomic
def store_samples(samples: pl.DataFrame, load: int | None = None) -> int:
    """Keep the samples that are new and bring each person's latest up to date; returns how many were new.

    `samples` has `COLUMNS`: the ciphertext of the number, times with their zone, texts without null. Person,
    time and point make it the same sample. `load` is the id of the load that brings them.
    """
    stored = _add(samples, load)
    roll_up_samples(samples["number"].unique().to_list())
    return stored


def _add(samples, load):
    if samples.is_empty():
        return 0
    ensure_months(Sample._meta.db_table, samples["sampled_at"].min(), samples["sampled_at"].max())
    with connection.cursor() as cursor:
        cursor.execute(ARRIVING)
        copy_into("arriving", samples.select(COLUMNS))
        cursor.execute(STORE, [load])
        stored = cursor.rowcount
        cursor.execute("DROP TABLE arriving")
    return stored


def roll_up_samples(numbers: Sequence[bytes]):
    """Set the latest sample, by its time, of the people with these numbers' ciphertexts (CL-3.3)."""
    with connection.cursor() as cursor:
        cursor.execute(f"{KNOWN} SELECT DISTINCT id FROM known WHERE number = ANY(%s)", [list(numbers)])  # noqa: S608
        _roll_up([person for (person,) in cursor.fetchall()])


@transaction.atomic
def find_samples_of(people: Sequence[int]):
    """Give the people with these ids the samples that came under their numbers before (CL-6.5)."""
    with connection.cursor() as cursor:
        cursor.execute(SETTLE, [list(people)])
    _roll_up(list(people))


@transaction.atomic
def _roll_up(people):
    with connection.cursor() as cursor:
        cursor.execute(HOLD, [people])
        cursor.execute(ROLL_UP, [people])


# --- from sheets ------------------------------------------------------------------------------------------


@transaction.atomic
def load_samples(actor, sheet, rows: pl.DataFrame, record) -> Stored:
    """Store the cleaned samples of a sheet, in the mode of the load `record`; what they replace is kept."""
    samples = pl.DataFrame([rows[ROW], *(_stored(rows, name) for name in COLUMNS)])
    clear = samples.with_columns(rows[name] for name in ("sampled_at", *VALUES))
    there = _there(samples)
    new = samples.join(there, on=ROW, how="anti")
    known = clear.join(there, on=ROW)
    if record.mode == "add":
        return Stored(store_samples(new, record.pk), refused=_refusals(known, THERE))
    changed = _changed(sheet, known)
    counts = {"changed": len(changed), "unchanged": len(known) - len(changed)}
    if record.mode == "update":
        stored = Stored(0, **counts, refused=_refusals(new, UNKNOWN))
    else:
        stored = Stored(_add(new, record.pk), **counts)
        stored.unchanged += len(new) - stored.added  # stored by a feed at this very moment
    _change(actor, changed, record)
    roll_up_samples(pl.concat([new["number"], changed["number"]]).unique().to_list())
    return stored


def _stored(rows, name):
    return as_stored(Sample._meta.get_field(name), rows[name]).alias(name)


def _refusals(rows, reason):
    found = {ROW: rows[ROW], "column": ["number"] * len(rows), "reason": [reason] * len(rows)}
    return pl.DataFrame(found, MESSAGES)


def _there(samples):
    """ROW and the values, as <name>__old in clear, of those of the samples that are stored already."""
    keys = {f"{name}s": samples[name].to_list() for name in KEY} | {"rows": samples[ROW].to_list()}
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off")
        cursor.execute(
            "SELECT asked.row, name, institution, result, result_at FROM unnest(%(rows)s::int[],"
            " %(numbers)s::bytea[], %(sampled_ats)s::timestamptz[], %(points)s::text[])"
            " AS asked(row, number, sampled_at, point) JOIN testing_sample USING (number, sampled_at, point)",
            keys,
        )
        found = cursor.fetchall()
        cursor.execute("SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on")
    schema = {ROW: pl.Int64, **dict.fromkeys(VALUES[:-1], pl.String), "result_at": pl.Datetime("us", "UTC")}
    frame = pl.DataFrame(found, schema=schema, orient="row")
    return frame.select(
        ROW, *(as_clear(Sample._meta.get_field(name), frame[name]).alias(f"{name}__old") for name in VALUES)
    )


def _changed(sheet, known):
    """The samples of `known` that come out different, as stored; an awaited result is none (CL-6.3)."""
    results = ["result", "result__old"]
    awaited = known.select(pl.any_horizontal(pl.col(results) == PENDING).fill_null(False)).to_series()
    known = known.with_columns(pl.col(results).replace(PENDING, None))
    whole = known.select(*KEY, *overlay(sheet, known, VALUES))
    differs = pl.any_horizontal(whole[name].ne_missing(known[f"{name}__old"]) for name in VALUES)
    chosen = whole.with_columns(
        pl.when(pl.col("result").is_null() & awaited)
        .then(pl.lit(PENDING))
        .otherwise("result")
        .alias("result")
    ).filter(pl.select(differs).to_series())
    return chosen.with_columns(_stored(chosen, name) for name in ("sampled_at", *VALUES))


CHANGE = """
WITH held AS (
    SELECT number, sampled_at, point
    FROM testing_sample AS sample JOIN arriving USING (number, sampled_at, point)
    ORDER BY number, sampled_at, point FOR UPDATE OF sample
), kept AS (
    INSERT INTO testing_samplebefore (number, sampled_at, point, region, name, institution, result, result_at,
        load, replaced_by, replaced_at, by_name)
    SELECT number, sampled_at, point, sample.region, sample.name, sample.institution, sample.result,
        sample.result_at, load, %(load)s, now(), %(by)s
    FROM testing_sample AS sample JOIN held USING (number, sampled_at, point)
)
UPDATE testing_sample AS sample
SET name = arriving.name, institution = arriving.institution, result = arriving.result,
    result_at = arriving.result_at, load = %(load)s
FROM held JOIN arriving USING (number, sampled_at, point)
WHERE sample.number = held.number AND sample.sampled_at = held.sampled_at AND sample.point = held.point
"""


def _change(actor, changed, record):
    if changed.is_empty():
        return
    with connection.cursor() as cursor:
        cursor.execute(ARRIVING)
        copy_into("arriving", changed.select(COLUMNS))
        cursor.execute(CHANGE, {"load": record.pk, "by": actor.name})
        cursor.execute("DROP TABLE arriving")


# What the load had replaced comes back; what it wrote is history then, like any value that was overwritten.
RESTORE = """
WITH chosen AS MATERIALIZED (
    SELECT id FROM testing_samplebefore AS old JOIN testing_sample AS sample USING (number, sampled_at, point)
    WHERE old.replaced_by = %(load)s AND sample.load = %(load)s LIMIT %(most)s
), replaced AS (
    SELECT number, sampled_at, point, old.name, old.institution, old.result, old.result_at, old.load
    FROM testing_samplebefore AS old JOIN testing_sample AS sample USING (number, sampled_at, point)
    WHERE id IN (SELECT id FROM chosen)
    ORDER BY number, sampled_at, point FOR UPDATE OF sample
), used AS (
    UPDATE testing_samplebefore SET replaced_by = NULL WHERE id IN (SELECT id FROM chosen)
), kept AS (
    INSERT INTO testing_samplebefore (number, sampled_at, point, region, name, institution, result, result_at,
        load, replaced_at, by_name)
    SELECT number, sampled_at, point, sample.region, sample.name, sample.institution, sample.result,
        sample.result_at, sample.load, now(), %(by)s
    FROM testing_sample AS sample JOIN replaced USING (number, sampled_at, point)
)
UPDATE testing_sample AS sample
SET name = replaced.name, institution = replaced.institution, result = replaced.result,
    result_at = replaced.result_at, load = replaced.load
FROM replaced
WHERE sample.number = replaced.number AND sample.sampled_at = replaced.sampled_at
  AND sample.point = replaced.point
RETURNING sample.number
"""


TAKE_BACK = """
WITH chosen AS MATERIALIZED (
    SELECT number, sampled_at, point FROM testing_sample WHERE load = %(load)s LIMIT %(most)s
), held AS (
    SELECT number, sampled_at, point
    FROM testing_sample AS sample JOIN chosen USING (number, sampled_at, point)
    ORDER BY number, sampled_at, point FOR UPDATE OF sample
)
DELETE FROM testing_sample AS sample USING held
WHERE sample.number = held.number AND sample.sampled_at = held.sampled_at AND sample.point = held.point
RETURNING sample.number
"""


@transaction.atomic
def take_samples_back(actor, record, most: int) -> dict[str, int]:
    """Undo up to `most` samples of a load: how many were deleted and restored.

    Those that another load has changed since stay.
    """
    told = {"load": record.pk, "by": actor.name, "most": most}
    counts, numbers = {}, []
    with connection.cursor() as cursor:
        # What was restored is another load's again: only what nothing stood before is deleted.
        for name, statement in (("restored", RESTORE), ("deleted", TAKE_BACK)):
            cursor.execute(statement, told | {"most": most - len(numbers)})
            counts[name] = cursor.rowcount
            numbers += [bytes(number) for (number,) in cursor.fetchall()]
    numbers = list(set(numbers))
    roll_up_samples(numbers)
    forget_unnamed(Unregistered.objects.filter(number__in=numbers))
    return counts


# Samples that a load has changed and another one since: they stay as they are.
LEAVE = """
INSERT INTO base_loadrow (load_id, row, sheet_row, outcome, version)
SELECT DISTINCT ON (number, sampled_at, point) %(load)s::bigint, old.id, 0, '此后已被另一次导入更新', 1
FROM testing_samplebefore AS old JOIN testing_sample AS sample USING (number, sampled_at, point)
WHERE old.load = %(load)s AND old.replaced_by IS NOT NULL
ORDER BY number, sampled_at, point
"""


def leave_samples(record) -> int:
    """Keep a LoadRow of each sample of a load that stays, with the id of its SampleBefore; how many."""
    with connection.cursor() as cursor:
        cursor.execute(LEAVE, {"load": record.pk})
        return cursor.rowcount


# --- when their time is over ------------------------------------------------------------------------------

ERASED_AT_ONCE = 20_000
# By their places in one month: there is no index by time, and a key in clear is a key opened.
CHOOSE = """
SELECT tableoid, array_agg(ctid::text), min(sampled_at), max(sampled_at)
FROM (
    SELECT tableoid, ctid, sampled_at FROM testing_sample WHERE sampled_at < %s
    LIMIT %s FOR UPDATE SKIP LOCKED
) AS lot GROUP BY tableoid ORDER BY tableoid LIMIT 1
"""
ERASE = """
DELETE FROM testing_sample
WHERE tableoid = %s AND ctid = ANY(%s::tid[]) AND sampled_at BETWEEN %s AND %s
RETURNING number, sampled_at, point
"""


def erase_some(before: datetime) -> Gone | None:
    """Erase some of the samples taken before a moment, those that nobody holds; None when there are none."""
    with connection.cursor() as cursor:
        cursor.execute(CHOOSE, [before, ERASED_AT_ONCE])
        if (chosen := cursor.fetchone()) is None:
            return None
        cursor.execute(ERASE, chosen)
        numbers, times, points = zip(*cursor.fetchall(), strict=True)
    masked = show(Sample._meta.get_field("number"), [bytes(number) for number in numbers])
    keys = zip(masked, times, points, strict=True)
    return Gone(len(numbers), (f"{number} {at.isoformat()} {point}" for number, at, point in keys))
