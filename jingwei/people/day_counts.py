# ruff: noqa: S608
"""Counts per day and community of what happens every day, kept in the transaction of the rows (P-9.4, CL-P4).

Triggers note what a statement changed: a row per community and day, never an update, so that nobody waits for
anybody. The sum over the rows of a community and day is the count; now and then they are added up.

The names that stand in the statements are those of our models.
"""

from dataclasses import dataclass

import pgtrigger
from django.conf import settings
from django.db import connection

_MOST_PARTS = 20  # rows of one community and day before they are added up


def day_of(column) -> str:
    """SQL for the day of a time."""
    return f"({column} AT TIME ZONE '{settings.TIME_ZONE}')::date"


def _add(rows):
    """SQL to note rows of kind, region, day, number."""
    return (
        "INSERT INTO people_daycount (kind, region, day, number) SELECT kind, region, day, sum(number) "
        f"FROM ({rows}) AS noted (kind, region, day, number) "
        "GROUP BY kind, region, day HAVING sum(number) <> 0"
    )


@dataclass(frozen=True)
class Counted:
    """What is counted: the rows of `table`, as `rows` of region and day, in which {} stands for the table."""

    kind: str
    table: str
    rows: str

    def triggers(self) -> list[pgtrigger.Trigger]:
        """The triggers that the model of the table has to have."""
        return [
            self.trigger(operation, lost=self.rows.format(old), gained=self.rows.format(new))
            for operation, old, new in (
                (pgtrigger.Insert, "", "new_values"),
                (pgtrigger.Update, "old_values", "new_values"),
                (pgtrigger.Delete, "old_values", ""),
            )
        ]

    def trigger(self, operation, lost, gained, name="") -> pgtrigger.Trigger:
        """Take the rows `lost` off the counts and add those `gained`, as old_values and new_values say."""
        old, new = ("old_values" in lost and "old_values"), ("new_values" in gained and "new_values")
        signed = " UNION ALL ".join(
            f"SELECT '{self.kind}', region, day, {sign} FROM ({rows}) AS rows (region, day)"
            for sign, rows, there in ((-1, lost, old), (1, gained, new))
            if there
        )
        return pgtrigger.Trigger(
            name=f"{self.kind}{name}_by_day_{str(operation).lower()}",
            level=pgtrigger.Statement,
            when=pgtrigger.After,
            operation=operation,
            referencing=pgtrigger.Referencing(old=old or None, new=new or None),
            func=f"{_add(signed)}; RETURN NULL;",
        )


PEOPLE = Counted("people", "people_person", f"SELECT region_id, {day_of('created_at')} FROM {{}}")
DOSES = Counted(
    "doses",
    "people_dose",
    'SELECT p.region_id, d."on" FROM {} d JOIN people_person p ON p.id = d.person_id',
)
_MOVED = """
    SELECT {0}.region_id, d."on" FROM {0} JOIN {1} ON {1}.id = {0}.id AND {1}.region_id <> {0}.region_id
      JOIN people_dose d ON d.person_id = {0}.id
"""
# People who move take their doses along.
MOVED_DOSES = DOSES.trigger(
    pgtrigger.Update,
    lost=_MOVED.format("old_values", "new_values"),
    gained=_MOVED.format("new_values", "old_values"),
    name="_moved",
)


def recount(*counted: Counted) -> int:
    """Correct the counts by what the tables hold; returns how many were wrong."""
    there = " UNION ALL ".join(
        f"SELECT '{one.kind}', region, day, 1 FROM ({one.rows.format(one.table)}) AS rows (region, day)"
        for one in counted
    )
    kinds = ", ".join(f"'{one.kind}'" for one in counted)
    kept = f"SELECT kind, region, day, -number FROM people_daycount WHERE kind IN ({kinds})"
    with connection.cursor() as cursor:
        # One statement: what others commit meanwhile is on neither side.
        cursor.execute(_add(f"{there} UNION ALL {kept}"))
        return cursor.rowcount


def add_up():
    """Make one row of the many of a community and day."""
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH parts AS (DELETE FROM people_daycount WHERE (kind, region, day) IN "
            "(SELECT kind, region, day FROM people_daycount GROUP BY kind, region, day HAVING count(*) > %s) "
            f"RETURNING kind, region, day, number) {_add('SELECT kind, region, day, number FROM parts')}",
            [_MOST_PARTS],
        )
