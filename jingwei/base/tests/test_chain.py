"""Whoever changes, removes or slips in a row of the log is found out (P-3.2, SEC-9)."""

import os
import time
from datetime import timedelta

import psycopg
import pytest
from cryptography.hazmat.primitives import hashes, hmac
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connection, transaction
from django.utils import timezone

from jingwei import embedded
from jingwei.base import audit, chain
from jingwei.base.access import platform_actor
from jingwei.base.models import LogDrop, LogEntry, LogPeople, LogSeal
from jingwei.people.samples import person
from tests.tampering import tamper

ACTOR = platform_actor("测试")


def write(*labels):
    return [audit.record(ACTOR, "查看", label=label, 行数=3, 比例=1.50).pk for label in labels]


@pytest.fixture
def sealed(seals_at_once):
    """Three rows that are sealed."""
    numbers = write("一", "二", "三")
    assert chain.seal() >= 3
    return numbers


def found():
    return [(broken.kind, broken.entry) for broken in chain.verify().breaks]


@pytest.mark.req("P-3.2", "SEC-9")
def test_every_way_to_tamper_with_the_log_is_named(sealed):
    first, second, third = sealed
    verdict = chain.verify()
    assert verdict.sound and verdict.rows >= 3 and verdict.seals == LogSeal.objects.count()

    tamper("UPDATE base_logentry SET reason = '别的' WHERE id = %s", first)
    assert found() == [("改动", first)]
    tamper("UPDATE base_logentry SET reason = '' WHERE id = %s", first)
    assert found() == []

    tamper("UPDATE base_logentry SET detail = detail || '{\"行数\": 4}' WHERE id = %s", second)
    assert found() == [("改动", second)]
    tamper("UPDATE base_logentry SET detail = detail || '{\"行数\": 3}' WHERE id = %s", second)

    columns = ", ".join([*chain.SIGNED[1:], "digest"])
    tamper(f"INSERT INTO base_logentry ({columns}) SELECT {columns} FROM base_logentry WHERE id = %s", third)
    slipped_in = LogEntry.objects.order_by("pk").last().pk
    assert found() == [("改动", slipped_in)]  # sealed since, with a digest that is another row's
    tamper("DELETE FROM base_logentry WHERE id = %s", second)
    assert found() == [("缺失", second), ("改动", slipped_in)]


@pytest.mark.req("SEC-9")
def test_a_row_slipped_in_among_old_ones_is_named(sealed):
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO base_logentry (id, at, actor, login, organisation, region, address, device, act,"
            " resource, object_id, label, detail, result, reason, request_id, transaction)"
            " VALUES (0, now(), 'x', '', '', '', '', '', '查看', '', '', '', '{}', '成功', '', '', 1)"
        )
    assert found() == [("添加", 0)]
    tamper("DELETE FROM base_logentry WHERE id = 0")
    with connection.cursor() as cursor:  # the same, as if it were of now
        cursor.execute(
            "INSERT INTO base_logentry (at, actor, login, organisation, region, address, device, act,"
            " resource, object_id, label, detail, result, reason, request_id)"
            " VALUES (now(), 'x', '', '', '', '', '', '查看', '', '', '', '{}', '成功', '', '') RETURNING id"
        )
        [forged] = cursor.fetchone()
    assert found() == [("添加", forged)]


@pytest.mark.req("P-3.2", "SEC-9")
@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE base_logseal SET at = at - interval '1 day' WHERE number = %s", "号封存记录被改动"),
        ("UPDATE base_logseal SET entries = entries[2:] WHERE number = %s", "号封存记录被改动"),
        ("DELETE FROM base_logseal WHERE number = %s", "号封存记录被删除"),
    ],
)
def test_a_seal_that_was_changed_or_removed_is_named(sealed, statement, said):
    number = LogSeal.objects.last().number
    write("四")
    chain.seal()
    tamper(statement, number)
    assert any(said in broken.said and str(number) in broken.said for broken in chain.verify().breaks)


