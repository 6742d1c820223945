"""What every resource of the menu must satisfy, whatever it is: one run of this suite under its name."""

import re
from functools import cache

import pytest
from django.db import connection
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext

from jingwei import menu
from jingwei.base import audit, codes, parameters
from jingwei.base.access import EVERYTHING
from jingwei.base.columns import Text
from jingwei.base.fields import personal_fields
from jingwei.base.models import LogEntry
from jingwei.desk.cells import cells
from jingwei.desk.checks import problems
from jingwei.desk.lists import Selection, key_text
from jingwei.desk.verbs import verb_of
from jingwei.directory import menus
from jingwei.directory.samples import SAMPLES as DIRECTORY
from jingwei.directory.setup import PERSONAS
from jingwei.exchange.samples import SAMPLES as EXCHANGE
from jingwei.messages.samples import SAMPLES as MESSAGES
from jingwei.oversight.samples import SAMPLES as OVERSIGHT
from jingwei.people.samples import SAMPLES as PEOPLE
from jingwei.places.samples import SAMPLES as PLACES
from jingwei.scans.samples import SAMPLES as SCANS
from jingwei.testing.samples import SAMPLES as TESTING
from tests.personas import Persona

pytestmark = pytest.mark.django_db
SAMPLES = DIRECTORY | PEOPLE | TESTING | MESSAGES | EXCHANGE | PLACES | SCANS | OVERSIGHT
RESOURCES = list(menu.resources().values())
LOGINS = [persona.login for persona in PERSONAS]
every_resource = pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.name)


def sample(resource):
    made = SAMPLES.get(resource.name) or SAMPLES[resource.model]
    return made()


@cache
def actor_of(login):
    """The rights of a persona; no test here changes them."""
    return Persona(login).actor


def who_may(resource, action, row):
    """The persona with the smallest territory who holds the permission and sees the row."""
    for login in ["village", "town", *LOGINS]:
        actor = actor_of(login)
        if actor.may(f"{resource.name}.{action}") and resource.rows(actor, action).filter(pk=row.pk).exists():
            return Persona(login)
    return None


def keeper(resource, row, action="view"):
    persona = who_may(resource, action, row)
    assert persona, f"no persona may {action} {resource.name}"
    return persona


def addresses(resource, row):
    """(action, address) of every page that opens with GET."""
    root, key = f"/{resource.name}/", key_text(row)
    yield "view", root
    yield "view", f"{root}?q=样例"
    if resource.has_page:
        yield "view", f"{root}{key}/"
    yield "export", f"{root}export/"
    yield "add", f"{root}new/"
    yield "change", f"{root}{key}/edit/"
    yield "delete", f"{root}{key}/delete/"
    yield "delete", f"{root}do/delete/?pk={key}"
    yield "import", f"{root}import/"
    yield "clear", f"{root}{key}/unmask/"
    for verb in resource.verbs:
        yield verb.name, f"{root}do/{verb.name}/?pk={key}"
    for field in resource.model._meta.fields:
        if field.is_relation and field.name in resource.fields:
            yield "view", f"{root}options/{field.name}/"


def known(resource):
    """The actions that are permissions of a resource."""
    return {permission.partition(".")[2] for permission in resource.permissions()}


# --- declarations -----------------------------------------------------------------------------------------


@every_resource
@pytest.mark.req("P-1.10", "SEC-17")
def test_the_declaration_is_sound_and_has_a_sample(resource):
    assert not list(problems(resource))
    row = sample(resource)
    if "change" in resource.actions:
        row.full_clean()
    assert str(row)


# --- pages ------------------------------------------------------------------------------------------------


