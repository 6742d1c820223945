"""What somebody does to the operation log who owns the database."""

import os

import psycopg

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
