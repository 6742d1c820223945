"""The register of persons: one human being once (一人一档), with doses and moves."""

import pghistory
import pgtrigger
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from jingwei.base.access import Rows, Scope
from jingwei.base.attachments import Attachment
from jingwei.base.codes import CodeField
from jingwei.base.columns import RESIDENT_ID
from jingwei.base.fields import GramsField, SealedField, places
from jingwei.base.models import Record
from jingwei.directory.fields import RegionCodeField
from jingwei.directory.models import Region
from jingwei.people import day_counts

BASIS = "《传染病防治法》及属地疫情防控职责"
# What the filters of the list read that most people have.
FILTERED = (
    *("name", "sex", "resident", "tenant", "occupation", "group", "birth_date"),
    *("dose", "dose_on", "sampled_at", "sample_result", "created_at"),
)
# The latest of the person's own doses and samples, kept by the actions that store those (CL-3.3).
LATEST = ("dose", "dose_on", "dose_unit", "sampled_at", "sample_result", "sample_point")
# What the statistics read, by column of a person: what changes in it is noted for the tallies.
TALLIED = (
    *("region_id", "birth_date", "sex", "resident", "tenant", "occupation", "group"),
    *("dose", "dose_on", "sampled_at"),
)


def _note(operation, before="", after=""):
    """Trigger: note people as they were before and are after a statement, unless nothing counted changed."""
    columns = ", ".join(f'"{name}"' for name in TALLIED)
    counted = [f"SELECT {columns} FROM {name}" if name else None for name in (before, after)]  # noqa: S608
    lost, gained = counted if None in counted else [" EXCEPT ALL ".join(c) for c in (counted, counted[::-1])]
    notes = " UNION ALL ".join(
        f"SELECT pg_current_xact_id()::text::bigint, {sign}, {columns} FROM ({found}) people"  # noqa: S608
        for sign, found in ((-1, lost), (1, gained))
        if found
    )
    target = columns.replace("region_id", "region")
    return pgtrigger.Trigger(
        name=f"tally_{str(operation).lower()}",
        level=pgtrigger.Statement,
        when=pgtrigger.After,
        operation=operation,
        referencing=pgtrigger.Referencing(old=before or None, new=after or None),
        func=f"INSERT INTO people_tallychange (xact, sign, {target}) {notes}; RETURN NULL;",  # noqa: S608
    )


