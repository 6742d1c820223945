"""Background jobs as their operators see them: start, run once, show progress, cancel, try again (P-6.3).

A job is a row of `Job`, and procrastinate's queue carries its number. Both are written in one transaction, so
that a job commits or vanishes with what asked for it. What the kinds of jobs do stands in `desk.tasks`.
"""

import logging
import time
import uuid

from asgiref.sync import async_to_sync
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from procrastinate.contrib.django.django_connector import DjangoConnector
from procrastinate.manager import JobManager
from procrastinate.tasks import configure_task

from jingwei.base import audit, errors, wall
from jingwei.base.access import platform_actor
from jingwei.base.models import Job
from jingwei.base.parameters import Parameter
from jingwei.directory.actors import actor_of_job

logger = logging.getLogger(__name__)

TASK = "desk.run_job"
# The queue by Django's own connection, so that writing to it is part of the transaction; in a worker too,
# whose procrastinate speaks to the database by itself.
queue = JobManager(DjangoConnector())
LOCKS = 0x4A6F62  # first half of the keys of the advisory locks that running jobs hold
MOST_TRIES = 5  # runs cut off by a kill or a lost database before a job counts as failed
REPORT_SECONDS = 0.5  # between two writings of the progress

ORIGIN = ("address", "device", "request_id")  # of whoever asked for a job, for the operation log

KEEP_DAYS = Parameter(
    "jobs.keep_days", "任务记录保存天数", 30, "后台任务结束多少天后删除其记录", "天", low=1, high=365
)
PARAMETERS = [KEEP_DAYS]


class Cancelled(Exception):
    """The operator asked the job to stop; raised where it may, between two chunks."""


class Interrupted(Exception):
    """The worker is being stopped; the job goes on when one runs again."""


@transaction.atomic
def start(actor, kind, label, arguments, *, query="") -> Job:
    """Have the job run in the background. `arguments` are ids and options, never a clear personal value."""
    job = Job.objects.create(
        kind=kind,
        label=label[:200],
        arguments=arguments | {"origin": {name: getattr(actor, name) for name in ORIGIN}},
        query=query,
        owner=actor.operator_id,
        appointment=actor.appointment_id,
    )
    _defer(job)
    return job


def _defer(job):
    configure_task(name=TASK, job_manager=queue).defer(job_id=job.pk)


@transaction.atomic
def cancel(actor, job):
    """Ask a job to stop: at once while it waits, where its work allows it while it runs."""
    job = Job.objects.select_for_update().get(pk=job.pk)
    if job.is_over:
        raise ValidationError("任务已经结束，不能取消。")
    if job.state == Job.WAITING:
        job.state, job.ended_at = Job.CANCELLED, timezone.now()
    job.cancel_asked = True
    job.save(update_fields=["state", "ended_at", "cancel_asked"])
    audit.record(actor, "取消任务", job, resource="jobs")


@transaction.atomic
def retry(actor, job):
    """Run a job that failed or was cancelled again, with the same arguments."""
    job = Job.objects.select_for_update().get(pk=job.pk)
    if job.state not in (Job.FAILED, Job.CANCELLED):
        raise ValidationError("只有失败或已取消的任务可以重试。")
    job.state, job.message, job.done, job.cancel_asked = Job.WAITING, "", 0, False
    job.started_at = job.ended_at = None
    job.save()
    _defer(job)
    audit.record(actor, "重试任务", job, resource="jobs")


class Run:
    """One run of a job, on a database connection of its own beside the transactions of the work.

    The connection holds a lock as long as this process lives: a job never runs twice at the same time, and
    one whose worker was killed is known by its free lock.
    """

    def __init__(self, job_id, stopping=lambda: False):
        self.job_id = job_id
        self.stopping = stopping
        self.connection = connection.copy()
        self.next_at = 0.0

    def __enter__(self):
        self._execute("SELECT pg_advisory_lock(%s, %s)", [LOCKS, self.job_id])
        return self

    def __exit__(self, *_):
        try:
            # A pooled connection lives on, and so would its lock.
            self._execute("SELECT pg_advisory_unlock(%s, %s)", [LOCKS, self.job_id])
        except OperationalError:
            logger.warning("job %s lost its connection", self.job_id)
        finally:
            self.connection.close()

    def report(self, done, total):
        """Show how far the work is; called between its chunks, as often as it likes.

        Cancelled when the operator asked for it, Interrupted when the worker is being stopped.
        """
        if self.stopping():
            raise Interrupted
        if time.monotonic() < self.next_at and done < total:
            return
        self.next_at = time.monotonic() + REPORT_SECONDS
        asked = self._execute(
            "UPDATE base_job SET done = %s, total = %s WHERE id = %s RETURNING cancel_asked",
            [done, total, self.job_id],
        )
        if asked and asked[0]:
            raise Cancelled

    def _execute(self, statement, values):
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchone()