@pytest.mark.req("SEC-9")
def test_rows_under_way_are_sealed_after_their_commit_and_hold_up_nobody(sealed):
    other = connection.copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_current_xact_id()")
        [late] = write("后写先到")
        assert chain.seal() == 0  # an older transaction still runs and may yet write
        other.commit()
        chain.seal()
        assert late in LogSeal.objects.last().entries
        assert found() == []
    finally:
        other.close()


@pytest.mark.req("SEC-9", "SEC-21")
def test_after_a_dump_was_restored_in_another_cluster_the_chain_goes_on(sealed):
    [before] = write("恢复之前")
    # The old cluster had far higher transaction numbers, and another name.
    tamper("UPDATE base_logentry SET transaction = transaction + 1000000000")
    last = LogSeal.objects.last()
    chain.seal()
    tamper("DELETE FROM base_logseal WHERE number > %s", last.number)
    last.era, last.watermark = 42, last.watermark + 10**9
    previous = LogSeal.objects.filter(number=last.number - 1).first()
    digest = chain._digest_of_seal(last, bytes(previous.digest) if previous else b"")
    tamper(
        "UPDATE base_logseal SET era = %s, watermark = %s, digest = %s WHERE number = %s",
        *(last.era, last.watermark, digest, last.number),
    )
    [after] = write("恢复之后")
    assert found() == []
    eras = LogSeal.objects.filter(number__gt=last.number)
    assert before in eras[0].entries and any(after in made.entries for made in eras)
    [later] = write("再后来")
    chain.seal()
    assert LogSeal.objects.last().entries == [later]
    assert found() == []


@pytest.mark.req("SEC-9")
@pytest.mark.parametrize("table", ["base_logentry", "base_logseal", "base_logdrop", "base_logpeople"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET id = 1", "DELETE FROM {}", "TRUNCATE {}"])
def test_the_database_refuses_to_change_any_part_of_the_chain(sealed, owner, table, statement):
    statement = (statement.replace("id", "number") if table == "base_logseal" else statement).format(table)
    audit.record(ACTOR, "导出", people=[1])
    LogDrop.objects.create(upto=0, at=timezone.now(), digest=b"")
    with pytest.raises(psycopg.Error, match="append-only"):
        owner.execute(statement)
    with pytest.raises(Error, match="permission denied"), connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.req("SEC-9", "P-3.4")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE base_logpeople SET people = '{1,4}'",
        "DELETE FROM base_logpeople",
        "INSERT INTO base_logpeople (entry, first, last, people)"
        " SELECT entry, 9, 9, '{9}' FROM base_logpeople",
    ],
)
def test_whom_a_row_is_about_cannot_be_changed_either(sealed, statement):
    about = audit.record(ACTOR, "导出", people=[1, 2, None]).pk
    chain.seal()
    assert found() == []
    tamper(statement)
    assert found() == [("改动", about)]


@pytest.mark.req("SEC-9", "P-3.2")
def test_rows_and_seals_that_change_places_are_named(sealed):
    first, second, _ = sealed

    def swap():
        for number, becomes in ((first, -1), (second, first), (-1, second)):
            tamper("UPDATE base_logentry SET id = %s WHERE id = %s", becomes, number)

    swap()
    assert found() == [("改动", first), ("改动", second)]
    swap()
    assert found() == []
    write("四")
    chain.seal()
    last = LogSeal.objects.last().number
    tamper(
        "UPDATE base_logseal a SET entries = b.entries, digests = b.digests, digest = b.digest"
        " FROM base_logseal b WHERE a.number + b.number = %s AND a.number >= %s",
        *(2 * last - 1, last - 1),
    )
    assert {broken.seal for broken in chain.verify().breaks if broken.kind == "封存"} >= {last - 1, last}


@pytest.mark.req("SEC-9")
def test_who_has_the_database_and_not_the_keys_cannot_sign_what_they_rewrote(sealed, monkeypatch):
    key = chain._key
    monkeypatch.setattr(chain, "_key", lambda: hmac.HMAC(bytes(32), hashes.SM3()))
    rewrite(timezone.now())
    monkeypatch.setattr(chain, "_key", key)
    assert chain.verify().in_all >= len(sealed) + 1, "every row, and the seals"