@pghistory.track(
    pghistory.UpdateEvent("changed", row=pghistory.Old, level=pghistory.Statement),
    pghistory.DeleteEvent("deleted", row=pghistory.Old, level=pghistory.Statement),
    # What follows from other tables or columns has no history of its own.
    exclude=["grams", "household", *LATEST],
    obj_field=pghistory.ObjForeignKey(
        db_constraint=False, on_delete=models.DO_NOTHING, related_name="events"
    ),
)
class Person(Record):
    """One resident (CL-3.1). Keyed by document type and number; region is the community or village."""

    # The index people_in_order begins with the region.
    region = models.ForeignKey(Region, models.PROTECT, verbose_name="村/社区", db_index=False)
    name = models.CharField("姓名", max_length=60)
    sex = CodeField("性别", kind="性别", max_length=1, blank=True)
    doc_type = CodeField("证件类型", kind="证件类型", max_length=3, default=RESIDENT_ID)
    number = SealedField(
        "证件号",
        kind="number",
        searchable=True,
        purpose="辨认人员、关联检测与接种",
        basis=BASIS,
        keep="在册期间",
    )
    resident = models.BooleanField("是否为常住人口", null=True, blank=True)
    registered_address = SealedField(
        "户籍地", kind="address", blank=True, purpose="核对户籍", basis=BASIS, keep="在册期间"
    )
    address = SealedField(
        "居住地", kind="address", blank=True, purpose="上门服务与管控", basis=BASIS, keep="在册期间"
    )
    # Deterministic digest of the tidied address: household members share it (CL-3.6).
    household = models.BigIntegerField("同住标识", null=True, editable=False)
    tenant = models.BooleanField("是否为租户", null=True, blank=True)
    occupation = models.CharField("单位（从业情况）", max_length=120, blank=True)
    group = CodeField("人群分类", kind="人群分类", blank=True)
    phone = SealedField(
        "联系电话",
        kind="phone",
        searchable=True,
        blank=True,
        purpose="联系本人",
        basis=BASIS,
        keep="在册期间",
    )
    birth_date = models.DateField("出生日期", null=True, blank=True)

    # LATEST
    dose = models.PositiveSmallIntegerField("接种针次", null=True, editable=False)
    dose_on = models.DateField("接种日期", null=True, editable=False)
    dose_unit = models.CharField("接种单位", max_length=120, blank=True, editable=False)
    sampled_at = models.DateTimeField("最后一次核酸检测时间", null=True, editable=False)
    sample_result = models.CharField("检测结果", max_length=10, blank=True, editable=False)
    sample_point = models.CharField("采样点名称", max_length=120, blank=True, editable=False)

    grams = GramsField(
        verbose_name="检索", within="region", null=True, editable=False
    )  # of name, address, registered address, occupation

    scope = Scope(region="region__code")
    internal = (*Record.internal, "household", "grams")

    class Meta:
        verbose_name = "人员"
        ordering = ["region_id", "id"]
        constraints = [
            models.UniqueConstraint(
                # The number first: people are looked up by it alone, too.
                fields=["number", "doc_type"],
                name="one_person_per_document",
                violation_error_message="该证件号已登记",
            )
        ]
        indexes = [
            # The order of the list, with what its filters read: whatever many people have is found along
            # it. What few have is found by the indexes below, most of them small or partial.
            models.Index(fields=["region", "id"], include=FILTERED, name="people_in_order"),
            models.Index(fields=["phone"], name="people_by_phone"),
            models.Index(fields=["household"], name="people_by_household"),
            models.Index(fields=["birth_date"], name="people_by_birth"),
            models.Index(fields=["created_at"], include=["region"], name="people_by_entry"),
            models.Index(fields=["occupation", "region"], name="people_by_occupation"),
            models.Index(fields=["group", "region"], name="people_by_group"),
            models.Index(
                fields=["doc_type", "region"],
                condition=~models.Q(doc_type=RESIDENT_ID),
                name="people_by_other_document",
            ),
            models.Index(
                fields=["region"], condition=models.Q(address__isnull=True), name="people_without_address"
            ),
            models.Index(
                fields=["region"], condition=models.Q(phone__isnull=True), name="people_without_phone"
            ),
            models.Index(fields=["dose", "dose_on"], name="people_by_dose"),
            models.Index(
                fields=["dose_unit", "region"], condition=~models.Q(dose_unit=""), name="people_by_dose_unit"
            ),
            models.Index(fields=["sampled_at"], name="people_by_sample"),
            models.Index(
                fields=["sample_result", "region"],
                condition=~models.Q(sample_result__in=["", "阴性"]),
                name="people_by_result",
            ),
            models.Index(
                fields=["sample_point", "region"],
                condition=~models.Q(sample_point=""),
                name="people_by_point",
            ),
            # With its pending list, or each new person costs 250 µs: six times the rest of the row.
            GinIndex(places("region"), "grams", name="people_grams"),
        ]
        triggers = [
            _note(pgtrigger.Insert, after="new_values"),
            _note(pgtrigger.Update, before="old_values", after="new_values"),
            _note(pgtrigger.Delete, before="old_values"),
            *day_counts.PEOPLE.triggers(),
            day_counts.MOVED_DOSES,
        ]

    def __str__(self):
        return self.name

    def age_on(self, day):
        """Completed years on `day`, None without a birth date (CL-3.2)."""
        born = self.birth_date
        return born and day.year - born.year - ((day.month, day.day) < (born.month, born.day))

    def clean(self):
        if self.region_id and len(self.region_id) < 12:
            raise ValidationError({"region": "请选择到村或社区"})


@pghistory.track(
    pghistory.UpdateEvent("changed", row=pghistory.Old, level=pghistory.Statement),
    pghistory.DeleteEvent("deleted", row=pghistory.Old, level=pghistory.Statement),
    obj_field=pghistory.ObjForeignKey(
        db_constraint=False, on_delete=models.DO_NOTHING, related_name="events"
    ),
)
class Dose(Record):
    """One vaccination of one person (CL-3.3). The same dose number again is the same dose."""

    # The constraint each_dose_once begins with the person.
    person = models.ForeignKey(
        Person, models.CASCADE, verbose_name="人员", related_name="doses", db_index=False
    )
    dose = models.PositiveSmallIntegerField(
        "接种针次", validators=[MinValueValidator(1), MaxValueValidator(9)]
    )
    vaccine = models.CharField("疫苗名称", max_length=60, blank=True)
    on = models.DateField("接种日期")
    unit = models.CharField("接种单位", max_length=120, blank=True)

    scope = Scope(region="person__region__code")

    class Meta:
        verbose_name = "疫苗接种"
        ordering = ["person", "dose"]
        constraints = [
            models.UniqueConstraint(
                fields=["person", "dose"],
                name="each_dose_once",
                violation_error_message="该人员这一针次已登记",
            )
        ]
        triggers = day_counts.DOSES.triggers()

    def __str__(self):
        return f"{self.person} 第{self.dose}针"

    def clean(self):
        if self.on and self.on > timezone.localdate():
            raise ValidationError({"on": "接种日期晚于今天"})


