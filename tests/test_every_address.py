"""No address answers who has no grants, nor tells of what lies beyond one's territory (P-1.10, SEC-7)."""

import itertools
import re

import pytest
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, get_resolver

from jingwei import menu
from jingwei.desk.columns import field_at
from jingwei.desk.lists import key_text
from jingwei.people.samples import person
from tests.personas import Persona
from tests.test_every_resource import SAMPLES, sample

pytestmark = pytest.mark.django_db

# What must answer without a session; a new one is written here on purpose.
FOR_STRANGERS = {
    "register/",
    "healthz",
    "sign-in/",
    "sign-in/code/",
    "sign-in/with/<int:pk>/",
    "sign-in/back/<int:pk>/",
    "gateway/sms/",
    "gateway/oa/menus/",
    "e/<str:token>/",
}
# One's own account and nothing else: open to every operator, whatever the grants.
FOR_EVERY_OPERATOR = {
    "",
    "badges/",
    "jobs/",
    "password/",
    "second-factor/",
    "account/",
    "appointment/",
    "sign-out/",
}
RESOURCES = menu.resources()
NO_FILE = "00000000-0000-0000-0000-000000000001"


def routes(patterns, prefix=""):
    """(route, view) of the whole site."""
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            yield route, pattern.callback
        else:
            yield from routes(pattern.url_patterns, route)


def addresses(keys):
    """(route, address) of the whole site, those of a resource for each; `keys` of rows by its name."""
    for route, _ in routes(get_resolver().url_patterns):
        of_resource = "<resource:resource>" in route
        own = route.partition("/")[0]
        for name in RESOURCES if of_resource else [own]:
            resource = RESOURCES.get(name)
            references = [f.name for f in resource.model._meta.fields if f.is_relation] if resource else []
            values = {
                "<resource:resource>": [name],
                "<str:field>": references,
                "<str:verb>": ["delete", *(verb.name for verb in resource.verbs)] if resource else [],
                "<str:kind>": ["clean_files"],
                "<str:token>": ["1-no-venues-page"],
                "<str:pk>": [keys.get(name, "1")],
                "<int:pk>": [keys.get(name, "1")],
                "<uuid:pk>": [NO_FILE],
                "<int:attachment>": ["1"],
            }
            parts = re.split("(<[^>]*>)", route)
            for chosen in itertools.product(*(values[part] if "<" in part else [part] for part in parts)):
                yield route, "/" + "".join(chosen)


@pytest.mark.req("P-1.10", "SEC-7")
def test_no_view_is_open_to_strangers_but_those_named_here():
    opened = {
        route
        for route, view in routes(get_resolver().url_patterns)
        if not getattr(view, "login_required", True)
    }
    assert opened == FOR_STRANGERS


@pytest.mark.req("P-1.10")
def test_a_stranger_is_sent_to_sign_in_from_every_address():
    browser = Client()
    for route, address in addresses({}):
        if route not in FOR_STRANGERS:
            for method in ("get", "post"):
                answer = getattr(browser, method)(address)
                assert answer.status_code == 302, (method, address)
                assert answer.headers["Location"].startswith("/sign-in/"), (method, address)


@pytest.mark.req("P-1.10", "SEC-7")
def test_an_operator_without_grants_gets_nothing_from_any_address(nobody):
    for route, address in addresses({}):
        if route not in FOR_STRANGERS | FOR_EVERY_OPERATOR:
            for method in ("get", "post"):
                answer = getattr(nobody.client, method)(address)
                assert answer.status_code in (403, 404, 405), (answer.status_code, method, address)


@pytest.mark.req("P-1.10", "P-1.8")
@pytest.mark.parametrize("login", ["sysadmin", "secadmin", "auditadmin", "venueops", "regulator"])
def test_who_has_no_business_with_the_register_opens_none_of_it(login, request):
    persona = request.getfixturevalue(login)
    for name in ("people", "doses", "transfers", "samples"):
        assert persona.client.get(f"/{name}/").status_code == 403
    for page in menu.pages():
        status = persona.client.get(f"/{page.name}/").status_code
        assert status == (200 if persona.actor.may(page.permission) else 403), page.name
        assert not (status == 200 and page.permission.startswith("people.")), page.name


# --- what lies elsewhere ----------------------------------------------------------------------------------

SHARED = {"sms-send/"}  # offers the templates of messages, which all have in common
NOT_THE_SAME = ("import/template/", "options/<str:field>/")  # knows when it was made; asked below
OWN = {"people", "testing", "messages"}  # packages whose rows only their territory's operators see


