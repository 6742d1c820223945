"""Slips between two numbers, against the plain definition."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jingwei.kit.slips import count_slips

NUMBER = "990101199003070023"


def slips(left, right):
    return count_slips(pl.Series([left], dtype=pl.String), pl.Series([right], dtype=pl.String)).row(0)


@pytest.mark.req("P-5.7")
@pytest.mark.parametrize(
    ("written", "found"),
    [
        (NUMBER, (0, 0, 0)),
        ("990101199003070033", (1, 0, 0)),
        ("990101199003070032", (0, 1, 0)),
        ("990101199003700024", (1, 1, 0)),
        ("99010119900307093", (None, None, None)),
        ("99010119900307002", (0, 0, 1)),
        ("90101199003070023", (0, 0, 1)),
        ("9901011990030070023", (0, 0, 1)),
        ("9901011990030700", (None, None, None)),
        (None, (None, None, None)),
    ],
)
def test_wrong_swapped_and_missing_characters_are_told_apart(written, found):
    assert slips(NUMBER, written) == found
    assert slips(written, NUMBER) == found


def plainly(left, right):
    """The fewest wrong places and swaps of texts of one length, looked for from the left."""
    if len(left) != len(right):
        longer, shorter = sorted([left, right], key=len, reverse=True)
        cuts = [longer[:i] + longer[i + 1 :] for i in range(len(longer))]
        return (0, 0, 1) if shorter in cuts else (None, None, None)
    wrong = swapped = place = 0
    while place < len(left):
        pair = slice(place, place + 2)
        if left[place] != right[place] and len(left[pair]) == 2 and left[pair] == right[pair][::-1]:
            swapped, place = swapped + 1, place + 2
        else:
            wrong, place = wrong + (left[place] != right[place]), place + 1
    return wrong, swapped, 0


@pytest.mark.req("P-5.7")
@given(st.lists(st.tuples(st.text("01X", max_size=7), st.text("01X", max_size=7)), min_size=1))
def test_a_whole_column_is_counted_as_one_by_one(pairs):
    left, right = (pl.Series(side, dtype=pl.String) for side in zip(*pairs, strict=True))
    assert count_slips(left, right).rows() == [plainly(*pair) for pair in pairs]
