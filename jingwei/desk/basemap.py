"""What maps are drawn on: the boundaries of the regions, over tiles where these are set (P-10.5).

Positions are stored in WGS-84 (P-1.1). Maps show them in the coordinates of their tiles; that is the same
unless JINGWEI_TILES_SYSTEM says otherwise. A page with a map mounts these views under its own permission.
"""

import hashlib
import json

import numpy as np
from django.conf import settings
from django.http import JsonResponse
from django.utils.cache import patch_cache_control
from django.views.decorators.http import condition, require_GET

from jingwei.directory.models import Region
from jingwei.kit.coordinates import SYSTEMS, from_wgs84, to_wgs84
from jingwei.kit.polygons import inside
from jingwei.kit.regions import COMMUNITY, GRID, TOWN

DIGITS = 6  # of a degree: some 10 cm


def on_map(longitude, latitude):
    """WGS-84 → the coordinates of the maps; arrays or numbers, rounded."""
    return [np.round(side, DIGITS) for side in from_wgs84(longitude, latitude, settings.JINGWEI_TILES_SYSTEM)]


def _drawn():
    """The regions whose boundaries a map shows. Where they lie is no secret: there is no scope."""
    return Region.objects.filter(enabled=True, boundary__isnull=False, code__regex=r"^.{6,15}$")


def _state(request):
    kept = list(_drawn().order_by("code").values_list("code", "name", "version"))
    tiles = [settings.JINGWEI_TILES, settings.JINGWEI_TILES_SYSTEM, settings.JINGWEI_TILES_CREDIT]
    return f'"{hashlib.sha256(json.dumps([kept, tiles]).encode()).hexdigest()[:32]}"'


@require_GET
@condition(etag_func=_state)
def basemap(request):
    """{tiles, credit, regions: [{code, name, centre, polygons}]}; polygons as in a GeoJSON MultiPolygon.

    It says nothing about persons, so that browsers may keep it and ask whether it still holds.
    """
    rows = _drawn().order_by("code").values_list("code", "name", "longitude", "latitude", "boundary")
    regions = [
        {
            "code": code,
            "name": name,
            "centre": None if longitude is None else _pair(longitude, latitude),
            "polygons": [[_ring(ring) for ring in rings] for rings in boundary["coordinates"]],
        }
        for code, name, longitude, latitude, boundary in rows
    ]
    told = {"tiles": settings.JINGWEI_TILES, "credit": settings.JINGWEI_TILES_CREDIT, "regions": regions}
    response = JsonResponse(told, json_dumps_params={"ensure_ascii": False, "separators": (",", ":")})
    patch_cache_control(response, private=True, no_cache=True)
    return response


def _pair(longitude, latitude):
    return [float(side) for side in on_map(longitude, latitude)]


def _ring(points):
    return np.stack(on_map(*np.asarray(points, float).T), axis=1).tolist()


@require_GET
def position(request):
    """A position on the map and as it is stored, and where that is.

    {"map": [longitude, latitude], "stored": [longitude, latitude], "regions": [names, from town to grid]}.
    `system` says in which of `kit.coordinates.SYSTEMS` it is given; without it, in that of the map.
    """
    system = request.GET.get("system") or settings.JINGWEI_TILES_SYSTEM
    try:
        longitude, latitude = (float(request.GET.get(side, "")) for side in ("longitude", "latitude"))
        on_earth = abs(longitude) <= 180 and abs(latitude) <= 90
    except ValueError:
        on_earth = False
    if not on_earth or system not in SYSTEMS:
        refusal = "不是有效的位置：经度应在 -180 到 180 之间，纬度应在 -90 到 90 之间"
        return JsonResponse({"refusal": refusal}, status=400)
    stored = [round(float(side), DIGITS) for side in to_wgs84(longitude, latitude, system)]
    return JsonResponse({"map": _pair(*stored), "stored": stored, "regions": _regions_at(*stored)})


def _regions_at(longitude, latitude):
    """The names of the town, the community and the grid around a position, as far as boundaries say."""
    names, code = [], ""
    for digits in (TOWN, COMMUNITY, GRID):
        below = _drawn().filter(code__startswith=code, code__regex=rf"^.{{{digits}}}$").order_by("code")
        around = [region for region in below if inside(region.boundary["coordinates"], longitude, latitude)]
        if not around:
            break
        code = around[0].code
        names.append(around[0].name)
    return names
