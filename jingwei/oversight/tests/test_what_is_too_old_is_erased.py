"""What is past its keeping time goes in the night and leaves a proof (P-4.6, SEC-17)."""

from datetime import datetime, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.utils import timezone

from jingwei import menu
from jingwei.base import personal
from jingwei.base.access import platform_actor
from jingwei.base.models import Job, Load, LoadRow, LogEntry, ParameterValue
from jingwei.base.parameters import forget
from jingwei.base.partitions import ensure_months
from jingwei.base.personal import digest_of
from jingwei.directory.models import Operator, SignIn
from jingwei.messages.models import SmsMessage
from jingwei.messages.samples import message
from jingwei.oversight import erasing
from jingwei.oversight.models import Erasure
from jingwei.people.models import Person, Unregistered
from jingwei.people.samples import person, unregistered
from jingwei.places.models import VenueDay
from jingwei.places.samples import venue
from jingwei.scans import actions as scans_actions
from jingwei.scans.models import Alert, ContactSearch, Scan
from jingwei.scans.samples import alert, contact, scan
from jingwei.testing import actions
from jingwei.testing.models import Sample

pytestmark = pytest.mark.django_db
NIGHT = platform_actor("定时任务")


def tonight():
    return erasing.erase_expired(NIGHT, None, lambda done, total: None)["message"]


def days_ago(days):
    return timezone.now() - timedelta(days=days)


def sampled(whom, days):
    at = days_ago(days)
    ensure_months("testing_sample", at, at)
    row = Sample.objects.create(
        number=whom.number,
        sampled_at=at,
        point="采样点",
        region=whom.region_id,
        name=whom.name,
        result="阴性",
    )
    Person.objects.filter(pk=whom.pk).update(sampled_at=at, sample_result="阴性", sample_point="采样点")
    return row


@pytest.fixture
def keep():
    """Function that sets a system parameter."""

    def set_to(name, value):
        ParameterValue.objects.update_or_create(name=name, defaults={"value": str(value)})
        forget()

    yield set_to
    forget()


@pytest.mark.req("P-4.6", "SEC-17")
def test_samples_go_when_their_time_is_over_and_leave_a_proof():
    old, young = person(), person()
    gone, kept = sampled(old, 731), sampled(young, 729)
    assert "核酸检测记录 1 条" in tonight()
    assert list(Sample.objects.all()) == [kept]
    old.refresh_from_db()
    young.refresh_from_db()
    assert old.sampled_at is None and old.sample_result == "" and young.sampled_at == kept.sampled_at

    proof = Erasure.objects.get(kind="samples")
    assert proof.count == 1 and proof.ended_at and proof.rule == "730 天"
    # Who has a backup works the digest out anew.
    key = f"{gone.number.masked()} {gone.sampled_at.isoformat()} {gone.point}"
    assert proof.digest == digest_of("", Sample, [key])
    entry = LogEntry.objects.get(act="到期清理", object_id=proof.pk)
    assert entry.detail["删除条数"] == 1 and entry.detail["摘要"] == proof.digest
    assert tonight() == "没有到期的数据。" and Erasure.objects.filter(kind="samples").count() == 1


@pytest.mark.req("P-4.6")
def test_samples_of_many_months_go_lot_by_lot_and_a_young_one_stays(monkeypatch):
    monkeypatch.setattr(actions, "ERASED_AT_ONCE", 2)
    whom = person()
    for days in (731, 731, 800, 800, 800, 1000):
        sampled(whom, days)
    young = sampled(whom, 700)
    assert "核酸检测记录 6 条" in tonight()
    assert list(Sample.objects.all()) == [young]


@pytest.mark.req("P-4.6", "P-6.2")
def test_an_administrator_sets_the_keeping_time(keep):
    sampled(person(), 100)
    assert tonight() == "没有到期的数据。"
    keep("testing.keep_samples", 99)
    assert "核酸检测记录 1 条" in tonight()


@pytest.mark.req("P-4.6")
def test_it_goes_lot_by_lot_and_goes_on_after_a_kill(monkeypatch):
    for _ in range(5):
        SignIn.objects.create(at=days_ago(400), login="x", address="192.0.2.1", succeeded=False)
    monkeypatch.setattr(personal, "AT_ONCE", 2)
    lots = []

    def killed(done, total):
        lots.append(done)
        if len(lots) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        erasing.erase_expired(NIGHT, None, killed)
    proof = Erasure.objects.get()
    assert (proof.count, proof.ended_at, SignIn.objects.count()) == (4, None, 1)
    assert "登录日志 5 条" in tonight()
    again = Erasure.objects.get()
    assert (again.pk, again.count, again.before) == (proof.pk, 5, proof.before) and again.ended_at
    assert LogEntry.objects.filter(act="到期清理").count() == 1


