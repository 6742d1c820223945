"""People of sample and vaccination sheets: who they are, and who is in no register (CL-6.1, CL-6.5)."""

import polars as pl
from django.db import connection, models, transaction

from jingwei.base.copying import copy_into
from jingwei.base.crypto import provider
from jingwei.base.merging import ADDED, as_stored
from jingwei.base.reading import ROW
from jingwei.base.sheets import MESSAGES, Placed
from jingwei.people.models import Person, Unregistered, UnregisteredDose

ELSEWHERE = "该证件号在其他辖区登记，不能在此导入"
NUMBER = Unregistered._meta.get_field("number")

# --- who they are -----------------------------------------------------------------------------------------

# A person is known by the numbers of records merged into theirs as well.
HOLDERS = """
SELECT asked.place, person.id, person.region_id, false
FROM unnest(%(places)s::int[], %(numbers)s::bytea[]) AS asked(place, number)
JOIN people_person AS person USING (number)
UNION ALL
SELECT asked.place, person.id, person.region_id, true
FROM unnest(%(places)s::int[], %(numbers)s::bytea[]) AS asked(place, number)
JOIN people_personalias AS alias USING (number) JOIN people_person AS person ON person.id = alias.person_id
"""


def placed(actor, sheet, rows: pl.DataFrame) -> Placed:
    """The rows of a sheet with the `person` and `region` of their `number`; who lives elsewhere is refused.

    It goes by the number alone, since not every sheet names the document type. Of several people with one
    number it is who the actor may import for, then who is registered under it, then the oldest record.
    """
    numbers = rows["number"].unique(maintain_order=True)
    holders = _holders(numbers)
    ids = holders["person"].unique().to_list()
    mine = Person.objects.visible_to(actor, f"{sheet.resource}.import").filter(pk__in=ids)
    holders = holders.with_columns(mine=pl.col("person").is_in(list(mine.values_list("pk", flat=True))))
    chosen = holders.sort(~pl.col("mine"), "other", "person").unique("place", keep="first")
    people = pl.DataFrame({"number": numbers}).with_row_index("place").join(chosen, on="place", how="left")
    found = rows.join(people.drop("place", "other"), on="number", how="left", maintain_order="left")
    outside = found.filter(~pl.col("mine"))
    strangers = found.filter(pl.col("person").is_null()).select(rows.columns)
    refused = {ROW: outside[ROW], "column": ["number"] * len(outside), "reason": [ELSEWHERE] * len(outside)}
    return Placed(
        rows=found.filter(pl.col("mine")).drop("mine"),
        refused=pl.DataFrame(refused, MESSAGES),
        strangers=strangers,
        who=as_stored(NUMBER, strangers["number"].unique()).hash().to_list(),
    )


def _holders(numbers):
    """place (of a number), person, region, other (known by another record's number), one row a holder."""
    asked = {"places": [], "numbers": []}
    # A rotation leaves numbers under several keys of the ring for a while.
    for key_id in provider().key_ids:
        asked["places"] += range(len(numbers))
        asked["numbers"] += provider().encrypt(NUMBER.sealing, numbers.to_list(), key_id=key_id)
    with connection.cursor() as cursor:
        # A table that is just being filled has no statistics; each number is one look-up in an index.
        cursor.execute("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off")
        cursor.execute(HOLDERS, asked)
        found = cursor.fetchall()
        cursor.execute("SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on")
    schema = {"place": pl.UInt32, "person": pl.Int64, "region": pl.String, "other": pl.Boolean}
    return pl.DataFrame(found, schema=schema, orient="row")


# --- those who are in none --------------------------------------------------------------------------------

