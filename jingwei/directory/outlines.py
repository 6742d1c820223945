"""Invented boundaries for a tree of regions that exists nowhere: the demonstration district's (P-1.1).

The land is a honeycomb with shaken corners. The cells of a region are shared out among the regions below it,
so that neighbours have their border in common, corner by corner, and a region is the sum of its parts. The
same codes give the same land.
"""

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from jingwei.kit.regions import parent_of

SEA = 122.4, 35.2  # longitude and latitude of the middle, in open water: nobody's real land
CELLS = 18  # of a region without others below it
SIZE = 170  # metres from the middle of a cell to its corners
SHAKEN = 0.3  # by so much of it a corner is moved at most
DEGREE = 111_320  # metres of a degree of latitude
AROUND = [(1, 0), (0, 1), (-1, 1), (-1, 0), (0, -1), (1, -1)]  # the cells beside one, anticlockwise

Cell = tuple[int, int]


def outlines(codes: Iterable[str]) -> dict[str, tuple[dict, tuple[float, float]]]:
    """{code: (boundary, centre)}: a GeoJSON MultiPolygon, and a longitude and latitude inside (WGS-84)."""
    known = sorted(codes)
    below = defaultdict(list)
    for code in known:
        below[parent_of(code) if parent_of(code) in known else ""].append(code)

    def leaves(code):
        return sum(map(leaves, below[code])) if code in below else 1

    rng = np.random.default_rng(len(known))
    shares = {"": _island(CELLS * leaves(""), rng)}
    for parent in ["", *known]:
        if parent in below:
            parts = _shared_out(shares[parent], [leaves(code) for code in below[parent]], rng)
            shares |= zip(below[parent], parts, strict=True)
    corners = _Corners(rng)
    return {code: (corners.boundary(shares[code]), _centre(shares[code])) for code in known}


def _middles(cells: Sequence[Cell]) -> np.ndarray:
    """Where the middles of cells lie, east and north, in cells' sizes: (n, 2)."""
    q, r = np.asarray(cells, float).T
    return np.stack([np.sqrt(3) * (q + r / 2), 1.5 * r], axis=1)


def _island(number, rng) -> list[Cell]:
    """So many cells around the origin, with bays and capes."""
    reach = int(np.sqrt(number)) + 3
    cells = [(q, r) for q in range(-reach, reach + 1) for r in range(-reach, reach + 1)]
    east, north = _middles(cells).T
    angle = np.arctan2(north, east)
    waves = sum(0.2 / n * np.sin(n * angle + rng.uniform(0, 2 * np.pi)) for n in (2, 3, 5))
    order = np.argsort(np.hypot(east, north) / (1 + waves), kind="stable")
    return [cells[n] for n in order[:number]]


def _shared_out(cells, sizes, rng) -> list[list[Cell]]:
    """The cells in connected parts, one for each of `sizes` and about in their proportion."""
    middles = dict(zip(cells, map(tuple, _middles(cells).tolist()), strict=True))
    seeds = _seeds(cells, len(sizes), rng)
    free, parts, edges = set(cells), [[] for _ in sizes], [[] for _ in sizes]

    def take(one, cell):
        parts[one].append(cell)
        free.discard(cell)
        for q, r in AROUND:
            beside = cell[0] + q, cell[1] + r
            if beside in free:
                heapq.heappush(edges[one], (math.dist(middles[beside], middles[seeds[one]]), beside))

    for one, seed in enumerate(seeds):
        take(one, seed)
    while free:
        hungriest = min((n for n in range(len(sizes)) if edges[n]), key=lambda n: len(parts[n]) / sizes[n])
        _, cell = heapq.heappop(edges[hungriest])
        if cell in free:
            take(hungriest, cell)
    return parts


def _seeds(cells, number, rng) -> list[Cell]:
    """So many different cells, evenly spread: each in the middle of those nearest to it."""
    middles = _middles(cells)

    def gaps(chosen):
        return np.hypot(*(middles[:, None] - middles[chosen]).transpose(2, 0, 1))

    chosen = [int(rng.integers(len(cells)))]
    while len(chosen) < number:
        chosen.append(int(gaps(chosen).min(axis=1).argmax()))
    for _ in range(8):
        nearest = gaps(chosen).argmin(axis=1)
        groups = [np.flatnonzero(nearest == one) for one in range(number)]
        chosen = [int(group[_most_central(middles[group])]) for group in groups]
    return [cells[n] for n in chosen]


def _most_central(middles) -> int:
    return int(np.hypot(*(middles - middles.mean(axis=0)).T).argmin())


def _centre(cells) -> tuple[float, float]:
    middles = _middles(cells)
    return _on_earth(*middles[_most_central(middles)].tolist())


def _on_earth(east, north) -> tuple[float, float]:
    """Longitude and latitude of a place so far from the origin, to about a metre."""
    degree = DEGREE / SIZE
    return round(SEA[0] + east / degree / math.cos(math.radians(SEA[1])), 5), round(
        SEA[1] + north / degree, 5
    )


class _Corners:
    """The corners of the cells, each shaken once for all the cells that have it in common."""

    def __init__(self, rng):
        self.rng = rng
        self.places: dict[Cell, tuple[float, float]] = {}

    def boundary(self, cells) -> dict:
        """The outline of connected cells: the ring around them, then those around what they enclose."""
        inside, following = set(cells), {}
        for q, r in cells:
            for side, (dq, dr) in enumerate(AROUND):
                if (q + dq, r + dr) not in inside:
                    following[_corner(q, r, side - 1)] = _corner(q, r, side)
        rings = []
        while following:
            ring = [next(iter(following))]
            while ring[-1] in following:
                ring.append(following.pop(ring[-1]))
            rings.append([self._place(corner) for corner in ring])
        rings.sort(key=lambda ring: -np.ptp(np.asarray(ring)[:, 0]))
        return {"type": "MultiPolygon", "coordinates": [rings]}

    def _place(self, corner):
        if corner not in self.places:
            east, north = (_middles([corner])[0] / 3 + self.rng.uniform(-SHAKEN, SHAKEN, 2)).tolist()
            self.places[corner] = _on_earth(east, north)
        return list(self.places[corner])


def _corner(q, r, side) -> Cell:
    """The corner between the neighbours at `side` and the next one: the sum of the three cells around it."""
    (q1, r1), (q2, r2) = AROUND[side], AROUND[(side + 1) % 6]
    return 3 * q + q1 + q2, 3 * r + r1 + r2
