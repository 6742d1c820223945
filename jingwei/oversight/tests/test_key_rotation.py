"""Keys rotate while everybody works; nothing is lost, doubled or left under the old key (P-4.4, SEC-15)."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from argparse import Namespace
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, models, transaction
from django.utils import timezone

from jingwei import embedded
from jingwei.base import loading, rotation, undoing
from jingwei.base.access import platform_actor
from jingwei.base.crypto import provider
from jingwei.base.fields import personal_fields, seal
from jingwei.base.models import KeyRotation, ListSetting, Load, LoadRow, LogEntry
from jingwei.cli import rotate_keys
from jingwei.desk import addresses, files
from jingwei.oversight import rotating
from jingwei.people import merges
from jingwei.people.models import DuplicatePair, Merge, Person
from jingwei.people.samples import number, person
from jingwei.people.sheets import RosterSheet
from jingwei.scans.actions import COLUMNS, sealed, store_sealed
from jingwei.scans.models import Scan
from jingwei.testing.models import Sample
from tests.test_every_resource import SAMPLES

ACTOR = platform_actor("轮换试验")
OLD, NEW = "k1", "k2"
TOGETHER = """
SELECT count(*), count(DISTINCT person.number) FROM people_person AS person
JOIN testing_sample AS sample USING (number) JOIN scans_scan AS scan USING (number)
"""


@pytest.fixture(autouse=True)
def ring(settings, tmp_path):
    """A copy of the keys: what is there opens, and other tests keep their keys."""
    for name in ("JINGWEI_KEYS", "JINGWEI_MASTER_KEY_FILE"):
        setattr(settings, name, Path(shutil.copy(getattr(settings, name), tmp_path / name)))
    settings.JINGWEI_FILES = tmp_path / "files"


def rows_of(statement, *values):
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()


def stored(place) -> list[bytes]:
    """The values of a place, as they are stored."""
    found = rows_of(f'SELECT "{place.column}" FROM "{place.table}" WHERE "{place.column}" IS NOT NULL')  # noqa: S608
    return [bytes(value) for (value,) in found]


def opened():
    """{where: the clear values} of every sealed column there is."""
    return {p.label: sorted(provider().decrypt(p.sealing, stored(p))) for p in rotation.places()}


def any_row(model):
    """A row of a model, with whatever its columns take."""
    values = {}
    for field in model._meta.concrete_fields:
        if field.null or field.has_default() or isinstance(field, models.AutoField):
            continue
        if field.is_relation:
            values[field.name] = field.related_model._base_manager.first() or any_row(field.related_model)
        elif isinstance(field, models.IntegerField):
            values[field.name] = 1
        elif not isinstance(field, models.CharField) or not field.blank:
            values[field.name] = "秘"
    return model._base_manager.create(**values)


def fill_every_place():
    """A value in every sealed column there is, in JSON, in a saved query and in a file; the file."""
    kinds = [model for model in SAMPLES if isinstance(model, type) and personal_fields(model)]
    for model in sorted(kinds, key=lambda model: model._meta.app_label != "sms"):
        SAMPLES[model]()
    changed, deleted = person(), person()
    deleted.delete()
    Person.objects.filter(pk=changed.pk).update(name="改名")
    load = Load.objects.create(sheet="people", resource="people", mode="both", today="2026-01-01")
    [(before,)] = rows_of("SELECT to_jsonb(p) FROM people_person p WHERE id = %s", changed.pk)
    LoadRow.objects.create(
        load=load, row=changed.pk, sheet_row=1, outcome="修改", version=1, before=json.loads(before)
    )
    query = f"q={addresses.sealed('990101198001011238')}&tab=0"
    ListSetting.objects.create(operator=1, resource="people", name="存", value={"query": query})
    with files.create(1, "名单.txt") as file:
        file.write(b"content")
    for place in rotation.places():
        if not stored(place):
            if not place.model._base_manager.exists():
                any_row(place.model)
            [blob] = provider().encrypt(place.sealing, ["补的值"])
            rows_of(f'UPDATE "{place.table}" SET "{place.column}" = %s RETURNING 1', blob)  # noqa: S608
    return file.stored


@pytest.mark.req("P-4.4", "SEC-15")
@pytest.mark.django_db(transaction=True)
def test_every_sealed_value_comes_under_the_new_key_and_the_old_one_can_go(village):
    file, before = fill_every_place(), opened()
    old = {value.hex() for place in rotation.places() for value in stored(place)}
    assert all(before.values())
    history = rows_of("SELECT count(*) FROM people_personevent")
    versions = list(Person.objects.order_by("pk").values_list("version", flat=True))
    with pytest.raises(ValidationError, match="当前密钥"):
        rotating.retire(ACTOR, OLD)

    done = rotating.rotate(ACTOR)
    assert (done.old_key, done.new_key, rotation.running()) == (OLD, NEW, None)
    assert {value[1] for place in rotation.places() for value in stored(place)} == {int(NEW[1:])}
    assert rotation.usage(OLD) == {}
    with pytest.raises(ValidationError, match="还没有停用"):
        rotating.rotate(ACTOR)
    rotating.retire(ACTOR, OLD)
    assert provider().key_ids == [NEW]

    # All is there, found and joined as before, and no history, version or counter has noticed.
    assert opened() == before
    for place in rotation.places():
        if place.sealing.searchable and place.model._meta.get_field(place.column) in personal_fields(
            place.model
        ):
            for text in set(before[place.label]):
                assert place.model._base_manager.filter(**{place.column: text}).exists(), place.label
    assert rows_of("SELECT count(*) FROM people_personevent") == history
    assert list(Person.objects.order_by("pk").values_list("version", flat=True)) == versions
    assert b"".join(files.blocks(file)) == b"content"
    [setting] = ListSetting.objects.filter(name="存")
    text = re.search(r"q=(~[\w-]+)&tab=0", setting.value["query"])[1]
    assert addresses.opened(text) == "990101198001011238"
    merges.undo(ACTOR, Merge.objects.latest("pk"))
    acts = LogEntry.objects.filter(actor=ACTOR.name).order_by("pk").values_list("act", "result")
    assert [row for row in acts if row[0].startswith("密钥")] == [
        ("密钥停用", "拒绝"),
        ("密钥轮换", "成功"),
        ("密钥轮换", "成功"),
        ("密钥停用", "成功"),
    ]
    dump = subprocess.run(
        [embedded.BIN / "pg_dump", "--inserts", "--dbname", os.environ["JINGWEI_OWNER_URL"]],
        check=True,
        capture_output=True,
    ).stdout.decode()
    assert not [value for value in re.findall(r"[0-9a-f]{36,}", dump) if value in old]


class Stopped(Exception):
    """A rotation is cut off."""


def begin(monkeypatch, people):
    """Rotate, one number in a transaction, until those of so many people are moved."""
    monkeypatch.setattr(rotation, "FEW", 1)
    monkeypatch.setattr(rotation, "MANY", 1)

    def stop(moved):
        if rows_of("SELECT count(*) >= %s FROM people_person WHERE get_byte(number, 1) = 2", people)[0][0]:
            raise Stopped

    with pytest.raises(Stopped):
        rotating.rotate(ACTOR, stop)


def rows_of_scans(numbers, venue_code="KP000001"):
    """Rows of scans, one of each number, as a sheet gives them."""
    at = timezone.make_naive(timezone.now()).replace(microsecond=0)
    cells = dict.fromkeys(COLUMNS, "") | {
        "venue_code": venue_code,
        "phone": "16000000001",
        "collected_at": at,
    }
    return pl.DataFrame([cells | {"number": whose} for whose in numbers]).select(COLUMNS)


def known_everywhere(count):
    """So many people, each with a sample and a scan."""
    people = [person() for _ in range(count)]
    for one in people:
        row = SAMPLES[Sample]()
        Sample.objects.filter(pk=row.pk).update(number=one.number)
    scans = rows_of_scans([one.number.clear() for one in people])
    assert store_sealed(ACTOR, sealed(scans), timezone.now()) == count
    return people, scans


@pytest.mark.req("P-4.4")
@pytest.mark.django_db
def test_at_every_step_of_a_rotation_a_number_is_one_number(monkeypatch):
    people, scans = known_everywhere(6)
    before = rows_of(TOGETHER)
    # Sealed and read before the rotation, stored in the middle of it.
    ahead = sealed(rows_of_scans([one.number.clear() for one in people], "KP000002"))
    read = {one.pk: one for one in Person.objects.all()}
    begin(monkeypatch, 3)
    keys = {bytes(number)[1] for (number,) in rows_of("SELECT number FROM people_person")}
    assert keys == {1, 2}  # in the middle
    assert rows_of(TOGETHER) == before
    # Whoever writes a number now writes it as it stands: joins find it, and nobody is registered twice.
    for one in people:
        [written] = seal(Person._meta.get_field("number").sealing, [one.number.clear()])
        assert rows_of("SELECT id FROM people_person WHERE number = %s", written) == [(one.pk,)]
        with pytest.raises(IntegrityError), transaction.atomic():
            Person.objects.create(
                doc_type=one.doc_type, number=one.number.clear(), name="重", region=one.region
            )
        assert Person.objects.get(number=one.number.clear()) == one
        read[one.pk].save()
    assert rows_of(TOGETHER) == before == [(6, 6)]
    assert store_sealed(ACTOR, sealed(scans), timezone.now()) == 0  # the same rows again are the same
    assert store_sealed(ACTOR, ahead, timezone.now()) == 6
    before = rows_of(TOGETHER)
    assert before == [(12, 6)]
    stranger = Person.objects.create(
        doc_type="111", number=number("19770707"), name="新来", region=people[0].region
    )
    begin(monkeypatch, 5)
    assert rows_of(TOGETHER) == before
    with pytest.raises(ValidationError, match="还没有完成"):
        rotating.retire(ACTOR, OLD)
    monkeypatch.undo()
    assert rotating.rotate(ACTOR).new_key == NEW
    assert KeyRotation.objects.count() == 1
    assert rows_of(TOGETHER) == before
    assert store_sealed(ACTOR, sealed(scans), timezone.now()) == 0
    stranger.refresh_from_db()
    assert stranger.number.blob()[1] == 2


@pytest.mark.req("P-4.4", "P-5.3", "P-5.7")
@pytest.mark.django_db
def test_what_an_undoing_brings_back_in_the_middle_is_sealed_as_everything_is(village, monkeypatch, tmp_path):
    people = [person() for _ in range(6)]
    sheet, path = RosterSheet(), tmp_path / "名单.csv"
    numbers = [one.number.clear() for one in people]
    path.write_text(
        "\n".join(["村/社区,姓名,证件号,居住地", *(f"上埔社区,林样例,{n},新居9号" for n in numbers)])
    )
    load = loading.load(village.actor, sheet, path)
    one, twin = person(name="双"), person(name="双")
    first, second = sorted([one.pk, twin.pk])
    pair = DuplicatePair.objects.create(first_id=first, second_id=second, score=90, reasons="姓名相同")
    merged = merges.merge(ACTOR, pair, keep=one.pk, taken=())
    begin(monkeypatch, 4)
    monkeypatch.undo()
    keys = {bytes(number)[1] for (number,) in rows_of("SELECT number FROM people_person")}
    assert keys == {1, 2}  # in the middle

    assert undoing.undo(village.actor, sheet, load)["restored"] == len(people)
    merges.undo(ACTOR, merged)
    sealing = Person._meta.get_field("number").sealing
    for each in [*people, one, twin]:
        [now] = seal(sealing, [each.number.clear()])
        assert rows_of("SELECT number FROM people_person WHERE id = %s", each.pk) == [(now,)]
    assert "新居9号" not in [each.address and each.address.clear() for each in Person.objects.all()]
    rotating.rotate(ACTOR)
    assert rotation.usage(OLD) == {}


@pytest.mark.req("P-4.4")
@pytest.mark.django_db(transaction=True)
def test_what_was_sealed_before_a_rotation_and_is_stored_at_its_end_comes_along(monkeypatch):
    stored, over = threading.Event(), threading.Event()

    def register():
        with transaction.atomic():
            person(name="慢")
            stored.set()
            over.wait(60)
        connection.close()

    slow = threading.Thread(target=register)
    slow.start()
    assert stored.wait(60)
    pauses = []
    # All is moved, and one transaction is open that began before: only now it ends.
    monkeypatch.setattr(rotation.time, "sleep", lambda seconds: pauses.append(over.set()) or slow.join(60))
    rotating.rotate(ACTOR)
    assert pauses and rotation.usage(OLD) == {}
    assert {bytes(number)[1] for (number,) in rows_of("SELECT number FROM people_person")} == {2}


@pytest.mark.req("P-4.4")
@pytest.mark.django_db
def test_an_old_key_that_a_value_still_needs_stays():
    one = person()
    rotating.rotate(ACTOR)
    [blob] = provider().encrypt(Person._meta.get_field("address").sealing, ["上埔社区1号"], key_id=OLD)
    rows_of("UPDATE people_person SET address = %s WHERE id = %s RETURNING 1", blob, one.pk)
    with pytest.raises(ValidationError, match="人员：居住地 1 个"):
        rotating.retire(ACTOR, OLD)
    with pytest.raises(ValidationError, match="没有密钥 k7"):
        rotating.retire(ACTOR, "k7")
    assert provider().key_ids == [NEW, OLD]


@pytest.mark.req("P-4.4", "P-10.2")
@pytest.mark.django_db(transaction=True)
def test_a_killed_rotation_goes_on_beside_who_writes(settings, capsys):
    people = [number(f"19{60 + n % 40}{1 + n % 12:02}{1 + n % 28:02}") for n in range(3_000)]
    assert store_sealed(ACTOR, sealed(rows_of_scans(people)), timezone.now()) == len(people)
    environment = os.environ | {
        "JINGWEI_KEYS": str(settings.JINGWEI_KEYS),
        "JINGWEI_MASTER_KEY_FILE": str(settings.JINGWEI_MASTER_KEY_FILE),
        "JINGWEI_FILES": str(settings.JINGWEI_FILES),
        "DJANGO_SETTINGS_MODULE": "jingwei.settings",
    }
    command = [sys.executable, "-c", "from jingwei.cli.main import main; main()", "rotate-keys"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as rotating_keys:
        deadline = time.monotonic() + 60
        while rotating_keys.poll() is None and time.monotonic() < deadline:
            found = KeyRotation.objects.first()
            if found and found.reached.get("person.number"):
                break
            time.sleep(0.005)
        with suppress(ProcessLookupError):
            os.kill(rotating_keys.pid, signal.SIGKILL)
    assert rotation.running() is not None, "the rotation was over before it was killed"
    # Somebody registers meanwhile who was scanned before.
    known = Person.objects.create(doc_type="111", number=people[-1], name="新登记", region_id="990101001001")
    joined = "SELECT count(*) FROM people_person JOIN scans_scan USING (number)"
    assert rows_of(joined) == [(1,)]
    assert command_line(capsys) == f"已换用新密钥 k2，转换了 {KeyRotation.objects.get().moved:,} 个值。"
    assert rows_of(joined) == [(1,)]
    assert {bytes(value)[1] for (value,) in rows_of("SELECT number FROM scans_scan")} == {2}
    assert Scan.objects.filter(number=people[0]).count() == 1
    known.refresh_from_db()
    assert known.number.clear() == people[-1]
    assert command_line(capsys, status=True).startswith("k2（当前）")
    assert command_line(capsys, retire="k1").startswith("已停用旧密钥 k1")
    assert command_line(capsys, master=True).startswith("已更换主密钥")


def command_line(capsys, status=False, retire=None, master=False):
    """The first line of what `jingwei rotate-keys` says."""
    assert rotate_keys.run(Namespace(status=status, retire=retire, master=master)) == 0
    return capsys.readouterr().out.splitlines()[0]


@pytest.mark.req("SEC-15")
@pytest.mark.django_db
def test_the_master_key_changes_under_a_log_row(settings):
    one, before = person(), settings.JINGWEI_MASTER_KEY_FILE.read_text()
    rotation.change_master(ACTOR)
    assert settings.JINGWEI_MASTER_KEY_FILE.read_text() != before
    assert Person.objects.get(pk=one.pk).number.clear() == one.number.clear()
    assert LogEntry.objects.latest("pk").label == "更换主密钥"
