"""Whatever is looked for in the register, an index knows the way, and finds what reading everybody would."""

import os

import psycopg
import pytest
from django.db import connection
from django.db.models import Q
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext

from jingwei import menu
from jingwei.base.wall import acting
from jingwei.cli.demo import ensure_demo
from jingwei.desk.lists import Selection
from jingwei.people.models import Person

pytestmark = [pytest.mark.django_db, pytest.mark.req("CL-P2", "P-5.1")]

RARE = {
    "occupation=航空机组人员": "people_by_occupation",
    "group=孕产妇": "people_by_group",
    "doc_type=553": "people_by_other_document",
    "sample_result=阳性": "people_by_result",
    "dose_on__from=2021-03-02&dose_on__to=2021-03-02&dose__from=2&dose__to=2": "people_by_dose",
    "birth_date__from=1990-03-07&birth_date__to=1990-03-07": "people_by_birth",
    "created_at__from=2026-11-01&created_at__to=2026-11-01": "people_by_entry",
    "missing=address": "people_without_address",
    "missing=birth_date": "people_by_birth",
    "dose_unit=安平街道卫生院": "people_by_dose_unit",
    "sample_point=和园": "people_by_point",
    "name=欧阳": "people_grams",
    "q=和园社区12号": "people_grams",
    "phone=16000000000": "people_by_phone",
    "number=990101199003070023": "one_person_per_document",
}
COMMON = [
    "",
    "sex=1",
    "elderly=是",
    "tenant=否",
    "vaccination=3",
    "test_due=elderly",
    "crossing=否",
]


@pytest.fixture
def crowd(db):
    ensure_demo(3_000, lambda done, total: None)
    # What this and earlier tests put into these indexes waits in lists, which plans are the dearer for.
    with psycopg.connect(os.environ["JINGWEI_OWNER_URL"], autocommit=True) as owner:
        owner.execute(
            "SELECT gin_clean_pending_list(index.oid) FROM pg_class AS index JOIN pg_am ON pg_am.oid = relam"
            " WHERE amname = 'gin' AND relkind = 'i' AND relnamespace = 'public'::regnamespace"
        )


def selection(persona, query):
    found = Selection(menu.resource("people"), persona.actor, QueryDict(query))
    assert not found.refusals
    return found


def plan(persona, rows):
    """How the database goes about it behind the wall, where an index serves only what tells nothing."""
    # At this size reading everybody is cheapest; what matters is that there is another way.
    with acting(persona.actor), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        return rows.explain()


@pytest.mark.req("P-1.10")
def test_what_few_people_have_is_found_by_an_index(district, crowd):
    plans = {query: plan(district, selection(district, query).rows.order_by().values("pk")) for query in RARE}
    assert not {query: found for query, found in plans.items() if RARE[query] not in found}


@pytest.mark.req("P-1.10")
@pytest.mark.parametrize("login", ["district", "village"])
def test_what_many_people_have_is_found_along_the_order_of_the_list(request, crowd, login):
    persona = request.getfixturevalue(login)
    for query in COMMON:
        found = plan(persona, selection(persona, query).rows.values("pk")[:25])
        assert "people_in_order" in found and "Sort" not in found, query


@pytest.mark.parametrize(
    ("query", "condition"),
    [
        ("name=欧阳", Q(name__icontains="欧阳")),
        ("name=王", Q(name__icontains="王")),
        ("name=王&name=伟", Q(name__icontains="王") & Q(name__icontains="伟")),
        ("dose_unit=卫生院", Q(dose_unit__icontains="卫生院")),
        ("sample_point=和园", Q(sample_point__icontains="和园")),
        ("sample_point=火星", Q(pk=None)),
    ],
)
def test_a_piece_of_a_text_finds_what_reading_everybody_would(district, crowd, query, condition):
    wanted = set(Person.objects.filter(condition).values_list("pk", flat=True))
    assert set(selection(district, query).keys()) == wanted
    assert wanted or "火星" in query


def test_a_piece_of_a_text_is_looked_for_in_capitals_and_small_letters(district):
    Person.objects.bulk_create(
        Person(
            region_id="990101001001", name="林", number=f"E{n:08d}", doc_type="414", dose=1, dose_unit=unit
        )
        for n, unit in enumerate(["CDC门诊", "cdc", "社区"])
    )
    assert len(selection(district, "dose_unit=Cdc").keys()) == 2


@pytest.mark.parametrize(
    "query", ["", "q=和园", "q=和园+王", "name=欧阳", "sample_point=和园", "elderly=是&page=5"]
)
def test_a_page_takes_few_statements_however_it_was_asked_for(district, crowd, query):
    district.client.get("/people/")
    with CaptureQueriesContext(connection) as queries:
        assert district.client.get(f"/people/?{query}").status_code == 200
    assert len(queries) <= 12


PLACED = ["{piece}", "{end}", "{name}", "{piece}+{name}", "{piece}&sex={sex}", "{piece}&region={region}"]


@pytest.mark.parametrize("login", ["village", "town"])
def test_a_fragment_inside_a_territory_is_asked_for_as_the_index_has_it(request, crowd, login):
    persona = request.getfixturevalue(login)
    someone = selection(persona, "").everything.filter(address__isnull=False).first()
    address = someone.address.clear()
    words = {"piece": address[2:4], "end": address[-5:], "name": someone.name, "sex": someone.sex}
    for query in PLACED:
        found = selection(persona, "q=" + query.format(**words, region=someone.region_id))
        keys = set(found.rows.values_list("pk", flat=True))
        assert someone.pk in keys
        assert found._pointed_at is not found.rows
        assert set(found._pointed_at.values_list("pk", flat=True)) == keys


def test_whoever_sees_the_district_searches_the_index_without_a_territory(district, crowd):
    found = selection(district, "q=12号")
    assert found._pointed_at is found.rows
