"""A slip in a declaration is found by `manage.py check`, before any page is opened."""

import pytest
from django.db.models import Q

from jingwei.base.access import Scope
from jingwei.base.resource import Between, Column, Contains, Exact, Figure, Moment, Panel, Verb, Where, YesNo
from jingwei.desk.checks import menu_is_sound, problems
from jingwei.people.models import Person
from jingwei.people.resources import PersonResource

SOUND = PersonResource


def nothing(*_):
    return Q()


SLIPS = {
    "a misspelt field": ("desk.E004", {"fields": [*SOUND.fields, "adress"]}),
    "a misspelt column": ("desk.E004", {"columns": [*SOUND.columns, "region__nmae"]}),
    "a misspelt need": ("desk.E004", {"columns": [*SOUND.columns, Column("x", "甲", str, needs=["nmae"])]}),
    "a misspelt order": ("desk.E004", {"order": ["-regoin"]}),
    "a misspelt search": ("desk.E004", {"search": ["nmae"]}),
    "a misspelt section": ("desk.E004", {"sections": [("基本", ["nmae"])]}),
    "a misspelt link": ("desk.E004", {"link": "nmae"}),
    "a hidden column that is none": ("desk.E004", {"hidden": ["nmae"]}),
    "a panel on nothing": ("desk.E004", {"panels": [Panel("poeple", "甲", nothing)]}),
    "a panel of no column": ("desk.E004", {"panels": [Panel("people", "甲", nothing, ["nmae"])]}),
    "a moment on nothing": ("desk.E004", {"moments": [Moment("poeple", nothing, nothing, str)]}),
    "a figure of no filter": ("desk.E004", {"figures": [Figure("甲", "elderyl=是")]}),
    "a field named nowhere": ("desk.E005", {"fields": [f for f in SOUND.fields if f != "phone"]}),
    "a filter on nothing": ("desk.E006", {"filters": [YesNo("tenent")]}),
    "a filter without label": ("desk.E006", {"filters": [Where("x", options={})]}),
    "a filter with a reserved name": ("desk.E006", {"filters": [Between("page", "页", nothing)]}),
    "a fragment of a sealed column": ("desk.E006", {"filters": [Contains("phone")]}),
    "a random column searched whole": ("desk.E006", {"filters": [Exact("address")]}),
    "a verb without label": ("desk.E008", {"verbs": [Verb("close", "", nothing)]}),
    "a verb like an action": ("desk.E008", {"verbs": [Verb("export", "导出", nothing)]}),
}


@pytest.mark.req("P-1.10")
@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_found(slip):
    number, changed = SLIPS[slip]
    resource = type("PersonResource", (SOUND,), changed)()
    assert number in {found for found, _ in problems(resource)}


@pytest.mark.req("P-1.10")
def test_a_model_without_scope_is_found(monkeypatch):
    monkeypatch.setattr(Person, "scope", Scope())
    assert [number for number, _ in problems(SOUND())] == ["desk.E002"]


@pytest.mark.req("SEC-17")
@pytest.mark.parametrize("entry", ["purpose", "basis", "keep"])
def test_a_personal_column_without_its_entry_in_the_register_is_found(monkeypatch, entry):
    monkeypatch.setattr(Person._meta.get_field("phone"), entry, "")
    assert [number for number, _ in problems(SOUND())] == ["desk.E003"]


@pytest.mark.req("P-1.10")
def test_the_menu_itself_is_sound():
    assert menu_is_sound(None) == []
