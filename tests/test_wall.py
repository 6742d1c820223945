"""What the database shows whom, whatever the code has asked for (P-1.6, P-1.10, SEC-7, SEC-9)."""

import os

import psycopg
import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import Error, connection, transaction
from django.test import Client

from jingwei import menu
from jingwei.base import wall
from jingwei.base.models import LogEntry
from jingwei.base.wall import NOWHERE, acting, beyond_scope, policies_of, scoped_models, standing
from jingwei.directory.models import Region
from jingwei.people.models import Person
from jingwei.people.samples import person
from jingwei.places.models import Venue
from jingwei.places.samples import venue
from tests.test_every_resource import RESOURCES, sample

pytestmark = pytest.mark.django_db
ELSEWHERE = "990101003001"  # in a town that the persona `village` has nothing to do with
SCOPED = [resource for resource in RESOURCES if not resource.model.scope.shared]


def value(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0]


@pytest.mark.req("P-1.10", "SEC-7")
def test_every_scoped_table_has_the_policies_of_its_declaration():
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename, array_agg(policyname::text) FROM pg_policies GROUP BY tablename")
        there = dict(cursor.fetchall())
        cursor.execute("SELECT relname FROM pg_class WHERE relrowsecurity")
        secured = {name for (name,) in cursor.fetchall()}
    assert secured == {model._meta.db_table for model in scoped_models()} == set(there)
    for model in scoped_models():
        assert len(there[model._meta.db_table]) == len(policies_of(model)), model


@pytest.mark.req("P-1.10", "SEC-7")
@pytest.mark.parametrize("resource", SCOPED, ids=lambda resource: resource.name)
def test_a_query_that_forgets_every_scope_gets_no_rows(resource):
    row = sample(resource)
    everything = type(row)._base_manager.all()
    assert everything.exists()
    with standing(NOWHERE):
        assert not everything.exists()


@pytest.mark.req("P-1.6", "P-1.10", "SEC-7")
def test_a_query_that_forgets_the_scope_gets_only_what_the_actor_reaches(village, town, district, regulator):
    near, far = person(), person(region=ELSEWHERE)
    offices = [persona.operator.organisation for persona in (regulator, district)]
    ours, theirs = [venue(regulator=office) for office in offices]
    people, venues = Person._base_manager.all(), Venue._base_manager.all()
    for persona, who in [(village, {near}), (town, {near}), (district, {near, far})]:
        with acting(persona.actor):
            assert set(people.all()) == who, persona
    with acting(village.actor):
        assert not venues.exists()
        assert not people.filter(pk=far.pk).update(name="别的") and not people.filter(pk=far.pk).delete()[0]
    with acting(regulator.actor):
        assert set(venues.all()) == {ours} and not people.exists()
    assert set(venues.all()) == {ours, theirs} and Person.objects.get(pk=far.pk).name == far.name


@pytest.mark.req("P-1.8", "SEC-6", "SEC-7")
@pytest.mark.parametrize("login", ["sysadmin", "secadmin", "auditadmin"])
def test_an_administrator_reaches_no_person_and_no_place(request, login):
    administrator = request.getfixturevalue(login)
    person(), venue()
    with acting(administrator.actor):
        assert not Person._base_manager.exists() and not Venue._base_manager.exists()


@pytest.mark.req("P-1.6", "SEC-7")
def test_nothing_is_written_out_of_reach(village):
    resource, near = menu.resource("people"), person()
    with acting(village.actor):
        with pytest.raises(Error, match="row-level security"), transaction.atomic():
            near.region_id = ELSEWHERE
            near.save()
        with pytest.raises(ValidationError, match="管辖范围"):
            resource.save(village.actor, Person.objects.get(), values={"region": Region(code=ELSEWHERE)})
    near.refresh_from_db()
    assert near.region_id != ELSEWHERE


@pytest.mark.req("P-1.10", "SEC-7")
def test_a_page_whose_code_forgets_the_scope_leaks_nothing(village, monkeypatch):
    near, far = person(name="近处人"), person(name="远处人", region=ELSEWHERE)
    monkeypatch.setattr("jingwei.base.access.Rows.visible_to", lambda rows, actor, permission: rows.all())
    page = village.client.get("/people/").content.decode()
    assert near.name in page and far.name not in page
    assert village.client.get(f"/people/{far.pk}/").status_code == 404
    assert far.name not in Client().get("/people/").content.decode()


