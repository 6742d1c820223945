"""What tests do to the operation log past the application, and how they wait for its seals."""

import os
import time

import psycopg
from django.conf import settings
from django.db import connection

from jingwei import embedded

PROTECTED = ["base_logentry", "base_logseal", "base_logdrop", "base_logpeople"]


def tamper(statement, *values):
    """Do it past the triggers, and leave them as they were. What is changed has to be committed before."""
    with psycopg.connect(os.environ["JINGWEI_OWNER_URL"]) as owner:
        for table in PROTECTED:
            owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        owner.execute(statement, values)
        owner.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for table in PROTECTED:
            owner.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def settle():
    """Wait for the transactions of tests beside this one: the log is sealed behind whatever still writes."""
    admin = embedded.url(settings.EMBEDDED_SERVER, user="postgres", database=connection.settings_dict["NAME"])
    with psycopg.connect(admin, autocommit=True) as server:
        [now] = server.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::xid::text::bigint").fetchone()
        older = (
            "SELECT FROM pg_stat_activity"
            " WHERE datname <> current_database() AND backend_xid::text::bigint < %s"
        )
        while server.execute(older, [now]).rowcount:
            time.sleep(0.05)
