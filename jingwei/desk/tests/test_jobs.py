"""Background jobs: once, to their end, however they are disturbed."""

import os
import signal
import subprocess
import sys
import time

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import OperationalError, connection, transaction

from jingwei.base.access import Actor, platform_actor
from jingwei.base.models import ErrorEntry, Job, LogEntry
from jingwei.desk import jobs, tasks

CLERK = Actor(name="村级操作员", login="clerk", operator_id=7, appointment_id=70)


@pytest.fixture
def kinds(monkeypatch):
    """Kinds of jobs of the test's own, and an actor for whoever asked for one."""
    monkeypatch.setattr(jobs, "actor_of_job", lambda operator, appointment, **origin: CLERK)
    return {}


def queued():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, args->>'job_id', status FROM procrastinate_jobs WHERE task_name = %s", [jobs.TASK]
        )
        return cursor.fetchall()


@pytest.mark.req("P-6.3")
@pytest.mark.django_db(transaction=True)
def test_a_job_vanishes_with_the_transaction_that_asked_for_it():
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        jobs.start(CLERK, "copy", "抄写", {})
        1 / 0  # noqa: B018
    assert not Job.objects.exists()
    assert not queued()


@pytest.mark.req("P-6.3")
@pytest.mark.django_db(transaction=True)
def test_a_job_tells_its_progress_while_its_work_is_in_a_transaction(kinds):
    seen = []

    def copy(actor, job, report):
        with transaction.atomic():
            report(40, 100)
            other = connection.copy()
            with other.cursor() as cursor:
                cursor.execute("SELECT state, done, total FROM base_job WHERE id = %s", [job.pk])
                seen.append(cursor.fetchone())
            other.close()
        return {"message": f"为{actor.name}抄完。"}

    job = jobs.start(CLERK, "copy", "抄写", {})
    jobs.run({"copy": copy}, job.pk)
    job.refresh_from_db()
    assert seen == [(Job.RUNNING, 40, 100)]
    assert (job.state, job.message) == (Job.DONE, "为村级操作员抄完。")
    assert job.started_at <= job.ended_at


@pytest.mark.req("P-6.3")
@pytest.mark.django_db
def test_a_finished_job_is_not_run_again(kinds):
    runs = []
    job = jobs.start(CLERK, "copy", "抄写", {})
    for _ in range(2):
        jobs.run({"copy": lambda *_: runs.append(1) or {}}, job.pk)
    assert runs == [1]


@pytest.mark.req("P-6.3")
@pytest.mark.django_db
def test_a_waiting_job_is_cancelled_at_once_and_can_be_retried(kinds):
    runs = []
    work = {"copy": lambda *_: runs.append(1) or {}}
    job = jobs.start(CLERK, "copy", "抄写", {})
    jobs.cancel(CLERK, job)
    jobs.run(work, job.pk)
    job.refresh_from_db()
    assert job.state == Job.CANCELLED and not runs
    with pytest.raises(ValidationError, match="已经结束"):
        jobs.cancel(CLERK, job)
    jobs.retry(CLERK, job)
    jobs.run(work, job.pk)
    job.refresh_from_db()
    assert job.state == Job.DONE and runs
    with pytest.raises(ValidationError, match="失败或已取消"):
        jobs.retry(CLERK, job)
    assert list(LogEntry.objects.filter(resource="jobs").order_by("id").values_list("act", flat=True)) == [
        "取消任务",
        "重试任务",
    ]


@pytest.mark.req("P-6.3")
@pytest.mark.django_db(transaction=True)
def test_a_running_job_stops_at_its_next_report_when_asked(kinds):
    def copy(actor, job, report):
        report(1, 10)
        jobs.cancel(CLERK, job)
        report(10, 10)
        pytest.fail("the job went on")

    job = jobs.start(CLERK, "copy", "抄写", {})
    jobs.run({"copy": copy}, job.pk)
    job.refresh_from_db()
    assert (job.state, job.message) == (Job.CANCELLED, "已按要求取消。")


@pytest.mark.req("P-6.3", "SEC-8")
@pytest.mark.django_db
@pytest.mark.parametrize(
    "refusal",
    [ValidationError("表格里没有表头"), PermissionDenied("您没有导入权限")],
    ids=["rule", "permission"],
)
def test_a_refused_job_says_why_in_words(kinds, refusal):
    def refuse(*_):
        raise refusal

    job = jobs.start(CLERK, "copy", "抄写", {})
    jobs.run({"copy": refuse}, job.pk)
    job.refresh_from_db()
    assert job.state == Job.FAILED
    assert job.message in str(refusal)
    [line] = LogEntry.objects.filter(act="任务失败")
    assert (line.result, line.operator, line.reason) == ("失败", 7, job.message)