@pytest.mark.req("P-4.6", "KP-3.3")
def test_scans_go_by_whole_months_and_days_with_their_counts():
    place = venue()
    now = timezone.localtime().replace(tzinfo=None, hour=12, minute=0, second=0, microsecond=0)
    limit = now - timedelta(days=730)
    first = (limit.replace(day=1) - timedelta(days=1)).replace(day=3)  # of the month before
    times = [first, limit - timedelta(days=1), limit + timedelta(days=1)]
    for at in times:
        scan(place, collected_at=at)
    old = alert(venue=place, first_day=first.date(), last_day=first.date())
    message = tonight()
    assert "扫码进场记录 2 条" in message and "扫码预警 1 条" in message
    assert [timezone.localtime(s.collected_at).date() for s in Scan.objects.all()] == [times[2].date()]
    assert list(VenueDay.objects.filter(count__gt=0).values_list("day", "count")) == [(times[2].date(), 1)]
    assert not Alert.objects.filter(pk=old.pk).exists()
    assert scans_actions.recount(NIGHT) == 0
    assert Erasure.objects.get(kind="scans").count == 2


@pytest.mark.req("P-4.6")
def test_a_month_that_is_being_read_waits_for_the_next_night(monkeypatch):
    scan(collected_at=datetime(2020, 5, 3, 12))

    def read(cursor, partition):
        raise ValidationError("正被导出")

    monkeypatch.setattr(scans_actions, "_empty", read)
    assert "扫码进场记录未清理完（正被导出）" in tonight()
    assert Scan.objects.count() == 1
    monkeypatch.undo()
    assert "扫码进场记录 1 条" in tonight()


@pytest.mark.req("P-4.6")
def test_messages_go_though_later_ones_refer_to_them():
    first, second = message(), message()
    SmsMessage.objects.filter(pk=first.pk).update(created_at=days_ago(181), state=SmsMessage.FAILED)
    SmsMessage.objects.filter(pk=second.pk).update(resends=first)
    assert "短信 1 条" in tonight()
    second.refresh_from_db()
    assert second.resends_id is None


@pytest.mark.req("P-4.6")
def test_what_is_decided_old_or_belongs_to_nobody_any_more_goes():
    decided, waiting = unregistered(), unregistered()
    Unregistered.objects.filter(pk=decided.pk).update(state=Unregistered.DISMISSED, decided_at=days_ago(366))
    found = contact()
    ContactSearch.objects.filter(pk=found.search_id).update(created_at=days_ago(61))
    job = Job.objects.create(kind="export", label="导出", ended_at=days_ago(31), state=Job.DONE)
    load = Load.objects.create(sheet="roster", resource="people", today=timezone.localdate())
    Load.objects.filter(pk=load.pk).update(created_at=days_ago(200), state=Load.DONE)
    LoadRow.objects.create(load=load, row=1, sheet_row=2, outcome="修改", version=2, before={})
    changed = person()
    changed.delete()
    PersonEvent = Person._meta.get_field("events").related_model
    PersonEvent.objects.update(pgh_created_at=days_ago(1096))
    tonight()
    assert list(Unregistered.objects.all()) == [waiting]
    assert not ContactSearch.objects.exists() and not Job.objects.filter(pk=job.pk).exists()
    assert not LoadRow.objects.exists() and Load.objects.filter(pk=load.pk).exists()
    assert not PersonEvent.objects.exists()


@pytest.mark.req("P-4.6")
def test_nothing_young_goes():
    sampled(person(), 1), message(), unregistered(), contact(), alert(), scan()
    SignIn.objects.create(login="x", address="192.0.2.1", succeeded=True)
    before = {kept.name: kept.model.objects.count() for kept in erasing.kinds()}
    tonight()
    assert {kept.name: kept.model.objects.count() for kept in erasing.kinds()} == before


@pytest.mark.req("P-4.6")
@pytest.mark.django_db(transaction=True)
def test_rows_in_use_are_left_and_keep_nobody_waiting():
    old = [SignIn(at=days_ago(400), login="x", address="192.0.2.1", succeeded=False) for _ in range(3)]
    SignIn.objects.bulk_create(old)
    other = connection.copy()
    with other.cursor() as cursor:
        other.set_autocommit(False)
        cursor.execute("SELECT FROM directory_signin WHERE id = %s FOR UPDATE", [old[1].pk])
        assert "登录日志 2 条" in tonight()
        other.rollback()
    other.close()
    assert "登录日志 1 条" in tonight()


@pytest.mark.req("P-4.6", "P-6.2")
def test_every_keeping_time_is_a_parameter_or_follows_from_the_row():
    for kept in erasing.kinds():
        assert kept.keep is None or kept.keep in menu.PARAMETERS, kept.name
    names = [kept.name for kept in erasing.kinds()]
    assert len(names) == len(set(names)) > 15


@pytest.mark.req("P-4.6", "P-1.8")
def test_the_page_says_what_would_go_tonight_and_what_went(secadmin, auditadmin, district):
    sampled(person(), 731)
    page = secadmin.client.get("/retention/").content.decode()
    assert "核酸检测记录" in page and "还没有清理过" in page
    assert dict((kept.name, count) for kept, count in erasing.due_tonight(timezone.now()))["samples"] == 1
    tonight()
    proof = Erasure.objects.get(kind="samples")
    page = auditadmin.client.get("/retention/").content.decode()
    assert f"/erasures/{proof.pk}/" in page
    assert proof.digest in auditadmin.client.get(f"/erasures/{proof.pk}/").content.decode()
    assert district.client.get("/retention/").status_code == 403
    assert Operator.objects.exists()