# What comes again changes nothing. Who was registered and is no more waits again; who was dismissed stays so.
KEEP = """
INSERT INTO people_unregistered AS known (number, doc_type, name, phone, source, place, first_at, last_at,
    region, organisation, state, decided_by, reason, version, created_at, created_by, updated_at)
SELECT number, doc_type, name, phone, %(source)s, place, first_at, last_at,
    %(region)s, %(organisation)s, %(waiting)s, '', '', 1, now(), %(operator)s, now()
FROM strangers ORDER BY number
ON CONFLICT (number, region) DO UPDATE SET
    doc_type = coalesce(nullif(excluded.doc_type, ''), known.doc_type),
    name = coalesce(nullif(excluded.name, ''), known.name),
    phone = coalesce(excluded.phone, known.phone),
    source = CASE WHEN excluded.last_at > known.last_at THEN excluded.source ELSE known.source END,
    place = CASE WHEN excluded.last_at > known.last_at THEN excluded.place ELSE known.place END,
    first_at = least(excluded.first_at, known.first_at),
    last_at = greatest(excluded.last_at, known.last_at),
    state = CASE WHEN known.state = %(registered)s THEN %(waiting)s ELSE known.state END,
    version = known.version + 1,
    updated_at = now()
WHERE (coalesce(nullif(excluded.doc_type, ''), known.doc_type),
       coalesce(nullif(excluded.name, ''), known.name), coalesce(excluded.phone, known.phone),
       least(excluded.first_at, known.first_at), greatest(excluded.last_at, known.last_at))
      IS DISTINCT FROM (known.doc_type, known.name, known.phone, known.first_at, known.last_at)
   OR known.state = %(registered)s
"""


def keep_aside(actor, sheet, strangers: pl.DataFrame, *, at: str, place: str):
    """Put the people of these rows on the list of those in no register, each once (CL-6.5).

    `at` and `place` name the columns that tell when and where they were seen.
    """
    missing = [name for name in ("doc_type", "phone") if name not in strangers.columns]
    rows = strangers.with_columns(pl.lit(None, pl.String).alias(name) for name in missing)
    people = (
        rows.sort(at)
        .group_by("number")
        .agg(
            pl.col("doc_type", "name", "phone").drop_nulls().last(),
            pl.col(place).last().alias("place"),
            pl.col(at).first().cast(pl.Datetime("us")).alias("first_at"),
            pl.col(at).last().cast(pl.Datetime("us")).alias("last_at"),
        )
    )
    stored = [as_stored(Unregistered._meta.get_field(name), people[name]) for name in people.columns]
    told = {
        "source": sheet.label,
        "region": actor.region,
        "organisation": actor.organisation,
        "operator": actor.operator_id,
        "waiting": Unregistered.WAITING,
        "registered": Unregistered.REGISTERED,
    }
    with connection.cursor() as cursor:
        _temporary(cursor, "strangers", Unregistered, pl.DataFrame(stored))
        cursor.execute(KEEP, told)
        cursor.execute("DROP TABLE strangers")


def _temporary(cursor, name, model, rows):
    """A temporary table with these columns of the model's table and these rows."""
    columns = ", ".join(connection.ops.quote_name(column) for column in rows.columns)
    table = connection.ops.quote_name(model._meta.db_table)
    cursor.execute(f"CREATE TEMP TABLE {name} ON COMMIT DROP AS SELECT {columns} FROM {table} LIMIT 0")  # noqa: S608
    copy_into(name, rows)


# The dose of the later day is the person's (CL-6.3).
KEEP_DOSES = """
INSERT INTO people_unregistereddose AS known (unregistered_id, dose, vaccine, "on", unit, load, sheet_row)
SELECT DISTINCT ON (person.id, dose) person.id, dose, vaccine, "on", unit, %(load)s, sheet_row
FROM stranger_doses JOIN people_unregistered AS person USING (number)
WHERE person.region = %(region)s
ORDER BY person.id, dose, "on" DESC
ON CONFLICT (unregistered_id, dose) DO UPDATE SET
    vaccine = excluded.vaccine, "on" = excluded."on", unit = excluded.unit,
    load = excluded.load, sheet_row = excluded.sheet_row
WHERE excluded."on" > known."on"
"""


def keep_doses_aside(actor, record, strangers: pl.DataFrame):
    """Keep the doses of people who are on the list of those in no register."""
    columns = ["dose", "vaccine", "on", "unit"]
    stored = [as_stored(UnregisteredDose._meta.get_field(name), strangers[name]) for name in columns]
    rows = pl.DataFrame([*stored, strangers[ROW].alias("sheet_row")])
    numbers = as_stored(NUMBER, strangers["number"])
    with connection.cursor() as cursor:
        cursor.execute(
            'CREATE TEMP TABLE stranger_doses ON COMMIT DROP AS SELECT number, dose, vaccine, "on", unit,'
            " sheet_row FROM people_unregistereddose, people_unregistered LIMIT 0"
        )
        copy_into("stranger_doses", rows.with_columns(numbers.alias("number")))
        cursor.execute(KEEP_DOSES, {"load": record.pk, "region": actor.region})
        cursor.execute("DROP TABLE stranger_doses")


