"""Figures for Prometheus (P-10.2). No label holds anything about a person, a login or an address.

What the requests took is counted by each web process in a file of its own, in the folder that `jingwei web`
names as PROMETHEUS_MULTIPROC_DIR, and added up when asked for. All else is looked up in the database then, so
that it is right whichever machine is asked; sums over machines count it once (`max`, not `sum`).
"""

import os
from contextlib import suppress

from django.db import connection
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector

from jingwei.base import chain, replica
from jingwei.base.wall import beyond_scope
from jingwei.running import health

REQUESTS = Counter(
    "jingwei_requests", "Requests by method, route and status.", ["method", "route", "status"], registry=None
)
SECONDS = Histogram(
    "jingwei_request_seconds",
    "Seconds until the answer began, by route.",
    ["method", "route"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2.5, 5, 10, 30),
    registry=None,
)

# name, what it says, labels, and the statement that gives a row per value: its labels, then the value
LOOKED_UP = [
    (
        "jingwei_jobs",
        "Background jobs by state, as long as their records are kept.",
        ["state"],
        "SELECT state, count(*) FROM base_job GROUP BY state",
    ),
    (
        "jingwei_queue_age_seconds",
        "How long the oldest background job has been waiting.",
        [],
        "SELECT coalesce(extract(epoch FROM now() - min(created_at)), 0) FROM base_job WHERE state = '等待'",
    ),
    (
        "jingwei_log_rows_5m",
        "Lines of the operation log within the last five minutes, such as refused sign-ins.",
        ["act", "result"],
        "SELECT act, result, count(*) FROM base_logentry WHERE at > now() - interval '5 minutes'"
        " GROUP BY act, result",
    ),
    (
        "jingwei_alarms_open",
        "Security alarms that nobody has dealt with, by kind.",
        ["kind"],
        "SELECT kind, count(*) FROM base_alarm WHERE handled_at IS NULL GROUP BY kind",
    ),
    (
        "jingwei_errors_5m",
        "Unexpected errors within the last five minutes.",
        [],
        "SELECT count(*) FROM base_errorentry WHERE at > now() - interval '5 minutes'",
    ),
    (
        "jingwei_load_rows_1d",
        "Rows that imports of the last day have brought.",
        ["outcome"],
        "SELECT outcome, coalesce(sum((counts->>outcome)::bigint), 0) FROM base_load,"
        " unnest(ARRAY['added', 'changed', 'unchanged', 'rejected_rows']) AS outcome"
        " WHERE created_at > now() - interval '1 day' GROUP BY outcome",
    ),
    (
        "jingwei_database_connections",
        "Connections to the database by state.",
        ["state"],
        "SELECT coalesce(state, ''), count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " GROUP BY 1",
    ),
    (
        "jingwei_database_connections_max",
        "Connections that the database server takes.",
        [],
        "SELECT current_setting('max_connections')::int",
    ),
    (
        "jingwei_database_bytes",
        "Size of the database.",
        [],
        "SELECT pg_database_size(current_database())",
    ),
]


class State:
    """Collector of what the database and the parts of the instance tell."""

    def collect(self):
        parts = health.parts()
        checks = GaugeMetricFamily("jingwei_check", "1 while a part is as it should be.", labels=["part"])
        for part in parts:
            checks.add_metric([part.name], part.good)
        yield checks
        if not parts[0].good:
            return
        with beyond_scope(), connection.cursor() as cursor:
            for name, said, labels, statement in LOOKED_UP:
                family = GaugeMetricFamily(name, said, labels=labels)
                cursor.execute(statement)
                for *values, number in cursor.fetchall():
                    family.add_metric(values, float(number))
                yield family
        free = GaugeMetricFamily("jingwei_disk_free_bytes", "Room that is left, by part.", labels=["part"])
        for part, folder in health.disks():
            with suppress(OSError):  # the check of that part tells
                free.add_metric([part], health.free_bytes(folder))
        yield free
        waiting = chain.waiting()
        for name, said, number in [
            (
                "jingwei_log_unsealed_seconds",
                "How long the oldest line of the operation log has been waiting for the seal of its chain.",
                waiting.seconds,
            ),
            (
                "jingwei_log_unsealed_rows",
                "Lines of the operation log that are not sealed yet.",
                waiting.rows,
            ),
            ("jingwei_worker_silence_seconds", "Since a worker last showed itself.", health.worker_silence()),
            ("jingwei_replica_lag_seconds", "How far the replica is behind at most.", _lag()),
        ]:
            if number is not None:
                yield GaugeMetricFamily(name, said, value=number)


def _lag():
    return replica.lag() if replica.is_configured() else None


def exposition() -> bytes:
    """All figures in the text format."""
    registry = CollectorRegistry()
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(registry)
    else:
        registry.register(REQUESTS)
        registry.register(SECONDS)
    registry.register(State())
    return generate_latest(registry)
