"""Secondary indexes, built in one go after a table was filled: many times faster than row by row.

A filling that was killed leaves indexes missing; the next large one, or `restore_indexes` at the start of the
instance, makes them again. The database does both for us, since an index is its owner's (`wall.sql`).
"""

from contextlib import contextmanager, suppress

from django.db import OperationalError, ProgrammingError, connection, models, transaction

MANY = 50_000  # rows; of fewer each finds its place in the indexes in no time
_TIMES = 20  # as many rows as are stored have to come before the stored ones do without their indexes


@contextmanager
def filling(model: type[models.Model], rows: int):
    """Add so many rows to the table inside: one that is all but empty gets its indexes afterwards.

    Until then reading it means reading all of it, which while it fills takes less than a second. Inside a
    transaction nothing changes, for dropping indexes would keep everybody out until its end.
    """
    if rows < MANY or connection.in_atomic_block:
        yield
        return
    dropped = False
    if model._base_manager.all()[: rows // _TIMES + 1].count() <= rows // _TIMES:
        with suppress(OperationalError, ProgrammingError):  # somebody reads for long, or the role may not
            drop_indexes([model])
            dropped = True
    try:
        yield
    finally:
        # A filling that was killed before may have left some out, too.
        restore_indexes([model])
    if dropped:
        with connection.cursor() as cursor:  # or whoever searches first finds no statistics of the new rows
            cursor.execute("SELECT wall_analyze(%s)", [model._meta.db_table])


def drop_indexes(tables: list[type[models.Model]]):
    """Drop the declared indexes of these tables; those that keys and constraints need stay.

    OperationalError when somebody uses a table for seconds: everybody else would have to wait behind us.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '3s'")
        cursor.execute("SELECT indexname FROM pg_indexes WHERE schemaname = current_schema()")
        there = {name for (name,) in cursor.fetchall()}
        for index in [index.name for table in tables for index in table._meta.indexes]:
            if index in there:
                cursor.execute("SELECT wall_drop_index(%s)", [index])


def restore_indexes(tables: list[type[models.Model]]):
    """Make the indexes that were dropped of these tables, each in a transaction of its own."""
    names = [table._meta.db_table for table in tables]
    with connection.cursor() as cursor:
        cursor.execute('SELECT name FROM wall_dropped_index WHERE "table" = ANY(%s)', [names])
        # Of two processes the second waits for the first and finds nothing left to make.
        for (name,) in cursor.fetchall():
            cursor.execute("SELECT wall_make_index(%s)", [name])
