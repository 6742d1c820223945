"""What is copied into a table is what stands there afterwards, whatever the type of the column."""

from datetime import UTC, date, datetime
from uuid import UUID
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from django.db import DataError, connection, transaction

from jingwei.base import copying
from jingwei.base.copying import copy_into

pytestmark = [pytest.mark.django_db, pytest.mark.req("CL-P1")]
TYPES = {
    "big": "bigint",
    "whole": "integer",
    "small": "smallint",
    "yes": "boolean",
    "number": "double precision",
    "on": "date",
    "at": "timestamptz",
    "text": "text",
    "short": "varchar(5)",
    "sealed": "bytea",
    "grams": "integer[]",
    "ids": "bigint[]",
    "words": "varchar(20)[]",
    "json": "jsonb",
    "uid": "uuid",
}
AT = datetime(1949, 10, 1, 15, 0, 0, 7, tzinfo=ZoneInfo("Asia/Shanghai"))
ROWS = [
    {
        "big": -(2**63),
        "whole": 2**31 - 1,
        "small": -1,
        "yes": False,
        "number": -1.5,
        "on": date(1899, 12, 31),
        "at": AT,
        "text": 'a"\\,\t\n{}中文🙂',
        "short": "五个字整好",
        "sealed": b"\x00\xff\\x",
        "grams": [1, -(2**31), 0],
        "ids": [None, 2**40],
        "words": ["a,b", None, '{"中"}', ""],
        "json": '{"a": [1, null]}',
        "uid": "00000000-0000-0000-0000-00000000000f",
    },
    dict.fromkeys(TYPES),
    {"big": 0, "text": "", "short": "", "sealed": b"", "grams": [], "ids": [3], "words": [], "json": "[]"},
]


@pytest.fixture
def table():
    columns = ", ".join(f'"{name}" {kind}' for name, kind in TYPES.items())
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMP TABLE kinds ({columns}) ON COMMIT DROP")


def stored(*names):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(map(connection.ops.quote_name, names)) or '*'} FROM kinds")
        return cursor.fetchall()


def test_every_type_and_null_come_out_as_they_went_in(table, monkeypatch):
    monkeypatch.setattr(copying, "_ROWS_AT_ONCE", 2)
    copy_into("kinds", pl.DataFrame(ROWS, schema_overrides={"big": pl.Int64}, infer_schema_length=None))
    first, second, third = ({**dict.fromkeys(TYPES), **row} for row in ROWS)
    first |= {"at": AT.astimezone(UTC), "uid": UUID(int=15)}
    assert stored() == [tuple(row.values()) for row in (first, second, third)]


def test_columns_that_are_the_same_in_all_rows_or_empty_need_no_type(table):
    frame = pl.DataFrame({"text": ["a", "b"]}).with_columns(
        whole=1, words=pl.lit([]), on=pl.lit(None), at=pl.lit(datetime(2026, 11, 1, 8)), uid=pl.lit(None)
    )
    copy_into("kinds", frame)
    copy_into("kinds", frame.clear())
    assert stored("text", "whole", "words", "on", "at") == [
        (text, 1, [], None, datetime(2026, 11, 1, 8, tzinfo=UTC)) for text in "ab"
    ]


@pytest.mark.parametrize(
    ("column", "value", "error"),
    [
        ("small", 2**15, pl.exceptions.InvalidOperationError),
        ("whole", "三", pl.exceptions.InvalidOperationError),
        ("short", "六个字就太长", DataError),
        ("text", "a\0b", DataError),
        ("json", "{", DataError),
    ],
)
def test_a_value_that_has_no_place_in_its_column_is_refused(table, column, value, error):
    with pytest.raises(error), transaction.atomic():
        copy_into("kinds", pl.DataFrame({column: [value]}))
    assert stored() == []
