"""What the tables of base keep of people: jobs, loads, files, the logs, saved lists (SEC-17)."""

from urllib.parse import parse_qsl

import pghistory.models
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db.models import Q

from jingwei.base.attachments import Attachment, StrayObject
from jingwei.base.fields import reveal
from jingwei.base.models import (
    Alarm,
    AlarmWatch,
    Code,
    ColumnMapping,
    ErrorEntry,
    Job,
    KeyRotation,
    ListSetting,
    Load,
    LoadChunk,
    LoadFindings,
    LoadRow,
    LogDrop,
    LogEntry,
    LogKey,
    LogPeople,
    LogSeal,
    ParameterValue,
    StoredFile,
)
from jingwei.base.parameters import Parameter
from jingwei.base.personal import Columns, Gone, Held, Kept, Stays
from jingwei.base.undoing import UNDO_DAYS
from jingwei.desk import files, jobs
from jingwei.desk.addresses import opened

LOAD_DAYS = Parameter(
    "loads.keep_days",
    "导入记录保存天数",
    730,
    "导入记录及其错误行说明多少天后删除；已导入的数据不受影响",
    "天",
    low=90,
    high=3650,
)
ERROR_DAYS = Parameter(
    "errors.keep_days", "错误日志保存天数", 180, "程序错误的记录多少天后删除", "天", low=30, high=3650
)
PARAMETERS = [LOAD_DAYS, ERROR_DAYS]

BASIS = "《网络安全法》第二十一条：日志留存"
WORK = "岗位职责"

COLUMNS = [
    Columns(
        LogEntry,
        purpose="追查谁对哪条数据做过什么",
        basis=BASIS,
        keep="不少于 180 天",
        names=["operator", "actor", "login", "address", "device", "label", "detail", "reason"],
        plain=[
            *("at", "organisation", "region", "act", "resource", "object_id", "result", "request_id"),
            *("digest", "transaction"),
        ],
    ),
    Columns(
        LogPeople,
        purpose="答复本人：谁看过我的信息",
        basis=BASIS,
        keep="与所属的日志相同",
        names=["first", "last", "people"],
        plain=["entry"],
        label="日志涉及的人员",
        headings={"first": "最小人员编号", "last": "最大人员编号", "people": "人员编号"},
    ),
    Columns(
        Alarm,
        purpose="提醒审计管理员核查异常操作",
        basis=BASIS,
        keep="长期",
        names=["subject", "said", "handled_by", "note"],
        plain=["kind", "number", "first_at", "last_at", "handled_at"],
    ),
    Columns(
        KeyRotation,
        purpose="密钥由谁轮换",
        basis="密码应用管理",
        keep="长期",
        names=["started_by"],
        plain=["old_key", "new_key", "started_at", "ended_at", "moved", "reached"],
    ),
    Columns(
        Job,
        purpose="向操作员说明后台任务的进展和结果",
        basis=WORK,
        keep="任务结束后按系统参数",
        names=["label", "message", "result", "owner", "appointment"],
        plain=[
            *("kind", "arguments", "state", "done", "total", "cancel_asked"),
            *("started_at", "ended_at"),
        ],
    ),
    Columns(
        Load,
        purpose="说明一次导入的来源和结果",
        basis=WORK,
        keep="按系统参数",
        names=["file_name", "preview", "counts", "owner"],
        plain=[
            *("sheet", "resource", "digest", "mode", "bad", "mapping", "worksheet", "today", "state"),
            *("undone", "organisation"),
        ],
    ),
    Columns(
        LoadFindings,
        purpose="说明哪些行为什么没有导入",
        basis=WORK,
        keep="与所属的导入记录一同删除",
        names=["said"],
        plain=["kind", "number", "count"],
        label="导入的错误行",
        headings={"said": "说明"},
    ),
    Columns(
        LoadRow,
        purpose="撤销导入",
        basis=WORK,
        keep="可以撤销的期间",
        names=["before"],
        plain=["row", "sheet_row", "outcome"],
        label="导入改动的行",
    ),
    Columns(
        ListSetting,
        purpose="记住操作员的查询和列",
        basis=WORK,
        keep="账号存续期间",
        names=["operator", "value"],
        plain=["resource", "name"],
        label="操作员的列表设置",
        headings={"operator": "操作员编号", "value": "列和查询"},
    ),
    Columns(
        StoredFile,
        purpose="交付导出的文件、读取上传的表格",
        basis=WORK,
        keep="按系统参数，到期删除；文件内容加密存放",
        names=["name", "owner"],
        plain=["size", "expires_at"],
    ),
    Columns(
        Attachment,
        purpose="办理业务的佐证",
        basis="履行法定职责",
        keep="与所属的记录一同删除",
        names=["link", "added_by", "added_by_name"],
        plain=[
            *("kind", "extension", "media_type", "size", "width", "height", "scanned_at"),
            "added_at",
        ],
    ),
    Columns(
        pghistory.models.Context,
        purpose="历史记录中说明由谁修改",
        basis=BASIS,
        keep="与所属的历史记录相同",
        names=["metadata"],
        label="历史记录的办理人",
        headings={"metadata": "办理人"},
    ),
]

