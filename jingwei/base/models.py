"""Tables every package stands on: records, the log, dictionaries, parameters, files, jobs, loads."""

import uuid

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.utils import timezone

from jingwei.base.access import Rows, Scope
from jingwei.base.fields import SealedField
from jingwei.base.wall import beyond_scope


class Record(models.Model):
    """A row that people work on: scoped, versioned against silent overwriting (P-5.2)."""

    version = models.PositiveIntegerField("版本", default=1, editable=False)
    created_at = models.DateTimeField("录入时间", default=timezone.now, editable=False)
    # Ids of operators, no foreign keys: base knows no directory, and a record outlives the account.
    created_by = models.BigIntegerField("录入人", null=True, editable=False)
    updated_at = models.DateTimeField("更新时间", default=timezone.now, editable=False)

    objects = Rows.as_manager()
    scope = Scope()
    internal = ("id", "version", "created_at", "created_by", "updated_at")

    class Meta:
        abstract = True

    @beyond_scope()  # what has to be unique is so over all units
    def full_clean(self, *args, **kwargs):
        super().full_clean(*args, **kwargs)


class TransactionNumber(models.Func):
    """The number of the transaction that writes a row."""

    template = "pg_current_xact_id()::text::bigint"
    output_field = models.BigIntegerField()


class LogEntry(models.Model):
    """One line of the operation log (P-3.1). Only ever inserted; a database trigger refuses the rest."""

    at = models.DateTimeField("时间", default=timezone.now)
    operator = models.BigIntegerField("操作员编号", null=True)
    actor = models.CharField("操作员", max_length=80)
    login = models.CharField("登录名", max_length=80, blank=True)
    organisation = models.CharField("单位", max_length=120, blank=True)
    region = models.CharField("行政区划", max_length=15, blank=True, db_collation="C")
    address = models.CharField("地址", max_length=45, blank=True)
    device = models.CharField("设备", max_length=200, blank=True)
    act = models.CharField("操作", max_length=40)
    resource = models.CharField("对象类别", max_length=60, blank=True)
    object_id = models.CharField("对象编号", max_length=255, blank=True)  # a key of three parts is long
    label = models.CharField("对象", max_length=200, blank=True)
    detail = models.JSONField("内容", default=dict)
    result = models.CharField(
        "结果", max_length=10, default="成功", choices=[(r, r) for r in ("成功", "拒绝", "失败")]
    )
    reason = models.CharField("事由", max_length=500, blank=True)
    request_id = models.CharField("请求号", max_length=36, blank=True)
    digest = models.BinaryField(null=True, editable=False)  # see `chain`; null where written before it
    transaction = models.BigIntegerField(db_default=TransactionNumber(), editable=False)

    objects = Rows.as_manager()
    scope = Scope(region="region", owner="operator")
    internal = ("id", "operator", "region", "digest", "transaction")
    append_only = True

    class Meta:
        verbose_name = "操作日志"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["resource", "object_id", "-id"], name="log_of_object"),
            models.Index(fields=["operator", "-id"], name="log_of_operator"),
            models.Index(fields=["-at"], name="log_by_time"),
            BrinIndex(fields=["transaction"], name="log_to_seal", autosummarize=True),
        ]

    def __str__(self):
        return f"{timezone.localtime(self.at):%Y-%m-%d %H:%M:%S} {self.actor} {self.act} {self.label}"


class LogKey(models.Model):
    """The one key of the log's digests, sealed under the key ring. A migration makes it."""

    key = SealedField("日志密钥", kind="text", purpose="校验操作日志", basis="等保三级安全审计", keep="长期")

    class Meta:
        verbose_name = "日志密钥"

    def __str__(self):
        return "日志密钥"


class LogSeal(models.Model):
    """A link of the log's chain: rows with their digests, bound to the seal before; see `chain`.

    Only ever inserted, like the rows it seals.
    """

    number = models.BigIntegerField("封存号", primary_key=True)
    at = models.DateTimeField("时间", db_index=True)
    era = models.BigIntegerField()  # the database cluster's own number
    floor = models.BigIntegerField()
    watermark = models.BigIntegerField()
    entries = ArrayField(models.BigIntegerField())
    digests = models.BinaryField()
    digest = models.BinaryField()

    append_only = True

    class Meta:
        verbose_name = "日志封存"
        ordering = ["number"]

    def __str__(self):
        return f"第 {self.number} 号封存"