@pytest.mark.req("P-6.3", "P-3.3")
@pytest.mark.django_db
def test_an_unexpected_error_shows_a_reference_and_no_detail(kinds):
    def fall(*_):
        raise KeyError("secret_column")

    job = jobs.start(CLERK, "copy", "抄写", {})
    jobs.run({"copy": fall}, job.pk)
    job.refresh_from_db()
    assert "secret_column" not in job.message
    reference = job.message.split("编号 ")[1].split()[0]
    entry = ErrorEntry.objects.get(reference=reference)
    assert (entry.kind, entry.place) == ("KeyError", "后台任务 copy")


@pytest.mark.req("P-6.3")
@pytest.mark.django_db
@pytest.mark.parametrize("cut", [OperationalError("server closed the connection"), jobs.Interrupted()])
def test_a_job_cut_off_is_taken_up_again(kinds, cut):
    def once(actor, job, report):
        if not tries:
            tries.append(1)
            raise cut
        return {}

    tries = []
    job = jobs.start(CLERK, "copy", "抄写", {})
    begin_in_queue()
    with pytest.raises(type(cut)):
        jobs.run({"copy": once}, job.pk)
    jobs.take_up_stalled()
    assert [status for _, _, status in queued()] == ["todo"]
    jobs.run({"copy": once}, job.pk)
    job.refresh_from_db()
    assert job.state == Job.DONE


@pytest.mark.req("P-6.3")
@pytest.mark.django_db
def test_a_job_that_keeps_being_cut_off_fails_in_the_end(kinds):
    job = jobs.start(CLERK, "copy", "抄写", {})
    for _ in range(jobs.MOST_TRIES):
        begin_in_queue()
        jobs.take_up_stalled()
    job.refresh_from_db()
    assert job.state == Job.FAILED
    assert "多次被中断" in job.message
    jobs.retry(CLERK, job)
    jobs.take_up_stalled()
    job.refresh_from_db()
    assert job.state == Job.WAITING


def begin_in_queue():
    """What a worker does when it takes a job, some time ago."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE procrastinate_jobs SET status = 'doing'")
        cursor.execute("UPDATE procrastinate_events SET at = at - interval '1 hour'")


@pytest.mark.req("P-6.3")
@pytest.mark.django_db(transaction=True)
def test_a_job_whose_worker_still_lives_is_left_to_it(kinds):
    job = jobs.start(CLERK, "copy", "抄写", {})
    [(row, _, _)] = queued()
    with jobs.Run(job.pk):
        begin_in_queue()
        jobs.take_up_stalled()
        assert queued() == [(row, str(job.pk), "doing")]
    jobs.take_up_stalled()
    assert queued() == [(row, str(job.pk), "todo")]


WORKER = [sys.executable, "-m", "django", "procrastinate", "worker"]


@pytest.mark.req("P-6.3", "P-10.1")
@pytest.mark.django_db(transaction=True)
def test_a_killed_worker_loses_no_job():
    """A worker is killed with kill -9 in the middle of a job; the next one brings it to its end."""
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "jingwei.settings"}
    job = jobs.start(platform_actor("定时任务"), "clean-jobs", "清理任务记录", {})
    with connection.cursor() as cursor:  # whoever wants to delete a job waits for this lock
        cursor.execute("BEGIN")
        cursor.execute("LOCK TABLE base_job IN SHARE MODE")
        # The worker's first statement on the job waits, so that it is killed there.
        first = subprocess.Popen(
            WORKER, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(lambda: [row[2] for row in queued()] == ["doing"])
        first.send_signal(signal.SIGKILL)
        first.wait()
        cursor.execute("ROLLBACK")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE procrastinate_events SET at = at - interval '1 hour'")
    second = subprocess.Popen(WORKER, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: Job.objects.get(pk=job.pk).state == Job.DONE)
    finally:
        second.terminate()
        second.wait()


def wait_for(condition, seconds=90):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "nothing came of it"
        time.sleep(0.1)


@pytest.mark.req("P-6.3")
@pytest.mark.django_db
def test_the_timetable_starts_a_job_once_at_a_time():
    for _ in range(2):
        tasks.run_scheduled(timestamp=0, kind="clean-files")
    assert [job.label for job in Job.objects.all()] == ["清理过期文件"]
