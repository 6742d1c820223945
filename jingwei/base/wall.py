"""The second wall: the database itself shows only rows inside the scope of who acts (P-1.6, P-1.10, SEC-7).

`Rows.visible_to` is the first wall. A query that forgot it meets this one: the application signs in to
PostgreSQL as a role that owns nothing, and row security lets it see, change and delete of every scoped table
only what the union of the actor's grants covers. The policies follow from each model's `scope`, so the rule
stands in one place.

Where code stands is told by a context: `acting` for an actor, `beyond_scope` for what reaches further on
purpose, and nowhere, where there are no rows at all. The connection is told before its next statement
(`jingwei.base.postgresql`). Beyond scope the statements run as the role `PLATFORM`, which row security does
not concern; it owns nothing either. What needs an owner (months of event tables, indexes around a large load)
is done by the functions of `wall.sql` and by nothing else.
"""

import hashlib
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, models, transaction

from jingwei.base.access import NO_SCOPE, Actor, DataScope, SameReach, Scope, paths

PLATFORM = "jingwei_platform"
# Packages whose tables are the house itself. Who administers them has no reach into the businesses (P-1.8).
HOUSE = {"base", "directory"}


# --- where code stands --------------------------------------------------------------------------------------


# What the server is told of a reach, each as a setting of the session; "" where there is nothing to tell.
SETTINGS = (
    "jingwei.placed",
    *(
        f"jingwei.{part}_{key}"
        for part in ("house", "business")
        for key in ("regions", "organisations", "alone", "same", "owner")
    ),
)
_UNTOLD = ("",) * len(SETTINGS)


@dataclass(frozen=True)
class Stand:
    """Where code stands: the role its statements run as, and the settings that row security reads."""

    role: str
    settings: tuple[str, ...] = _UNTOLD


NOWHERE = Stand("none")
BEYOND = Stand(PLATFORM)
_stand: ContextVar[Stand | None] = ContextVar("stand", default=None)
# Of code that nobody has placed. Tests, which look at everything, place theirs elsewhere.
unplaced = NOWHERE


def stand() -> Stand:
    """Where the code that asks stands."""
    return _stand.get() or unplaced


@contextmanager
def standing(place: Stand):
    """Inside, statements see what is seen from there. As a decorator: whenever the function runs."""
    before = _stand.set(place)
    try:
        yield
    finally:
        _stand.reset(before)


def place(where: Stand):
    """Stand there from now on, until the `standing` around it ends."""
    _stand.set(where)


def beyond_scope():
    """Inside, rows outside the scope of who acts are reached on purpose: what is unique over all units, who
    signs in, what the platform does of its own accord."""
    return standing(BEYOND)


def acting(actor: Actor):
    """Inside, the database shows what the actor's grants cover; to the platform itself everything."""
    return standing(stand_of(actor))


def stand_of(actor: Actor) -> Stand:
    """Where an actor stands. What is reached of the businesses and of the house is kept apart: the second is
    the union of all grants, the first of those that come by no administrator's role."""
    if actor.is_platform:
        return BEYOND
    own = DataScope(owner=actor.operator_id)
    house = reduce(or_, actor.grants.values(), own)
    same = {scope.organisations_text for scope in actor.grants.values()} - {""}
    reaches = [(house, same), (actor.business | own, same if actor.business != NO_SCOPE else ())]
    return Stand("none", ("1", *(text for reach, same in reaches for text in _told(reach, same))))


def _told(reach, same):
    """The settings of a reach. The empty prefix is everybody's."""
    prefixes = [(reach.regions, [""]), (reach.organisations, [""]), (reach.organisations_alone, [])]
    for some, every in prefixes:
        yield _array(every if reach.everything else some)
    yield _array(same)
    yield "" if reach.owner is None else str(reach.owner)


def _array(texts):
    """The literal of an array of texts."""
    escaped = (text.replace("\\", "\\\\").replace('"', '\\"') for text in sorted(texts))
    return "{" + ",".join(f'"{text}"' for text in escaped) + "}" if texts else ""


# --- the wall itself ----------------------------------------------------------------------------------------


@contextmanager
def as_owner():
    """Inside, the default connection is that of the owner of the tables: for migrations and the wall."""
    connection.close()
    app = connection.settings_dict
    connection.settings_dict = {**app, **settings.OWNER_DATABASE, "OWNS": True}
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict = app


def check_roles():
    """Refuse, in words, a database without the roles of `roles.sql`, or an application that is its owner."""
    app = settings.DATABASES["default"]["USER"]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) = 2, bool_and(rolname = %s OR rolbypassrls) FROM pg_roles"
            " WHERE rolname IN (%s, %s)",
            [app, app, PLATFORM],
        )
        there, right = cursor.fetchone()
    if not (there and right):
        raise ImproperlyConfigured(
            "数据库中没有应用的角色：请由数据库管理员（超级用户）在这个库中执行程序中的 jingwei/roles.sql，"
            "再让 DATABASE_URL 以 jingwei_app 登录。"
        )
    if app == settings.OWNER_DATABASE["USER"]:
        raise ImproperlyConfigured(
            "DATABASE_URL 应以 jingwei_app 登录；数据表的所有者写在 JINGWEI_OWNER_URL，应用本身不拥有数据表。"
        )