class Transfer(models.Model):
    """A person moved to another community; the old and the new one both see it (CL-3.7)."""

    person = models.ForeignKey(Person, models.CASCADE, verbose_name="人员", related_name="transfers")
    from_region = models.ForeignKey(Region, models.PROTECT, verbose_name="原村/社区", related_name="+")
    to_region = models.ForeignKey(Region, models.PROTECT, verbose_name="现村/社区", related_name="+")
    at = models.DateTimeField("时间", default=timezone.now)
    by = models.BigIntegerField("操作员编号", null=True)
    by_name = models.CharField("操作员", max_length=80, blank=True)
    reason = models.CharField("事由", max_length=200, blank=True)

    objects = Rows.as_manager()
    scope = Scope(region=("from_region__code", "to_region__code"))
    internal = ("id", "by")

    class Meta:
        verbose_name = "迁移记录"
        ordering = ["-id"]

    def __str__(self):
        return f"{self.person} {self.from_region}→{self.to_region}"


class PersonAlias(models.Model):
    """Another document of a person: the one a record that was merged into theirs stood under (P-5.7).

    Samples, doses and sheets with that number belong to the person; see `queries.numbers_of`.
    """

    person = models.ForeignKey(Person, models.CASCADE, verbose_name="人员", related_name="aliases")
    doc_type = CodeField("证件类型", kind="证件类型", max_length=3)
    number = SealedField(
        "证件号",
        kind="number",
        searchable=True,
        purpose="辨认以另一证件登记过的人员",
        basis=BASIS,
        keep="在册期间",
    )

    objects = Rows.as_manager()
    scope = Scope(region="person__region__code")
    internal = ("id",)

    class Meta:
        verbose_name = "其他证件"
        constraints = [models.UniqueConstraint(fields=["number", "doc_type"], name="one_alias_per_document")]

    def __str__(self):
        return f"{self.person} {self.number}"


class DuplicatePair(models.Model):
    """Two records that are likely one person, or that somebody has found not to be (P-5.7).

    A search for duplicates writes and takes back those that wait. No constraint ties the pair to its records:
    it never holds one up, and without both it is out of sight.
    """

    WAITING, DIFFERENT = "待核", "非同一人"

    first = models.ForeignKey(
        Person, models.CASCADE, verbose_name="记录一", related_name="+", db_constraint=False
    )
    second = models.ForeignKey(
        Person, models.CASCADE, verbose_name="记录二", related_name="+", db_constraint=False
    )
    score = models.PositiveSmallIntegerField("相似度")
    reasons = models.CharField("相似之处", max_length=200)
    state = models.CharField(
        "状态", max_length=10, default=WAITING, choices=[(s, s) for s in (WAITING, DIFFERENT)]
    )
    found_at = models.DateTimeField("发现时间", default=timezone.now)
    by = models.BigIntegerField("操作员编号", null=True)
    by_name = models.CharField("核对人", max_length=80, blank=True)
    decided_at = models.DateTimeField("核对时间", null=True)

    objects = Rows.as_manager()
    # Who sees one of two records of different territories must not learn of the other.
    scope = Scope(region=("first__region__code", "second__region__code"), every_region=True)
    internal = ("id", "by")

    class Meta:
        verbose_name = "疑似重复人员"
        ordering = ["-score", "id"]
        constraints = [
            models.UniqueConstraint(fields=["first", "second"], name="each_pair_once"),
            models.CheckConstraint(condition=models.Q(first__lt=models.F("second")), name="pair_in_order"),
        ]
        indexes = [models.Index(fields=["state", "-score", "id"], name="pairs_in_order")]

    def __str__(self):
        return "、".join(dict.fromkeys([str(self.first), str(self.second)]))


