"""Who asks for it is deleted everywhere, by two people, with a proof (SEC-17, P-4.6)."""

import json
import os
import shutil
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.models import ForeignKey
from django.utils import timezone

from jingwei.base.access import platform_actor
from jingwei.base.attachments import sample_of as sample_of_attachment
from jingwei.base.crypto import provider
from jingwei.base.fields import personal_fields
from jingwei.base.models import Job, ListSetting, Load, LoadRow, LogEntry, StoredFile
from jingwei.base.partitions import ensure_months
from jingwei.base.personal import blobs
from jingwei.desk import files, jobs, tasks
from jingwei.desk.addresses import sealed
from jingwei.directory.models import Appointment, Operator, Region, Role
from jingwei.messages import actions as sms
from jingwei.messages.delivery import deliver, take_in
from jingwei.messages.gateways import Reply
from jingwei.messages.gateways.outbox import OutboxGateway
from jingwei.messages.models import SmsMessage
from jingwei.messages.samples import VALUES, template
from jingwei.oversight import forgetting
from jingwei.oversight.models import ErasureRequest
from jingwei.people import merges
from jingwei.people.actions import roll_up_doses, save_person, transfer_person
from jingwei.people.models import (
    Dose,
    DuplicatePair,
    Person,
    PersonAttachment,
    Unregistered,
    UnregisteredDose,
)
from jingwei.people.samples import number, person, unregistered
from jingwei.places.models import VenueDay
from jingwei.scans import actions as scans_actions
from jingwei.scans.models import Contact, ContactSearch
from jingwei.scans.samples import contact, contact_search, scan
from jingwei.testing.models import Sample, SampleBefore
from tests.personas import Persona

pytestmark = pytest.mark.django_db
PLATFORM = platform_actor("样例")
PersonEvent = Person._meta.get_field("events").related_model
DoseEvent = Dose._meta.get_field("events").related_model
NAME, PHONE, OLD_PHONE = "欧阳忘川", "16973100264", "16973100265"


@pytest.fixture
def second(district):
    """Another manager of the district."""
    office = district.operator.organisation
    other = Operator.objects.create(
        login="second",
        login_key="second",
        name="第二人",
        organisation=office,
        must_change_password=False,
        password_at=timezone.now(),
    )
    appointment = Appointment.objects.create(operator=other, organisation=office)
    appointment.roles.set(Role.objects.filter(name="区级管理员"))
    return Persona("second")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "folder", lambda: tmp_path / "files")
    return tmp_path / "files"


def work():
    for job in Job.objects.filter(state=Job.WAITING):
        jobs.run({name: kind.work for name, kind in tasks.KINDS.items()}, job.pk)


def asked(by, whose, **values):
    return forgetting.ask_to_forget(by.actor, number=whose, **{"reason": "本人书面申请"} | values)


@pytest.mark.req("SEC-17")
def test_nobodys_request_is_entered_twice_at_the_same_moment(village):
    with psycopg.connect(os.environ["JINGWEI_OWNER_URL"]) as another, connection.cursor() as cursor:
        another.execute("SELECT pg_advisory_xact_lock(hashtext('oversight_erasurerequest'))")
        cursor.execute("SET LOCAL lock_timeout = '50ms'")
        with pytest.raises(OperationalError, match="lock timeout"):
            asked(village, number())


def sample_of(numbers, at):
    ensure_months("testing_sample", at, at)
    told = {"number": numbers, "sampled_at": at, "point": "采样点", "region": "990101001001", "name": NAME}
    Sample.objects.create(**told, result="阴性")
    SampleBefore.objects.create(**told, result="待出")