def questions(rows):
    """(method, address, data) of all that can be asked about `rows` {resource name: row}, changing none."""
    keys = {name: key_text(row) for name, row in rows.items()}
    for route, address in addresses(keys):
        of_others = "<resource:resource>" in route and address.split("/")[1] not in rows
        if not (of_others or route in FOR_STRANGERS | SHARED or route.endswith(NOT_THE_SAME)):
            yield "get", address, {}
    for name, row in rows.items():
        resource, root = RESOURCES[name], f"/{name}/"
        for words in ("林样例", "样例", "16000000001", "上埔", "上埔社区1号"):
            yield "get", root, {"q": words}
        for number in range(len(resource.tabs)):
            yield "get", root, {"tab": number}
        for declared in resource.filters:
            value = value_at(row, declared.name)
            if value is not None:
                yield "get", root, {declared.name: value, f"{declared.name}__from": value}
        for field in resource.model._meta.fields:
            if field.is_relation and not field.related_model.scope.shared:
                for words in ("", str(getattr(row, field.name))[:4]):
                    yield "get", f"{root}options/{field.name}/", {"q": words}
        for rest in ({"rows": "all"}, {"rows": "chosen", "pk": keys[name]}):
            yield "post", f"{root}export/", {"format": "csv", "columns": "all", "query": "", **rest}
        for verb in [*(verb.name for verb in resource.verbs), "delete"]:
            # Two keys make it an act on many; without "confirm" it only says what it would do.
            yield "post", f"{root}do/{verb}/", {"pk": [keys[name], keys[name]]}
            yield "post", f"{root}do/{verb}/", {"all": "1", "query": ""}
    for page in (page for page in menu.pages() if f"{page.name}/" not in SHARED):
        for region in ("990101001", "990101001001"):
            yield "get", f"/{page.name}/", {"region": region}


def value_at(row, path):
    """The raw value that a filter on `path` needs to find `row`; None where there is none."""
    field = field_at(type(row), path)
    if field is None or field.is_relation and field.related_model.scope.shared:
        return None
    *steps, last = path.split("__")
    for step in steps:
        row = getattr(row, step)
    value = getattr(row, last)
    return value.clear() if hasattr(value, "clear") else getattr(value, "pk", value)


def answers(browser, asked):
    """The lines each question is answered with, without what differs from one moment to the next."""
    found = []
    for method, address, data in asked:
        answer = getattr(browser, method)(address, data)
        text = answer.content.decode("utf-8", "replace")
        text = re.sub(r"(csrfmiddlewaretoken\" value=|X-CSRFToken\": )\"[^\"]*\"|<code>\w+</code>", "", text)
        text = re.sub(r"\d\d:\d\d(:\d\d)?", "", text)
        text = re.sub(r"~[\w-]{20,}", "", text)  # words that stand sealed in addresses
        found.append([str(answer.status_code), *text.splitlines()])
    return found


def reach_two_territories(persona):
    """Have the persona work for the own town and a village beyond it: more than one prefix of regions."""
    appointment = persona.operator.appointments.get()
    role = appointment.roles.get()
    role.pk, role.name, role.reach, role._state.adding = None, "两地操作员", role.LISTED, True
    role.save()
    role.regions.set([persona.region, "990101003001"])
    appointment.roles.set([role])


@pytest.mark.req("P-1.6", "P-1.10", "CL-2.1", "SEC-7")
@pytest.mark.parametrize("login", ["othertown", "sysadmin", "secadmin"])
def test_with_and_without_the_rows_of_another_town_every_address_answers_the_same(login):
    persona = Persona(login)
    if login == "othertown":
        reach_two_territories(persona)
    browser = persona.client
    places = [
        resource
        for resource in RESOURCES.values()
        if not resource.model.scope.shared
        and (resource.model in SAMPLES or resource.name in SAMPLES)
        and (login == "othertown" or resource.model._meta.app_label in OWN)
    ]
    watched = {"born": "19500101", "occupation": "货车司机"}  # of people whom the statistics list by name
    person(region="990101002001", **watched)
    browser.get("/")
    before = transaction.savepoint()
    rows = {resource.name: sample(resource) for resource in places}
    person(**watched)
    asked = list(questions(rows))
    with_them = answers(browser, asked)
    for row in rows.values():
        assert type(row).objects.filter(pk=row.pk).exists()  # nothing was lost by asking
    transaction.savepoint_rollback(before)
    without = answers(browser, asked)
    assert len(asked) > 300
    told = [
        (question, [pair for pair in itertools.zip_longest(there, not_there) if pair[0] != pair[1]][:1])
        for question, there, not_there in zip(asked, with_them, without, strict=True)
        if there != not_there
    ]
    assert not told