class LogDrop(models.Model):
    """The rows of all seals up to one went because they were old; see `chain`. Only ever inserted."""

    upto = models.BigIntegerField()
    at = models.DateTimeField()
    digest = models.BinaryField()

    append_only = True

    class Meta:
        ordering = ["upto"]


class LogPeople(models.Model):
    """Whom an entry of the log is about, where its object does not say so (P-3.4): keys, `audit.marks`.

    Only ever inserted: an export of many has several of these, each with some thousand keys in order. The
    entry has a digest of them all.
    """

    entry = models.BigIntegerField()  # of LogEntry
    first = models.BigIntegerField()
    last = models.BigIntegerField()
    people = ArrayField(models.BigIntegerField())

    append_only = True

    class Meta:
        indexes = [
            models.Index(fields=["first", "last"], name="log_about_person"),
            models.Index(fields=["entry"], name="log_people_of_entry"),
        ]


class Alarm(models.Model):
    """Something in the operation log that the audit administrator should look into (SEC-19)."""

    kind = models.CharField("类别", max_length=20)
    subject = models.CharField("对象", max_length=120)  # a login, an address, an act
    said = models.CharField("说明", max_length=300)
    number = models.PositiveIntegerField("次数")
    first_at = models.DateTimeField("开始时间")
    last_at = models.DateTimeField("最近时间")
    handled_at = models.DateTimeField("处理时间", null=True, editable=False)
    handled_by = models.CharField("处理人", max_length=80, blank=True, editable=False)
    note = models.CharField("处理意见", max_length=200, blank=True, editable=False)

    objects = Rows.as_manager()
    scope = Scope(shared=True)
    internal = ("id",)

    class Meta:
        verbose_name = "安全告警"
        ordering = ["-last_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "subject"],
                condition=models.Q(handled_at=None),
                name="one_open_alarm_per_reason",
            )
        ]

    def __str__(self):
        return f"{self.kind}：{self.subject}"


class AlarmWatch(models.Model):
    """How far the log has been looked through for alarms: up to this seal. One row."""

    seal = models.BigIntegerField(default=0)


class KeyRotation(models.Model):
    """A rotation of the keys that seal values: from an old key to a new one (P-4.4); see `rotation`."""

    old_key = models.CharField("旧密钥", max_length=4)
    new_key = models.CharField("新密钥", max_length=4)
    started_by = models.CharField("发起人", max_length=80)
    started_at = models.DateTimeField("开始时间", default=timezone.now)
    ended_at = models.DateTimeField("完成时间", null=True)
    moved = models.BigIntegerField("已转换", default=0)  # values
    # {name of a searchable column: the last value moved, hex, without its head}: `fields.seal` goes by it.
    reached = models.JSONField(default=dict)

    class Meta:
        verbose_name = "密钥轮换"
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["new_key"], condition=models.Q(ended_at=None), name="one_rotation_to_a_key"
            )
        ]

    def __str__(self):
        return f"{self.old_key} → {self.new_key}"


class ErrorEntry(models.Model):
    """An unhandled error, found by the number its user saw (P-3.3). Holds no values, only places."""

    at = models.DateTimeField("时间", default=timezone.now, db_index=True)
    reference = models.CharField("编号", max_length=36, db_index=True)
    place = models.CharField("发生处", max_length=200, blank=True)  # method and path, or the job
    kind = models.CharField("异常", max_length=120)
    trace = models.TextField("调用栈")

    objects = Rows.as_manager()
    scope = Scope(shared=True)
    internal = ("id",)

    class Meta:
        verbose_name = "错误日志"
        ordering = ["-id"]

    def __str__(self):
        return self.reference


