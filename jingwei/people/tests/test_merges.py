"""Two records of one person become one, with all that hangs on them; and two again."""

from datetime import date, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.utils import timezone

from jingwei.base.models import LogEntry
from jingwei.base.saving import StaleRecord
from jingwei.people import actions, merges
from jingwei.people.duplicates import dismiss, find
from jingwei.people.models import Dose, DuplicatePair, Merge, Person, PersonAlias, Transfer
from jingwei.people.queries import holder_of, numbers_of
from jingwei.people.samples import number, person

pytestmark = [pytest.mark.django_db, pytest.mark.req("P-5.7")]
OTHER_VILLAGE = "990101001002"
OTHER_TOWN = "990101002001"


def make_pair(**other) -> DuplicatePair:
    """Two records of 陈双, the second one newer, and the pair they make."""
    phone = {"phone": "16000000010"}
    one = person(
        name="陈双", number=number("19800101", 100), address="上埔社区1号", occupation="务农", **phone
    )
    cells = {"number": number("19800101", 999), "address": "上埔社区9号", "occupation": "", **phone} | other
    two = person(name="陈双", **cells)
    Person.objects.filter(pk=one.pk).update(updated_at=timezone.now() - timedelta(days=9))
    find()
    return DuplicatePair.objects.get(first=one, second=two)


@pytest.fixture
def pair():
    return make_pair()


def merged(actor, pair, keep="first", taken=None, **options) -> Merge:
    kept, gone = (pair.first, pair.second) if keep == "first" else (pair.second, pair.first)
    if taken is None:
        taken = merges.proposal(kept, gone)
    return merges.merge(actor, pair, keep=kept.pk, taken=taken, **options)


def contents():
    """Every row about people as the database has it, but for what counts changes."""
    tables = [Person, Dose, Transfer, PersonAlias, DuplicatePair]
    found = {}
    with connection.cursor() as cursor:
        for table in (model._meta.db_table for model in tables):
            cursor.execute(
                f"SELECT to_jsonb(r) - '{{version,updated_at,found_at}}'::text[] FROM {table} r ORDER BY id"
            )
            found[table] = cursor.fetchall()
    found.pop("people_duplicatepair")
    return found


# --- what stays -------------------------------------------------------------------------------------------


def test_the_newer_value_is_proposed_and_an_empty_one_never(pair):
    assert merges.proposal(pair.first, pair.second) == {"number", "address", "sex"}
    assert merges.proposal(pair.second, pair.first) == {"occupation"}


def test_the_record_with_the_resident_id_card_is_kept_and_so_is_the_card():
    passport = person(name="陈双", doc_type="护照", number="E99000001", birth_date="1980-01-01")
    card = person(name="陈双")
    assert merges.record_to_keep(passport, card) == card
    assert "number" not in merges.proposal(card, passport)
    assert "number" in merges.proposal(passport, card)


def test_the_kept_person_has_the_chosen_values_and_what_follows_from_them(village, pair):
    done = merged(village.actor, pair, taken={"number", "address"})
    kept = Person.objects.get()
    assert kept == pair.first == done.kept
    assert (kept.number, kept.address.clear(), kept.occupation) == (pair.second.number, "上埔社区9号", "务农")
    assert kept.household == pair.second.household != pair.first.household
    assert kept.sex == pair.second.sex
    assert list(Person.objects.filter(grams__fragment="9号")) == [kept]
    assert kept.version == pair.first.version + 1
    assert not DuplicatePair.objects.exists()


def test_the_kept_person_is_known_by_both_documents(village, pair):
    merged(village.actor, pair, taken={"number"})
    kept = Person.objects.get()
    assert numbers_of(kept) == [pair.second.number, pair.first.number]
    for record in (pair.first, pair.second):
        assert holder_of("111", record.number) == kept
    values = {
        "name": "陈双",
        "doc_type": "111",
        "number": pair.first.number.clear(),
        "region_id": kept.region_id,
    }
    with pytest.raises(actions.Registered) as refusal:
        actions.save_person(village.actor, Person(), values=values)
    assert refusal.value.person == kept


