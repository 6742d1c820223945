"""`jingwei worker`: background jobs and the timetable on one machine, beside others (P-10.2).

Each job is taken by one worker, and each entry of the timetable comes once, however many there are.
"""

import os
import sys

from django.db import connection

from jingwei.cli.web import check_machine, of_instance


def add_arguments(parser):
    parser.add_argument("--jobs", type=int, default=2, help="同时执行几个任务（默认 2）")


def run(options):
    check_machine()
    connection.close()
    os.execve(sys.executable, command(options.jobs), os.environ | of_instance())  # noqa: S606


def command(jobs=2):
    """The worker's command line."""
    return [sys.executable, "-m", "django", "procrastinate", "worker", "--concurrency", str(jobs)]
