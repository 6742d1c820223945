"""What changes the region tree: places on the map, enabling, moving, merging (P-1.1)."""

import json

import numpy as np
import polars as pl
from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import Value
from django.db.models.functions import Concat, Substr

from jingwei.base import audit
from jingwei.base.saving import save_record
from jingwei.directory.columns import RegionCode
from jingwei.directory.fields import RegionCodeField
from jingwei.directory.models import Region, RegionChange
from jingwei.kit import regions
from jingwei.kit.coordinates import to_wgs84

SAID = 20  # problems of a file that are told


def save_region(actor, region: Region, *, values, version=None):
    """Add or rename a region. Its code is its identity and changes by `move_region` only."""
    if not region._state.adding and values.get("code", region.code) != region.code:
        raise ValidationError({"code": "代码不能直接修改。区划代码变更请用“变更代码”，数据会一并迁移。"})
    return save_record(actor, region, resource="regions", values=values, version=version)


def locate_region(actor, region: Region, *, longitude, latitude, system):
    """Set the centre of a region from degrees of one of `kit.coordinates.SYSTEMS`; kept as WGS-84."""
    east, north = to_wgs84(longitude, latitude, system)
    values = {"longitude": round(float(east), 6), "latitude": round(float(north), 6)}
    return save_record(actor, region, resource="regions", values=values, act="标注位置")


def outline_region(actor, region: Region, *, boundary, system):
    """Set a region's boundary from GeoJSON in one of `kit.coordinates.SYSTEMS`; an empty text removes it."""
    outline = _polygon(boundary, system) if boundary.strip() else None
    with transaction.atomic():
        region.boundary = outline
        region.version += 1
        region.save(update_fields=["boundary", "version"])
        audit.record(actor, "设置边界", region, resource="regions", points=_points(outline))


@transaction.atomic
def outline_regions(actor, text, *, system, key="code") -> int:
    """Set the boundaries of the regions in a GeoJSON FeatureCollection; how many. All of them, or none.

    The property `key` of each feature is the region's code, with or without the zeros at its end.
    ValidationError says what is wrong with which feature.
    """
    try:
        features = json.loads(text)["features"]
        given = pl.Series([str(feature["properties"][key]) for feature in features], dtype=pl.String)
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValidationError(
            f"不是 GeoJSON 要素集（FeatureCollection），或有要素没有“{key}”属性；请核对文件和区划代码的属性名"
        ) from error
    codes = RegionCode().clean(given, None).values
    known = Region.objects.visible_to(actor, "regions.outline").defer("boundary").in_bulk(codes.to_list())
    problems = []
    for number, (code, feature) in enumerate(zip(codes, features, strict=True), 1):
        try:
            if code not in known:
                raise ValidationError(f"没有代码为“{code}”的区划，请先登记")
            outline_region(actor, known[code], boundary=json.dumps(feature.get("geometry")), system=system)
        except ValidationError as refusal:
            problems.append(f"第 {number} 个要素：{'；'.join(refusal.messages)}")
    if problems:
        more = [f"……共 {len(problems)} 个要素有错"] if len(problems) > SAID else []
        raise ValidationError(problems[:SAID] + more)
    return len(features)


def _polygon(text, system):
    """The geometry of a GeoJSON text as WGS-84, or ValidationError."""
    try:
        geometry = json.loads(text)
        geometry = geometry.get("geometry", geometry)
        polygons = {"Polygon": lambda rings: [rings], "MultiPolygon": list}[geometry["type"]](
            geometry["coordinates"]
        )
        converted = [[_ring(ring, system) for ring in polygon] for polygon in polygons]
    except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValidationError(
            {"boundary": "不是有效的 GeoJSON 面：应为 Polygon 或 MultiPolygon，坐标依次为经度、纬度"}
        ) from error
    return {"type": "MultiPolygon", "coordinates": converted}


def _ring(points, system):
    degrees = np.asarray(points, dtype=float)[:, :2]
    closed = len(degrees) >= 4 and (degrees[0] == degrees[-1]).all()
    if not closed or not (np.abs(degrees) <= [180, 90]).all():
        raise ValueError("a ring is closed and lies on the earth")
    return np.round(np.stack(to_wgs84(degrees[:, 0], degrees[:, 1], system), axis=1), 6).tolist()


