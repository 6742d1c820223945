"""Public places: venues, the thresholds of their footfall, how many people came on each day (KP-1, KP-2)."""

import pghistory
import pgtrigger
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from jingwei.base.access import Scope
from jingwei.base.attachments import Attachment
from jingwei.base.codes import CodeField
from jingwei.base.fields import SealedField
from jingwei.base.models import Record
from jingwei.directory.models import Organisation, Region

CODE_LENGTH = 60


@pghistory.track(
    pghistory.UpdateEvent("changed", row=pghistory.Old, level=pghistory.Statement),
    pghistory.DeleteEvent("deleted", row=pghistory.Old, level=pghistory.Statement),
    obj_field=pghistory.ObjForeignKey(
        db_constraint=False, on_delete=models.DO_NOTHING, related_name="events"
    ),
)
class Venue(Record):
    """A public place with a code to scan (公共场所). Its regulator, if any, sees it; no other unit."""

    code = models.CharField("公共场所ID", max_length=CODE_LENGTH, unique=True)
    name = models.CharField("公共场所", max_length=120)
    kind = CodeField("类别", kind="场所类别", blank=True)
    city = models.CharField("所在市区", max_length=60, blank=True)
    street = models.CharField("所在街道", max_length=60, blank=True)
    # The township or street of that name; follows from `street`.
    region = models.ForeignKey(Region, models.SET_NULL, null=True, editable=False, verbose_name="所在辖区")
    manager = models.CharField("公共场所管理员", max_length=60, blank=True)
    position = models.CharField("所在位置", max_length=200, blank=True)
    # Degrees of WGS-84.
    longitude = models.FloatField(
        "经度", null=True, blank=True, validators=[MinValueValidator(-180), MaxValueValidator(180)]
    )
    latitude = models.FloatField(
        "纬度", null=True, blank=True, validators=[MinValueValidator(-90), MaxValueValidator(90)]
    )
    regulator = models.ForeignKey(
        Organisation, models.PROTECT, null=True, blank=True, verbose_name="监管单位", related_name="venues"
    )
    regulator_head = models.CharField("监管单位负责人", max_length=60, blank=True)
    regulator_phone = SealedField(
        "负责人手机号",
        kind="phone",
        searchable=True,
        blank=True,
        purpose="扫码预警短信通知监管单位负责人",
        basis="岗位职责",
        keep="场所监管期间",
    )
    # Of the threshold in force today; follow from `thresholds`.
    threshold_min = models.PositiveIntegerField("阈值最小值", null=True, blank=True)
    threshold_max = models.PositiveIntegerField("阈值最大值", null=True, blank=True)
    archived = models.BooleanField("已归档", default=False)

    scope = Scope(organisation="regulator__path")
    internal = (*Record.internal, "region")

    class Meta:
        verbose_name = "公共场所"
        ordering = ["code"]
        constraints = [
            models.CheckConstraint(
                condition=Q(longitude=None, latitude=None)
                | Q(longitude__isnull=False, latitude__isnull=False),
                name="venue_has_both_coordinates_or_none",
                violation_error_message="经度和纬度应同时填写或同时留空",
            )
        ]

    def __str__(self):
        return self.name


# What a statement has written to the days is summed into their months, and noted for who follows the days.
_FOLLOW = """
INSERT INTO places_venuemonth AS kept (venue_code, month, count)
SELECT venue_code, date_trunc('month', day)::date, sum(number) FROM ({changes}) AS changed
GROUP BY 1, 2 HAVING sum(number) <> 0 ORDER BY 1, 2
ON CONFLICT (venue_code, month) DO UPDATE SET count = kept.count + excluded.count;
INSERT INTO places_changedvenue (venue_code, first_day, last_day)
SELECT venue_code, min(day), max(day) FROM ({changes}) AS changed GROUP BY 1;
INSERT INTO places_changedday (day) SELECT DISTINCT day FROM ({changes}) AS changed ORDER BY 1
ON CONFLICT DO NOTHING;
RETURN NULL;
"""

# A threshold holds until the next one, whichever that may be by the time somebody looks.
_THRESHOLDS = """
INSERT INTO places_changedvenue (venue_code, first_day)
SELECT venue.code, min(from_day) FROM ({changes}) AS changed JOIN places_venue AS venue ON venue.id = venue_id
GROUP BY 1;
RETURN NULL;
"""


