"""From a Polars frame into a table by COPY, the fast way in for many rows."""

import io
from collections.abc import Sequence

import polars as pl
from django.db import connection

from jingwei.base.wall import beyond_scope


def copy_into(table: str, frame: pl.DataFrame):
    """Append the rows of `frame` to `table`; its columns are named as the table's.

    Binary becomes bytea, a list of numbers an array, a Datetime with a zone timestamptz; null becomes NULL.
    """
    copy_text(table, frame.columns, as_text(frame))


def as_text(frame: pl.DataFrame) -> memoryview:
    """The rows of a frame as `copy_text` takes them."""
    text = io.BytesIO()
    frame.select(_text(name, kind).alias(name) for name, kind in frame.schema.items()).write_csv(
        text, include_header=False, null_value="", quote_style="non_numeric"
    )
    return text.getbuffer()


@beyond_scope()  # PostgreSQL copies into no table with row security
def copy_text(table: str, columns: Sequence[str], text: memoryview):
    """Append rows that `as_text` has made."""
    target, *names = map(connection.ops.quote_name, (table, *columns))
    # Django gives its own errors to what `execute` raises, but not to a copy.
    with connection.cursor() as cursor, connection.wrap_database_errors:
        with cursor.copy(f"COPY {target} ({', '.join(names)}) FROM STDIN (FORMAT csv, NULL '')") as copy:
            copy.write(text)


def _text(name, kind):
    """The column as PostgreSQL reads it."""
    column = pl.col(name)
    if kind == pl.Binary:
        return pl.lit("\\x") + column.bin.encode("hex")
    if kind == pl.List:
        return pl.lit("{") + column.list.eval(pl.element().cast(pl.String)).list.join(",") + "}"
    if isinstance(kind, pl.Datetime) and kind.time_zone:
        return column.dt.convert_time_zone("UTC").dt.strftime("%Y-%m-%d %H:%M:%S%.6f+00")
    return column
