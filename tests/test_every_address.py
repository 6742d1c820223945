"""No address answers who has no grants, nor tells of what lies beyond one's territory (P-1.10, SEC-7)."""

import argparse
import itertools
import re
from datetime import timedelta

import pytest
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Max
from django.test import Client
from django.test.client import FakePayload
from django.urls import URLPattern, get_resolver
from django.utils import timezone

from jingwei import menu
from jingwei.base.models import Job, Load, LogEntry, StoredFile
from jingwei.base.sheets import sheet_of
from jingwei.cli import export, import_sheet, rows
from jingwei.desk.columns import field_at
from jingwei.desk.lists import key_text
from jingwei.people.models import EmergencyAccess
from jingwei.people.samples import person
from tests.personas import Persona
from tests.test_every_resource import SAMPLES, sample

pytestmark = pytest.mark.django_db

# What must answer without a session, and why; a new one is written here on purpose.
FOR_STRANGERS = {
    "register/": "asks for an account, which somebody has to approve",
    "healthz": "whether the site works, nothing else",
    "readyz": "whether it can work; how its parts are, for the monitoring alone",
    "metrics": "figures for the monitoring, by its network or token",
    "sign-in/": "where sessions begin",
    "sign-in/code/": "the second step of signing in",
    "sign-in/with/<int:pk>/": "to the sign-in page of another system",
    "sign-in/back/<int:pk>/": "back from there, with what that system vouches for",
    "gateway/sms/": "signed by the SMS gateway",
    "gateway/oa/menus/": "signed by the OA",
    "e/<str:token>/": "the page behind the code on a venue's poster, for the public",
}
# What every operator may open whatever the grants, and why.
FOR_EVERY_OPERATOR = {
    "": "the home page shows what the grants allow",
    "badges/": "counts of what the grants allow",
    "jobs/": "the own jobs",
    "password/": "the own password",
    "second-factor/": "the own second factor",
    "account/": "the own account",
    "appointment/": "the own appointments",
    "sign-out/": "the end of the own session",
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
    """(route, address) of the whole site, those of a resource for each; `keys` of rows by its name.

    Also by name the keys of a "file", a "job" and, as "import people" or "attachment people", of such of it.
    """
    for route, _ in routes(get_resolver().url_patterns):
        of_resource = "<resource:resource>" in route
        own = route.partition("/")[0]
        for name in RESOURCES if of_resource else [own]:
            resource = RESOURCES.get(name)
            references = [f.name for f in resource.model._meta.fields if f.is_relation] if resource else []
            kept = "job" if own == "jobs" else f"import {name}" if "/import/" in route else name
            values = {
                "<resource:resource>": [name],
                "<str:field>": references,
                "<str:verb>": ["delete", *(verb.name for verb in resource.verbs)] if resource else [],
                "<str:kind>": ["clean_files"],
                "<str:token>": ["1-no-venues-page"],
                "<str:pk>": [keys.get(kept, "1")],
                "<int:pk>": [keys.get(kept, "1")],
                "<uuid:pk>": [keys.get("file", NO_FILE)],
                "<int:attachment>": [keys.get(f"attachment {name}", "1")],
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
    assert opened == set(FOR_STRANGERS)


@pytest.mark.req("P-1.10")
def test_a_stranger_is_sent_to_sign_in_from_every_address():
    browser = Client()
    for route, address in addresses({}):
        if route not in FOR_STRANGERS:
            for method in ("get", "post"):
                answer = getattr(browser, method)(address)
                assert answer.status_code == 302, (method, address)
                assert answer.headers["Location"].startswith("/sign-in/"), (method, address)


@pytest.mark.req("SEC-7", "SEC-12")
@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_nothing_that_a_stranger_sends_is_read_before_they_are_sent_away(kind):
    for address in one_of_each().values():
        body = FakePayload(b"")  # whoever reads it finds less than was announced
        answer = Client(enforce_csrf_checks=True).generic(
            "POST", address, body, kind, CONTENT_LENGTH=str(30 * 2**20), **{"wsgi.input": body}
        )
        assert answer.status_code in (302, 400, 403, 404), address


@pytest.mark.req("P-1.10", "SEC-7")
def test_an_operator_without_grants_gets_nothing_from_any_address(nobody):
    for route, address in addresses({}):
        if route not in FOR_STRANGERS.keys() | FOR_EVERY_OPERATOR.keys():
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
FRAGMENT = {"HX-Request": "true"}
SENT = {"confirm": "1", "reason": "核对", "typed": "1", "version": "1", "name": "样例改过"}
# The first two know when they were made; the last is asked below.
NOT_THE_SAME = ("import/template/", "personal-data/export/", "options/<str:field>/")
OWN = {"people", "testing", "messages"}  # packages whose rows only their territory's operators see


def questions(actor, rows, keys):
    """(method, address, data, headers) of all that can be asked about `rows` {resource name: row}.

    `keys` as for `addresses`. None of it may change a row. A part of a page is asked for, and something sent,
    where `actor` holds a permission at all.
    """
    opened = {permission.partition(".")[0] for permission in actor.grants} | {"jobs", "files"}
    for route, address in addresses(keys):
        of_others = "<resource:resource>" in route and address.split("/")[1] not in rows
        if of_others or route in FOR_STRANGERS.keys() | SHARED or route.endswith(NOT_THE_SAME):
            continue
        yield "get", address, {}, {}
        if "pk>" in route and address.split("/")[1] in opened:
            yield "get", address, {}, FRAGMENT
            yield "post", address, SENT, {}
    for name, row in rows.items():
        resource, root = RESOURCES[name], f"/{name}/"
        for words in ("林样例", "样例", "16000000001", "上埔", "上埔社区1号"):
            yield "get", root, {"q": words}, {}
        for number in range(len(resource.tabs)):
            yield "get", root, {"tab": number}, {}
        for declared in resource.filters:
            value = value_at(row, declared.name)
            if value is not None:
                yield "get", root, {declared.name: value, f"{declared.name}__from": value}, {}
        for field in resource.model._meta.fields:
            if field.is_relation and not field.related_model.scope.shared:
                for words in ("", str(getattr(row, field.name))[:4]):
                    yield "get", f"{root}options/{field.name}/", {"q": words}, {}
        for rest in ({"rows": "all"}, {"rows": "chosen", "pk": keys[name]}):
            yield "post", f"{root}export/", {"format": "csv", "columns": "all", "query": "", **rest}, {}
        for verb in [*(verb.name for verb in resource.verbs), "delete"]:
            # Two keys make it an act on many; without "confirm" it only says what it would do.
            yield "post", f"{root}do/{verb}/", {"pk": [keys[name], keys[name]]}, {}
            yield "post", f"{root}do/{verb}/", {"all": "1", "query": ""}, {}
    for page in (page for page in menu.pages() if f"{page.name}/" not in SHARED):
        for region in ("990101001", "990101001001"):
            yield "get", f"/{page.name}/", {"region": region}, {}


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
    """The lines each question is answered with, without what differs from one moment to the next.

    The rows of the log that it leaves come last: they tell, too.
    """
    found = []
    for method, address, data, headers in asked:
        known = LogEntry.objects.aggregate(last=Max("pk"))["last"]
        answer = getattr(browser, method)(address, data, headers=headers)
        text = answer.content.decode("utf-8", "replace")
        text = re.sub(r"(csrfmiddlewaretoken\" value=|X-CSRFToken\": )\"[^\"]*\"|<code>\w+</code>", "", text)
        text = re.sub(r"\d\d:\d\d(:\d\d)?", "", text)
        text = re.sub(r"~[\w-]{20,}", "", text)  # words that stand sealed in addresses
        logged = LogEntry.objects.filter(pk__gt=known).order_by("pk")
        logged = logged.values_list("act", "resource", "object_id", "label", "result", "reason")
        found.append([str(answer.status_code), *text.splitlines(), *map(str, logged)])
    return found


def kept_by(operator):
    """Keys of a file, a job and imports of an operator, as `addresses` takes them."""
    soon = timezone.now() + timedelta(days=1)
    file = StoredFile.objects.create(name="名单.xlsx", owner=operator.pk, expires_at=soon)
    job = Job.objects.create(kind="export", label="导出名单", owner=operator.pk, file=file)
    keys = {"file": str(file.pk), "job": str(job.pk)}
    for resource in RESOURCES.values():
        if "import" in resource.actions and (sheet := sheet_of(resource)):
            load = Load(sheet=sheet.name, resource=resource.name, file_name=file.name, file=file)
            load.today, load.owner = timezone.localdate(), operator.pk
            load.save()
            keys[f"import {resource.name}"] = str(load.pk)
    return keys


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
        # The security administrator reviews each of these, wherever it was (P-1.9).
        and (login != "secadmin" or resource.model is not EmergencyAccess)
    ]
    watched = {"born": "19500101", "occupation": "货车司机"}  # of people whom the statistics list by name
    person(region="990101002001", **watched)
    browser.get("/")
    before = transaction.savepoint()
    rows = {resource.name: sample(resource) for resource in places}
    person(**watched)
    # The system administrator sees every job on purpose (P-1.8).
    kept = kept_by(Persona("village").operator) if login == "othertown" else {}
    keys = {name: key_text(row) for name, row in rows.items()} | kept
    for name, row in rows.items():
        if table := RESOURCES[name].attachments:
            link = table.objects.create(
                record=row, kind=table.VIDEO, name="现场", link="https://example.com/"
            )
            keys[f"attachment {name}"] = str(link.pk)
    asked = list(questions(persona.actor, rows, keys))
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


# --- what every answer is ---------------------------------------------------------------------------------


def one_of_each():
    """{route: one of its addresses} of the whole site, over rows that are there."""
    rows = {name: sample(r) for name, r in RESOURCES.items() if r.model in SAMPLES or name in SAMPLES}
    return dict(reversed(list(addresses({name: key_text(row) for name, row in rows.items()}))))


@pytest.mark.req("SEC-7", "P-1.10")
def test_no_address_knows_another_method_than_get_head_and_post(all_powers):
    for address in one_of_each().values():
        for method in ("put", "patch", "delete", "options", "trace"):
            for browser in (all_powers, Client()):
                answer = getattr(browser, method)(address)
                assert (answer.status_code, answer["Allow"]) == (405, "GET, HEAD, POST"), (method, address)


TAKES_SOMETIMES = {
    "front-feeds/<int:pk>/columns/",  # the form needs an answer from the other database
    "sms-send/",  # and a template of messages
    "<resource:resource>/<str:pk>/attachments/",  # the form stands on the page of the record
    "account/",  # and is there for who is signed in twice
}
KEPT = {"/venue-map/basemap.json", "/boundaries/basemap.json"}  # where the regions lie, asked about each time


@pytest.mark.req("SEC-7")
def test_a_page_that_only_shows_takes_nothing(all_powers):
    """Where no form on a page is sent to the page itself, what is sent there is refused with 405."""
    shown = 0
    for route, address in one_of_each().items():
        page = all_powers.get(address)
        if page.status_code != 200 or not page["Content-Type"].startswith("text/html"):
            continue
        text = page.content.decode()
        forms = re.findall("<form[^>]*>", text)
        sent_here = [
            form
            for form in forms
            if 'method="post"' in form
            and (re.search('action="([^"]*)"', form) or [0, address])[1] in ("", address)
        ]
        takes = sent_here or f'hx-post="{address}"' in text or route in FOR_STRANGERS.keys() | TAKES_SOMETIMES
        if not takes:
            shown += 1
            assert all_powers.post(address).status_code == 405, address
    assert shown > 20


@pytest.mark.req("SEC-12")
def test_an_address_with_a_nul_is_refused_everywhere(all_powers):
    for address in one_of_each().values():
        answer = all_powers.get(address, {"region": "990101\0"})
        assert answer.status_code == 400 and "请求无法识别" in answer.content.decode(), address
        assert Client().get(address, {"region": "990101\0"}).status_code in (302, 400), address


HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
COOKIES = {"sessionid": "Lax", "csrftoken": "Lax", "messages": "Lax"}


@pytest.mark.req("SEC-11", "SEC-18", "CL-7.1")
def test_every_answer_carries_the_strict_headers(all_powers):
    """Pages, fragments, refusals and files of the site alike."""
    asked = [*one_of_each().values(), "/people/999999999/", "/nothing-here/", "/static/css/jingwei.css"]
    for browser in (all_powers, Client()):
        answers = [(address, browser.get(address)) for address in asked]
        answers += [("another method", browser.put("/people/")), ("no slash", browser.get("/people"))]
        answers += [("another site", browser.get("/people/", headers={"host": "other.example"}))]
        for address, answer in answers:
            assert HEADERS.items() <= dict(answer.headers).items(), address
            assert "geolocation=()" in answer["Permissions-Policy"], address
            policy = answer["Content-Security-Policy"]
            assert "unsafe" not in policy and "default-src 'none'" in policy, address
            policies = {part.strip() for part in policy.split(";")}
            assert {"script-src 'self'", "frame-ancestors 'none'"} <= policies, address
            if not address.startswith("/static/"):
                assert "no-store" in answer["Cache-Control"] or address in KEPT, address
            for name, cookie in answer.cookies.items():
                gone = cookie["max-age"] == 0  # to be forgotten, so with nothing in it
                assert cookie["samesite"] == COOKIES[name], (address, name)
                assert cookie["httponly"] or (gone and not cookie.value), (address, name)


# --- the command line -------------------------------------------------------------------------------------


@pytest.mark.req("SEC-7", "P-1.6", "P-1.10")
@pytest.mark.parametrize("login", ["nobody", "othertown"])
def test_the_command_line_gives_no_more_than_the_pages(login, tmp_path, capsys):
    """`jingwei rows`, `export` and `import` as an account: refused, or as if elsewhere there were nothing."""
    actor = Persona(login).actor

    def run(command, *arguments):
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        try:
            command.run(parser.parse_args([*arguments, "--as", login]))
        except PermissionDenied:
            return "refused"
        return capsys.readouterr().out

    def told(resource):
        out = tmp_path / "out.csv"
        run(export, resource.name, "--out", str(out), "--reason", "核对")
        counted = run(rows, resource.name, "--count")
        return counted, out.read_bytes() if out.exists() else b""

    kinds = [r for r in RESOURCES.values() if r.model in SAMPLES and not r.model.scope.shared]
    before = {resource.name: told(resource) for resource in kinds}
    for resource in kinds:
        sample(resource)
    for resource in kinds:
        assert told(resource) == before[resource.name], resource.name
        refused = before[resource.name][0] == "refused"
        assert refused != actor.may(f"{resource.name}.view"), resource.name
    file = tmp_path / "in.csv"
    for resource in RESOURCES.values():
        if "import" in resource.actions and not actor.may(f"{resource.name}.import"):
            sheet = sheet_of(resource)
            file.write_text(",".join(column.heading for column in sheet.columns) + "\n")
            assert run(import_sheet, sheet.name, str(file)) == "refused", sheet.name
