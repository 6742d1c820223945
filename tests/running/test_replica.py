"""A replica answers what may be some seconds old."""

import time
from contextlib import contextmanager

import pytest

from tests.production import database, inside, monitored, until

pytestmark = [pytest.mark.req("P-10.2"), pytest.mark.xdist_group("running")]


@contextmanager
def standing_still(replica):
    """The replica takes in nothing new."""
    replica.tell("SELECT pg_wal_replay_pause()")
    until(lambda: replica.tell("SELECT pg_get_wal_replay_pause_state()") == ("paused",))
    try:
        yield
    finally:
        replica.tell("SELECT pg_wal_replay_resume()")


def until_replica_is_used(machine):
    deadline = time.monotonic() + 60
    while said := monitored(machine, "/readyz").json()["parts"]["replica"]["said"]:
        assert time.monotonic() < deadline, said
        time.sleep(0.2)


def rename_a_town(site, name):
    database(site, "UPDATE directory_region SET name = %s WHERE code = '990101001'", name)


def allow_lag(site, seconds):
    database(
        site,
        "INSERT INTO base_parametervalue (name, value, version, created_at, updated_at)"
        " VALUES ('replica.lag', %s, 1, now(), now())"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        str(seconds),
    )


def test_statistics_come_from_the_replica_while_it_keeps_up(site, officer):
    first, replica, _ = site
    allow_lag(site, 600)
    until_replica_is_used(first)
    with standing_still(replica):
        rename_a_town(site, "改名街道")
        assert "改名街道" not in officer.text("/population/")
        assert "改名街道" in officer.text("/regions/?q=990101001")  # as lists do
        allow_lag(site, 1)
        until(lambda: "改名街道" in officer.text("/population/"))
        told = monitored(first, "/readyz")
        assert "落后" in told.json()["parts"]["replica"]["said"]
        assert told.json()["parts"]["replica"]["needed"] is False
    allow_lag(site, 600)
    until_replica_is_used(first)


WAIT = """
    import time
    from jingwei.base import replica
    while replica.problem():  # a process that has just begun has not seen it keep up yet
        time.sleep(0.1)
"""
EXPORT = """
    import io
    from array import array
    from django.db import connections
    from django.http import QueryDict
    from django.test.utils import CaptureQueriesContext
    from jingwei import menu
    from jingwei.base import replica
    from jingwei.base.access import platform_actor
    from jingwei.base.tables import FORMATS
    from jingwei.desk.exports import write
    from jingwei.desk.lists import Selection
    regions = menu.resource("regions")
    selection = Selection(regions, platform_actor("测试"), QueryDict(""), action="export")
    columns, content = selection.columns(everything=True), io.BytesIO()
    with replica.reads(of_now=True), CaptureQueriesContext(connections["replica"]) as there:
        with FORMATS["csv"](content, "区划", [column.heading for column in columns]) as table:
            write(selection, columns, table, clear=False, people=array("q"))
    print(len(there), "刚刚改名街道" in content.getvalue().decode("utf-8-sig"))
"""


def test_an_export_holds_what_was_saved_before_it_wherever_it_is_read(site):
    first, replica, _ = site
    until_replica_is_used(first)
    rename_a_town(site, "刚刚改名街道")
    asked, found = inside(first, WAIT + EXPORT).split()
    assert int(asked) > 0 and found == "True"  # from the replica
    rename_a_town(site, "改名街道")
    with standing_still(replica):
        rename_a_town(site, "刚刚改名街道")
        assert inside(first, EXPORT) == "0 True"  # from the database


@pytest.mark.req("P-1.10", "SEC-7")
def test_row_security_holds_on_the_replica_too(site):
    first, _, _ = site
    until_replica_is_used(first)
    seen = inside(
        first,
        WAIT
        + """
    from jingwei.base.models import LogEntry
    for stand in (wall.BEYOND, wall.NOWHERE):
        with wall.standing(stand), replica.reads() as there:
            print(there, LogEntry.objects.exists())
    """,
    )
    assert seen.split() == ["True", "True", "True", "False"]


def test_a_replica_that_is_gone_is_left_out_at_once(site, officer):
    first, replica, _ = site
    until_replica_is_used(first)
    replica.stop()
    rename_a_town(site, "再次改名街道")
    began = time.monotonic()
    assert "再次改名街道" in officer.text("/population/")
    assert time.monotonic() - began < 10
    assert not monitored(first, "/readyz").json()["parts"]["replica"]["good"]
    assert 'jingwei_check{part="replica"} 0.0' in monitored(first, "/metrics").data.decode()
    replica.start()
