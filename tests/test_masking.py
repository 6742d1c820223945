"""No face of any resource shows a personal value in clear unless it is asked for (P-4.3, SEC-16, SEC-14)."""

import json

import pytest
from django.db import connection

from jingwei import menu
from jingwei.base import rotation
from jingwei.base.crypto import Column, Tampered, provider
from jingwei.base.fields import personal_fields
from jingwei.base.models import ErrorEntry, LogEntry
from jingwei.desk import addresses
from jingwei.kit.leaks import Leaks
from tests.test_every_resource import addresses as pages_of
from tests.test_every_resource import keeper, known, sample, who_may

pytestmark = pytest.mark.django_db
LONG_ENOUGH = ("number", "phone", "address")
PERSONAL = [
    resource
    for resource in menu.resources().values()
    if any(field.kind in LONG_ENOUGH for field in personal_fields(resource.model))
]
every_personal_resource = pytest.mark.parametrize("resource", PERSONAL, ids=lambda resource: resource.name)


def secrets_of(row):
    """The clear numbers, phones and addresses of a row that a mask does not leave whole."""
    values = [getattr(row, field.name) for field in personal_fields(type(row)) if field.kind in LONG_ENOUGH]
    return {value.clear() for value in values if value and value.masked() != value.clear()}


@every_personal_resource
@pytest.mark.req("SEC-16", "P-4.3")
def test_every_page_masks(resource):
    row = sample(resource)
    secrets = Leaks(secrets_of(row))
    assert len(secrets)
    shown = 0
    for action, address in pages_of(resource, row):
        if action in known(resource) and (persona := who_may(resource, action, row)):
            answer = persona.browser().get(address)
            assert not secrets.found_in(answer.content), address
            assert not secrets.found_in(json.dumps(dict(answer.headers)).encode()), address
            shown += answer.status_code == 200
    assert shown


@every_personal_resource
@pytest.mark.req("SEC-16", "P-4.3")
def test_searches_titles_suggestions_and_the_log_mask(resource):
    row = sample(resource)
    persona, values = keeper(resource, row), secrets_of(row)
    secrets, browser = Leaks(values), persona.browser()
    searched = list(addresses.personal_parameters(resource)) or ["q"]
    for value in values:
        for name in searched:
            answer = browser.post(f"/{resource.name}/", {name: value}, follow=True)
            # What was typed stands in its field again, and nowhere else.
            page = answer.content.decode().replace(f'value="{value}"', "")
            assert not secrets.found_in(page.encode())
            assert not any(secrets.found_in(address.encode()) for address, _ in answer.redirect_chain)
    for field in resource.model._meta.fields:
        if field.is_relation and field.name in resource.fields:
            answer = browser.get(f"/{resource.name}/options/{field.name}/", {"q": ""})
            assert not secrets.found_in(answer.content)
    assert not secrets.found_in(str(row).encode())
    told = [*LogEntry.objects.values_list(), *ErrorEntry.objects.values_list()]
    assert not secrets.found_in(json.dumps(told, default=str, ensure_ascii=False).encode())


@pytest.mark.parametrize(
    "resource", [r for r in PERSONAL if "export" in r.actions], ids=lambda resource: resource.name
)
@pytest.mark.req("SEC-16", "P-4.3")
def test_an_export_without_reason_masks(resource):
    row = sample(resource)
    persona = keeper(resource, row, "export")
    secrets = Leaks(secrets_of(row))
    wish = {"query": "", "rows": "all", "columns": "all"}
    for kind in ("xlsx", "csv"):
        answer = persona.browser().post(f"/{resource.name}/export/", wish | {"format": kind})
        content = b"".join(answer) if answer.streaming else answer.content
        assert content and not secrets.found_in(content)


# --- sealed columns ---------------------------------------------------------------------------------------

SEALED = pytest.mark.parametrize("place", rotation.places(), ids=lambda p: f"{p.table}.{p.column}")


@SEALED
@pytest.mark.req("SEC-14")
def test_equal_values_have_different_ciphertexts_where_nobody_searches(place):
    one, same = provider().encrypt(place.sealing, ["林样例家的地址"] * 2)
    assert (one == same) == place.sealing.searchable
    assert "林样例家的地址".encode() not in one


@SEALED
@pytest.mark.req("SEC-14")
def test_a_flipped_bit_and_a_moved_value_are_refused(place):
    [blob] = provider().encrypt(place.sealing, ["林样例家的地址"])
    for at in range(len(blob)):
        with pytest.raises(Tampered):
            provider().decrypt(place.sealing, [blob[:at] + bytes([blob[at] ^ 0x10]) + blob[at + 1 :]])
    others = {other.sealing for other in rotation.places()} - {place.sealing}
    for other in others | {Column(place.sealing.name, not place.sealing.searchable)}:
        with pytest.raises(Tampered):
            provider().decrypt(other, [blob])


@pytest.mark.req("SEC-14")
def test_only_numbers_and_phones_may_be_moved_between_tables_where_they_are_joined():
    names = {}
    for place in rotation.places():
        names.setdefault(place.sealing, set()).add(place.table)
    shared = {sealing.name for sealing, tables in names.items() if len(tables) > 1}
    histories = {"people.person.address", "people.person.registered_address"}
    assert shared == {"person.number", "person.phone"} | histories


@every_personal_resource
@pytest.mark.req("P-4.1", "SEC-13")
def test_no_row_is_stored_in_clear(resource):
    row = sample(resource)
    table = connection.ops.quote_name(resource.model._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT to_jsonb(stored)::text FROM {table} AS stored")  # noqa: S608
        stored = "\n".join(text for (text,) in cursor.fetchall())
    assert "\\x0" in stored
    assert not Leaks(secrets_of(row)).found_in(stored.encode())
