"""Polygons as GeoJSON has them: rings of longitude and latitude, one around, the others around holes."""

from collections.abc import Sequence

import numpy as np


def inside(polygons: Sequence, longitude, latitude) -> np.ndarray:
    """Which places lie in one of the `coordinates` of a GeoJSON MultiPolygon; numbers or arrays of degrees.

    A ray to the east crosses the rings an odd number of times from inside. On a ring it may be either.
    """
    x0, y0 = np.atleast_1d(longitude)[:, None], np.atleast_1d(latitude)[:, None]
    crossings = 0
    for ring in (ring for polygon in polygons for ring in polygon):
        x, y = np.asarray(ring, float).T
        crosses = (y[:-1] > y0) != (y[1:] > y0)
        rise = np.where(y[1:] == y[:-1], 1, y[1:] - y[:-1])  # a level side is never crossed
        at = x[:-1] + (y0 - y[:-1]) / rise * (x[1:] - x[:-1])
        crossings = crossings + (crosses & (at > x0)).sum(axis=1)
    return np.asarray(crossings) % 2 == 1
