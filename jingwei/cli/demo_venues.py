"""`jingwei demo-venues`: synthetic public places of the demonstration district, with scans and alerts.

Deterministic: venue number n is the same in every instance. It lies inside its community, so that maps and
lists say the same. Those who scan are the first of the synthetic people.
"""

import sys
from dataclasses import dataclass
from datetime import datetime, time, timedelta

import numpy as np
import polars as pl
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from jingwei.base import audit
from jingwei.base.access import platform_actor
from jingwei.base.models import ParameterValue
from jingwei.cli.demo import SEED, SURNAMES, District, Families, Numbering, make_people
from jingwei.directory.models import Organisation, Region
from jingwei.directory.setup import is_for_real
from jingwei.kit.polygons import inside
from jingwei.places.actions import follow_thresholds, settle
from jingwei.places.models import Venue, VenueThreshold
from jingwei.scans.actions import store_scans
from jingwei.scans.evaluation import evaluate

MOST = 5_000
MADE = "demo.venues"  # the parameter row that says how many there are
DEMO = platform_actor("演示数据")
DAYS = 9  # with scans: more than a run of days that raises an alert
OPENS, CLOSES = 8, 21  # o'clock

# Value of 场所类别: what such venues are called, share, regulator, usual scans a day
KINDS = {
    "1": ("生活超市", 30, "区市场监督管理局", 14),
    "2": ("农贸市场", 6, "区市场监督管理局", 24),
    "3": ("百货商场", 3, "区商务局", 26),
    "4": ("宾馆", 6, "区文化体育和旅游局", 8),
    "5": ("餐馆", 26, "区市场监督管理局", 12),
    "7": ("网吧", 3, "区文化体育和旅游局", 9),
    "8": ("实验学校", 5, "区教育局", 20),
    "9": ("门诊部", 4, "区卫生健康局", 16),
    "10": ("大药房", 9, "区市场监督管理局", 9),
    "14": ("健身馆", 4, "区文化体育和旅游局", 7),
    "18": ("养老院", 2, "区卫生健康局", 5),
    "19": ("写字楼", 2, "区商务局", 18),
}


def add_arguments(parser):
    parser.add_argument("--venues", type=int, default=600, help=f"演示公共场所总数，最多 {MOST:,}")


def run(options):
    if not 0 <= options.venues <= MOST:
        print(f"场所数应在 0 到 {MOST:,} 之间。", file=sys.stderr)
        return 2
    print(f"新增演示公共场所 {ensure_venues(options.venues):,} 个，带位置、阈值、扫码记录和预警。")
    return 0


@dataclass(frozen=True)
class Made:
    """A venue, how many scan there on a usual day, and how much of it there was lately."""

    venue: Venue
    usual: int
    lately: float


@transaction.atomic
def ensure_venues(number) -> int:
    """Venues up to `number` in all, with the scans of the last days; how many of them are new."""
    if is_for_real():
        raise ValidationError("这是正式实例，不能生成演示场所")
    kept, _ = ParameterValue.objects.select_for_update().get_or_create(name=MADE, defaults={"value": "0"})
    before = int(kept.value)
    if before >= number:
        return 0
    draw = _Drawing()
    made = [draw.venue(n) for n in range(before, number)]
    today = timezone.localdate()
    settle(venue.pk for venue in Venue.objects.bulk_create(one.venue for one in made))
    VenueThreshold.objects.bulk_create(_thresholds(made, today - timedelta(days=60)))
    follow_thresholds(today)
    store_scans(DEMO, _scans(made, today), timezone.now())
    evaluate(DEMO, today - timedelta(days=1))
    kept.value = str(number)
    kept.save()
    audit.record(DEMO, "新增", resource="venues", label=f"演示场所 {len(made)} 个")
    return len(made)


class _Drawing:
    """Draws venues: each by its number, whatever was drawn before."""

    def __init__(self):
        communities = Region.objects.filter(boundary__isnull=False, code__regex=r"^[0-9]{12}$")
        self.communities = list(communities.select_related("parent").order_by("code"))
        if not self.communities:
            raise ValidationError("没有一个社区村有边界，演示场所无处可放；请先导入区划边界")
        names = {office for _, _, office, _ in KINDS.values()}
        self.offices = {office.name: office for office in Organisation.objects.filter(name__in=names)}

    def venue(self, n) -> Made:
        rng = np.random.default_rng([SEED, 7, n])
        shares = np.array([share for _, share, _, _ in KINDS.values()])
        kind = str(rng.choice(list(KINDS), p=shares / shares.sum()))
        word, _, office, usual = KINDS[kind]
        community = self.communities[int(rng.integers(len(self.communities)))]
        longitude, latitude = _place_in(community.boundary["coordinates"], rng)
        placed, regulated = rng.random() > 0.03, rng.random() > 0.06
        venue = Venue(
            code=f"YS{n + 1:06d}",
            name=f"{community.name.removesuffix('社区').removesuffix('村')}{word}{n + 1}",
            kind=kind,
            street=community.parent.name,
            manager=f"{rng.choice(list(SURNAMES))}经理",
            position=f"{community.name}{rng.integers(1, 300)}号",
            longitude=longitude if placed else None,
            latitude=latitude if placed else None,
            regulator=self.offices.get(office) if regulated else None,
        )
        lately = rng.choice([1, 0.2, 2.6], p=[0.92, 0.05, 0.03])
        return Made(venue, max(4, round(usual * rng.lognormal(0, 0.3))), float(lately))


def _place_in(polygons, rng):
    """A longitude and latitude inside."""
    corners = np.concatenate([ring for polygon in polygons for ring in polygon])
    while True:
        longitude, latitude = rng.uniform(corners.min(axis=0), corners.max(axis=0)).round(6).tolist()
        if inside(polygons, longitude, latitude).all():
            return longitude, latitude


def _thresholds(made, day):
    """From `day` on, where somebody regulates the venue."""
    return [
        VenueThreshold(venue=one.venue, low=one.usual // 2, high=round(one.usual * 1.8) + 3, from_day=day)
        for one in made
        if one.venue.regulator
    ]


def _scans(made, today) -> pl.DataFrame:
    """The scans of the last days up to yesterday, as `store_scans` takes them."""
    rng = np.random.default_rng([SEED, 8, len(made)])
    families = Families.of(0)
    people = make_people(families, Numbering().next(families), District.read())
    days = np.arange(DAYS)
    counts = rng.poisson([[one.usual * one.lately] * DAYS for one in made])
    venue, day = (
        np.repeat(index.ravel(), counts.ravel())
        for index in np.meshgrid(range(len(made)), days, indexing="ij")
    )
    who = rng.integers(len(people), size=len(venue))
    first = datetime.combine(today - timedelta(days=DAYS), time(OPENS))
    seconds = day * 86_400 + rng.integers((CLOSES - OPENS) * 3600, size=len(venue))
    places = [one.venue for one in made]
    at = {
        "venue_code": [place.code for place in places],
        "venue_name": [place.name for place in places],
        "kind": [place.get_kind_display() for place in places],
        "street": [place.street for place in places],
        "manager": [place.manager for place in places],
        "position": [place.position for place in places],
    }
    return pl.DataFrame(
        {name: pl.Series(values)[venue] for name, values in at.items()}
        | {name: people[name][who] for name in ("number", "name", "phone")}
        | {"collected_at": np.datetime64(first, "us") + seconds.astype("timedelta64[s]")}
    ).with_columns(
        city=pl.lit("安澜区"),
        result=pl.lit("正常"),
        test_result=pl.lit("阴性"),
        tested_at=pl.lit(""),
        health_code=pl.lit("绿码"),
    )
