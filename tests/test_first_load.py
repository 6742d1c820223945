"""The first load of a register fills it without its indexes and has them made in the end (CL-P1)."""

import csv

import polars as pl
import pytest
from django.db import connection

from jingwei.base import indexes, loading, reading
from jingwei.base.models import Load
from jingwei.kit.idcard import check_digits
from jingwei.people.models import Person, PersonAlias
from jingwei.people.sheets import RosterSheet

pytestmark = pytest.mark.django_db(transaction=True)
DECLARED = {index.name for index in Person._meta.indexes}
ROSTER = RosterSheet()


def there():
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexname FROM pg_indexes WHERE tablename = 'people_person'")
        return DECLARED & {name for (name,) in cursor.fetchall()}


@pytest.fixture
def roster(tmp_path, monkeypatch):
    """A function that writes a roster of people, whose documents are numbered from `first` on."""
    monkeypatch.setattr(indexes, "MANY", 30)
    monkeypatch.setattr(reading, "ROWS_AT_ONCE", 10)

    def write(first, last):
        path = tmp_path / f"{first}.csv"
        with open(path, "w", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(["村/社区", "姓名", "证件号", "居住地"])
            for number in documents(range(first, last)):
                lines.writerow(["上埔社区", "陈新", number, "上埔路1号"])
        return path

    return write


def documents(numbers):
    first17 = pl.Series([f"99010119900101{number:03d}" for number in numbers])
    return (first17 + check_digits(first17)).to_list()


@pytest.mark.req("CL-P1", "CL-P2")
def test_an_empty_register_gets_its_indexes_after_a_large_load_and_a_filled_one_keeps_them(village, roster):
    seen = []
    loading.load(village.actor, ROSTER, roster(0, 40), progress=lambda *step: seen.append(there()))
    assert set() in seen
    assert there() == DECLARED
    assert Person.objects.filter(grams__fragment="上埔路").count() == 40
    loading.load(village.actor, ROSTER, roster(100, 140), progress=lambda *step: seen.append(there()))
    assert seen[-1] == there() == DECLARED
    assert Person.objects.count() == 80


@pytest.mark.req("CL-P1", "P-5.3")
def test_a_first_load_that_stops_leaves_no_register_without_indexes(village, roster):
    def stop(done, total):
        if done >= 20:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        loading.load(village.actor, ROSTER, roster(0, 40), progress=stop)
    assert there() == DECLARED
    indexes.drop_indexes([Person])  # as a kill leaves it
    loading.load(village.actor, ROSTER, roster(0, 40), record=Load.objects.get())
    assert there() == DECLARED
    assert Person.objects.count() == 40


@pytest.mark.req("CL-P1", "P-5.3")
def test_a_register_that_is_being_read_or_loaded_as_a_whole_keeps_its_indexes(village, roster):
    seen = []
    path = roster(0, 40)
    loading.load(
        village.actor, ROSTER, path, bad="stop", progress=lambda *step: seen.append(there() == DECLARED)
    )
    assert all(seen)
    Person.objects.all().delete()
    reader = connection.copy()
    try:
        reader.set_autocommit(False)
        with reader.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM people_person")
        seen.clear()
        loading.load(
            village.actor, ROSTER, roster(200, 240), progress=lambda *step: seen.append(there() == DECLARED)
        )
    finally:
        reader.close()
    assert all(seen)
    assert Person.objects.count() == 40


@pytest.mark.req("CL-P1", "P-5.3")
def test_whom_somebody_registers_during_a_first_load_is_not_registered_twice(village, roster):
    path = roster(0, 40)
    early, alias = documents([30, 25])

    def register(done, total):
        if done == 10:
            elsewhere = {"region_id": "990101001001", "name": "陈早", "doc_type": "111"}
            known = Person.objects.create(**elsewhere, number=early)
            PersonAlias.objects.create(person=known, doc_type="111", number=alias)

    load = loading.load(village.actor, ROSTER, path, progress=register)
    # The first of this person's two rows brings the name, the second nothing new.
    assert [load.counts[name] for name in ("added", "changed", "unchanged")] == [38, 1, 1]
    assert Person.objects.count() == 39
    assert str(Person.objects.get(number=early)) == "陈新"
