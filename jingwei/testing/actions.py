"""Samples in, and the latest one onto the person (CL-3.3)."""

from collections.abc import Sequence

import polars as pl
from django.db import connection, transaction

from jingwei.base.copying import copy_into
from jingwei.base.partitions import ensure_months
from jingwei.testing.models import Sample

COLUMNS = ("number", "sampled_at", "point", "name", "institution", "result", "result_at")

# Where a person lives is what the register says when the sample comes in.
STORE = """
INSERT INTO testing_sample
    (number, sampled_at, point, region, name, institution, result, result_at, received_at)
SELECT number, sampled_at, point, coalesce(lives.region_id, ''), name, institution, result, result_at, now()
FROM arriving
LEFT JOIN LATERAL (
    (SELECT region_id FROM people_person WHERE people_person.number = arriving.number ORDER BY id LIMIT 1)
    UNION ALL
    (SELECT region_id FROM people_personalias AS alias JOIN people_person ON people_person.id = person_id
     WHERE alias.number = arriving.number ORDER BY alias.id)
    LIMIT 1
) AS lives ON true
ON CONFLICT DO NOTHING
"""

# A person is known by the numbers of records merged into theirs as well.
ROLL_UP = """
WITH known AS NOT MATERIALIZED (
    SELECT id, number FROM people_person
    UNION ALL
    SELECT person_id, number FROM people_personalias
)
UPDATE people_person
SET sampled_at = latest.sampled_at, sample_result = latest.result, sample_point = latest.point
FROM (
    SELECT DISTINCT ON (id) id, sampled_at, result, point
    FROM known JOIN testing_sample USING (number)
    WHERE id = ANY(ARRAY(SELECT id FROM known WHERE number = ANY(%s)))
    ORDER BY id, sampled_at DESC, point
) AS latest
WHERE people_person.id = latest.id
  AND (people_person.sampled_at, sample_result, sample_point)
      IS DISTINCT FROM (latest.sampled_at, latest.result, latest.point)
"""


@transaction.atomic
def store_samples(samples: pl.DataFrame) -> int:
    """Keep the samples that are new and bring each person's latest up to date; returns how many were new.

    `samples` has `COLUMNS`: the ciphertext of the number, times with their zone, texts without null. Person,
    time and point make it the same sample.
    """
    if samples.is_empty():
        return 0
    ensure_months(Sample._meta.db_table, samples["sampled_at"].min(), samples["sampled_at"].max())
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE arriving (number bytea, sampled_at timestamptz, point text, name text,"
            " institution text, result text, result_at timestamptz) ON COMMIT DROP"
        )
        copy_into("arriving", samples.select(COLUMNS))
        cursor.execute(STORE)
        stored = cursor.rowcount
        cursor.execute("DROP TABLE arriving")
    roll_up_samples(samples["number"].unique().to_list())
    return stored


def roll_up_samples(numbers: Sequence[bytes]):
    """Set the latest sample, by its time, of the people with these numbers' ciphertexts (CL-3.3)."""
    with connection.cursor() as cursor:
        cursor.execute(ROLL_UP, [list(numbers)])
