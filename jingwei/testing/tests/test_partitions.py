"""Event tables have a partition per month, made when it is needed (architecture §5)."""

from datetime import UTC, date, datetime

import pytest
from django.db import Error, connection, transaction

from jingwei.base.partitions import ensure_months
from jingwei.testing.models import Sample

pytestmark = pytest.mark.django_db


def partitions():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'testing_sample'::regclass"
        )
        return sorted(name for (name,) in cursor.fetchall())


def months(first, last):
    ensure_months("testing_sample", first, last)
    return [name.removeprefix("testing_sample_") for name in partitions()]


@pytest.mark.req("P-10.3")
def test_every_month_of_a_span_gets_its_partition_once():
    assert months(date(2025, 11, 30), date(2026, 2, 1)) == ["202511", "202512", "202601", "202602"]
    assert months(date(2026, 2, 28), date(2026, 3, 1))[-1] == "202603"
    assert len(partitions()) == 5


@pytest.mark.req("P-10.3")
def test_months_begin_at_midnight_of_the_platforms_zone():
    # Still November in Greenwich.
    at = datetime(2025, 11, 30, 16, 0, tzinfo=UTC)
    assert months(at, at) == ["202512"]
    sample = Sample.objects.create(
        number="990101201307204887", sampled_at=at, point="一号点", region="990101001001"
    )
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text FROM testing_sample")
        assert cursor.fetchall() == [("testing_sample_202512",)]
    assert Sample.objects.get(pk=sample.pk).number == "990101201307204887"


@pytest.mark.req("P-10.3")
def test_a_row_of_a_month_without_partition_is_refused():
    with pytest.raises(Error, match="no partition"), transaction.atomic():
        Sample.objects.create(
            number="990101201307204887", sampled_at=datetime(2024, 1, 1, tzinfo=UTC), point="一号点"
        )


@pytest.mark.req("P-10.3")
def test_the_table_has_the_columns_of_the_model():
    with connection.cursor() as cursor:
        there = {
            column.name for column in connection.introspection.get_table_description(cursor, "testing_sample")
        }
        key = connection.introspection.get_primary_key_columns(cursor, "testing_sample")
    assert there == {field.column for field in Sample._meta.concrete_fields}
    assert key == ["number", "sampled_at", "point"]
