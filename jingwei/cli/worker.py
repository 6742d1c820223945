"""`jingwei worker`: background jobs and the timetable on one machine, beside others (P-10.2).

Each job is taken by one worker, and each entry of the timetable comes once, however many there are.
"""

import os
import sys

from django.db import connection

from jingwei.cli.web import check_machine, of_instance

JOBS = 2  # at a time
OF_A_JOB = 3  # connections: for its work, for what works ahead of it, and for telling how far it is


def add_arguments(parser):
    parser.add_argument("--jobs", type=int, default=JOBS, help=f"同时执行几个任务（默认 {JOBS}）")


def run(options):
    check_machine()
    connection.close()
    os.execve(sys.executable, command(options.jobs), os.environ | environment(options.jobs))  # noqa: S606


def environment(jobs=JOBS):
    """What it finds in its environment: as many connections as its jobs need, and one for their queue.

    A job that waited for those of another one would wait in vain and fail.
    """
    ours = of_instance()
    return ours | {"JINGWEI_POOL": str(max(int(ours["JINGWEI_POOL"]), OF_A_JOB * jobs + 1))}


def command(jobs=JOBS):
    """The worker's command line."""
    return [sys.executable, "-m", "django", "procrastinate", "worker", "--concurrency", str(jobs)]