def _following(name, func, old, new):
    """Triggers that run `func` after each kind of statement; `old` and `new` select from what it changed."""
    kinds = [
        (pgtrigger.Insert, pgtrigger.Referencing(new="new_values"), [new]),
        (pgtrigger.Update, pgtrigger.Referencing(old="old_values", new="new_values"), [old, new]),
        (pgtrigger.Delete, pgtrigger.Referencing(old="old_values"), [old]),
    ]
    return [
        pgtrigger.Trigger(
            name=f"{name}_after_{str(operation).lower()}",
            level=pgtrigger.Statement,
            when=pgtrigger.After,
            operation=operation,
            referencing=referencing,
            func=func.format(changes=" UNION ALL ".join(changes)),
        )
        for operation, referencing, changes in kinds
    ]


class VenueThreshold(Record):
    """How many scans a venue should have each day from `from_day` on; an empty side is open (KP-2.1)."""

    venue = models.ForeignKey(Venue, models.CASCADE, verbose_name="公共场所ID", related_name="thresholds")
    low = models.PositiveIntegerField("最小值", null=True, blank=True)
    high = models.PositiveIntegerField("最大值", null=True, blank=True)
    from_day = models.DateField("生效日期", default=timezone.localdate)

    scope = Scope(organisation="venue__regulator__path")

    class Meta:
        verbose_name = "阈值"
        ordering = ["venue", "-from_day"]
        constraints = [
            models.UniqueConstraint(fields=["venue", "from_day"], name="one_threshold_per_venue_and_day"),
            models.CheckConstraint(
                condition=Q(low=None) | Q(high=None) | Q(low__lte=F("high")),
                name="threshold_low_is_not_above_high",
                violation_error_message="阈值最小值不能大于最大值",
            ),
        ]
        triggers = _following(
            "alerts",
            _THRESHOLDS,
            "SELECT venue_id, from_day FROM old_values",
            "SELECT venue_id, from_day FROM new_values",
        )

    def __str__(self):
        return f"{self.venue} {self.from_day}"


class VenueAttachment(Attachment):
    """What a venue looks like, what was put right there."""

    record = models.ForeignKey(Venue, models.CASCADE, verbose_name="公共场所", related_name="attachments")

    scope = Scope(organisation="record__regulator__path")

    class Meta(Attachment.Meta):
        verbose_name = "场所附件"


class VenueDay(models.Model):
    """How many scans a venue code has on a day of the platform's time zone (日扫码量); no row means none.

    Kept with the scans in one transaction. The code need not be a venue's: the province knows more of them.
    The database adds the days up to months (`VenueMonth`) and notes which have changed.
    """

    # The index of the key holds the count, too (migration 0003).
    pk = models.CompositePrimaryKey("venue_code", "day")
    venue_code = models.CharField("公共场所ID", max_length=CODE_LENGTH)
    day = models.DateField("日期")
    count = models.PositiveIntegerField("扫码量")

    class Meta:
        verbose_name = "日扫码量"
        triggers = _following(
            "months",
            _FOLLOW,
            "SELECT venue_code, day, -count AS number FROM old_values",
            "SELECT venue_code, day, count AS number FROM new_values",
        )


class VenueMonth(models.Model):
    """The sum of the days of the month that begins on `month` (月扫码量); triggers keep it (KP-P2)."""

    pk = models.CompositePrimaryKey("venue_code", "month")  # likewise
    venue_code = models.CharField("公共场所ID", max_length=CODE_LENGTH)
    month = models.DateField("月份")
    count = models.IntegerField("扫码量")

    class Meta:
        verbose_name = "月扫码量"


class ChangedVenue(models.Model):
    """Days of a venue whose counts or thresholds have changed; who has followed the change deletes it."""

    venue_code = models.CharField("公共场所ID", max_length=CODE_LENGTH)
    first_day = models.DateField("首日")
    last_day = models.DateField("末日", null=True)  # None: and all days after


class ChangedDay(models.Model):
    """A day on which some count has changed; the nightly recount deletes the row."""

    day = models.DateField("日期", primary_key=True)
