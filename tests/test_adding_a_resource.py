"""What docs/adding-a-resource.md promises: its blocks make a resource that the shared suite accepts."""

import re
from pathlib import Path
from types import ModuleType

import pytest
from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import connection

from jingwei import menu
from jingwei.base.resource import System
from jingwei.directory.setup import ensure_roles
from jingwei.oversight import register
from tests import test_every_resource as suite

GUIDE = Path(__file__).parent.parent / "docs" / "adding-a-resource.md"
CACHES = [menu.resources, menu.sheets, menu.permissions, suite.actor_of]
SHARED = [
    suite.test_the_declaration_is_sound_and_has_a_sample,
    suite.test_every_page_answers_and_runs_under_the_strict_policy,
    suite.test_no_page_shows_a_personal_value_in_clear,
    suite.test_a_list_costs_the_same_for_one_row_or_twenty,
    suite.test_an_export_says_what_the_list_says,
    suite.test_a_row_of_another_town_does_not_exist_on_any_face,
    suite.test_an_act_on_many_rows_leaves_out_those_out_of_reach,
    suite.test_a_change_by_the_form_is_logged_once_and_a_form_sent_back_as_it_was_changes_nothing,
]
pytestmark = pytest.mark.django_db


def block(name):
    """The code of the guide's block of that file."""
    return re.search(rf"```python\n# {name}\n(.*?)```", GUIDE.read_text(), re.DOTALL)[1]


def run(name, into):
    """Run a block as if it stood in the file of package people that it names."""
    exec(compile(block(name), f"{GUIDE.name}, {name}", "exec"), into.__dict__)


@pytest.fixture
def boards(monkeypatch):
    """The resource of the guide in the menu, its table in the database, its permissions with the roles."""
    from jingwei.people import models

    module = ModuleType("jingwei.people.models")
    run("models.py", module)
    monkeypatch.setattr(models, "Board", module.Board, raising=False)
    with connection.schema_editor() as editor:
        editor.execute("SET LOCAL search_path = pg_temp, public")  # the application may make no other tables
        editor.create_model(module.Board)
        editor.deferred_sql = [sql for sql in editor.deferred_sql if "FOREIGN KEY" not in str(sql)]
    declared, sampled = ModuleType("resources"), ModuleType("samples")
    run("resources.py", declared)
    run("samples.py", sampled)
    resource = declared.BoardResource()
    monkeypatch.setattr(menu, "SYSTEMS", [*menu.SYSTEMS, System("guide", "示例", "table", [resource])])
    for table in sampled.SAMPLES.items():
        monkeypatch.setitem(suite.SAMPLES, *table)
    forget()
    ensure_roles()
    yield resource
    del apps.all_models["people"]["board"]
    apps.clear_cache()
    forget()


def forget():
    """What processes keep about the menu and the personas' rights."""
    for kept in CACHES:
        kept.cache_clear()


@pytest.mark.req("P-1.10", "P-5.1", "P-5.2", "P-5.3", "P-5.4")
@pytest.mark.parametrize("proof", SHARED, ids=lambda proof: proof.__name__)
def test_the_resource_of_the_guide_is_like_every_other(boards, proof):
    proof(boards)


@pytest.mark.req("P-1.10")
def test_nobody_gets_to_it_without_a_grant(boards, nobody):
    suite.test_without_the_permission_every_page_refuses_and_the_log_knows(boards, nobody)


@pytest.mark.req("P-5.2")
def test_the_constraint_of_the_guide_speaks_to_the_operator(boards, village):
    row = suite.sample(boards)
    with pytest.raises(ValidationError, match="该村/社区已有同名宣传栏"):
        boards.save(village.actor, boards.model(), values={"region": row.region, "name": row.name})


@pytest.mark.req("SEC-17")
def test_the_register_of_personal_data_misses_a_table_until_the_last_block_stands(boards, monkeypatch):
    of_boards = [f"people.Board.{name}" for name in ("name", "place", "keeper", "checked_on")]
    assert sorted(register.undeclared()) == sorted(of_boards)
    declared = ModuleType("personal")
    declared.NOBODYS = declared.KEPT = declared.HELD = []
    run("personal.py", declared)
    monkeypatch.setattr(menu, "PERSONAL", [*menu.PERSONAL, declared])
    assert register.undeclared() == []
    assert [stays.sealed for stays in declared.STAYS] == [["phone"]]