def plant(owner):
    """A person in every table that can hold one; returns the numbers they are known by."""
    at = timezone.now() - timedelta(days=2)
    here = person(region="990101001002", name=NAME, phone=OLD_PHONE)
    twin = person(name=NAME, phone=PHONE)
    for each in (here, twin):
        Dose.objects.create(person=each, dose=1, on="2021-05-01", unit="卫生院")
        sample_of(each.number, at)
    Dose.objects.filter(person=here).update(unit="另一卫生院")
    roll_up_doses([here.pk, twin.pk])
    transfer_person(PLATFORM, here, to_region=Region.objects.get(pk="990101001001"), reason="搬家")
    here.refresh_from_db()
    save_person(PLATFORM, here, values={"phone": PHONE}, version=here.version)
    first, other = sorted([here.pk, twin.pk])
    sample_of_attachment(PersonAttachment, here)
    pair = DuplicatePair.objects.create(first_id=first, second_id=other, score=90, reasons="姓名相同")
    merges.merge(PLATFORM, pair, keep=here.pk, taken=())
    stranger = person(name="旁人", phone="16973100299")
    first, other = sorted([here.pk, stranger.pk])
    DuplicatePair.objects.create(first_id=first, second_id=other, score=60, reasons="电话相同")
    numbers = [here.number.clear(), twin.number.clear()]

    entry = unregistered()
    Unregistered.objects.filter(pk=entry.pk).update(number=here.number, name=NAME, phone=here.phone)
    UnregisteredDose.objects.create(unregistered=entry, dose=2, on="2022-01-01", sheet_row=2)
    scan(number=numbers[0].lower(), name=NAME, phone=PHONE)
    scan(number="无", name=NAME, phone=PHONE)
    contact_search(number=numbers[1], name=NAME)
    met = contact(number=numbers[0], name=NAME, phone=PHONE)
    contact(search=met.search, ring=Contact.SECOND, via=met)
    ContactSearch.objects.filter(pk=met.search_id).update(first_ring=1, second_ring_found=1)

    sent = sms.send(PLATFORM, template(), to=PHONE, name=NAME, values=VALUES)
    deliver(OutboxGateway())
    take_in("outbox", Reply(f"忘{sent.pk}", PHONE, "收到", uid=sent.uid.hex))
    query = f"q={sealed(numbers[0])}"
    Job.objects.create(kind="export", label="导出 人员", query=query, state=Job.DONE)
    Job.objects.create(kind="bulk", label="批量", result={"refused": [[NAME, "不能"]]}, state=Job.DONE)
    ListSetting.objects.create(operator=owner, resource="people", name="查", value={"query": query})
    today = timezone.localdate()
    load = Load.objects.create(sheet="roster", resource="people", today=today, state=Load.DONE)
    before = {"number": f"\\x{here.number.blob().hex()}", "name": NAME}
    LoadRow.objects.create(load=load, row=here.pk, sheet_row=2, outcome="修改", version=2, before=before)
    Load.objects.create(sheet="roster", resource="people", today=today, state=Load.DRAFT)
    with files.create(owner, "人员.xlsx") as file:
        file.write(NAME.encode())
    return numbers


def tables_that_tell(*words):
    """The tables of the database in whose rows one of these texts stands, however it is kept there."""
    found = set()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class"
            " WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(
                f'SELECT EXISTS (SELECT FROM "{table}" AS row WHERE row::text LIKE ANY(%s))',
                [[f"%{word}%" for word in words]],
            )
            if cursor.fetchone()[0]:
                found.add(table)
    return found


def ciphertexts(numbers):
    field = Person._meta.get_field
    stored = [*blobs(field("number"), [*numbers, *map(str.lower, numbers)])]
    return [blob.hex() for blob in [*stored, *blobs(field("phone"), [PHONE, OLD_PHONE])]]


# What may still tell the name: the log, which masks numbers; partitions stand under their table's name.
BY_LAW = {"base_logentry"}