@pytest.mark.req("SEC-9")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE base_logkey SET key = set_byte(key, 20, 255 - get_byte(key, 20))",
        "UPDATE base_logkey SET key = (SELECT number FROM people_person LIMIT 1)",
        "DELETE FROM base_logkey",
    ],
)
def test_a_key_of_the_log_that_was_exchanged_is_told_and_nothing_is_written_under_another(sealed, statement):
    person()
    transaction.commit()
    tamper(statement)
    chain._key.cache_clear()
    try:
        with pytest.raises(ImproperlyConfigured, match="base_logkey"):
            chain.verify()
        with pytest.raises(ImproperlyConfigured, match="base_logkey"):
            write("四")
    finally:
        chain._key.cache_clear()


@pytest.mark.req("SEC-9")
@pytest.mark.parametrize("database", ["own", "postgres"])
def test_what_waits_for_its_seal_is_told_with_the_transaction_that_it_waits_for(sealed, database):
    assert (chain.waiting().rows, chain.waiting().seconds) == (0, 0)
    address = os.environ["JINGWEI_OWNER_URL"]
    if database == "postgres":  # a superuser's, in another database of the server
        address = embedded.url(settings.EMBEDDED_SERVER, user="postgres", database="postgres")
    with psycopg.connect(address) as other:
        [process] = other.execute("SELECT pg_backend_pid(), pg_current_xact_id()").fetchone()[:1]
        write("后写先到")
        settling = chain.waiting()
        assert settling.rows == 1 and 0 <= settling.seconds < 60 and not settling.is_late
        told = f"数据库“{other.info.dbname}”中进程 {process} 的事务已开始"
        until = time.monotonic() + 30
        # What tests beside this one write in the same server may be older for a while.
        while told not in chain.waiting().cause and time.monotonic() < until:
            time.sleep(0.05)
        assert told in chain.waiting().cause
        other.rollback()
    assert chain.seal() == 1 and chain.waiting().rows == 0
    with connection.cursor() as cursor:  # a row older than every transaction waits for none of them
        assert "后台任务进程" in chain._cause(cursor, timezone.now() - timedelta(days=9))


@pytest.mark.req("SEC-9")
def test_old_rows_go_and_the_rest_still_verifies(sealed):
    assert chain.drop_old() == 0
    with connection.cursor() as cursor, pytest.raises(Error, match="append-only"):
        cursor.execute("SELECT base_drop_log(%s)", [LogSeal.objects.last().number])
    about = audit.record(ACTOR, "导出", people=[1])
    chain.seal()
    rewrite(timezone.now() - timedelta(days=4 * 365))
    [kept] = write("今天")
    chain.seal()
    assert chain.drop_old() >= len(sealed)
    assert not LogEntry.objects.filter(pk__in=[*sealed, about.pk]).exists()
    assert LogEntry.objects.filter(pk=kept).exists()
    assert not LogPeople.objects.exists()
    verdict = chain.verify()
    assert verdict.sound and verdict.dropped >= len(sealed)
    tamper("UPDATE base_logdrop SET upto = upto + 1")
    assert any("伪造" in broken.said for broken in chain.verify().breaks)


def rewrite(at):
    """Have everything sealed so far been written at another time."""
    tamper("UPDATE base_logentry SET at = %s", at)
    previous = b""
    for made in LogSeal.objects.order_by("number"):
        rows = dict(LogEntry.objects.in_bulk(made.entries))
        digests = [chain.digest_of([getattr(rows[n], name) for name in chain.SIGNED]) for n in made.entries]
        for number, digest in zip(made.entries, digests, strict=True):
            tamper("UPDATE base_logentry SET digest = %s WHERE id = %s", digest, number)
        made.at, made.digests = at, b"".join(digests)
        made.digest = previous = chain._digest_of_seal(made, previous)
        tamper(
            "UPDATE base_logseal SET at = %s, digests = %s, digest = %s WHERE number = %s",
            *(made.at, made.digests, made.digest, made.number),
        )