class Code(Record):
    """A word of a dictionary (公共代码, P-6.1). Disabled instead of deleted once used."""

    kind = models.CharField("字典", max_length=40)
    value = models.CharField("代码", max_length=20)
    label = models.CharField("名称", max_length=60)
    synonyms = ArrayField(models.CharField(max_length=60), verbose_name="同义词", default=list, blank=True)
    order = models.PositiveIntegerField("顺序", default=0)
    enabled = models.BooleanField("启用", default=True)
    # A second property some dictionaries carry, e.g. 从业情况: often crosses provinces (CL-4.3).
    flag = models.BooleanField("特别标记", default=False)
    note = models.CharField("说明", max_length=200, blank=True)

    scope = Scope(shared=True)

    class Meta:
        verbose_name = "公共代码"
        ordering = ["kind", "order", "value"]
        constraints = [
            models.UniqueConstraint(fields=["kind", "value"], name="one_value_per_dictionary"),
            models.UniqueConstraint(fields=["kind", "label"], name="one_label_per_dictionary"),
        ]

    def __str__(self):
        return self.label


class ParameterValue(Record):
    """A system parameter an administrator has set; the declaration holds its default (P-6.2)."""

    name = models.CharField("参数", max_length=60, unique=True)
    value = models.CharField("值", max_length=200)

    scope = Scope(shared=True)

    class Meta:
        verbose_name = "系统参数"

    def __str__(self):
        return self.name


