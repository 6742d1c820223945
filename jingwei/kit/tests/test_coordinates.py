import numpy as np
import pytest

from jingwei.kit.coordinates import SYSTEMS, from_wgs84, to_wgs84

pytestmark = pytest.mark.req("P-1.1")
METRES = 111_320  # one degree of latitude


@pytest.mark.parametrize("system", SYSTEMS)
def test_there_and_back_is_within_a_metre(system):
    random = np.random.default_rng(1)
    longitude, latitude = random.uniform(74, 134, 20_000), random.uniform(4, 53, 20_000)
    back = to_wgs84(*from_wgs84(longitude, latitude, system), system)
    assert np.hypot(back[0] - longitude, back[1] - latitude).max() * METRES < 1


def test_the_shift_is_that_of_the_published_formula():
    # Tian'anmen, WGS-84 → GCJ-02 and BD-09 as the public converters give it.
    assert from_wgs84(116.404, 39.915, "GCJ-02") == pytest.approx((116.410244, 39.916404), abs=1e-6)
    assert from_wgs84(116.404, 39.915, "BD-09") == pytest.approx((116.416627, 39.922700), abs=1e-6)


def test_outside_china_nothing_is_shifted():
    assert to_wgs84(2.3522, 48.8566, "GCJ-02") == (2.3522, 48.8566)


def test_an_unknown_system_is_refused():
    with pytest.raises(ValueError, match="不认识的坐标系"):
        to_wgs84(116.4, 39.9, "CGCS")
    with pytest.raises(ValueError, match="不认识的坐标系"):
        from_wgs84(116.4, 39.9, "CGCS")
