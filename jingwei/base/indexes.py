"""Secondary indexes, built in one go after a table was filled: many times faster than row by row.

What a model declares is what has to be there. A filling that was killed leaves indexes missing; the next
large one, or `restore_indexes` at the start of the instance, makes them again.
"""

from contextlib import contextmanager, suppress

from django.db import OperationalError, ProgrammingError, connection, models, transaction

MANY = 50_000  # rows; of fewer each finds its place in the indexes in no time
_TIMES = 20  # as many rows as are stored have to come before the stored ones do without their indexes
_RESTORING = 0x696478  # key of the advisory lock of who makes indexes


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
            cursor.execute(f"ANALYZE {connection.ops.quote_name(model._meta.db_table)}")


def drop_indexes(tables: list[type[models.Model]]):
    """Drop the declared indexes of these tables; those that keys and constraints need stay.

    OperationalError when somebody uses a table for seconds: everybody else would have to wait behind us.
    """
    with transaction.atomic(), connection.schema_editor() as editor:
        editor.execute("SET LOCAL lock_timeout = '3s'")
        there = _there()
        for table in tables:
            for index in table._meta.indexes:
                if index.name in there:
                    editor.remove_index(table, index)


def restore_indexes(tables: list[type[models.Model]]):
    """Make the declared indexes that are missing, each in a transaction of its own."""
    for table in tables:
        for index in table._meta.indexes:
            if index.name not in _there():
                with transaction.atomic(), connection.schema_editor() as editor:
                    # Another process may be at it.
                    editor.execute(f"SELECT pg_advisory_xact_lock({_RESTORING})")
                    if index.name not in _there():
                        editor.add_index(table, index)


def _there():
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexname FROM pg_indexes WHERE schemaname = current_schema()")
        return {name for (name,) in cursor.fetchall()}