def test_doses_come_along_and_of_one_number_the_newer_stays(village, pair):
    for record, dose, on in (
        (pair.first, 1, date(2021, 3, 1)),
        (pair.first, 2, date(2021, 6, 1)),
        (pair.second, 1, date(2021, 4, 1)),
        (pair.second, 2, date(2021, 5, 1)),
        (pair.second, 3, date(2022, 1, 1)),
    ):
        Dose.objects.create(person=record, dose=dose, on=on, unit="卫生院")
    done = merged(village.actor, pair)
    doses = Dose.objects.filter(person=pair.first).values_list("dose", "on")
    assert list(doses) == [(1, date(2021, 4, 1)), (2, date(2021, 6, 1)), (3, date(2022, 1, 1))]
    assert Dose.objects.count() == 3
    assert [row["on"] for row in done.record["dropped"]["people_dose"]] == ["2021-03-01", "2021-05-01"]
    kept = Person.objects.get()
    assert (kept.dose, kept.dose_on) == (3, date(2022, 1, 1))


def test_the_later_of_the_two_latest_samples_is_the_latest(village, pair):
    now = timezone.now()
    Person.objects.filter(pk=pair.first_id).update(sampled_at=now, sample_result="阴性")
    Person.objects.filter(pk=pair.second_id).update(sampled_at=now - timedelta(days=1), sample_result="阳性")
    pair.refresh_from_db()
    merged(village.actor, pair)
    assert (Person.objects.get().sampled_at, Person.objects.get().sample_result) == (now, "阴性")


def test_a_person_who_changes_the_community_by_a_merge_has_moved(town):
    pair = make_pair(region=OTHER_VILLAGE)
    merged(town.actor, pair, taken={"region"})
    [move] = Transfer.objects.all()
    assert (move.person, move.from_region_id, move.to_region_id) == (
        pair.first,
        "990101001001",
        OTHER_VILLAGE,
    )


def test_who_is_not_the_one_is_not_the_other(village, pair):
    third = person(name="陈双", number=number("19800101", 555), phone="16000000010")
    find()
    dismiss(village.actor, DuplicatePair.objects.get(first=pair.second, second=third))
    merged(village.actor, pair)
    left = DuplicatePair.objects.select_related("first").get()
    assert (left.first, left.second, left.state) == (pair.first, third, DuplicatePair.DIFFERENT)
    assert find().added == 0


# --- what is refused --------------------------------------------------------------------------------------


def test_two_people_are_not_merged(village, pair):
    dismiss(village.actor, pair)
    with pytest.raises(ValidationError, match="非同一人"):
        merged(village.actor, pair)


def test_records_that_were_changed_meanwhile_are_not_merged(village, pair):
    seen = {(record.pk, record.version) for record in (pair.first, pair.second)}
    actions.save_person(village.actor, Person.objects.get(pk=pair.first_id), values={"name": "陈又双"})
    for told in (seen, set(), {(99_999_999, 1)}):
        with pytest.raises(StaleRecord):
            merged(village.actor, pair, versions=told)
    assert Person.objects.count() == 2


def test_who_sees_only_one_of_the_records_merges_nothing(village, othertown, nobody):
    pair = make_pair(region=OTHER_TOWN)
    for operator in (village, othertown, nobody):
        with pytest.raises(DuplicatePair.DoesNotExist):
            merged(operator.actor, pair)


# --- log and history --------------------------------------------------------------------------------------


def test_a_merge_is_logged_on_both_records_and_shows_no_number(village, pair):
    done = merged(village.actor, pair, taken={"number"})
    kept = LogEntry.objects.get(act="合并", object_id=str(pair.first_id))
    gone = LogEntry.objects.get(act="并入", object_id=str(pair.second_id))
    assert kept.detail["merge"] == gone.detail["merge"] == done.pk
    assert kept.detail["changes"]["证件号"] == [str(pair.first.number), str(pair.second.number)]
    assert pair.first.number.clear() not in str(kept.detail) + str(done.record)
    assert [e.name for e in pair.first.events.filter(pgh_label="changed")][-1:] == ["陈双"]
    assert [e.pgh_label for e in pair.second.events.all()][-1] == "deleted"


