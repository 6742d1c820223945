"""No filter, address, body or header, whatever stands in it, ends in an error of ours (SEC-12).

What becomes of a value: test_bad_forms.py, test_bad_sheets.py. Files that are no sheets at all:
base/tests/test_any_file.py; attachments: kit/tests/test_contents.py, desk/tests/test_attachments.py.
"""

import itertools
from urllib.parse import quote

import pytest
from django.db import transaction
from django.test import Client

from jingwei import menu
from jingwei.base.resource import Between
from jingwei.desk.lists import key_text
from tests.test_every_address import FOR_STRANGERS, one_of_each
from tests.test_every_resource import SAMPLES, sample

pytestmark = [pytest.mark.django_db, pytest.mark.req("SEC-12")]
RESOURCES = menu.resources()

# One rare character of each extension of the unified ideographs, B to H, and two of names that people have.
RARE = "\U00020000\U0002a700\U0002b740\U0002b820\U0002ceb0\U00030000\U00031350𠮷𰻝"
KEPT = {
    "script": "<script>alert(1)</script>",
    "attribute": "\"><img src=x onerror='alert(1)'>",
    "template": "{{ 7*7 }}{% debug %}${7*7}",
    "SQL": "'; DROP TABLE people_person; --",
    "pattern": "%_\\' OR 1=1",
    "formula": '=HYPERLINK("//example.com","点")',
    "command": "@SUM(1+1)*cmd|'/C calc'!A0",
    "path": "../../../../etc/passwd",
    "format": "%s%n%(x)s{0}",
    "emoji": "👨‍👩‍👧‍👦🇨🇳",
    "rare": RARE,
    # Of private use, with a selector of one of its forms, a compatibility ideograph, a mark over a letter.
    "otherwise rare": "\ue000\U000f0000葛\U000e0100﨑e\u0301",
}
REFUSED = {
    "NUL": "a\0b",
    "only NUL": "\0",
    "direction": "\u202e林样例\u202c\u2066",
    "invisible": "\u200b\ufeff",
    "lines": "a\r\nSet-Cookie: x=1",
    "long": "长" * 20_000,
    "giant": "9" * 400,
    "over bigint": "9223372036854775808",
    "over integer": "2147483648",
    "negative": "-1",
    "exponent": "1e999",
    "no number": "NaN",
    "wide digits": "１２３",
    "other digits": "१२३",
    "squared": "²",
    "day nought": "0000-00-00",
    "no day": "2026-02-30",
    "far day": "99999-12-31T25:61:61",
    "last day": "9999-12-31",
    "JSON": '{"a": [1, null]}',
    "comma": ",,;，、",
}
CORPUS = KEPT | REFUSED
WORST = ["NUL", "giant", "over bigint", "day nought", "last day", "squared", "pattern"]
READABLE = tuple(what for what in CORPUS if "NUL" not in what)  # a file with NUL is no table
FORM = "application/x-www-form-urlencoded"
_turn = itertools.count()


def some(names, of=tuple(CORPUS)):
    """{name: text}, at each call other texts, so that over all calls each text stands in many places."""
    start = next(_turn) * len(names)
    return {name: CORPUS[of[(start + place) % len(of)]] for place, name in enumerate(names)}


def in_address(of=tuple(CORPUS)):
    """One of the texts as a part of an address."""
    [text] = some(["key"], of).values()
    return quote(text[:500], safe="")


class Asked:
    """Requests, each undone again; `failed` are those that ended in an error of ours."""

    def __init__(self, browser):
        self.browser, self.failed, self.count = browser, [], 0
        browser.raise_request_exception = False

    def __call__(self, method, address, data=None, **options):
        self.count += 1
        with transaction.atomic():
            answer = getattr(self.browser, method)(address, data, **options)
            transaction.set_rollback(True)
        if answer.status_code == 500:
            error = answer.exc_info[1] if getattr(answer, "exc_info", None) else ""
            self.failed.append((method, address[:80], repr(data)[:300], repr(error)[:200]))
        return answer


def with_sample():
    return [r for r in RESOURCES.values() if r.model in SAMPLES or r.name in SAMPLES]


