"""A merge of two records of one person forgets no table of any package (P-5.7)."""

import importlib

import pytest
from django.apps import apps
from django.db import models

from jingwei import menu
from jingwei.base.fields import SealedField
from jingwei.oversight.models import ErasureRequest
from jingwei.people import merges
from jingwei.people.models import (
    DoseEvent,
    DuplicatePair,
    Merge,
    Person,
    PersonAlias,
    PersonEvent,
    Unregistered,
)
from jingwei.people.samples import duplicate_pair, person
from jingwei.scans.models import Contact
from jingwei.testing.models import SampleBefore

pytestmark = [pytest.mark.django_db, pytest.mark.req("P-5.7")]

# What a merge settles in another way than by moving: the pairs themselves, and old values, which stay those
# of the record they were written for.
SETTLED = {DuplicatePair, PersonEvent, DoseEvent}
# Numbers that are the person's own, of old values, of somebody in no register, of whom a search for contacts
# found, or of who asks to be forgotten: not events joined by them.
OWN_NUMBERS = {Person, PersonAlias, Merge, PersonEvent, SampleBefore, Unregistered, Contact, ErasureRequest}
NUMBER = Person._meta.get_field("number").sealing.name


def fields(kind):
    return [
        f for model in apps.get_models(include_auto_created=True) for f in model._meta.local_fields if kind(f)
    ]


def refers_to_a_person(field):
    return field.is_relation and field.related_model is Person and field.model not in SETTLED


def joins_a_person(field):
    return isinstance(field, SealedField) and field.sealing.name == NUMBER and field.model not in OWN_NUMBERS


REFERENCES = fields(refers_to_a_person)
JOINS = fields(joins_a_person)


def sample_of(model):
    """A row of the model, by the samples of its package."""
    package = model._meta.app_config.name
    return importlib.import_module(f"{package}.samples").SAMPLES[model]()


def is_once_per_person(field):
    """Whether a constraint says that one person has only one row, or one of each kind."""
    unique = [c for c in field.model._meta.constraints if isinstance(c, models.UniqueConstraint)]
    together = [c.fields for c in unique] + list(field.model._meta.unique_together)
    return field.unique or any(field.name in names for names in together)


def the_same_on(person, field, row):
    """Another row like `row`, on another person."""
    copied = type(row).objects.get(pk=row.pk)
    copied.pk, copied._state.adding = None, True
    setattr(copied, field.attname, person.pk)
    copied.save(force_insert=True)
    return copied


@pytest.mark.parametrize("field", REFERENCES, ids=str)
def test_rows_that_refer_to_a_merged_person_come_along_and_return(district, field):
    row = sample_of(field.model)
    pair = duplicate_pair()
    table = field.model._base_manager
    table.filter(pk=row.pk).update(**{field.attname: pair.second_id})
    once = is_once_per_person(field)
    other = the_same_on(pair.first, field, row) if once else None
    keys = {key for key in (row.pk, other and other.pk) if key}

    done = merges.merge(district.actor, pair, keep=pair.first_id, taken=())
    left = table.filter(pk__in=keys)
    assert {getattr(r, field.attname) for r in left} == {pair.first_id}
    dropped = {kept["id"] for kept in done.record["dropped"].get(field.model._meta.db_table, ())}
    assert set(left.values_list("pk", flat=True)) | dropped == keys
    assert len(dropped) == (1 if once else 0)

    merges.undo(district.actor, done)
    assert getattr(table.get(pk=row.pk), field.attname) == pair.second_id
    assert other is None or getattr(table.get(pk=other.pk), field.attname) == pair.first_id


@pytest.mark.parametrize("field", JOINS, ids=str)
def test_what_is_joined_by_a_merged_number_is_shown_on_the_kept_person(district, field):
    row = sample_of(field.model)
    pair = duplicate_pair()
    number = getattr(row, field.name)
    gone = Person.objects.filter(number=number).first() or person(number=number.clear())
    pair.second = gone
    DuplicatePair.objects.filter(pk=pair.pk).update(
        first=min(pair.first_id, gone.pk), second=max(pair.first_id, gone.pk)
    )
    merges.merge(district.actor, pair, keep=pair.first_id, taken=())
    panels = [
        p for r in menu.resources().values() if r.model is field.model for p in r.panels if p.on == "people"
    ]
    assert panels, f"the page of a person shows no {field.model._meta.verbose_name}"
    assert row in panels[0].rows(pair.first)


def test_the_tables_are_known():
    """The generic tests above would pass over nothing."""
    assert {str(f) for f in REFERENCES} >= {
        "people.Dose.person",
        "people.Transfer.person",
        "people.PersonAlias.person",
        "people.Merge.kept",
    }
    assert "testing.Sample.number" in {str(f) for f in JOINS}
    assert {f for f in REFERENCES} == set(merges.references())
