"""Column types of places: towns and villages by the names people write for them (CL-2.1, CL-6.2)."""

from dataclasses import dataclass

import polars as pl
from django.db.models import Q
from django.db.models.functions import Length

from jingwei.base.columns import Type
from jingwei.directory.models import Region
from jingwei.kit.column import Cleaned
from jingwei.kit.regions import COMMUNITY, LEVELS, TOWN, RegionNames, parent_of
from jingwei.kit.text import tidy


@dataclass
class Town(Type):
    """The township or street of a row, as written; `Village` reads it together with its own column."""

    note = "可以不写“街道”“镇”“乡”；村/社区名称不重复时可以不填"
    example = "安平街道"

    def clean(self, raw, context):
        nothing = pl.repeat(None, len(raw), dtype=pl.String, eager=True)
        return Cleaned(raw, nothing, {})


@dataclass
class Village(Type):
    """A village or community by its name, or its code, among those the actor's scope reaches.

    `town` names the column of the township, which tells apart villages of one name. What lies outside the
    scope is answered like what does not exist.
    """

    town: str = ""
    note = "可以不写“村”“社区”；须在您的管辖范围内"
    example = "和园社区"

    def clean(self, raw, context):
        reach = context.actor.data_scope(context.permission)
        within = [""] if reach.everything else sorted(reach.regions)
        villages = dict(_enabled(within, COMMUNITY))
        names = RegionNames([*villages.items(), *_enabled([*within, *map(_town_of, within)], TOWN)], within)
        towns = context.done.get(self.town)
        resolved = names.resolve(towns, raw)
        given = tidy(raw).values
        is_code = given.str.contains(r"^[0-9]{12}$").fill_null(False)
        known = is_code & given.is_in(list(villages))
        unknown = pl.format("“{}”不在您的管辖范围内或不存在", given)
        values, errors, town_errors = pl.select(
            pl.when(known).then(given).when(is_code).then(None).otherwise(resolved.values),
            errors=pl.when(known).then(None).when(is_code).then(unknown).otherwise(resolved.village_errors),
            town_errors=pl.when(is_code).then(None).otherwise(resolved.town_errors),
        ).get_columns()
        # Without a column of towns the reason has no other place than here.
        if not self.town:
            errors, town_errors = errors.fill_null(town_errors), None
        elsewhere = {} if town_errors is None else {self.town: town_errors}
        return Cleaned(values, errors, resolved.rules, elsewhere)

    def text(self, value):
        region = value and Region.objects.filter(pk=value).first()
        return region.name if region else ""


@dataclass
class RegionCode(Type):
    """A region's code; national tables fill it up with zeros to 6 or 12 digits (GB/T 2260, GB/T 10114)."""

    note = "2、4、6、9、12 或 15 位数字；末尾补的 0 自动去掉"
    example = "990101001"

    def clean(self, raw, context):
        tidied = tidy(raw)
        codes = tidied.values.str.replace(r"^([0-9]{9})000$", "$1").str.replace(r"^([0-9]{6})000$", "$1")
        codes = codes.str.replace(r"^([0-9]{4})00$", "$1").str.replace(r"^([0-9]{2})00$", "$1")
        lengths = "|".join(f"[0-9]{{{digits}}}" for digits in LEVELS)
        reason = pl.lit("不是行政区划代码：应为 2、4、6、9、12 或 15 位数字")
        errors = pl.select(pl.when(~codes.str.contains(f"^({lengths})$")).then(reason)).to_series()
        return Cleaned(codes, errors, tidied.rules)


def _enabled(prefixes, digits):
    """(code, name) of the regions of this level under the prefixes that are in use."""
    inside = Q()
    for prefix in prefixes:
        inside |= Q(code__startswith=prefix)
    if not prefixes:
        return []
    rows = Region.objects.annotate(digits=Length("code")).filter(inside, digits=digits, enabled=True)
    return list(rows.values_list("code", "name"))


def _town_of(prefix):
    """The township a village or grid code lies in, so that a village clerk may name it."""
    while len(prefix) > TOWN:
        prefix = parent_of(prefix)
    return prefix