def _points(outline):
    return sum(len(ring) for polygon in outline["coordinates"] for ring in polygon) if outline else 0


def enable_region(actor, region: Region):
    """Offer a region for new entries again."""
    return save_record(actor, region, resource="regions", values={"enabled": True}, act="启用")


def disable_region(actor, region: Region, *, reason):
    """Offer a region for new entries no more; what is registered there stays."""
    return save_record(
        actor, region, resource="regions", values={"enabled": False}, act="停用", reason=reason
    )


@transaction.atomic
def move_region(actor, region: Region, *, code, reason):
    """Give a region, with all below it, another code; everything registered there moves along.

    The old codes and names stay in RegionChange, and in the history of every record.
    """
    _lock_tree()
    old = region.code
    region.code = code
    region.clean()
    if len(code) != len(old):
        raise ValidationError({"code": f"代码应与原来同为 {len(old)} 位：变更代码不改变级别"})
    if Region.objects.filter(code__startswith=code).exists():
        raise ValidationError({"code": "这个代码或其下级已被使用；要并入另一个区划请用“合并”"})
    moved = list(Region.objects.filter(code__startswith=old).order_by("code"))
    names = {one.code: one.name for one in moved}
    for one in moved:
        one.code = code + one.code[len(old) :]
        one.parent_id = regions.parent_of(one.code)
        one.version += 1
    Region.objects.bulk_create(moved)
    _follow(old, code, below=True)
    for length in sorted({len(code) for code in names}, reverse=True):
        Region.objects.filter(code__in=[code for code in names if len(code) == length]).delete()
    for old_code, old_name in names.items():
        _keep_change(actor, old_code, old_name, code + old_code[len(old) :], reason)
    audit.record(
        actor, "变更代码", Region.objects.get(code=code), resource="regions", reason=reason, codes=[old, code]
    )


@transaction.atomic
def merge_region(actor, region: Region, *, into, reason):
    """Dissolve a region into another of the same level; everything registered there goes over to it."""
    _lock_tree()
    if into.pk == region.pk:
        raise ValidationError({"into": "不能并入自己"})
    if into.level != region.level:
        raise ValidationError({"into": f"只能并入同级区划，“{into}”是{into.level}"})
    below = region.children.count()
    if below:
        raise ValidationError(f"“{region}”还有 {below} 个下级区划，请先变更它们的代码，移到“{into}”之下")
    _follow(region.code, into.code, below=False)
    _keep_change(actor, region.code, region.name, into.code, reason)
    audit.record(actor, "合并", region, resource="regions", reason=reason, into=[into.code, into.name])
    region.delete()


def _lock_tree():
    """One change of the tree at a time: two moves that touch each other would lose rows between them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('directory_region'))")


def _keep_change(actor, old, old_name, new, reason):
    RegionChange.objects.create(old=old, old_name=old_name, new_id=new, by=actor.operator_id, reason=reason)


def _follow(old, new, *, below):
    """Write the new code wherever the old one stands; histories keep what was true then."""
    for model in apps.get_models(include_auto_created=True):
        for field in model._meta.concrete_fields:
            if not _holds_region(field):
                continue
            code = f"{field.name}__code" if field.is_relation else field.name
            rows = model._base_manager.filter(**{f"{code}__startswith" if below else code: old})
            if model._meta.auto_created:  # a role that lists both regions lists the new one once
                [other] = [f.name for f in model._meta.concrete_fields if f.is_relation and f is not field]
                there = model._base_manager.filter(**{field.name: new}).values(other)
                rows.filter(**{f"{other}__in": there}).delete()
            rows.update(**{field.name: Concat(Value(new), Substr(field.attname, len(old) + 1))})


def _holds_region(field):
    if field.model is Region:
        return False  # the tree itself is written by who calls
    points_there = field.is_relation and field.related_model is Region and field.db_constraint
    return points_there or isinstance(field, RegionCodeField)