class Merge(models.Model):
    """One record was merged into another: what the list tells, and what undoing needs (P-5.7)."""

    DONE, UNDONE = "已合并", "已撤销"

    kept = models.ForeignKey(Person, models.CASCADE, verbose_name="保留的人员", related_name="merges")
    gone = models.BigIntegerField("并入的记录编号")
    gone_name = models.CharField("并入的姓名", max_length=60)
    gone_number = SealedField(
        "并入的证件号",
        kind="number",
        searchable=True,
        purpose="核对和撤销合并",
        basis=BASIS,
        keep="在册期间",
    )
    gone_region = models.ForeignKey(
        Region, models.PROTECT, verbose_name="并入记录的村/社区", related_name="+"
    )
    score = models.PositiveSmallIntegerField("相似度")
    reasons = models.CharField("相似之处", max_length=200)
    # Rows as the database tells them, personal columns as ciphertext; see `merges.merge`.
    record = models.JSONField("撤销所需的内容")
    state = models.CharField("状态", max_length=10, default=DONE, choices=[(s, s) for s in (DONE, UNDONE)])
    at = models.DateTimeField("合并时间", default=timezone.now)
    by = models.BigIntegerField("操作员编号", null=True)
    by_name = models.CharField("合并人", max_length=80, blank=True)
    undone_at = models.DateTimeField("撤销时间", null=True)
    undone_by = models.CharField("撤销人", max_length=80, blank=True)

    objects = Rows.as_manager()
    scope = Scope(region=("kept__region__code", "gone_region__code"), every_region=True)
    internal = ("id", "gone", "record", "by")

    class Meta:
        verbose_name = "合并记录"
        ordering = ["-id"]

    def __str__(self):
        return f"{self.gone_name}并入{self.kept}"


class Tally(models.Model):
    """One count of the whole register, for one day, as of a snapshot of the database (see `tallies`)."""

    key = models.CharField(max_length=64)  # digest of what was counted; of several, the latest holds
    day = models.DateField()
    snapshot = models.TextField()  # pg_snapshot

    class Meta:
        indexes = [models.Index(fields=["key", "-id"], name="tallies_by_key")]


class TallyCount(models.Model):
    """The people of one community in one group, counted in several ways."""

    tally = models.ForeignKey(Tally, models.CASCADE, db_index=False)
    # No region but the code as counted: where a region moves, its people do, and are noted as changes.
    region = models.CharField(max_length=15, db_collation="C")
    grouping = models.SmallIntegerField()  # which way of grouping, counted from 1; 0 is all people
    value = models.TextField(null=True)
    counts = ArrayField(models.BigIntegerField())

    scope = Scope(region="region")

    class Meta:
        indexes = [models.Index(fields=["tally", "region"], name="counts_of_tally")]


class TallyChange(models.Model):
    """A person as they were (sign -1) or became (1), noted by the triggers of Person in the same transaction.

    A tally that was counted before it, and only such a one, has to add it.
    """

    xact = models.BigIntegerField()  # xid8
    sign = models.SmallIntegerField()
    region = models.CharField(max_length=15, db_collation="C")
    birth_date = models.DateField(null=True)
    sex = models.CharField(max_length=1)
    resident = models.BooleanField(null=True)
    tenant = models.BooleanField(null=True)
    occupation = models.CharField(max_length=120)
    group = models.CharField(max_length=20)
    dose = models.SmallIntegerField(null=True)
    dose_on = models.DateField(null=True)
    sampled_at = models.DateTimeField(null=True)

    scope = Scope(region="region")


class DayCount(models.Model):
    """How many more rows of a kind a community has on a day; the sum is the count (see `day_counts`)."""

    kind = models.CharField(max_length=10)
    region = models.CharField(max_length=15, db_collation="C")
    day = models.DateField()
    number = models.BigIntegerField()

    scope = Scope(region="region")
    objects = Rows.as_manager()

    class Meta:
        indexes = [models.Index(fields=["kind", "day"], include=["region", "number"], name="counts_by_day")]


