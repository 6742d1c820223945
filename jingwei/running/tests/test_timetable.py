"""The timetable with several workers."""

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from procrastinate.contrib.django import app
from procrastinate.periodic import PeriodicDeferrer

from jingwei.desk import tasks

AT = 1_790_000_000  # a moment of the timetable


@pytest.mark.django_db
@pytest.mark.req("P-10.2", "P-6.3")
def test_an_entry_comes_once_however_many_workers_there_are():
    [entry] = [
        task for task in app.periodic_registry.periodic_tasks.values() if task.periodic_id == "clean-jobs"
    ]
    for _ in range(3):  # each worker has a deferrer of its own
        deferrer = PeriodicDeferrer(registry=app.periodic_registry)
        async_to_sync(deferrer.defer_jobs)([(entry, AT)])
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM procrastinate_jobs WHERE task_name = %s AND args->>'timestamp' = %s",
            [tasks.run_scheduled.name, str(AT)],
        )
        assert cursor.fetchone() == (1,)