def raise_wall():
    """Have the rights, functions and policies in the database that the code asks for; as the owner.

    Run after each migration. A policy that stands is left alone, since to replace it keeps everybody out.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(Path(__file__).with_name("wall.sql").read_text())
        cursor.execute(
            "SELECT relname, obj_description(pg_class.oid, 'pg_class') FROM pg_class"
            " WHERE relrowsecurity AND relnamespace = current_schema()::regnamespace"
        )
        standing = dict(cursor.fetchall())
        for model in scoped_models():
            table, policies = model._meta.db_table, policies_of(model)
            mark = f"wall {hashlib.sha256(' '.join(policies).encode()).hexdigest()[:16]}"
            if standing.get(table) == mark:
                continue
            cursor.execute("SELECT policyname FROM pg_policies WHERE tablename = %s", [table])
            for (name,) in cursor.fetchall():
                cursor.execute(f"DROP POLICY {_quoted(name)} ON {_quoted(table)}")
            cursor.execute(f"ALTER TABLE {_quoted(table)} ENABLE ROW LEVEL SECURITY")
            for policy in policies:
                cursor.execute(policy)
            cursor.execute(f"COMMENT ON TABLE {_quoted(table)} IS '{mark}'")
        for model in apps.get_models():
            if getattr(model, "append_only", False):
                cursor.execute(f"REVOKE UPDATE, DELETE ON {_quoted(model._meta.db_table)} FROM {PLATFORM}")


def scoped_models() -> list[type[models.Model]]:
    """Every model whose rows belong to somebody, with the histories of such."""
    return [model for model in apps.get_models() if (scope := _scope_of(model)) and not scope.shared]


def _scope_of(model) -> Scope | None:
    return getattr(getattr(model, "pgh_tracked_model", None) or model, "scope", None)


def policies_of(model: type[models.Model]) -> list[str]:
    """The statements that make the policies of a model's table."""
    table, inside = _quoted(model._meta.db_table), _condition(model)
    if getattr(model, "append_only", False):
        return [
            f"CREATE POLICY wall_read ON {table} FOR SELECT USING ({inside})",
            f"CREATE POLICY wall_add ON {table} FOR INSERT WITH CHECK (true)",
        ]
    if _scope_of(model).known:
        return [
            f"CREATE POLICY wall_read ON {table} FOR SELECT"
            " USING (current_setting('jingwei.placed', true) = '1')",
            f"CREATE POLICY wall_add ON {table} FOR INSERT WITH CHECK ({inside})",
            f"CREATE POLICY wall_change ON {table} FOR UPDATE USING ({inside})",
            f"CREATE POLICY wall_remove ON {table} FOR DELETE USING ({inside})",
        ]
    return [f"CREATE POLICY wall ON {table} USING ({inside})"]


def _condition(model):
    """What holds for a row inside the reach.

    The planner takes it as true of nearly all rows, by the form of the outermost test: the query has asked
    for the scope already, and two times the same selection would look like few rows. Each setting is read
    once a statement.
    """
    scope, part = _scope_of(model), "house" if model._meta.app_label in HOUSE else "business"

    def told(key, kind):
        return f"(SELECT NULLIF(current_setting('jingwei.{part}_{key}', true), '')::{kind})"

    def starts(at, key):
        return f"coalesce({at}, '') ^@ ANY ({told(key, 'text[]')}::text[])"

    inside = []
    if not any(_is_column(model, path) for path in (*paths(scope.region), *paths(scope.organisation))):
        # A row that belongs to nobody has no other row to ask: those see it who see everything. It comes
        # first, so that for these no other row is asked at all.
        inside.append(f"'' = ANY ({told('organisations', 'text[]')}::text[])")
    if regions := [_at(model, path, lambda at: starts(at, "regions")) for path in paths(scope.region)]:
        inside.append(f"({(' AND ' if scope.every_region else ' OR ').join(regions)})")
    for path in paths(scope.organisation):
        inside.append(_at(model, path, lambda at: starts(at, "organisations")))
        inside.append(_at(model, path, lambda at: f"{at} = ANY ({told('alone', 'text[]')}::text[])"))
    if isinstance(scope, SameReach):
        inside.append(_at(model, scope.reach, lambda at: f"{at} = ANY ({told('same', 'text[]')}::text[])"))
    if scope.owner:
        inside.append(_at(model, scope.owner, lambda at: f"{at} = {told('owner', 'bigint')}"))
    return f"NULLIF({' OR '.join(inside)}, false) IS NOT NULL"


def _is_column(model, path):
    """Whether a lookup path ends in a column of the model's own table."""
    name, _, rest = path.partition("__")
    return not rest or (rest == model._meta.get_field(name).target_field.name)


def _at(model, path, test):
    """`test` of the column that a lookup path leads to from a row of the model."""
    name, _, rest = path.partition("__")
    field = model._meta.pk if name == "pk" else model._meta.get_field(name)
    table = _quoted(model._meta.db_table)
    if not rest:
        return test(f"{table}.{_quoted(field.column)}")
    [(here, there)] = field.related_fields
    if there.name == rest:  # the column of the foreign key holds it
        return test(f"{table}.{_quoted(here.column)}")
    target = field.related_model
    other, key = _quoted(target._meta.db_table), f"{table}.{_quoted(here.column)}"
    its_key, holds = f"{other}.{_quoted(there.column)}", _at(target, rest, test)
    if (scope := _scope_of(target)) and scope.known:
        # Hundreds of rows, looked through once a statement and not at each row that asks.
        return f"{key} IN (SELECT {its_key} FROM {other} WHERE {holds})"  # noqa: S608, names of ours
    return f"EXISTS (SELECT FROM {other} WHERE {its_key} = {key} AND {holds})"


def _quoted(name):
    return connection.ops.quote_name(name)
