"""Villages are found by the names people write, inside the scope of who asks."""

from datetime import datetime

import polars as pl
import pytest

from jingwei.base.columns import Context
from jingwei.directory.columns import Village
from jingwei.directory.models import Region

pytestmark = [pytest.mark.django_db, pytest.mark.req("CL-2.1", "CL-6.2")]
HERE, BESIDE, ELSEWHERE = "990101001001", "990101001002", "990101002001"


def clean(actor, *pairs):
    """(values, errors of villages, errors of towns) of (town, village) pairs."""
    towns, villages = (pl.Series(list(cells), dtype=pl.String) for cells in zip(*pairs, strict=True))
    context = Context(actor, "people.import", datetime(2026, 11, 20, 12), done={"town": towns})
    cleaned = Village(town="town").clean(villages, context)
    return cleaned.values.to_list(), cleaned.errors.to_list(), cleaned.elsewhere["town"].to_list()


def test_a_village_is_known_by_full_and_short_name_and_by_its_code(village):
    name = Region.objects.get(pk=HERE).name
    pairs = [("安平街道", name), ("安平", name.removesuffix("社区")), (None, name), (None, HERE)]
    values, errors, town_errors = clean(village.actor, *pairs)
    assert values == [HERE] * 4
    assert not any(errors) and not any(town_errors)


def test_what_lies_outside_the_scope_is_answered_like_what_does_not_exist(village):
    names = dict(Region.objects.filter(pk__in=[BESIDE, ELSEWHERE]).values_list("pk", "name"))
    for there, nowhere in [
        ((None, names[BESIDE]), (None, "子虚社区")),
        ((None, BESIDE), (None, "990101001999")),
        (("安平街道", names[BESIDE]), ("安平街道", "子虚社区")),
        ((Region.objects.get(pk=ELSEWHERE[:9]).name, names[ELSEWHERE]), ("子虚镇", names[ELSEWHERE])),
    ]:
        values, errors, town_errors = clean(village.actor, there, nowhere)
        assert values == [None, None]
        said = [
            (error or "") + (town_error or "") for error, town_error in zip(errors, town_errors, strict=True)
        ]
        assert said[0].replace(there[1], "X").replace(there[0] or "-", "Y") == said[1].replace(
            nowhere[1], "X"
        ).replace(nowhere[0] or "-", "Y")


def test_a_name_in_two_towns_needs_its_town(district):
    values, errors, town_errors = clean(district.actor, (None, "南山村"))
    assert (values, errors) == ([None], [None])
    assert town_errors == ["不止一个乡镇(街道)有“南山村”，请填写乡镇(街道)"]


def test_a_village_that_is_out_of_use_is_not_found(district):
    Region.objects.filter(pk=HERE).update(enabled=False)
    assert clean(district.actor, (None, HERE))[0] == [None]