@wall.beyond_scope()
def run(kinds, job_id, *, stopping=lambda: False):
    """Do the work of a job; doing it twice is the same as once.

    `kinds` are functions (actor, job, report) by the job's kind; what they return are fields of the finished
    job: message, result, file. A refusal in words fails the job with these words, any other error with a
    reference number whose details stand in the error log. A lost database, a kill or a stop of the worker
    leaves the job as it is, for `take_up_stalled`.
    """
    with Run(job_id, stopping) as this:
        job = Job.objects.filter(pk=job_id).first()
        if job is None or job.is_over:
            return
        job.state, job.started_at = Job.RUNNING, job.started_at or timezone.now()
        job.save(update_fields=["state", "started_at"])
        origin = job.arguments["origin"]
        actor = actor_of_job(job.owner, job.appointment, **origin) if job.owner else platform_actor(job.label)
        try:
            with wall.acting(actor):
                outcome = {"state": Job.DONE, **kinds[job.kind](actor, job, this.report)}
        except Cancelled:
            outcome = {"state": Job.CANCELLED, "message": "已按要求取消。"}
        except (OperationalError, Interrupted):
            raise
        except (PermissionDenied, ValidationError) as refusal:
            outcome = {"state": Job.FAILED, "message": _words(refusal)}
        except Exception as error:
            outcome = {"state": Job.FAILED, "message": _reported(job, error)}
        _finish(job_id, actor, **outcome)


@transaction.atomic
def _finish(job_id, actor, *, state, message="", **fields):
    job = Job.objects.select_for_update().get(pk=job_id)
    job.state, job.message, job.ended_at = state, message[:500], timezone.now()
    for name, value in fields.items():
        setattr(job, name, value)
    job.save()
    if state == Job.FAILED:
        audit.record(actor, "任务失败", job, resource="jobs", result="失败", reason=job.message)


def _words(refusal):
    if isinstance(refusal, ValidationError):
        return "；".join(refusal.messages)
    return str(refusal) or "您已没有做这件事的权限，任务没有执行。"


def _reported(job, error):
    reference = uuid.uuid4().hex[:12]
    errors.keep(error, reference=reference, place=f"后台任务 {job.kind}")
    return f"处理时出现意外错误，没有完成。请重试；仍不成功时，请把编号 {reference} 告诉系统管理员。"


def take_up_stalled():
    """Queue the jobs again whose worker is gone: killed, stopped, or cut off from the database.

    It is one whose queue row says running or failed while nobody holds its lock; a run that has just begun
    may still be on its way to it. After `MOST_TRIES` runs it counts as failed, lest a job that kills its
    worker does so for ever.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH latest AS (
                SELECT DISTINCT ON (job.id) job.id AS job, queued.id, queued.status
                  FROM base_job job JOIN procrastinate_jobs queued
                    ON queued.task_name = %s AND (queued.args->>'job_id')::bigint = job.id
                 WHERE job.state IN (%s, %s)
                 ORDER BY job.id, queued.id DESC
            )
            SELECT id, job, (SELECT count(*) FROM procrastinate_events
                              WHERE job_id = latest.id AND type = 'started') AS runs
              FROM latest
             WHERE status IN ('doing', 'failed')
               AND NOT EXISTS (
                   SELECT FROM procrastinate_events
                    WHERE job_id = latest.id AND type = 'started' AND at > now() - interval '5 seconds')
               AND NOT EXISTS (
                   SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
                    WHERE datname = current_database() AND locktype = 'advisory'
                      AND classid = %s AND objid = job)
            """,
            [TASK, Job.WAITING, Job.RUNNING, LOCKS],
        )
        stalled = cursor.fetchall()
    for queued, job_id, runs in stalled:
        if runs < MOST_TRIES:
            queue.retry_job_by_id(queued, retry_at=timezone.now())
        else:
            message = "任务多次被中断，已停止。请重试；仍不成功时请联系系统管理员。"
            _finish(job_id, platform_actor("后台任务"), state=Job.FAILED, message=message)


def take_up_lost():
    """Queue the other tasks again whose worker is gone; one with a queueing lock comes again by itself."""
    for lost in async_to_sync(queue.get_stalled_jobs)():
        if lost.task_name != TASK and lost.queueing_lock is None and lost.attempts < MOST_TRIES:
            queue.retry_job_by_id(lost.id, retry_at=timezone.now())


def clean_up(actor, job, report):
    """Kind of job: delete what the queue keeps of jobs that ended a day ago; their records stay longer."""
    async_to_sync(queue.delete_old_jobs)(
        nb_hours=24, include_failed=True, include_cancelled=True, include_aborted=True
    )
    return {"message": "清理了任务队列。"}
