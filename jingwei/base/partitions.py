"""Monthly partitions of the event tables, made when the first row of a month comes (architecture §5)."""

from datetime import date, datetime

from django.db import connection, transaction
from django.utils import timezone


def ensure_months(table: str, first: date, last: date):
    """Have a partition of `table` for every month from that of `first` to that of `last`, dates or times.

    Months begin at midnight of the platform's time zone. Call it before the rows are written: the database
    refuses a row of a month without partition.
    """
    months = [(n // 12, n % 12 + 1) for n in range(_number(first), _number(last) + 1)]
    if _missing(table, months):
        _make(table, months)


@transaction.atomic
def _make(table, months):
    with connection.cursor() as cursor:
        # Whoever comes second waits here and then finds them made.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [table])
        for year, month in _missing(table, months):
            bounds = [_midnight(year, month), _midnight(year + month // 12, month % 12 + 1)]
            cursor.execute("SELECT wall_add_month(%s, %s, %s, %s)", [table, date(year, month, 1), *bounds])


def _number(day):
    if isinstance(day, datetime) and timezone.is_aware(day):
        day = timezone.localtime(day)
    return day.year * 12 + day.month - 1


def _name(table, year, month):
    return f"{table}_{year}{month:02d}"


def _midnight(year, month):
    return timezone.make_aware(datetime(year, month, 1)).isoformat()


def months_of(table: str) -> list[str]:
    """The names of the partitions of `table`, which end with year and month in six digits."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = %s::regclass",
            [table],
        )
        return [name for (name,) in cursor.fetchall()]


def _missing(table, months):
    there = set(months_of(table))
    return [month for month in months if _name(table, *month) not in there]
