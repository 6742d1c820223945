"""Cells column by column: the same as asked row by row, and far fewer questions."""

from datetime import date, datetime

import pytest
from django.db import connection
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jingwei import menu
from jingwei.base.resource import Column
from jingwei.desk.cells import cells
from jingwei.desk.columns import list_column
from jingwei.desk.lists import Selection
from jingwei.people.models import Person
from jingwei.people.samples import person

pytestmark = [pytest.mark.django_db, pytest.mark.req("P-5.4")]
PEOPLE = menu.resource("people")


def exported(actor, columns, **options):
    """The cells of the people in order, each column in one piece."""
    found = [[] for _ in columns]
    for chunk in cells(Selection(PEOPLE, actor, QueryDict()), columns, **options):
        for column, values in zip(found, chunk, strict=True):
            column += values
    return found


def given(**values):
    """A person with these values as they are stored."""
    Person.objects.filter(pk=person().pk).update(**values)


def worked_out(*needs):
    """A column over `needs`, and the list of rows it was asked about."""
    asked = []

    def value(row):
        asked.append(row)
        return "、".join(str(getattr(row, need.partition("__")[0])) for need in needs) or row.place_in_list

    return list_column(Person, Column("worked-out", "算出来的", value, needs=needs)), asked


def test_people_of_every_kind_are_exported_as_the_list_shows_them(village):
    given(dose=2, dose_on=date(2026, 3, 1), sampled_at=timezone.now(), dose_unit="卫生院", tenant=True)
    given(birth_date=None, phone=None, address=None, group="", sex="", resident=None)
    given(name="=1+1", dose=0, birth_date=date(2024, 2, 29), resident=False, occupation="  空格 ")
    given(sampled_at=datetime.fromisoformat("2026-11-01T00:30:00+08:00"), sample_result="阴性")
    columns = Selection(PEOPLE, village.actor, QueryDict()).columns(everything=True)
    rows = Selection(PEOPLE, village.actor, QueryDict()).page().rows
    for clear in (False, True):
        listed = [[column.value(row, clear) for row in rows] for column in columns]
        assert exported(village.actor, columns, clear=clear, size=3) == listed


def test_a_column_is_asked_once_about_rows_that_agree_in_what_it_needs(village):
    for dose in (1, 2, 1, 2, 1):
        given(dose=dose, birth_date=date(1950, 1, 1))
    column, asked = worked_out("dose", "birth_date")
    [values] = exported(village.actor, [column], size=2)
    assert values == ["1、1950-01-01", "2、1950-01-01"] * 2 + ["1、1950-01-01"]
    assert len(asked) == 2


def test_a_column_that_does_not_say_what_it_needs_is_asked_about_every_row(village):
    for _ in range(5):
        person()
    column, asked = worked_out()
    assert exported(village.actor, [column], size=2) == [[1, 2, 3, 4, 5]]
    assert len(asked) == 5


def test_a_personal_value_stays_sealed_in_a_column_that_is_worked_out(village):
    known = person(phone="16000000001")
    column, asked = worked_out("phone")
    assert exported(village.actor, [column], clear=True) == [["160****0001"]]
    assert asked == [known]


def test_an_export_costs_one_statement_a_chunk(village):
    for _ in range(6):
        person()
    columns = Selection(PEOPLE, village.actor, QueryDict()).columns(everything=True)
    exported(village.actor, columns)  # dictionaries are read once

    def statements(**options):
        with CaptureQueriesContext(connection) as captured:
            exported(village.actor, columns, **options)
        return len(captured)

    assert statements(size=1) == statements(size=6)


def test_a_search_is_exported_in_the_order_of_the_list(village):
    for name in ("王二", "李一", "王一", "王三"):
        person(name=name)
    selection = Selection(PEOPLE, village.actor, QueryDict("q=王&sort=-name"))
    listed = [row.name for row in selection.page().rows]
    columns = [list_column(Person, "name")]
    assert [list(names) for [names] in cells(selection, columns, size=2)] == [listed[:2], listed[2:]]
    [[first]] = next(cells(selection, columns, limit=1))
    assert first == listed[0] and sorted(listed) == sorted(["王一", "王三", "王二"])
