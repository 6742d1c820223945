"""What was overwritten is kept, whichever way it was overwritten (CL-6.3, P-3.1)."""

import polars as pl
import pytest
from django.db import connection

from jingwei.base.copying import copy_into
from jingwei.people.models import Person

pytestmark = pytest.mark.django_db

VILLAGE = "990101001001"
NUMBERS = ["990101201307204887", "990101200101300676"]


@pytest.fixture
def people():
    return [Person.objects.create(region_id=VILLAGE, name="原名", number=number) for number in NUMBERS]


def kept(person):
    return list(person.events.order_by("pgh_id").values_list("pgh_label", "name"))


@pytest.mark.req("CL-6.3", "CL-3.6")
def test_an_update_of_many_rows_from_another_table_keeps_every_old_row(people):
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE arriving (id bigint, name text) ON COMMIT DROP")
        names = ["新名", "原名"]  # the second one changes nothing
        copy_into("arriving", pl.DataFrame({"id": [person.pk for person in people], "name": names}))
        cursor.execute("UPDATE people_person SET name = a.name FROM arriving a WHERE a.id = people_person.id")
    assert kept(people[0]) == [("changed", "原名")]
    assert kept(people[1]) == []


@pytest.mark.req("CL-6.3")
def test_a_row_that_came_by_copy_has_its_first_change_kept(people):
    fields = [field for field in Person._meta.concrete_fields if field.name != "id"]
    with connection.cursor() as cursor:
        columns = ", ".join(f'"{field.column}"' for field in fields)
        cursor.execute(f"SELECT {columns} FROM people_person WHERE id = %s", [people[0].pk])
        row = dict(zip([field.column for field in fields], cursor.fetchone(), strict=True))
    frame = pl.DataFrame([row | {"number": Person(number="990101198001011238").number.blob()}])
    people[0].delete()
    copy_into("people_person", frame.drop([name for name, kind in frame.schema.items() if kind == pl.Null]))
    arrived = Person.objects.get(number="990101198001011238")
    assert kept(arrived) == []
    Person.objects.filter(pk=arrived.pk).update(name="后名")
    assert kept(arrived) == [("changed", "原名")]


@pytest.mark.req("CL-6.3")
def test_a_deleted_person_is_kept_in_the_history(people):
    pk = people[0].pk
    Person.objects.filter(pk=pk).delete()
    assert [event.pgh_label for event in Person.pgh_event_model.objects.filter(pgh_obj_id=pk)] == ["deleted"]
