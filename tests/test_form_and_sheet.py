"""A form and a sheet are two ways in under one set of rules (architecture §4)."""

import csv
import itertools
from datetime import date, datetime

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from jingwei.base import loading
from jingwei.base.columns import Context
from jingwei.base.fields import bulk_reveal, personal_fields
from jingwei.base.sheets import clean_row
from jingwei.desk.forms import RecordForm
from jingwei.people.models import Person
from jingwei.people.resources import PersonResource
from jingwei.people.samples import number
from jingwei.people.sheets import RosterSheet

pytestmark = pytest.mark.django_db
SHEET, PEOPLE = RosterSheet(), PersonResource()
TODAY = date(2026, 11, 20)
_days = itertools.count()


@st.composite
def document(draw):
    """A type and a number, each good or bad in one of the usual ways; never the same number twice."""
    day = next(_days)
    good = number(f"{1950 + day // 336}{day // 28 % 12 + 1:02d}{day % 28 + 1:02d}", draw(st.integers(0, 999)))
    return draw(
        st.sampled_from(
            [
                ("居民身份证", good),
                ("", good),
                ("身份证", good.lower()),
                ("二代证", f" {good}　"),
                ("居民身份证", "".join(chr(ord(digit) + 0xFEE0) for digit in good)),
                ("居民身份证", good[:-1] + ("0" if good[-1] != "0" else "1")),
                ("居民身份证", "9.90101198707309e+17"),
                ("居民身份证", good[:17]),
                ("居民身份证", ""),
                ("护照", f"e{day:08d}"),
                ("", f"E{day:08d}"),
                ("学生证", f"S{day:08d}"),
                ("学生证", good),
            ]
        )
    )


def cells(good, bad=()):
    """An empty cell, a good one, or now and then a bad one."""
    return st.sampled_from([*(4 * good), "", *bad])


ROW = st.fixed_dictionaries(
    {
        "town": st.sampled_from(["安平街道", "安平", "安平街道办事处", "", "无此镇", "金湾镇"]),
        "region": cells(["上埔社区", "上埔", "990101001001", " 和园 "], ["990101001999", "下洋村", "南山村"]),
        "name": cells(["陈新", "　陈 新 ", "𬭎䶮", "=cmd()", "a\u200bb"], ["甲" * 61]),
        "sex": cells(["男", "女性", "1"], ["x"]),
        "document": document(),
        "resident": cells(["是", "√", "N"], ["大概"]),
        "registered_address": cells(["示例省示例市安澜区１号"], ["乙" * 201]),
        "address": cells(["上埔社区1号 2栋", "丙" * 200]),
        "tenant": cells(["×", "有"], ["？"]),
        "occupation": cells(["教师"], ["丁" * 121]),
        "group": cells(["学生", "老年人"], ["好人"]),
        "phone": cells(["16000000001", "+86 160-0000-0002", "0591-12345678"], ["12", "1.6E+10"]),
        "birth_date": cells(["1990.1.2", "33000"], ["1990年13月1日", "2999-01-01"]),
    }
)


def fields_of(person):
    """Every stored value of the sheet's part, in clear."""
    names = [column.name for column in SHEET.stored] + list(SHEET.derived)
    values = {name: getattr(person, PEOPLE.model._meta.get_field(name).attname) for name in names}
    return {
        name: value.clear() if hasattr(value, "clear") and name != "grams" else value
        for name, value in values.items()
    }


@pytest.mark.req("P-5.3", "CL-6.2", "CL-3.5")
@settings(max_examples=10, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(rows=st.lists(ROW, min_size=100, max_size=100))
def test_form_and_sheet_store_and_refuse_the_same(district, tmp_path, rows):
    rows = [row | dict(zip(["doc_type", "number"], row["document"], strict=True)) for row in rows]
    actor = district.actor
    path = tmp_path / "名单.csv"
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow([column.heading for column in SHEET.columns])
        table.writerows([row[column.name] for column in SHEET.columns] for row in rows)
    with transaction.atomic():
        load = loading.load(actor, SHEET, path, today=TODAY)
        people = list(Person.objects.all())
        bulk_reveal(people, [field.name for field in personal_fields(Person)])
        by_sheet = {person.number.clear(): fields_of(person) for person in people}
        transaction.set_rollback(True)
    said = {}
    for message in [*load.counts["rejected"], *load.counts["warnings"]]:
        said.setdefault(message["row"], {}).setdefault(message["column"], message["reason"])
    refused = {message["row"] for message in load.counts["rejected"]}

    by_form = {}
    with transaction.atomic():
        for place, row in enumerate(rows, start=2):
            values, errors = clean(actor, row)
            named = {SHEET.column(name).heading: reason for name, reason in errors.items()}
            assert named == said.get(place, {}) or (not any(row.values()) and place not in said)
            if place in refused or not any(row.values()):
                continue
            # What is only a warning to a sheet is left out of the form to have it saved.
            values, errors = clean(actor, row | dict.fromkeys(errors, ""))
            assert not errors
            saved = PEOPLE.save(actor, Person(), values=values)
            by_form[saved.number.clear()] = fields_of(Person.objects.get(pk=saved.pk))
        transaction.set_rollback(True)
    assert by_form
    assert by_form == by_sheet


def clean(actor, row):
    return clean_row(SHEET, row, Context(actor, "people.add", datetime(2026, 11, 20, 23, 59)))


@pytest.mark.req("P-5.2", "CL-3.5")
@settings(max_examples=3, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(rows=st.lists(ROW, min_size=100, max_size=100))
def test_the_form_adds_no_rule_of_its_own(district, rows):
    for row in rows:
        entered = row | dict(zip(["doc_type", "number"], row["document"], strict=True))
        form = RecordForm(PEOPLE, district.actor, Person(), entered)
        given = {name: entered[name] for name in form.fields}  # without the township: the form has none
        values, errors = clean_row(
            SHEET, given, Context(district.actor, "people.add", datetime.now()), only=list(given)
        )
        assert form.is_valid() == (not errors)
        # What is wrong with a column that the form does not have is said above the fields.
        errors = {name if name in form.fields else "__all__": reason for name, reason in errors.items()}
        assert {name: reasons[0] for name, reasons in form.errors.items()} == errors
        assert form.is_valid() is False or form.values == values