@pytest.mark.req("SEC-17", "P-4.6")
def test_a_person_planted_everywhere_is_gone_everywhere(village, second, folder):
    numbers = plant(village.operator.pk)
    hidden = ciphertexts(numbers)
    told = tables_that_tell(*hidden)
    # Every table of the erasure was planted, so that none can be forgotten here.
    identity = forgetting.identity_of(numbers[0])
    assert identity.numbers == set(numbers) and identity.phones == {PHONE, OLD_PHONE}
    assert [str(each) for each in forgetting.held() if not each.rows(identity).exists()] == []
    counts_before = scans_actions.recount(PLATFORM)

    request = asked(village, numbers[0])
    going, staying = forgetting.preview(request)
    assert dict(going)["人员"] == 1 and dict(going)["核酸检测"] == 2
    assert [label for label, _, _ in staying][:1] == ["操作日志"]
    forgetting.confirm(second.actor, request)
    work()
    request.refresh_from_db()
    assert request.state == ErasureRequest.DONE, Job.objects.get(kind=forgetting.JOB).message

    assert told and tables_that_tell(*hidden) == set()
    assert tables_that_tell(*numbers, PHONE, OLD_PHONE) == set()
    assert tables_that_tell(NAME) <= BY_LAW
    assert forgetting.what_is_left(identity) == []
    assert not StoredFile.objects.exists()
    # The others are there, and every count is right (the suite recounts people, doses and samples itself).
    assert Person.objects.filter(name="旁人").exists() and Contact.objects.get().via is None
    assert ContactSearch.objects.get().first_ring == 0 and ContactSearch.objects.get().second_ring_found == 1
    assert counts_before == scans_actions.recount(PLATFORM) == 0
    assert not VenueDay.objects.filter(count__gt=0).exists()

    assert dict(map(tuple, request.gone))["人员"] == 1 and len(request.digest) == 64
    assert request.number is None and request.stays[0][0] == "操作日志"
    done = LogEntry.objects.get(act="删除个人信息")
    assert done.detail["人员"] == 1 and done.detail["摘要"] == request.digest
    page = second.client.get(f"/erasure-requests/{request.pk}/").content.decode()
    assert "没有遗留" in page and request.digest in page


@pytest.mark.req("SEC-17")
def test_the_files_are_gone_from_the_disk_when_the_transaction_has_ended(
    village, second, folder, django_capture_on_commit_callbacks
):
    whose = person(name=NAME).number.clear()
    with files.create(village.operator.pk, "人员.xlsx") as file:
        file.write(b"x")
    path = files.place(file.stored.pk)
    forgetting.confirm(second.actor, asked(village, whose))
    with django_capture_on_commit_callbacks(execute=True):
        work()
        assert path.exists()
    assert not path.exists()


@pytest.mark.req("SEC-17")
def test_every_column_that_tells_a_person_is_known_to_the_erasure():
    """A new table with a sealed number or telephone, or a reference to a person, has to be decided on."""
    held = {}
    for each in [*forgetting.held(), *forgetting.staying()]:
        held.setdefault(each.model, set()).update(each.sealed)
    missed = []
    for model in apps.get_models():
        origin = getattr(model, "pgh_tracked_model", model)
        known = held.get(model)
        sealed_names = [f.name for f in personal_fields(origin) if f.kind in ("number", "phone")]
        sealed_names = [name for name in sealed_names if name in {f.name for f in model._meta.fields}]
        if model is not ErasureRequest:  # empties its number itself
            missed += [f"{model._meta.label}.{name}" for name in sealed_names if name not in (known or ())]
        if known is None and any(
            isinstance(f, ForeignKey) and f.related_model is Person for f in model._meta.fields
        ):
            missed.append(model._meta.label)
    assert not missed, (
        "say in the package's `personal` module how their rows go (HELD) or why they stay (STAYS)"
    )


@pytest.mark.req("SEC-17")
def test_one_who_shares_a_telephone_keeps_their_messages(village, second):
    whose = person(name=NAME, phone=PHONE).number.clear()
    person(name="家人", phone=PHONE)
    for name in (NAME, "家人"):
        sms.send(PLATFORM, template(), to=PHONE, name=name, values=VALUES)
    forgetting.confirm(second.actor, asked(village, whose))
    work()
    assert [message.name for message in SmsMessage.objects.all()] == ["家人"]
    assert Person.objects.filter(name="家人").exists()


@pytest.mark.req("SEC-17", "P-1.8")
def test_who_entered_a_request_cannot_confirm_it(district, second):
    request = asked(district, person().number.clear())
    with pytest.raises(ValidationError, match="另一人"):
        forgetting.confirm(district.actor, request)
    with pytest.raises(IntegrityError, match="second_person"), transaction.atomic():
        ErasureRequest.objects.filter(pk=request.pk).update(confirmed_by=request.created_by)
    assert Person.objects.exists()
    forgetting.withdraw(second.actor, request, reason="本人撤回")
    request.refresh_from_db()
    assert request.state == ErasureRequest.WITHDRAWN and request.number is None
    with pytest.raises(ValidationError, match="已撤回"):
        forgetting.confirm(second.actor, request)