@transaction.atomic
def forget_doses_aside(record):
    """Take back the doses that a load has put beside the list, and who is on it for nothing else."""
    doses = UnregisteredDose.objects.filter(load=record.pk)
    entries = list(doses.values_list("unregistered", flat=True).distinct())
    doses.delete()
    forget_unnamed(Unregistered.objects.filter(pk__in=entries))


# Tables of events whose rows, by their number, keep somebody on the list; the packages add theirs.
NAMED_BY: list[type[models.Model]] = []


def forget_unnamed(entries):
    """Delete those of these entries that no row of any sheet is left of; who was registered stays."""
    left = list(entries.exclude(state=Unregistered.REGISTERED).filter(doses=None))
    numbers = {entry.number for entry in left}
    for model in NAMED_BY:
        numbers -= set(model.objects.filter(number__in=numbers).values_list("number", flat=True))
    Unregistered.objects.filter(pk__in=[entry.pk for entry in left if entry.number in numbers]).delete()


# --- when they are registered -----------------------------------------------------------------------------

REGISTERED = """
SELECT waiting.id, person.id
FROM people_unregistered AS waiting JOIN people_person AS person USING (number)
WHERE waiting.state <> %s AND person.id = ANY(%s)
"""

# The row of the load that brought a dose goes with it, so that undoing the load takes it back.
MOVE_DOSES = """
WITH arriving AS (
    SELECT DISTINCT ON (person_id, dose) person_id, dose, vaccine, "on", unit, load, sheet_row
    FROM people_unregistereddose
    JOIN unnest(%s::bigint[], %s::bigint[]) AS pair(unregistered_id, person_id) USING (unregistered_id)
    ORDER BY person_id, dose, "on" DESC
), stored AS (
    INSERT INTO people_dose AS known (person_id, dose, vaccine, "on", unit, version, created_at, updated_at)
    SELECT person_id, dose, vaccine, "on", unit, 1, now(), now() FROM arriving
    ON CONFLICT (person_id, dose) DO UPDATE SET
        vaccine = excluded.vaccine, "on" = excluded."on", unit = excluded.unit,
        version = known.version + 1, updated_at = now()
    WHERE excluded."on" > known."on"
    RETURNING id, person_id, dose, version
)
INSERT INTO base_loadrow (load_id, row, sheet_row, outcome, version)
SELECT load, stored.id, sheet_row, %s, 1
FROM stored JOIN arriving USING (person_id, dose)
WHERE stored.version = 1 AND load IS NOT NULL
"""


def take_in(people) -> list[int]:
    """Close the entries of the people with these ids, who are registered now; returns whose doses changed."""
    with connection.cursor() as cursor:
        cursor.execute(REGISTERED, [Unregistered.REGISTERED, list(people)])
        pairs = cursor.fetchall()
        if not pairs:
            return []
        entries, ids = map(list, zip(*pairs, strict=True))
        cursor.execute(MOVE_DOSES, [entries, ids, ADDED])
        cursor.execute("DELETE FROM people_unregistereddose WHERE unregistered_id = ANY(%s)", [entries])
        cursor.execute(
            "UPDATE people_unregistered SET state = %s, reason = '', decided_at = now(),"
            " version = version + 1, updated_at = now() WHERE id = ANY(%s)",
            [Unregistered.REGISTERED, entries],
        )
    return ids


def overlooked() -> list[int]:
    """Ids of registered people whose entries still wait: a load and a registration did not see each other."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT person.id FROM people_unregistered AS waiting"
            " JOIN people_person AS person USING (number) WHERE waiting.state <> %s",
            [Unregistered.REGISTERED],
        )
        return [person for (person,) in cursor.fetchall()]


def let_wait_again(people):
    """Reopen the entries of the people with these ids, who are about to leave the register."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE people_unregistered SET state = %s, version = version + 1, updated_at = now()"
            " WHERE state = %s AND number IN (SELECT number FROM people_person WHERE id = ANY(%s))",
            [Unregistered.WAITING, Unregistered.REGISTERED, list(people)],
        )
