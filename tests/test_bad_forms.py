"""Whatever is put into a field is kept exactly on every face, or refused in words beside it (SEC-12)."""

import csv
import io
import re
from datetime import datetime

import openpyxl
import polars as pl
import pytest
from django import forms
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Max
from django.utils.html import escape

from jingwei import menu
from jingwei.base.access import platform_actor
from jingwei.base.columns import Context, Text
from jingwei.base.fields import SealedField
from jingwei.base.models import LogEntry
from jingwei.base.reading import ROW
from jingwei.base.sheets import clean_frame, clear_value
from jingwei.desk.columns import field_at
from jingwei.desk.forms import RecordForm
from jingwei.desk.lists import key_text
from jingwei.desk.verbs import verb_form
from jingwei.people.samples import person
from tests.test_bad_input import CORPUS, KEPT
from tests.test_bad_sheets import as_kept
from tests.test_every_resource import sample

pytestmark = [pytest.mark.django_db, pytest.mark.req("SEC-12", "P-5.2")]
RESOURCES = [r for r in menu.resources().values() if r.fields and {"add", "change"} & {*r.actions}]
CHANGED = [r for r in RESOURCES if "change" in r.actions]
VERBS = [(r, verb) for r in menu.resources().values() for verb in r.verbs if verb.form]
CHINESE = re.compile(r"[\u4e00-\u9fff]{2}")
TEXTS = list(CORPUS.values())


def by_name(declared):
    return declared.name


def refusals_of(field):
    """What a field of a form says to each of the texts that it does not take."""
    for text in TEXTS:
        try:
            field.clean([text] if isinstance(field, forms.MultipleChoiceField) else text)
        except ValidationError as refusal:
            yield from refusal.messages


@pytest.mark.parametrize("resource", RESOURCES, ids=by_name)
def test_every_field_of_every_form_keeps_words_or_says_in_chinese_why_not(resource):
    """All texts in every field: cells by the column types, at once as in a sheet; the others one by one."""
    actor = platform_actor("测试")
    form = RecordForm(resource, actor, resource.model())
    raw = pl.DataFrame({ROW: range(len(TEXTS)), **{column.name: TEXTS for column in form.sheet.columns}})
    cleaned = clean_frame(form.sheet, raw, Context(actor, form.permission, datetime.now()))
    said = [*cleaned.refused.rows(), *cleaned.warnings.rows()]
    refused = {(row, name) for row, name, _ in said}
    context = Context(actor, form.permission, datetime.now(), raw=raw)
    for column in form.sheet.columns:
        if type(column.type) is Text:
            kept = column.type.clean(raw[column.name], context).values
            for place, text in enumerate(TEXTS):
                assert (place, column.name) in refused or (kept[place] or "") == as_kept(text)
    reasons = [reason for *_, reason in said]
    for name, field in form.fields.items():
        reasons += [] if form.sheet.column(name) else refusals_of(field)
    assert not [reason for reason in reasons if not CHINESE.search(reason)]


@pytest.mark.parametrize(("resource", "verb"), VERBS, ids=by_name)
def test_every_field_of_every_verb_says_in_chinese_what_it_does_not_take(resource, verb):
    reasons = [reason for field in verb_form(verb, None).fields.values() for reason in refusals_of(field)]
    assert reasons and not [reason for reason in reasons if not CHINESE.search(reason)]


# --- all the way ------------------------------------------------------------------------------------------


def sent_back(form):
    """What a browser sends of a form that nobody touched."""
    sent = {}
    for name in form.fields:
        value = form[name].value()
        many = isinstance(value, list) and hasattr(value[:1], "pk")
        sent[name] = [o.pk for o in value] if many else "" if value is None else value
    return sent


def longest(form, name):
    """How many characters of words a field takes; 0 where it takes no words, or none now."""
    field = form.fields[name]
    column = getattr(field, "column", None)
    free = type(column.type) is Text if column else type(field) is forms.CharField
    most = column.type.longest if free and column else getattr(field, "max_length", None) or 500
    return most if free and not field.disabled else 0