@pytest.mark.req("SEC-17", "SEC-7")
def test_a_person_of_another_territory_is_not_deleted_from_here(village, othertown):
    whose = person(region="990101001001").number.clear()
    with pytest.raises(ValidationError, match="其他辖区"):
        asked(othertown, whose)
    assert LogEntry.objects.filter(resource="erasure-requests", act="新增", result="拒绝").exists()
    request = asked(village, whose)
    assert othertown.client.get(f"/erasure-requests/{request.pk}/").status_code == 404
    with pytest.raises(ValidationError, match="尚未办结"):
        asked(village, whose)


@pytest.mark.req("SEC-17")
def test_while_an_import_runs_nothing_is_deleted_and_the_job_can_be_tried_again(village, second):
    whose = person().number.clear()
    running = Job.objects.create(kind="import", label="导入", state=Job.RUNNING)
    request = asked(village, whose)
    forgetting.confirm(second.actor, request)
    work()
    job = Job.objects.get(kind=forgetting.JOB)
    assert job.state == Job.FAILED and "导入" in job.message and Person.objects.exists()
    running.delete()
    jobs.retry(second.actor, job)
    work()
    request.refresh_from_db()
    assert request.state == ErasureRequest.DONE and not Person.objects.exists()


@pytest.mark.req("SEC-17")
def test_where_something_is_left_nothing_was_deleted(village, second, monkeypatch):
    whose = person().number.clear()
    request = asked(village, whose)
    forgetting.confirm(second.actor, request)
    kept = [each for each in forgetting.held() if each.model is not Person]
    monkeypatch.setattr(forgetting, "held", lambda: kept)
    work()
    job = Job.objects.get(kind=forgetting.JOB)
    assert job.state == Job.FAILED and "人员中仍有此人的信息" in job.message
    request.refresh_from_db()
    assert request.state == ErasureRequest.RUNNING and Person.objects.exists()


@pytest.mark.req("SEC-17")
def test_a_number_deleted_before_is_recognised_and_stands_nowhere(village, second):
    whose = person().number.clear()
    first = asked(village, whose)
    forgetting.confirm(second.actor, first)
    work()
    again = asked(village, whose)
    assert list(forgetting.erased_before(whose)) == [ErasureRequest.objects.get(pk=first.pk)]
    assert not forgetting.erased_before(number())
    page = second.client.get(f"/erasure-requests/{again.pk}/").content.decode()
    assert f"/erasure-requests/{first.pk}/" in page and "没有找到" in page
    assert whose not in json.dumps(list(ErasureRequest.objects.values()), default=str)
    assert len(first.mark) == 32


@pytest.mark.req("SEC-17", "P-4.4")
def test_a_number_deleted_before_is_recognised_when_its_key_is_gone(settings, tmp_path):
    settings.JINGWEI_KEYS = Path(shutil.copy(settings.JINGWEI_KEYS, tmp_path / "keys.json"))
    whose = number()
    before = forgetting.mark_of(whose)
    provider().add_key()
    provider().remove_key("k1")
    assert forgetting.mark_of(whose) == before


@pytest.mark.req("SEC-17")
def test_the_request_goes_over_the_pages(village, second):
    whose = person().number.clear()
    refused = village.client.post(
        "/erasure-requests/new/", {"number": whose[:-1] + "?", "reason": "本人申请"}
    )
    assert refused.status_code == 200 and not ErasureRequest.objects.exists()
    made = village.client.post("/erasure-requests/new/", {"number": whose, "reason": "本人书面申请"})
    request = ErasureRequest.objects.get()
    assert made.headers["Location"] == f"/erasure-requests/{request.pk}/"
    page = village.client.get(f"/erasure-requests/{request.pk}/").content.decode()
    assert "等待区级管理员" in page and "将删除" in page and whose not in page
    confirm = f"/erasure-requests/do/confirm/?pk={request.pk}"
    assert village.client.get(confirm).status_code == 403
    page = second.client.get(f"/erasure-requests/{request.pk}/").content.decode()
    assert "确认后以下数据一次删除" in page and whose not in page
    second.client.post("/erasure-requests/do/confirm/", {"pk": request.pk, "confirm": "1"})
    request.refresh_from_db()
    assert request.state == ErasureRequest.RUNNING


def test_several_people_under_one_number_are_to_be_settled_first(village):
    whose = person()
    person(number=whose.number.clear(), doc_type="其他")
    with pytest.raises(ValidationError, match="2 条人员记录"):
        asked(village, whose.number.clear())
