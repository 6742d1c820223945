"""Reads of the directory with a business name."""

import os

from jingwei.base.access import DataScope
from jingwei.directory.models import Region
from jingwei.kit.regions import LEVELS


def start_region(reach: DataScope, home: str) -> str:
    """Where drilling down begins: the smallest region around the whole scope; `home` for an unlimited one."""
    if reach.everything or not reach.regions:
        return home
    common = os.path.commonprefix(sorted(reach.regions))
    return max((common[:length] for length in LEVELS if length <= len(common)), default="", key=len)


def areas_in(reach: DataScope, region: str) -> list[Region]:
    """The regions one level below `region` that the scope touches; a community stands for itself."""
    if len(region) >= 12:
        return list(Region.objects.filter(code=region))
    return [
        child
        for child in Region.objects.filter(parent=region or None).order_by("code")
        if reach.everything or any(child.code.startswith(c) or c.startswith(child.code) for c in reach.regions)
    ]
