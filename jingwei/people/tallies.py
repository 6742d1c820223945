# ruff: noqa: S608
"""Counts of the register kept ready: a statistics page need not read ten million people (P-9.4, CL-P4).

A tally is a whole count, by community, as of a snapshot of the database. What changed since is noted by the
triggers of `Person`, in the transaction of the change: a row for how a person was, one for how they became. A
page adds those that the snapshot does not contain. Both are counted by the same conditions, written once (in
`queries.CONDITIONS`), and ages and days since a test are those of the day the tally was counted for: there is
one for today and, from the evening on, one for tomorrow. Another parameter or another word in a dictionary
makes another statement, hence another tally. Without a tally the people themselves are counted.

The names that stand in the statements are those of our models; every value is a parameter.
"""

from collections.abc import Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from cryptography.hazmat.primitives import hashes
from django.core.exceptions import EmptyResultSet
from django.db import connection, transaction
from django.db.models import BooleanField, Case, F, Max, Q, Value, When

from jingwei.people.models import Person, Tally, TallyChange, TallyCount

MOST_CHANGES = 5_000  # noted before they are added to the tallies
_LOCK = 0x74616C  # first half of the key of the advisory lock of who writes tallies
EVERYWHERE = Q()
_UNSEEN = "NOT pg_visible_in_snapshot({}::text::xid8, (SELECT snapshot FROM old)::pg_snapshot)"


@dataclass(frozen=True)
class Count:
    """What is counted in one pass over the people: all, and by groupings, each in several measures."""

    people: Q
    groupings: Sequence[Any]  # expressions of Person
    measures: Sequence[Q]

    def statement(self, model, within=EVERYWHERE) -> tuple[str, list]:
        """SQL for rows of region, grouping, value, counts over `model` (Person or TallyChange).

        Changes count with their sign. EmptyResultSet where `within` has no rows.
        """
        keys = {f"by_{n}": expression for n, expression in enumerate(self.groupings, 1)}
        marks = {
            f"is_{n}": Case(When(measure, then=True), default=False, output_field=BooleanField())
            for n, measure in enumerate(self.measures)
        }
        extra = {"place": F(model.scope.region), "sign_of": F("sign") if model is TallyChange else Value(1)}
        rows = model.objects.filter(self.people, within).order_by().annotate(**keys, **marks, **extra)
        if model is TallyChange:
            rows = rows.annotate(xact_of=F("xact"))
            extra["xact_of"] = None
        inner, parameters = rows.values(*keys, *marks, *extra).query.sql_with_params()
        unseen = f"WHERE {_UNSEEN.format('xact_of')}" if model is TallyChange else ""
        # GROUPING() of a column is 0 in the set that groups by it.
        number = " ".join(f"WHEN GROUPING({key}) = 0 THEN {n}" for n, key in enumerate(keys, 1))
        value = " ".join(f"WHEN GROUPING({key}) = 0 THEN {key}::text" for key in keys)
        counts = ", ".join(f"coalesce(sum(sign_of) FILTER (WHERE {mark}), 0)" for mark in marks)
        sql = (
            f"SELECT place AS region, {f'CASE {number} ELSE 0 END' if keys else '0'} AS grouping, "
            f"{f'CASE {value} END' if keys else 'NULL::text'} AS value, ARRAY[{counts}]::bigint[] AS counts "
            f"FROM ({inner}) AS people {unseen} "
            f"GROUP BY GROUPING SETS ({', '.join(['(place)', *(f'(place, {key})' for key in keys)])})"
        )
        return sql, list(parameters)

    @property
    def key(self) -> str:
        """Names the tally: a digest of the statement and its values."""
        digest = hashes.Hash(hashes.SM3())
        digest.update(repr(self.statement(Person)).encode())
        return digest.finalize().hex()


def counted(count: Count, within, areas: int) -> list[tuple[int, str | None, list[int]]]:
    """(grouping, value, counts) of the people inside; grouping 0 is by the first `areas` digits of regions.

    `within(model)` is the condition of the territory for the rows of a model.
    """
    found = kept(count, within, areas)
    return _from_people(count, within, areas) if found is None else found


_SUMMED = """
    SELECT grouping, CASE grouping WHEN 0 THEN left(region, %s) ELSE value END, {sums}
      FROM ({parts}) AS counted GROUP BY 1, 2
"""


def _summed(count, parts):
    sums = ", ".join(f"sum(counts[{n}])::bigint" for n in range(1, len(count.measures) + 1))
    return _SUMMED.format(sums=f"ARRAY[{sums}]", parts=parts)


def _from_people(count, within, areas):
    sql, parameters = count.statement(Person, within(Person))
    return _fetched(_summed(count, sql), [areas, *parameters])


def kept(count: Count, within, areas: int) -> list[tuple[int, str | None, list[int]]] | None:
    """The same from the latest tally and what changed since; None without a tally."""
    try:
        parts, parameters = _up_to_date(count, within)
    except EmptyResultSet:  # a scope without rows
        return []
    there = "SELECT -1, NULL, NULL::bigint[] FROM old"
    found = _fetched(
        f"WITH old AS ({_LATEST}) {there} UNION ALL ({_summed(count, parts)})",
        [count.key, areas, *parameters],
    )
    return [row for row in found if row[0] >= 0] if any(row[0] == -1 for row in found) else None