@pytest.mark.parametrize(("resource", "verb"), VERBS, ids=by_name)
def test_the_words_of_every_verb_stand_in_the_log_as_they_were_written(resource, verb, all_powers):
    """Or the verb is refused in words beside the field; of a secret the log knows nothing."""
    address, asked = f"/{resource.name}/do/{verb.name}/", {"pk": key_text(sample(resource)), "confirm": "1"}
    form, texts = verb_form(verb, None), list(KEPT.values())
    words = [name for name in form.fields if longest(form, name)]
    for start in range(0, len(texts), 5):
        odd = {name: texts[(start + at) % len(texts)][: longest(form, name)] for at, name in enumerate(words)}
        with transaction.atomic():
            last = LogEntry.objects.aggregate(Max("pk"))["pk__max"] or 0
            answer = all_powers.post(address, asked | odd)
            if answer.status_code == 302:
                told = [*strings(list(LogEntry.objects.filter(pk__gt=last).values_list("reason", "detail")))]
                for name, text in odd.items():
                    assert (text.strip() in told) is not isinstance(
                        form.fields[name].widget, forms.PasswordInput
                    )
            else:
                reasons = [reason for said in answer.context["form"].errors.values() for reason in said]
                assert reasons and all(map(CHINESE.search, reasons))
            transaction.set_rollback(True)


def strings(value):
    """All texts in a value of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings(part)


@pytest.mark.parametrize("resource", CHANGED, ids=by_name)
def test_what_every_form_takes_is_kept_exactly_on_every_face(resource, all_powers):
    row = sample(resource)
    address, texts = f"/{resource.name}/{key_text(row)}/", list(KEPT.values())
    form = all_powers.get(f"{address}edit/").context["form"]
    sent, words = sent_back(form), [name for name in form.fields if longest(form, name)]
    for start in range(0, len(texts), 3):
        odd = {name: texts[(start + at) % len(texts)][: longest(form, name)] for at, name in enumerate(words)}
        version = {"version": type(row).objects.get(pk=row.pk).version}
        answer = all_powers.post(f"{address}edit/", sent | odd | version)
        if answer.status_code == 200:  # some words have rules of their own
            refused = answer.context["form"].errors
            assert refused.keys() <= odd.keys(), refused
            for name, reasons in refused.items():
                assert CHINESE.search(reasons[0]) and escape(reasons[0]) in answer.content.decode()
                del odd[name]
            answer = all_powers.post(f"{address}edit/", sent | odd | version)
        assert answer.status_code == 302, answer.context["form"].errors
        row = type(row).objects.get(pk=row.pk)
        for name, text in odd.items():
            assert clear_value(field_at(resource.model, name), row) == as_kept(text), name
        if start % 2 == 0:
            are_shown(resource, all_powers, address, {name: as_kept(text) for name, text in odd.items()})


def are_shown(resource, browser, address, words):
    """The words stand, and as words, on the page of the record, in its form, and in exports."""
    sealed = {name for name in words if isinstance(field_at(resource.model, name), SealedField)}
    for page in (address, f"{address}edit/"):
        shown = browser.get(page).content.decode()
        assert not [name for name in words.keys() - sealed if escape(words[name]) not in shown], page
    if "export" not in resource.actions:
        return
    wish = {"pk": address.split("/")[2], "columns": "all", "reason": "核对", "rows": "chosen"}
    wish |= {"clear": "1"} if f"{resource.name}.clear" in resource.permissions() else {}
    answer = browser.post(f"/{resource.name}/export/", wish | {"format": "xlsx"})
    headings, cells = openpyxl.load_workbook(io.BytesIO(answer.content)).active.iter_rows()
    assert not [cell for cell in cells if cell.data_type == "f"]
    workbook = {heading.value: cell.value for heading, cell in zip(headings, cells, strict=True)}
    answer = browser.post(f"/{resource.name}/export/", wish | {"format": "csv"})
    [table] = csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline=""))
    exported = {name: str(field_at(resource.model, name).verbose_name) for name in words}
    for name, heading in exported.items():
        if heading in table:
            assert workbook[heading] == words[name]
            # Excel would run it else.
            assert table[heading] == "'" * words[name].startswith(("=", "+", "-", "@")) + words[name]


# --- found again ------------------------------------------------------------------------------------------


@pytest.mark.req("SEC-12", "P-5.1", "P-4.2")
@pytest.mark.parametrize(
    "name", ["林𠮷𰻝", "葛\U000e0100\U00030000", "\ue000\U000f0000林", "﨑e\u0301\U00020000"]
)
def test_who_has_a_rare_name_is_found_by_it_and_by_a_part_of_it(name, village):
    """In clear text and by the grams of a sealed column alike; a selector of a form may be left out."""
    rare = person(name=name, address=f"上埔社区{name}路1号")
    person(name="林样例")
    for asked in (name, name[:2], name[-2:], f"{name}路1号", f"区{name[:2]}"):
        answer = village.client.get("/people/", {"q": asked})
        assert [row.key for row in answer.context["table"].rows] == [str(rare.pk)], asked
