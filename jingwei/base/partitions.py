"""Monthly partitions of the event tables, made when the first row of a month comes (architecture §5)."""

from datetime import date, datetime

from django.db import connection, transaction
from django.utils import timezone


@transaction.atomic
def ensure_months(table: str, first: date, last: date):
    """Have a partition of `table` for every month from that of `first` to that of `last`, dates or times.

    Months begin at midnight of the platform's time zone. Call it before the rows are written: the database
    refuses a row of a month without partition.
    """
    months = [(n // 12, n % 12 + 1) for n in range(_number(first), _number(last) + 1)]
    with connection.cursor() as cursor:
        missing = _missing(cursor, table, months)
        if not missing:
            return
        # Whoever comes second waits here and then finds them made.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [table])
        quote = connection.ops.quote_name
        for year, month in _missing(cursor, table, months):
            bounds = [_midnight(year, month), _midnight(year + month // 12, month % 12 + 1)]
            cursor.execute(
                f"CREATE TABLE {quote(_name(table, year, month))} PARTITION OF {quote(table)} "
                "FOR VALUES FROM (%s) TO (%s)",
                bounds,
            )


def _number(day):
    if isinstance(day, datetime) and timezone.is_aware(day):
        day = timezone.localtime(day)
    return day.year * 12 + day.month - 1


def _name(table, year, month):
    return f"{table}_{year}{month:02d}"


def _midnight(year, month):
    return timezone.make_aware(datetime(year, month, 1)).isoformat()


def _missing(cursor, table, months):
    cursor.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass", [table])
    there = {name for (name,) in cursor.fetchall()}
    return [month for month in months if _name(table, *month) not in there]