class Unregistered(Record):
    """Somebody of a sample or vaccination sheet who is in no register, once per uploading region (CL-6.5).

    Samples wait in their own table under the number, doses in `UnregisteredDose`, until somebody registers
    the person.
    """

    WAITING, REGISTERED, DISMISSED = "待处理", "已登记", "已忽略"

    number = SealedField(
        "证件号",
        kind="number",
        searchable=True,
        purpose="核对和登记检测、接种名单中未在册的人员",
        basis=BASIS,
        keep="登记或忽略后一年",
    )
    doc_type = CodeField("证件类型", kind="证件类型", max_length=3, blank=True)
    name = models.CharField("姓名", max_length=60, blank=True)
    phone = SealedField(
        "联系电话",
        kind="phone",
        searchable=True,
        blank=True,
        purpose="联系本人登记",
        basis=BASIS,
        keep="登记或忽略后一年",
    )
    source = models.CharField("来源", max_length=40)
    place = models.CharField("采样点或接种单位", max_length=120, blank=True)
    first_at = models.DateTimeField("最早检测或接种")
    last_at = models.DateTimeField("最近检测或接种")
    region = RegionCodeField("上报单位所在辖区", blank=True)
    organisation = models.CharField("上报单位", max_length=120, blank=True)
    state = models.CharField(
        "状态",
        max_length=10,
        default=WAITING,
        choices=[(s, s) for s in (WAITING, REGISTERED, DISMISSED)],
    )
    decided_by = models.CharField("处理人", max_length=80, blank=True)
    decided_at = models.DateTimeField("处理时间", null=True)
    reason = models.CharField("说明", max_length=200, blank=True)

    scope = Scope(region="region")

    class Meta:
        verbose_name = "未登记人员"
        ordering = ["-last_at", "-id"]
        constraints = [models.UniqueConstraint(fields=["number", "region"], name="each_unregistered_once")]
        indexes = [
            models.Index(fields=["region", "state", "-last_at"], name="unregistered_in_order"),
        ]

    def __str__(self):
        return self.name or str(self.number)


class UnregisteredDose(models.Model):
    """A dose of somebody in no register; it becomes a `Dose` with the person (CL-6.5)."""

    unregistered = models.ForeignKey(Unregistered, models.CASCADE, related_name="doses")
    dose = models.PositiveSmallIntegerField("接种针次")
    vaccine = models.CharField("疫苗名称", max_length=60, blank=True)
    on = models.DateField("接种日期")
    unit = models.CharField("接种单位", max_length=120, blank=True)
    load = models.BigIntegerField("导入编号", null=True, db_index=True)
    sheet_row = models.IntegerField("行号")

    objects = Rows.as_manager()
    scope = Scope(region="unregistered__region")

    class Meta:
        verbose_name = "未登记人员的接种"
        constraints = [
            models.UniqueConstraint(fields=["unregistered", "dose"], name="each_unregistered_dose_once")
        ]

    def __str__(self):
        return f"{self.unregistered} 第{self.dose}针"


class PersonAttachment(Attachment):
    """A document of a person, or a picture."""

    record = models.ForeignKey(Person, models.CASCADE, verbose_name="人员", related_name="attachments")

    scope = Scope(region="record__region__code")

    class Meta(Attachment.Meta):
        verbose_name = "人员附件"


class EmergencyAccess(models.Model):
    """A look at one person's record from beyond its territory, asked for in an emergency (P-1.9).

    What was asked for in vain is kept, too: it counts, and it is reviewed. The number is kept masked only.
    """

    JUSTIFIED, UNJUSTIFIED = "正当", "不当"

    person = models.ForeignKey(
        Person, models.SET_NULL, null=True, verbose_name="人员", related_name="emergency_accesses"
    )
    document = models.CharField("证件号", max_length=60)
    # Where the person was registered then, whose operators are told; none where nobody was found.
    region = models.ForeignKey(Region, models.PROTECT, null=True, verbose_name="村/社区", related_name="+")
    by = models.BigIntegerField("操作员编号")
    by_name = models.CharField("查看人", max_length=80)
    organisation = models.CharField("查看人单位", max_length=120, blank=True)
    reason = models.CharField("事由", max_length=200)
    at = models.DateTimeField("申请时间", default=timezone.now)
    until = models.DateTimeField("到期时间", null=True)  # or ended by hand before
    looks = models.PositiveIntegerField("查看次数", default=0)
    seen_by = models.CharField("知悉人", max_length=80, blank=True)
    seen_at = models.DateTimeField("知悉时间", null=True)
    verdict = models.CharField(
        "复核结论", max_length=10, blank=True, choices=[(v, v) for v in (JUSTIFIED, UNJUSTIFIED)]
    )
    opinion = models.CharField("复核意见", max_length=200, blank=True)
    reviewed_by = models.CharField("复核人", max_length=80, blank=True)
    reviewed_at = models.DateTimeField("复核时间", null=True)

    objects = Rows.as_manager()
    scope = Scope(region="region__code")
    internal = ("id", "by")

    class Meta:
        verbose_name = "紧急查看"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["by", "-at"], name="emergencies_by_operator"),
            models.Index(fields=["verdict", "at"], name="emergencies_by_verdict"),
        ]

    def __str__(self):
        return f"{self.by_name} {timezone.localtime(self.at):%Y-%m-%d %H:%M}"

    @property
    def is_open(self) -> bool:
        """Whether the record may still be looked at."""
        return self.person_id is not None and self.until > timezone.now()