# --- undoing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", ["first", "second"])
def test_an_undone_merge_leaves_everything_as_it_was(town, keep):
    pair = make_pair(region=OTHER_VILLAGE, tenant="是")
    PersonAlias.objects.create(person=pair.second, doc_type="414", number="E99000002")
    Transfer.objects.create(person=pair.second, from_region_id=OTHER_TOWN, to_region_id=OTHER_VILLAGE)
    for record, dose, on in (
        (pair.first, 1, "2021-03-01"),
        (pair.second, 1, "2021-04-01"),
        (pair.second, 2, "2021-06-01"),
    ):
        Dose.objects.create(person=record, dose=dose, on=on, unit="卫生院")
    actions.roll_up_doses([pair.first_id, pair.second_id])
    Person.objects.filter(pk=pair.second_id).update(sampled_at=timezone.now(), sample_result="阴性")
    pair = DuplicatePair.objects.get()
    before = contents()
    everything = {choice.name for choice in merges.choices()}
    done = merged(town.actor, pair, keep, taken=everything)
    assert contents() != before
    merges.undo(town.actor, done, reason="误判")
    assert contents() == before
    done.refresh_from_db()
    assert (done.state, done.undone_by, done.record) == (Merge.UNDONE, town.actor.name, {})
    again = DuplicatePair.objects.get()
    assert (again.first, again.second, again.state) == (pair.first, pair.second, DuplicatePair.WAITING)
    entries = LogEntry.objects.filter(act="撤销合并", reason="误判").values_list("object_id", flat=True)
    assert set(entries) == {str(pair.first_id), str(pair.second_id)}
    with pytest.raises(ValidationError, match="已经撤销"):
        merges.undo(town.actor, done)


def test_what_was_changed_besides_stays_when_a_merge_is_undone(village, pair):
    done = merged(village.actor, pair, taken={"address"})
    actions.vaccinate(village.actor, pair.first, dose=1, on=date(2022, 5, 1))
    actions.save_person(village.actor, Person.objects.get(), values={"occupation": "教师"})
    merges.undo(village.actor, done)
    kept = Person.objects.get(pk=pair.first_id)
    assert (kept.occupation, kept.address.clear(), kept.dose) == ("教师", "上埔社区1号", 1)
    assert Person.objects.get(pk=pair.second_id).dose is None


def test_a_merge_whose_values_were_changed_since_is_not_undone(village, pair):
    done = merged(village.actor, pair, taken={"address"})
    kept = Person.objects.get()
    address = merges.Person._meta.get_field("address").to_python("上埔社区10号")
    actions.save_person(village.actor, kept, values={"address": address})
    with pytest.raises(ValidationError, match="合并后又修改了居住地"):
        merges.undo(village.actor, done)
    assert Person.objects.count() == 1


def test_a_merge_whose_doses_were_deleted_since_is_not_undone(village, pair):
    Dose.objects.create(person=pair.second, dose=1, on=date(2021, 3, 1))
    done = merged(village.actor, pair)
    actions.delete_dose(village.actor, Dose.objects.get())
    with pytest.raises(ValidationError, match="1条疫苗接种已被删除"):
        merges.undo(village.actor, done)


def test_a_merge_is_not_undone_when_a_dose_it_would_restore_was_entered_anew(village, pair):
    for record, on in ((pair.first, date(2021, 3, 1)), (pair.second, date(2021, 4, 1))):
        Dose.objects.create(person=record, dose=1, on=on)
    done = merged(village.actor, pair)
    dose = Dose.objects.get()
    actions.save_dose(village.actor, dose, values={"dose": 2})
    actions.vaccinate(village.actor, pair.first, dose=1, on=date(2021, 3, 1))
    before = contents()
    with pytest.raises(ValidationError, match="重复"):
        merges.undo(village.actor, done)
    assert contents() == before


def test_merges_of_one_person_are_undone_from_the_last(village, pair):
    first = merged(village.actor, pair)
    third = person(name="陈双", number=number("19800101", 555), phone="16000000010")
    find()
    second = merged(village.actor, DuplicatePair.objects.get(), keep="second")
    first.refresh_from_db()
    assert (first.kept, second.kept) == (third, third)
    with pytest.raises(ValidationError, match="请先撤销那次合并"):
        merges.undo(village.actor, first)
    merges.undo(village.actor, second)
    merges.undo(village.actor, first)
    assert set(Person.objects.values_list("pk", flat=True)) == {pair.first_id, pair.second_id, third.pk}


def test_a_merge_is_undone_only_by_who_sees_both_territories(district, town):
    pair = make_pair(region=OTHER_TOWN)
    done = merged(district.actor, pair)
    with pytest.raises(Merge.DoesNotExist):
        merges.undo(town.actor, done)
    merges.undo(district.actor, done)