def _up_to_date(count, within=lambda model: Q()):
    """SQL for the rows of the tally named "old" and of the changes it does not contain, in one snapshot."""
    stored = TallyCount.objects.filter(within(TallyCount)).order_by()
    kept, kept_parameters = stored.values(
        "region", "grouping", "value", "counts", "tally_id"
    ).query.sql_with_params()
    changed, changed_parameters = count.statement(TallyChange, within(TallyChange))
    sql = (
        f"SELECT region, grouping, value, counts FROM ({kept}) AS kept WHERE tally_id = (SELECT id FROM old)"
    )
    return f"{sql} UNION ALL {changed}", [*kept_parameters, *changed_parameters]


_LATEST = "SELECT id, snapshot FROM people_tally WHERE key = %s ORDER BY id DESC LIMIT 1"


def _fetched(sql, parameters):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


# --- writing ----------------------------------------------------------------------------------------------


def refresh(counts_on, today: date, *, most=MOST_CHANGES):
    """Have a tally of each count of today that lacks at most `most` changes.

    `counts_on(day)` gives the counts for a day. Don't call it in a transaction that has changed people.
    """
    for count in counts_on(today):
        with _writing():
            lacking = _lacking(count, most)
            if lacking is None:
                _write(count, today, *count.statement(Person))
            elif lacking > most:
                _write(count, today, *_up_to_date(count))
    _forget(counts_on, today)


def recount(counts_on, today: date) -> int:
    """Count all people anew, for today and tomorrow; returns how many groups were wrong before."""
    wrong = 0
    for count in counts_on(today):
        with _writing():
            if _lacking(count, 0) is not None:
                wrong += _differences(count)
            _write(count, today, *count.statement(Person))
    tomorrow = today + timedelta(days=1)
    for count in counts_on(tomorrow):
        with _writing():
            _write(count, tomorrow, *count.statement(Person))
    _forget(counts_on, today)
    return wrong


@contextmanager
def _writing():
    """A transaction, and only one at a time: what one forgets is what all tallies contain."""
    with suppress(EmptyResultSet), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, 0)", [_LOCK])
        yield


def _lacking(count, most) -> int | None:
    """How many changes the tally lacks, counted to `most` + 1; None without a tally."""
    [(number,)] = _fetched(
        f"WITH old AS ({_LATEST}) SELECT CASE WHEN EXISTS (SELECT FROM old) THEN (SELECT count(*) FROM "
        f"(SELECT FROM people_tallychange WHERE {_UNSEEN.format('xact')} LIMIT %s) AS lacking) END",
        [count.key, most + 1],
    )
    return number


def _write(count, day, sql, parameters):
    sums = ", ".join(f"sum(counts[{n}])::bigint" for n in range(1, len(count.measures) + 1))
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH old AS ({_LATEST}), new AS (INSERT INTO people_tally (key, day, snapshot) "
            "VALUES (%s, %s, pg_current_snapshot()::text) RETURNING id) "
            "INSERT INTO people_tallycount (tally_id, region, grouping, value, counts) "
            f"SELECT (SELECT id FROM new), region, grouping, value, ARRAY[{sums}] FROM ({sql}) AS counted "
            f"GROUP BY region, grouping, value HAVING 0 <> ANY(ARRAY[{sums}])",
            [count.key, count.key, day, *parameters],
        )


def _differences(count) -> int:
    """How many numbers of the tally, brought up to date, are not those of the people."""
    kept, kept_parameters = _up_to_date(count)
    recounted, recounted_parameters = count.statement(Person)
    sums = ", ".join(f"sum(sign * counts[{n}])::bigint" for n in range(1, len(count.measures) + 1))
    [(number,)] = _fetched(
        f"WITH old AS ({_LATEST}) SELECT count(*) FROM (SELECT FROM ("
        f"SELECT *, 1 AS sign FROM ({recounted}) AS recounted UNION ALL "
        f"SELECT *, -1 AS sign FROM ({kept}) AS kept) AS compared "
        f"GROUP BY region, grouping, value HAVING 0 <> ANY(ARRAY[{sums}])) AS different",
        [count.key, *recounted_parameters, *kept_parameters],
    )
    return number


def _forget(counts_on, today):
    """Delete the tallies that nothing asks for any more, and the changes that every tally contains."""
    keys = []
    for count in [*counts_on(today), *counts_on(today + timedelta(days=1))]:
        with suppress(EmptyResultSet):
            keys.append(count.key)
    with _writing():
        latest = Tally.objects.filter(key__in=keys).values("key").annotate(latest=Max("id")).values("latest")
        TallyCount.objects.exclude(tally__in=latest).delete()
        Tally.objects.exclude(pk__in=latest).delete()
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM people_tallychange WHERE (SELECT bool_and(pg_visible_in_snapshot("
                "xact::text::xid8, snapshot::pg_snapshot)) FROM people_tally) IS NOT FALSE"
            )