def test_every_form_takes_anything(all_powers):
    ask = Asked(all_powers)
    for resource in with_sample():
        address = f"/{resource.name}/new/" if "add" in resource.actions else ""
        if "change" in resource.actions and not address:
            address = f"/{resource.name}/{key_text(sample(resource))}/edit/"
        for _ in range(2 if address else 0):
            ask("post", address, some([*resource.fields, "version"]))
    assert ask.count > 35 and not ask.failed


def test_every_search_and_filter_takes_anything(all_powers):
    ask = Asked(all_powers)
    for resource in RESOURCES.values():
        root = f"/{resource.name}/"
        for _ in range(2):
            ask("get", root, some(["q"]))
            ask("get", root, some(["tab", "sort", "page", "size", "load", "columns"]))
        # One filter at a time: what it cannot read gives no rows, and no statement for the others.
        for declared in resource.filters:
            for end in ("__from", "__to") if isinstance(declared, Between) else ("",):
                ask("get", root, some([f"{declared.name}{end}"], WORST))
    assert ask.count > 300 and not ask.failed


def test_every_page_takes_any_parameter(all_powers):
    ask = Asked(all_powers)
    names = "region by from to first last day table share month q page name reason text code pk".split()
    for address in one_of_each().values():
        for method in ("get", "post"):
            ask(method, address, some([*names, "query", "rows", "format", "columns", "confirm"]))
            ask(method, address, some(names, WORST))
    assert ask.count > 300 and not ask.failed


def test_every_key_in_an_address_may_be_anything(all_powers):
    ask = Asked(all_powers)
    for name in RESOURCES:
        for rest in ("", "edit/", "unmask/", "attachments/", "attachments/99999999999999999999/"):
            ask("get", f"/{name}/{in_address(WORST)}/{rest}")
        ask("get", f"/{name}/options/{in_address(WORST)}/")
        ask("get", f"/{name}/do/{in_address(WORST)}/", some(["pk"], WORST))
        ask("post", f"/{name}/do/delete/", {"pk": [*some(["one", "other"], WORST).values()], "confirm": "1"})
        ask("get", f"/{name}/import/99999999999999999999/")
    assert ask.count > 400 and not ask.failed


def test_strangers_get_no_error_out_of_any_open_address():
    ask = Asked(Client())
    open_ones = FOR_STRANGERS.keys() - {"metrics"}  # which reads nothing
    addresses = ["/" + route.replace("<int:pk>", "99999999999999999999") for route in sorted(open_ones)]
    fields = "login password captcha code name phone organisation remember next state token".split()
    for address in addresses:
        for _ in range(5):
            named = address.replace("<str:token>", in_address())
            ask("get", named, some(fields))
            ask("post", named, some(fields))
            ask("post", named, data=in_address().encode(), content_type="application/json")
            ask("post", named, data=b"\xed\xa0\x80=\xff&%ED%A0%80=%FF", content_type=FORM)
    for _ in range(8):
        texts = some(
            ["cookie", "user-agent", "x-forwarded-for", "accept-language", "referer", "authorization"]
        )
        texts["cookie"] = f"sessionid={texts['cookie']}"
        # As a server hands them over: bytes.
        ask("get", "/sign-in/", headers={n: t[:4000].encode().decode("latin-1") for n, t in texts.items()})
    assert ask.count > 150 and not ask.failed


def test_no_body_of_a_request_is_an_error_of_ours(all_powers):
    ask = Asked(all_powers)
    multipart, part = "multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name="
    bodies = [
        (FORM, b"a=" + b"&a=" * 20_000),
        (FORM, b"%ED%A0%80=%FF&name=%C0%AF"),
        (multipart, part + b'"name"\r\n\r\n\xff\xfe\r\n--x--'),
        (multipart, part + b'"file"; filename="../../a\0"\r\n\r\nx\r\n--x--'),
        (multipart, b"--y broken"),
        ("multipart/form-data", b"no boundary"),
        ("application/json", b"[" * 100_000),
    ]
    for address in ("/people/new/", "/people/import/", "/venues/new/", "/people/export/", "/parameters/"):
        for kind, body in bodies:
            ask("post", address, data=body, content_type=kind)
    assert not ask.failed
