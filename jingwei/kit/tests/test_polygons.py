"""Places inside and outside of polygons."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jingwei.kit.polygons import inside

SQUARE = [[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]
HOLE = [[1, 1], [1, 2], [2, 2], [2, 1], [1, 1]]
ISLAND = [[10, 0], [12, 0], [11, 2], [10, 0]]


@pytest.mark.req("P-1.1")
def test_holes_are_outside_and_every_part_is_inside():
    places = np.array([(3, 3), (1.5, 1.5), (11, 1), (5, 3), (0.5, 3.5), (3, -1), (10, 1.9)]).T
    expected = [True, False, True, False, True, False, False]
    assert inside([[SQUARE, HOLE], [ISLAND]], *places).tolist() == expected
    assert inside([[SQUARE, HOLE]], 3, 3).tolist() == [True]


@pytest.mark.req("P-1.1")
@given(st.floats(-2, 2, width=16), st.floats(-2, 2, width=16), st.integers(3, 12))
def test_of_a_regular_polygon_it_is_what_lies_left_of_every_side(x, y, corners):
    angles = np.linspace(0, 2 * np.pi, corners + 1)
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    ring[-1] = ring[0]
    sides = np.diff(ring, axis=0)
    left = sides[:, 0] * (y - ring[:-1, 1]) - sides[:, 1] * (x - ring[:-1, 0])
    if abs(left).min() > 1e-9:
        assert inside([[ring.tolist()]], x, y).tolist() == [bool((left > 0).all())]
