"""What the worker runs: the kinds of background jobs and the timetable (P-6.3).

procrastinate imports this module in the worker and, for the timetable, wherever Django runs.
"""

from collections.abc import Callable
from dataclasses import dataclass

from procrastinate.contrib.django import app

from jingwei.base.access import platform_actor
from jingwei.base.models import Job
from jingwei.base.wall import beyond_scope
from jingwei.desk import attachments, exports, files, imports, jobs, verbs
from jingwei.directory import actions, oa_actions


@dataclass(frozen=True)
class Kind:
    """A kind of job: its name in Chinese, and its work (actor, job, report); see `jobs.run`."""

    label: str
    work: Callable


def of_resource(work):
    """Work that gets the resource which the job's arguments name first."""

    def with_resource(actor, job, report):
        from jingwei import menu  # its pages import this module

        resource = menu.resource(job.arguments["resource"])
        with resource.standing():
            return work(resource, actor, job, report)

    return with_resource


KINDS = {
    "import-preview": Kind("导入预览", of_resource(imports.preview)),
    "import": Kind("导入", of_resource(imports.load_file)),
    "import-undo": Kind("撤销导入", of_resource(imports.undo_load)),
    "export": Kind("导出", of_resource(exports.export_file)),
    "bulk": Kind("批量办理", of_resource(verbs.bulk_job)),
}


@dataclass(frozen=True)
class Scheduled:
    """A job that the timetable starts. `cron` in UTC, which procrastinate's clock goes by.

    `due` says whether there is anything to do: a job without work is not started.
    """

    kind: str
    label: str
    cron: str
    due: Callable[[], bool] = lambda: True


TIMETABLE: list[Scheduled] = []


def schedule(kind, label, work, cron, due=Scheduled.due):
    """Have the timetable start jobs of this kind; the `tasks` of the packages add theirs.

    Their work is the platform's, whoever tells it to run now.
    """
    KINDS[kind] = Kind(label, beyond_scope()(work))
    TIMETABLE.append(Scheduled(kind, label, cron, due))
    app.periodic(cron=cron, periodic_id=kind, task_kwargs={"kind": kind})(run_scheduled)


@app.task(name=jobs.TASK, pass_context=True)
def run_job(context, *, job_id):
    """Run one job."""
    jobs.run({name: kind.work for name, kind in KINDS.items()}, job_id, stopping=context.should_abort)


@app.task(name="desk.run_scheduled")
@beyond_scope()
def run_scheduled(timestamp, *, kind):
    """Start a job of the timetable, unless the last one still runs."""
    scheduled = next(entry for entry in TIMETABLE if entry.kind == kind)
    waiting = Job.objects.filter(kind=kind, state__in=(Job.WAITING, Job.RUNNING)).exists()
    if not waiting and scheduled.due():
        jobs.start(platform_actor("定时任务"), kind, scheduled.label, {})


schedule("clean-files", "清理过期文件", files.clean_up, "10 * * * *")
schedule("clean-attachments", "清除附件残留", attachments.clean_up, "*/10 * * * *", attachments.any_strays)
schedule("scan-attachments", "附件查毒", attachments.scan_waiting, "*/5 * * * *", attachments.any_waiting)
schedule("clean-jobs", "清理任务队列", jobs.clean_up, "20 19 * * *")
schedule("close-unused", "停用长期未登录的账号", actions.close_unused, "30 17 * * *")
schedule("oa-sync", "同步 OA 组织和人员", oa_actions.sync_all, "0 17 * * *", oa_actions.is_on)
schedule("oa-changes", "同步 OA 的变动", oa_actions.sync_changes, "40 * * * *", oa_actions.is_on)


@app.periodic(cron="* * * * * */10")
@app.task(name="desk.take_up_stalled", queueing_lock="desk.take_up_stalled")
@beyond_scope()
def take_up_stalled(timestamp):
    """Look for jobs and tasks whose worker is gone, also right after a worker starts."""
    jobs.take_up_stalled()
    jobs.take_up_lost()
