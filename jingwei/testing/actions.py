# ruff: noqa: S608
"""Samples in, and the latest one onto the person (CL-3.3).

What stands in the statements is ours; every value is a parameter.
"""

from collections.abc import Sequence

import polars as pl
from django.db import connection, transaction
from django.db.models import Exists, OuterRef

from jingwei.base.copying import copy_into
from jingwei.base.merging import THERE, UNKNOWN, as_clear, as_stored, overlay
from jingwei.base.partitions import ensure_months
from jingwei.base.reading import ROW
from jingwei.base.sheets import MESSAGES, Stored
from jingwei.testing.models import PENDING, Sample, SampleBefore

KEY = ("number", "sampled_at", "point")
VALUES = ("name", "institution", "result", "result_at")
COLUMNS = (*KEY, *VALUES)

# Whoever writes samples adds new ones first, then holds those that are there, then the people, each in the
# order of their keys: so two feeds, loads or look-ups at once never wait for each other crosswise.
HOLD_SAMPLES = """
SELECT FROM testing_sample AS sample JOIN {these} USING (number, sampled_at, point)
ORDER BY number, sampled_at, point FOR UPDATE OF sample
"""

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
WITH kept AS (
    INSERT INTO testing_samplebefore (number, sampled_at, point, region, name, institution, result, result_at,
        load, replaced_by, replaced_at, by_name)
    SELECT number, sampled_at, point, sample.region, sample.name, sample.institution, sample.result,
        sample.result_at, load, %(load)s, now(), %(by)s
    FROM testing_sample AS sample JOIN arriving USING (number, sampled_at, point)
)
UPDATE testing_sample AS sample
SET name = arriving.name, institution = arriving.institution, result = arriving.result,
    result_at = arriving.result_at, load = %(load)s
FROM arriving
WHERE sample.number = arriving.number AND sample.sampled_at = arriving.sampled_at
  AND sample.point = arriving.point
"""


def _change(actor, changed, record):
    if changed.is_empty():
        return
    with connection.cursor() as cursor:
        cursor.execute(ARRIVING)
        copy_into("arriving", changed.select(COLUMNS))
        cursor.execute(HOLD_SAMPLES.format(these="arriving"))
        cursor.execute(CHANGE, {"load": record.pk, "by": actor.name})
        cursor.execute("DROP TABLE arriving")


# What the load had replaced comes back; what it wrote is history then, like any value that was overwritten.
RESTORE = """
WITH replaced AS (
    SELECT number, sampled_at, point, old.name, old.institution, old.result, old.result_at, old.load
    FROM testing_samplebefore AS old JOIN testing_sample AS sample USING (number, sampled_at, point)
    WHERE old.replaced_by = %(load)s AND sample.load = %(load)s
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


@transaction.atomic
def take_samples_back(actor, record) -> tuple[int, int, list[dict]]:
    """Undo a load of samples: how many were deleted and restored, and those changed since, which stay."""
    with connection.cursor() as cursor:
        cursor.execute(RESTORE, {"load": record.pk, "by": actor.name})
        restored = [bytes(number) for (number,) in cursor.fetchall()]
        cursor.execute("DELETE FROM testing_sample WHERE load = %s RETURNING number", [record.pk])
        deleted = [bytes(number) for (number,) in cursor.fetchall()]
    roll_up_samples(list({*restored, *deleted}))
    key = {name: OuterRef(name) for name in KEY}
    replaced = SampleBefore.objects.filter(load=record.pk, replaced_by__isnull=False)
    replaced = replaced.filter(Exists(Sample.objects.filter(**key))).order_by(*KEY).distinct(*KEY)
    left = [
        {"row": None, "id": old.pk, "label": str(old), "reason": "此后已被另一次导入更新"} for old in replaced
    ]
    return len(deleted), len(restored), left