NOBODYS = [
    *(LogKey, LogSeal, LogDrop, AlarmWatch, StrayObject),
    Code,
    ParameterValue,
    ErrorEntry,
    LoadChunk,
    ColumnMapping,
    Group,
    Permission,
    ContentType,
]


def remove_files(rows) -> Gone:
    """Delete stored files, their content too."""
    found = list(rows)
    for stored in found:
        files.remove(stored)
    return Gone(len(found), (str(stored.pk) for stored in found))


KEPT = [
    Kept("drafts", "未确认的导入", Load, condition=Q(state=Load.DRAFT, file=None)),
    Kept(
        "load-rows",
        "撤销导入用的旧值",
        LoadRow,
        "load__created_at",
        UNDO_DAYS,
        condition=~Q(load__state=Load.UNDOING),
    ),
    Kept("loads", "导入记录", Load, "created_at", LOAD_DAYS),
    Kept("jobs", "后台任务记录", Job, "ended_at", jobs.KEEP_DAYS),
    Kept("errors", "错误日志", ErrorEntry, "at", ERROR_DAYS),
]


# --- one person -------------------------------------------------------------------------------------------


def _jobs_that_tell(identity):
    """Jobs that were asked for by, or tell of, the person: what is sealed in them is opened and read."""
    found = list(Job.objects.filter(Q(query__isnull=False) | ~Q(result={})).only("query", "result"))
    reveal(job.query for job in found)
    told = [job.pk for job in found if _tells(job, identity)]
    return Job.objects.filter(pk__in=told)


def _tells(job, identity):
    asked, refused = job.query and job.query.clear(), job.result.get("refused", ())
    # What was asked stands as in an address; its texts are sealed once more.
    return bool(asked and _asked(asked, identity)) or any(row[0] in identity.names for row in refused)


def _asked(query, identity):
    for _, text in parse_qsl(query):
        try:
            text = opened(text)
        except ValueError:  # altered, or of a key that is gone: it opens for nobody
            continue
        if identity.mentioned_in(text):
            return True
    return identity.mentioned_in(query)


def _forget_what_jobs_tell(rows, identity):
    keys = list(rows.values_list("pk", flat=True))
    Job.objects.filter(pk__in=keys).update(query=None, result={})
    return Gone(len(keys), map(str, keys))


def _queries_for(identity):
    kept = ListSetting.objects.exclude(name="")
    return ListSetting.objects.filter(
        pk__in=[one.pk for one in kept if _asked(one.value.get("query", ""), identity)]
    )


def _rows_of_loads(identity):
    found = Q(pk__in=[])
    for resource, keys in identity.records.items():
        found |= Q(load__resource=resource, row__in=keys)
    return LoadRow.objects.filter(found)


HELD = [
    Held(Job, _jobs_that_tell, forget=_forget_what_jobs_tell, label="后台任务中的查询条件和结果"),
    Held(ListSetting, _queries_for, label="操作员保存的查询"),
    Held(LoadRow, _rows_of_loads, label="撤销导入用的旧值"),
    # Each may bring the person back.
    Held(Load, lambda identity: Load.objects.filter(state=Load.DRAFT), label="未确认的导入"),
    Held(
        StoredFile,
        lambda identity: StoredFile.objects.filter(created_at__lte=identity.at),
        forget=lambda rows, identity: remove_files(rows),
        label="上传和导出的文件（不能改写，全部删除，可重新导出）",
    ),
]
STAYS = [
    Stays(
        LogEntry,
        "《网络安全法》第二十一条规定留存不少于六个月，且不得修改；其中证件号、电话、住址均已打星号",
        rows=lambda identity: LogEntry.objects.filter(_log_of(identity)),
    ),
]


def _log_of(identity):
    found = Q(pk__in=[])
    for resource, keys in identity.records.items():
        found |= Q(resource=resource, object_id__in=[str(key) for key in keys])
    return found