@pytest.mark.req("P-1.10", "SEC-7")
def test_where_one_stands_is_told_again_whatever_became_of_the_transaction(village):
    near, far = person(), person(region=ELSEWHERE)
    everybody = Person._base_manager.order_by("pk")
    clerk = village.actor
    with acting(clerk):
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            with beyond_scope():
                assert list(everybody.all()) == [near, far]
            assert 1 / 0
        assert list(everybody.all()) == [near]
        with connection.cursor() as older:
            with beyond_scope():
                assert everybody.count() == 2
            older.execute("SELECT count(*) FROM people_person")  # a cursor from before
            assert older.fetchone()[0] == 1
        with pytest.raises(Error), transaction.atomic(), beyond_scope():
            value("SELECT 1 / 0")
        assert list(everybody.all()) == [near]
    with standing(NOWHERE), pytest.raises(Error), transaction.atomic():
        with acting(clerk):
            assert list(everybody.all()) == [near]
            value("SELECT 1 / 0")
    with standing(NOWHERE):
        assert not everybody.exists()


@pytest.mark.req("P-1.10", "SEC-7")
@pytest.mark.django_db(transaction=True)
def test_a_connection_in_the_pool_keeps_nothing_of_its_last_request(district):
    person()
    pool = {"OPTIONS": {"pool": {"min_size": 1, "max_size": 1}}}
    pooled = type(connection.copy())(connection.settings_dict | pool, "default")
    try:
        for stand in (wall.stand_of(district.actor), wall.BEYOND):
            with standing(stand), pooled.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM people_person")
                assert cursor.fetchone()[0] == 1
            pooled.close()
            with pooled.pool.connection() as bare:
                assert bare.execute("SELECT current_user").fetchone() == ("jingwei_app",)
                for name in wall.SETTINGS:
                    told = bare.execute("SELECT current_setting(%s, true)", [name]).fetchone()[0]
                    assert told in ("", None), name
                assert bare.execute("SELECT count(*) FROM people_person").fetchone()[0] == 0
    finally:
        pooled.close()
        pooled.close_pool()


@pytest.mark.req("SEC-9", "SEC-6")
def test_the_application_owns_nothing_and_changes_no_table():
    roles = "('jingwei_app', 'jingwei_platform')"
    owned = (
        f"SELECT count(*) FROM pg_class WHERE pg_get_userbyid(relowner) IN {roles} AND relpersistence = 'p'"
    )
    assert value(owned) == 0
    assert not value(f"SELECT bool_or(rolsuper OR rolcreaterole) FROM pg_roles WHERE rolname IN {roles}")
    for statement in [
        "CREATE TABLE mine (id int)",
        "ALTER TABLE people_person DISABLE ROW LEVEL SECURITY",
        "DROP POLICY wall ON people_person",
        "ALTER TABLE base_logentry DISABLE TRIGGER USER",
        "TRUNCATE people_person",
        "DELETE FROM base_logentry",
        "UPDATE base_logentry SET act = ''",
        "SET ROLE jingwei",
        "INSERT INTO wall_dropped_index VALUES ('x', 'people_person', 'DROP TABLE people_person')",
    ]:
        with pytest.raises(Error, match="permission denied|must be owner"), transaction.atomic():
            value(statement)


@pytest.mark.req("SEC-9")
def test_what_an_owner_does_for_the_application_is_bounded():
    for statement in [
        "SELECT wall_empty_month('base_logentry')",
        "SELECT wall_drop_index('one_person_per_document')",
        "SELECT wall_drop_index('people_person_pkey')",
    ]:
        with pytest.raises(Error, match="no month|keeps rows unique"), transaction.atomic():
            value(statement)


@pytest.mark.req("P-10.2")
def test_to_raise_the_wall_again_replaces_nothing(owner):
    before = owner.execute("SELECT array_agg(oid ORDER BY oid) FROM pg_policy").fetchone()
    with wall.as_owner():
        wall.raise_wall()
    assert owner.execute("SELECT array_agg(oid ORDER BY oid) FROM pg_policy").fetchone() == before


@pytest.mark.req("P-10.2")
@pytest.mark.django_db(transaction=True)
def test_an_application_that_is_the_owner_is_refused_in_words(monkeypatch):
    monkeypatch.setitem(settings.OWNER_DATABASE, "USER", "jingwei_app")
    with wall.as_owner(), pytest.raises(ImproperlyConfigured, match="JINGWEI_OWNER_URL"):
        wall.check_roles()


@pytest.mark.req("SEC-8")
def test_a_row_of_the_log_is_written_from_anywhere_and_read_by_who_may(village, auditadmin):
    village.client.get("/parameters/")
    refused = LogEntry.objects.filter(login="village", result="拒绝")
    assert refused.exists()
    with acting(auditadmin.actor):
        assert refused.exists()
    with standing(NOWHERE):
        assert not refused.exists()


@pytest.mark.req("P-1.10")
def test_a_connection_that_nobody_placed_sees_nothing(transactional_db):
    person()
    with psycopg.connect(os.environ["DATABASE_URL"]) as bare:
        assert bare.execute("SELECT count(*) FROM people_person").fetchone()[0] == 0
