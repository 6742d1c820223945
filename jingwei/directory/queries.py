"""Reads of the directory with a business name."""

import os

from jingwei.base.access import DataScope
from jingwei.directory.models import Region
from jingwei.kit.regions import COMMUNITY, LEVELS


def start_region(reach: DataScope, home: str) -> str:
    """Where drilling down begins: the smallest region around the whole scope; `home` for an unlimited one."""
    if reach.everything or not reach.regions:
        return home
    common = os.path.commonprefix(sorted(reach.regions))
    return max((common[:length] for length in LEVELS if length <= len(common)), default="", key=len)


def areas_in(reach: DataScope, region: str, *, communities=False) -> list[Region]:
    """The regions one level below `region` that the scope touches, or with `communities` all these in it.

    A community stands for itself.
    """
    rows = Region.objects.select_related("parent").defer("boundary", "parent__boundary").order_by("code")
    if communities or len(region) >= COMMUNITY:
        rows = rows.filter(code__startswith=region, code__regex=rf"^\d{{{COMMUNITY}}}$")
    else:
        rows = rows.filter(parent=region or None)
    return [
        area
        for area in rows
        if reach.everything or any(area.code.startswith(c) or c.startswith(area.code) for c in reach.regions)
    ]
