"""Regions, organisations, departments, posts, and the OA they may come from (P-1.1 to P-1.3, KP-8.3)."""

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from jingwei.base.access import Rows, Scope
from jingwei.base.codes import CodeField
from jingwei.base.fields import SealedField
from jingwei.base.models import Record
from jingwei.kit import regions


class Region(Record):
    """A node of the national tree; its code is the prefix of everything inside it (GB/T 2260)."""

    code = models.CharField("代码", max_length=15, primary_key=True, db_collation="C")
    name = models.CharField("名称", max_length=60)
    # Follows from the code.
    parent = models.ForeignKey(
        "self", models.PROTECT, null=True, editable=False, verbose_name="上级", related_name="children"
    )
    enabled = models.BooleanField("启用", default=True)
    # Degrees of WGS-84; boundary is a GeoJSON geometry (P-1.1).
    longitude = models.FloatField(
        "经度", null=True, blank=True, validators=[MinValueValidator(-180), MaxValueValidator(180)]
    )
    latitude = models.FloatField(
        "纬度", null=True, blank=True, validators=[MinValueValidator(-90), MaxValueValidator(90)]
    )
    boundary = models.JSONField("边界", null=True, blank=True)

    scope = Scope(region="code", known=True)
    internal = ("version", "created_at", "created_by", "updated_at", "boundary")

    class Meta:
        verbose_name = "行政区划"
        ordering = ["code"]

    def __str__(self):
        return self.name

    @property
    def level(self) -> str:
        """省, 市, 区县, 街道乡镇, 社区村 or 网格, by the length of the code."""
        return regions.level_of(self.code)

    def clean(self):
        try:
            regions.level_of(self.code)
        except ValueError as error:
            raise ValidationError({"code": str(error)}) from error
        self.parent_id = regions.parent_of(self.code)
        if self.parent_id and not Region.objects.filter(code=self.parent_id).exists():
            raise ValidationError({"code": f"没有代码为 {self.parent_id} 的上级区划，请先登记上级"})
        if (self.longitude is None) != (self.latitude is None):
            raise ValidationError("经度和纬度应同时填写或同时留空")


class RegionChange(models.Model):
    """A region moved or merged: which code became which, so that history stays readable (P-1.1)."""

    old = models.CharField("原代码", max_length=15, db_collation="C")
    old_name = models.CharField("原名称", max_length=60)
    new = models.ForeignKey(Region, models.PROTECT, verbose_name="现区划")
    at = models.DateTimeField("时间", default=timezone.now)
    by = models.BigIntegerField("操作员", null=True)
    reason = models.CharField("事由", max_length=200, blank=True)

    objects = Rows.as_manager()
    scope = Scope(region=("old", "new__code"))

    class Meta:
        verbose_name = "区划变更"


def one_per_external_id(kind, refusal):
    """The row of one id of the OA is one (KP-8.3)."""
    return models.UniqueConstraint(
        fields=["external_id"],
        condition=~Q(external_id=""),
        name=f"one_{kind}_per_external_id",
        violation_error_message=refusal,
    )


class Organisation(Record):
    """A body with people and a region. Disabling it stops its operators and deletes nothing (P-1.2)."""

    name = models.CharField("名称", max_length=120)
    short_name = models.CharField("简称", max_length=60, blank=True)
    parent = models.ForeignKey(
        "self", models.PROTECT, null=True, blank=True, verbose_name="上级", related_name="children"
    )
    # Ids of the ancestors and its own, each followed by a slash: "below" is "has the prefix".
    path = models.CharField(
        "树路径", max_length=200, db_collation="C", blank=True, editable=False, db_index=True
    )
    region = models.ForeignKey(Region, models.PROTECT, verbose_name="行政区划")
    nature = CodeField("性质", kind="单位性质", blank=True)
    kind = CodeField("类别", kind="单位类别", blank=True)
    civility = CodeField("文明级别", kind="文明级别", blank=True)
    term = CodeField("届别", kind="届别", blank=True)
    external_id = models.CharField("外部编号", max_length=60, blank=True)
    enabled = models.BooleanField("启用", default=True)

    scope = Scope(region="region__code", organisation="path", known=True)
    internal = (*Record.internal, "path")

    class Meta:
        verbose_name = "组织机构"
        ordering = ["path"]
        constraints = [
            models.UniqueConstraint(
                fields=["parent", "name"],
                name="one_organisation_name_per_parent",
                nulls_distinct=False,
                violation_error_message="同一上级下已有同名单位",
            ),
            one_per_external_id("organisation", "另一个单位已用这个外部编号"),
        ]

    def __str__(self):
        return self.name

    def own_path(self) -> str:
        """The tree path as it follows from the parent."""
        return f"{self.parent.path if self.parent else ''}{self.pk:06d}/"

    def save(self, *args, **kwargs):
        super().save(*args, **kwargs)
        path = self.own_path()
        if path != self.path:
            old, self.path = self.path, path
            type(self).objects.filter(pk=self.pk).update(path=path)
            if old:
                below = type(self).objects.filter(path__startswith=old).exclude(pk=self.pk)
                for child in below:
                    type(self).objects.filter(pk=child.pk).update(path=path + child.path[len(old) :])

    def clean(self):
        if self.parent and self.path and self.parent.path.startswith(self.path):
            raise ValidationError({"parent": "上级不能是本单位或其下级"})


class Department(Record):
    """A part of an organisation (P-1.3)."""

    organisation = models.ForeignKey(Organisation, models.PROTECT, verbose_name="单位")
    name = models.CharField("部门名称", max_length=60)
    order = models.PositiveIntegerField("顺序", default=0)

    scope = Scope(region="organisation__region__code", organisation="organisation__path", known=True)

    class Meta:
        verbose_name = "部门"
        ordering = ["organisation__path", "order", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["organisation", "name"],
                name="one_department_name_per_organisation",
                violation_error_message="该单位已有同名部门",
            )
        ]

    def __str__(self):
        return self.name


class Post(Record):
    """A post (职务) in a department (P-1.3)."""

    department = models.ForeignKey(Department, models.PROTECT, verbose_name="部门")
    name = models.CharField("职务名称", max_length=60)
    order = models.PositiveIntegerField("顺序", default=0)

    scope = Scope(
        region="department__organisation__region__code",
        organisation="department__organisation__path",
        known=True,
    )

    class Meta:
        verbose_name = "职务"
        ordering = ["department__organisation__path", "department__order", "order", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["department", "name"],
                name="one_post_name_per_department",
                violation_error_message="该部门已有同名职务",
            )
        ]

    def __str__(self):
        return self.name


class OaSource(Record):
    """Where organisations and people come from (KP-8.3): one row, and how its last synchronisation went."""

    address = models.CharField("接口地址", max_length=200, blank=True)
    account = models.CharField("账号", max_length=80, blank=True)
    secret = SealedField(
        "密钥", kind="text", blank=True, purpose="访问 OA 接口", basis="系统对接", keep="对接期间"
    )
    root = models.ForeignKey(
        Organisation, models.PROTECT, null=True, verbose_name="挂接单位", related_name="+"
    )
    enabled = models.BooleanField("启用同步", default=False)
    answered_at = models.DateTimeField(null=True, editable=False)  # by the clock of the OA
    report = models.JSONField(default=dict, blank=True, editable=False)

    scope = Scope(shared=True)
    internal = (*Record.internal, "secret", "answered_at", "report")

    class Meta:
        verbose_name = "OA 同步设置"
        constraints = [models.CheckConstraint(condition=Q(id=1), name="one_oa")]

    def __str__(self):
        return self.address
