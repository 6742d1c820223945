"""Samples find the person under every number that a merged record stood under (P-5.7, CL-3.3)."""

import json
from datetime import datetime

import pytest
from django.db import connection

from jingwei.people import merges
from jingwei.people.models import Person
from jingwei.people.samples import duplicate_pair
from jingwei.testing.actions import store_samples
from jingwei.testing.models import Sample
from jingwei.testing.resources import samples_of
from jingwei.testing.tasks import roll_up
from jingwei.testing.tests.test_samples import arriving

pytestmark = [pytest.mark.django_db, pytest.mark.req("P-5.7", "CL-3.3")]


def store(number, day, point="甲采样点"):
    store_samples(arriving((number.clear(), datetime(2026, 11, day, 9), point, "阴性")))


@pytest.fixture
def merged(district):
    """(the kept person, the one merged into it, the merge); each had a sample of its own."""
    pair = duplicate_pair()
    store(pair.first.number, 3)
    store(pair.second.number, 5)
    done = merges.merge(district.actor, pair, keep=pair.first_id, taken=())
    return pair.first, pair.second, done


def latest(person):
    return Person.objects.get(pk=person.pk).sampled_at.day


def test_the_samples_of_both_are_the_persons(merged):
    kept, gone, _ = merged
    assert [sample.sampled_at.day for sample in samples_of(kept)] == [5, 3]
    assert latest(kept) == 5


def test_a_sample_that_comes_under_the_other_number_is_the_persons(merged):
    kept, gone, _ = merged
    store(gone.number, 7)
    assert latest(kept) == 7
    assert Sample.objects.get(sampled_at__day=7).region == kept.region_id
    store(kept.number, 6)
    assert latest(kept) == 7


def test_after_undoing_a_sample_counts_for_its_own_number(district, merged):
    kept, gone, done = merged
    store(gone.number, 7)
    store(kept.number, 6)
    merges.undo(district.actor, done)
    with connection.cursor() as cursor:
        cursor.execute("SELECT args FROM procrastinate_jobs WHERE task_name = %s", [roll_up.name])
        [(asked,)] = cursor.fetchall()
    roll_up(**json.loads(asked))
    assert (latest(kept), latest(gone)) == (6, 7)