INLINE = re.compile(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:|hx-on")


@every_resource
@pytest.mark.req("P-5.1", "P-5.2", "SEC-11", "SEC-18", "CL-7.1")
def test_every_page_answers_and_runs_under_the_strict_policy(resource):
    row = sample(resource)
    for action, address in addresses(resource, row):
        if action not in known(resource) or not (persona := who_may(resource, action, row)):
            continue
        if action == "import" and "import" not in resource.actions:
            continue
        answer = persona.client.get(address)
        assert answer.status_code == 200, address
        assert answer["Cache-Control"] == "no-store", address
        page = answer.content.decode()
        assert not INLINE.search(page), (address, INLINE.search(page))
        assert "http://" not in page.replace("http://testserver", "").replace(
            "http://www.w3.org/2000/svg", ""
        )


@every_resource
@pytest.mark.req("P-4.3", "SEC-16")
def test_no_page_shows_a_personal_value_in_clear(resource):
    row = sample(resource)
    hidden = [field.name for field in personal_fields(resource.model) if field.kind != "text"]
    clear = [value.clear() for name in hidden if (value := getattr(row, name))]
    for action, address in addresses(resource, row):
        if action in known(resource) and (persona := who_may(resource, action, row)):
            page = persona.client.get(address).content.decode()
            assert not [value for value in clear if value in page], address


@every_resource
@pytest.mark.req("P-3.1", "SEC-8")
def test_a_printed_record_stands_in_the_log_by_its_key(resource):
    row = sample(resource)
    if resource.has_page:
        answer = keeper(resource, row).client.post(f"/{resource.name}/{key_text(row)}/printed/")
        assert answer.status_code == 204
        assert LogEntry.objects.filter(
            act="打印", resource=resource.name, object_id=audit.id_of(row)
        ).exists()


@every_resource
@pytest.mark.req("P-5.1", "CL-3.4")
def test_a_list_costs_the_same_for_one_row_or_twenty(resource):
    row = sample(resource)
    persona = keeper(resource, row)
    address = f"/{resource.name}/"

    def statements():
        for kept in (codes, menus, parameters):  # a process keeps these for some seconds
            kept.forget()
        persona.client.get(address)
        with CaptureQueriesContext(connection) as captured:
            answer = persona.client.get(address, {"size": "200"})
        return len(captured), len(answer.context["page"].rows)

    few = statements()
    for _ in range(20):
        sample(resource)
    many = statements()
    assert many[1] >= min(few[1] + 20, 200)
    assert many[0] == few[0] <= 12


@every_resource
@pytest.mark.req("P-5.4", "P-5.1")
def test_an_export_says_what_the_list_says(resource):
    """Cell by cell, over several chunks, masked and in clear."""
    rows = [sample(resource) for _ in range(3)]
    selection = Selection(resource, keeper(resource, rows[0]).actor, QueryDict())
    columns = selection.columns(everything=True)
    listed = selection.fetched(selection.keys(), columns)
    assert len(listed) >= 1
    for clear in (False, True):
        exported = [[] for _ in columns]
        for chunk in cells(selection, columns, clear=clear, size=2):
            for column, values in zip(exported, chunk, strict=True):
                column += values
        for column, values in zip(columns, exported, strict=True):
            assert values == [column.value(row, clear) for row in listed], column.name


# --- permissions and scopes -------------------------------------------------------------------------------


@every_resource
@pytest.mark.req("P-1.10", "P-1.5", "SEC-5", "SEC-7")
def test_without_the_permission_every_page_refuses_and_the_log_knows(resource, nobody):
    row = sample(resource)
    for action, address in addresses(resource, row):
        if action in known(resource):
            assert nobody.client.get(address).status_code == 403, address
            assert nobody.client.post(address).status_code in (403, 405), address
    assert LogEntry.objects.filter(act="访问", result="拒绝", login="nobody", resource=resource.name).exists()


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.req("P-1.10", "P-1.8", "CL-2.1")
def test_lists_and_pages_open_for_exactly_those_who_hold_the_permission(login):
    persona = Persona(login)
    opened = {f"/{resource.name}/": persona.actor.may(f"{resource.name}.view") for resource in RESOURCES}
    opened |= {f"/{page.name}/": persona.actor.may(page.permission) for page in menu.pages()}
    for address, may in opened.items():
        assert persona.client.get(address).status_code == (200 if may else 403), address
    shown = {entry.name for _, entries in menu.entries_for(persona.actor) for entry in entries}
    assert shown == {address.strip("/") for address, may in opened.items() if may}


@every_resource
@pytest.mark.req("P-1.6", "P-1.10", "CL-2.1", "SEC-7")
def test_a_row_of_another_town_does_not_exist_on_any_face(resource):
    """What lies in the first village is for the other town like a number that was never given."""
    row = sample(resource)
    assert row.pk in visible(resource, keeper(resource, row))
    far = Persona("othertown")
    if resource.model.scope.shared or not far.actor.may(f"{resource.name}.view"):
        assert (
            resource.model.scope.shared
            or far.client.get(f"/{resource.name}/{key_text(row)}/").status_code == 403
        )
        return
    assert far.actor.data_scope(f"{resource.name}.view") != EVERYTHING
    assert row.pk not in visible(resource, far)
    for action, address in addresses(resource, row):
        if key_text(row) in address and far.actor.may(f"{resource.name}.{action}"):
            assert far.client.get(address).status_code == 404, address
            sent = {"reason": "核对", "confirm": "1", "pk": key_text(row)}
            assert far.client.post(address, sent).status_code in (404, 405), address
    assert type(row).objects.filter(pk=row.pk).exists()
    assert row.pk not in [found.pk for found in far.client.get(f"/{resource.name}/").context["page"].rows]


def visible(resource, persona):
    """Keys of all rows that a persona's list, in pages and in chunks, gives."""
    selection = Selection(resource, persona.actor, QueryDict())
    in_chunks = [key for rows in selection.stored(["pk"]) for (key,) in rows]
    assert selection.keys() == in_chunks
    return in_chunks


@every_resource
@pytest.mark.req("P-1.6", "P-5.1")
def test_an_act_on_many_rows_leaves_out_those_out_of_reach(resource):
    if "delete" not in resource.actions:
        assert verb_of(resource, "delete") is None
        return
    row, far = sample(resource), Persona("othertown")
    if resource.model.scope.shared or not far.actor.may(f"{resource.name}.delete"):
        return
    far.client.post(
        f"/{resource.name}/do/delete/", {"pk": [key_text(row), key_text(row)], "confirm": "1", "typed": "2"}
    )
    far.client.post(f"/{resource.name}/do/delete/", {"all": "1", "query": "", "confirm": "1", "typed": "1"})
    assert type(row).objects.filter(pk=row.pk).exists()


# --- changes ----------------------------------------------------------------------------------------------


@every_resource
@pytest.mark.req("P-3.1", "SEC-8")
def test_a_change_by_the_form_is_logged_once_and_a_form_sent_back_as_it_was_changes_nothing(resource):
    if "change" not in resource.actions:
        return
    row = sample(resource)
    persona = keeper(resource, row, "change")
    address = f"/{resource.name}/{key_text(row)}/edit/"
    form = persona.client.get(address).context["form"]
    sent = {name: form[name].value() for name in form.fields}
    sent = {
        name: [o.pk for o in value] if isinstance(value, list) and hasattr(value[:1], "pk") else value
        for name, value in sent.items()
    }
    sent = {name: "" if value is None else value for name, value in sent.items()} | {"version": row.version}
    before = LogEntry.objects.count()
    answer = persona.client.post(address, sent)
    assert answer.status_code == 302, answer.context["form"].errors
    assert LogEntry.objects.count() == before
    [name, *_] = [name for name in form.fields if changeable(form, name)] or [None]
    if name is None:
        return
    answer = persona.client.post(address, sent | {name: "样例改过"})
    assert answer.status_code == 302, answer.context["form"].errors
    entry = LogEntry.objects.filter(resource=resource.name, act="修改").get()
    assert (entry.login, entry.object_id, entry.result) == (persona.login, str(row.pk), "成功")
    assert str(resource.model._meta.get_field(name).verbose_name) in entry.detail["changes"]


def changeable(form, name):
    column = getattr(form.fields[name], "column", None)
    return column is not None and type(column.type) is Text and name not in ("login", "code", "kind", "value")
