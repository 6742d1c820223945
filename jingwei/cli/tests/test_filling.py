"""A large filling builds the indexes afterwards; one that was killed leaves no instance without them."""

import pytest
from django.db import connection

from jingwei.base.indexes import drop_indexes
from jingwei.cli import demo
from jingwei.people.models import Person

pytestmark = pytest.mark.django_db(transaction=True)
DECLARED = {index.name for model in demo.FILLED for index in model._meta.indexes}


def there():
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexname FROM pg_indexes")
        return DECLARED & {name for (name,) in cursor.fetchall()}


@pytest.fixture
def small_filling(monkeypatch):
    monkeypatch.setattr(demo, "BLOCK", 100)
    monkeypatch.setattr(demo, "FILLING", 300)


@pytest.mark.req("P-10.4", "CL-P2")
def test_indexes_are_built_after_a_large_filling_and_kept_in_a_small_one(small_filling):
    seen = []
    demo.ensure_demo(300, lambda done, total: seen.append(len(there())))
    assert seen == [len(DECLARED), 0, 0, 0]
    assert there() == DECLARED
    seen.clear()
    demo.ensure_demo(500, lambda done, total: seen.append(len(there())))
    assert set(seen) == {len(DECLARED)}
    assert Person.objects.count() == 500


@pytest.mark.req("P-10.1", "P-10.4")
def test_a_killed_filling_is_mended_at_the_next_start(small_filling):
    def killed(done, total):
        if done == 200:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo.ensure_demo(400, killed)
    assert there() == set()
    demo.ensure_base()
    assert there() == DECLARED
    demo.ensure_demo(400, lambda done, total: None)
    assert Person.objects.count() == demo.people_made() == 400
    drop_indexes(demo.FILLED)
    drop_indexes(demo.FILLED)  # twice is the same as once