class StoredFile(models.Model):
    """An operator's upload, export or error workbook. Served only to its owner, expires (P-5.4)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField("文件名", max_length=200)
    size = models.BigIntegerField("大小", default=0)
    owner = models.BigIntegerField("操作员")
    created_at = models.DateTimeField("时间", default=timezone.now)
    expires_at = models.DateTimeField("有效期至")

    objects = Rows.as_manager()
    scope = Scope(owner="owner")

    class Meta:
        verbose_name = "文件"

    def __str__(self):
        return self.name


class Job(models.Model):
    """Something long that runs in the background, as its operator sees it (P-6.3)."""

    WAITING, RUNNING, DONE, FAILED, CANCELLED = "等待", "运行", "完成", "失败", "已取消"

    kind = models.CharField("类别", max_length=40)  # the task's name
    label = models.CharField("名称", max_length=200)
    arguments = models.JSONField("参数", default=dict)
    # What was searched for may be a telephone number.
    query = SealedField(
        "查询条件",
        kind="text",
        blank=True,
        purpose="按条件导出",
        basis="操作员的导出操作",
        keep="任务记录保存期间",
    )
    state = models.CharField("状态", max_length=10, default=WAITING)
    done = models.BigIntegerField("已处理", default=0)
    total = models.BigIntegerField("总数", default=0)
    message = models.CharField("说明", max_length=500, blank=True)
    result = models.JSONField("结果", default=dict)
    file = models.ForeignKey(StoredFile, models.SET_NULL, null=True, verbose_name="结果文件")
    cancel_asked = models.BooleanField("要求取消", default=False)
    owner = models.BigIntegerField("操作员", null=True)
    appointment = models.BigIntegerField("任职", null=True)
    created_at = models.DateTimeField("提交时间", default=timezone.now)
    started_at = models.DateTimeField("开始时间", null=True)
    ended_at = models.DateTimeField("结束时间", null=True)

    objects = Rows.as_manager()
    scope = Scope(owner="owner")
    internal = ("id", "kind", "arguments", "query", "result", "file", "cancel_asked", "owner", "appointment")

    class Meta:
        verbose_name = "后台任务"
        ordering = ["-id"]
        indexes = [models.Index(fields=["owner", "-id"], name="jobs_of_operator")]

    def __str__(self):
        return self.label

    @property
    def is_over(self) -> bool:
        return self.state in (self.DONE, self.FAILED, self.CANCELLED)


class Load(models.Model):
    """One import of one file: what was asked, what came of it, what undoing needs (P-5.3)."""

    DRAFT, RUNNING, DONE, FAILED = "待确认", "运行", "完成", "失败"
    CANCELLED, UNDOING, UNDONE = "已取消", "撤销中", "已撤销"

    sheet = models.CharField("表样", max_length=40)
    resource = models.CharField("数据", max_length=40)
    file_name = models.CharField("文件名", max_length=200)
    digest = models.CharField("文件摘要", max_length=64)
    mode = models.CharField("方式", max_length=10, default="both")
    bad = models.CharField("错误行", max_length=10, default="skip")
    mapping = models.JSONField("列对应", default=dict)
    worksheet = models.CharField("工作表", max_length=60, blank=True)  # chosen, else the one that fits best
    today = models.DateField("数据日期")
    job = models.ForeignKey(Job, models.SET_NULL, null=True, verbose_name="后台任务")
    state = models.CharField("状态", max_length=10, default=RUNNING)
    # The upload of a load made on the pages, and what a trial run over it says before the operator confirms.
    file = models.ForeignKey(
        StoredFile, models.SET_NULL, null=True, related_name="+", verbose_name="上传文件"
    )
    sample = SealedField(
        "样例", kind="text", blank=True, purpose="核对列对应", basis="操作员的导入操作", keep="确认导入之前"
    )
    preview = models.JSONField("预览", default=dict)
    counts = models.JSONField("结果", default=dict)  # the JSON of `jingwei import --json` but its messages
    undone = models.JSONField("撤销", default=dict)  # rows deleted, restored, left, and in all
    error_file = models.ForeignKey(
        StoredFile, models.SET_NULL, null=True, related_name="+", verbose_name="错误清单"
    )
    owner = models.BigIntegerField("操作员", null=True)
    organisation = models.BigIntegerField("单位", null=True)
    created_at = models.DateTimeField("时间", default=timezone.now)

    objects = Rows.as_manager()
    scope = Scope(owner="owner")
    internal = (
        *("id", "resource", "digest", "mapping", "sample", "preview", "counts", "undone", "job", "file"),
        *("error_file", "owner", "organisation"),
    )

    class Meta:
        verbose_name = "导入记录"
        ordering = ["-id"]

    def __str__(self):
        return f"{self.file_name}（{self.created_at:%Y-%m-%d %H:%M}）"


class LoadChunk(models.Model):
    """A finished chunk of a load, written in its transaction: a killed load continues behind it."""

    load = models.ForeignKey(Load, models.CASCADE, related_name="chunks")
    number = models.PositiveIntegerField()
    counts = models.JSONField(default=dict)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["load", "number"], name="each_chunk_once")]


class LoadFindings(models.Model):
    """Some thousand refusals or warnings of a load, each as [row, column, reason]; see `findings`."""

    load = models.ForeignKey(Load, models.CASCADE, related_name="findings")
    kind = models.CharField(max_length=10)
    number = models.PositiveIntegerField()
    count = models.PositiveIntegerField()
    said = models.JSONField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["load", "kind", "number"], name="each_findings_once")]


class LoadRow(models.Model):
    """What a load did to one row: enough to link the result to the rows and to undo it.

    Once it is undone only the rows that were left remain, each with the reason as its outcome.
    """

    id = models.BigAutoField(primary_key=True)
    # No constraint: a million checks of it cost seconds.
    load = models.ForeignKey(Load, models.CASCADE, related_name="rows", db_index=False, db_constraint=False)
    row = models.BigIntegerField("记录编号")
    sheet_row = models.IntegerField("行号")
    outcome = models.CharField("结果", max_length=60)  # 新增 修改
    version = models.PositiveIntegerField("之后的版本")
    before = models.JSONField("之前的值", null=True)  # stored form: personal columns stay ciphertext

    class Meta:
        indexes = [models.Index(fields=["load", "outcome"], name="rows_of_load")]


class ColumnMapping(models.Model):
    """How an organisation's headings were mapped last time, remembered (P-5.3)."""

    organisation = models.BigIntegerField()
    sheet = models.CharField(max_length=40)
    headings = models.CharField(max_length=64)  # digest of the heading row
    mapping = models.JSONField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organisation", "sheet", "headings"], name="one_mapping_per_headings"
            )
        ]


class ListSetting(models.Model):
    """Columns, page size or a saved query of one operator for one list (P-5.1)."""

    operator = models.BigIntegerField()
    resource = models.CharField(max_length=60)
    name = models.CharField(max_length=60, blank=True)  # empty: the columns and the page size
    value = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["operator", "resource", "name"], name="one_setting_per_name")
        ]
