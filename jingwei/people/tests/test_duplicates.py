"""Records of one person are found, reviewed, and never proposed again once they are two people."""

import pytest
from django.core.exceptions import ValidationError

from jingwei.base.access import Actor, DataScope
from jingwei.base.models import Job, LogEntry
from jingwei.desk import jobs
from jingwei.desk.tasks import KINDS, TIMETABLE
from jingwei.people import duplicates
from jingwei.people.duplicates import dismiss, find, likeness, pairs_of, reopen
from jingwei.people.models import DuplicatePair, Person
from jingwei.people.samples import number, person

pytestmark = [pytest.mark.django_db, pytest.mark.req("P-5.7")]
OTHER_VILLAGE = "990101001002"
OTHER_TOWN = "990101002001"
# Nothing that another record shares, unless a test says so.
ALONE = {"phone": "", "address": ""}


def reasons():
    """{(name, name): reasons} of the pairs that a search finds."""
    find()
    return {(pair.first.name, pair.second.name): pair.reasons for pair in DuplicatePair.objects.all()}


def slipped(written, born="19800101"):
    """A valid ID number that differs from `written` in the order and the check digit."""
    return next(n for n in map(lambda order: number(born, order), range(1000)) if differing(n, written) == 2)


def differing(left, right):
    return sum(a != b for a, b in zip(left, right, strict=True))


# --- what is found ----------------------------------------------------------------------------------------


def test_a_number_with_a_slip_is_found():
    first = person(name="陈一", number=number("19800101", 11), **ALONE)
    person(name="陈一", number=slipped(first.number.clear()), region=OTHER_VILLAGE, **ALONE)
    assert reasons() == {("陈一", "陈一"): "证件号有两处不同，姓名相同，出生日期相同"}


def test_a_slip_in_the_birth_date_of_the_number_is_found_though_nothing_else_is_the_same():
    # 1980-01-01 and 1980-01-10: two neighbours swapped; the check digit follows.
    written = next(o for o in range(1000) if differing(number("19800101", o), number("19800110", o)) == 3)
    person(name="陈二", number=number("19800101", written), **ALONE)
    person(name="陈二", number=number("19800110", written), region=OTHER_TOWN, **ALONE)
    assert reasons() == {("陈二", "陈二"): "证件号有两处不同，姓名相同"}


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("E12354678", "证件号相邻两位颠倒，姓名相同"),
        ("E12345679", "证件号只有一位不同，姓名相同"),
        ("E1234567", "证件号少一位，姓名相同"),
    ],
)
def test_slips_in_numbers_without_check_digit_are_told_in_words(written, words):
    for passport in ("E12345678", written):
        person(name="MARY", doc_type="护照", number=passport, **ALONE)
    assert reasons() == {("MARY", "MARY"): words}


def test_the_same_name_birthday_and_phone_are_found():
    person(name="陈三", number=number("19800101", 100), phone="16000000003", address="")
    person(name="陈三", number=number("19800101", 999), phone="16000000003", address="")
    assert reasons() == {("陈三", "陈三"): "姓名相同，出生日期相同，联系电话相同"}


def test_the_same_name_birthday_and_home_are_found_unless_half_the_village_lives_there():
    for order in (100, 999):
        person(name="陈三", number=number("19800101", order), phone="", address="上埔社区3号")
    assert reasons() == {("陈三", "陈三"): "姓名相同，出生日期相同，居住地相同"}
    for n in range(duplicates.MOST_AT_HOME - 1):
        person(name=f"林{n}", number=number("19700101", n), phone="", address="上埔社区3号")
    assert reasons() == {}


def test_the_passport_and_the_id_card_of_one_person_are_found():
    person(name="陈四", number=number("19800101"), sex="", **ALONE)
    person(name="陈四", doc_type="护照", number="E99000004", birth_date="1980-01-01", **ALONE)
    assert reasons() == {("陈四", "陈四"): "姓名相同，出生日期相同，证件类型不同"}


def test_a_passport_in_latin_letters_is_found_by_birthday_and_phone():
    card = person(name="陈五", phone="16000000005", address="")
    sex = {"1": "男", "2": "女"}[card.sex]
    passport = {"doc_type": "护照", "number": "E99000005", "birth_date": "1980-01-01", "sex": sex}
    person(name="CHEN WU", phone="16000000005", address="", **passport)
    assert reasons() == {("陈五", "CHEN WU"): "出生日期相同，联系电话相同，证件类型不同"}


def test_one_number_under_two_types_of_document_is_found():
    card = person(name="陈六", **ALONE)
    person(name="陈陆", doc_type="其他证件", number=card.number.clear(), **ALONE)
    assert reasons() == {("陈六", "陈陆"): "证件号相同、证件类型不同，证件类型不同"}


@pytest.mark.req("P-6.3")
def test_the_search_is_a_job_of_the_timetable_and_follows_large_loads():
    assert duplicates.SEARCH in {entry.kind for entry in TIMETABLE}
    for order in (100, 999):
        person(name="陈三", number=number("19800101", order), phone="16000000003", address="")
    duplicates.search_after_load(duplicates.MANY - 1)
    assert not Job.objects.exists()
    for _ in range(2):
        duplicates.search_after_load(duplicates.MANY)
    job = Job.objects.get()
    jobs.run({duplicates.SEARCH: KINDS[duplicates.SEARCH].work}, job.pk)
    job.refresh_from_db()
    assert (job.state, job.message) == (Job.DONE, "新发现 1 对，不再相似 0 对，共有 1 对待核。")


# --- what is not ------------------------------------------------------------------------------------------


def test_twins_are_two_people():
    same = {"phone": "16000000007", "address": "上埔社区7号"}
    first = person(name="陈大宝", number=number("20150101", 11), **same)
    person(name="陈小宝", number=slipped(first.number.clear(), "20150101"), **same)
    assert reasons() == {}


def test_people_of_one_name_born_on_one_day_are_two_people():
    person(name="陈八", number=number("19800101", 100), phone="16000000008", address="上埔社区8号")
    person(name="陈八", number=number("19800101", 999), phone="16000000009", address="上埔社区9号")
    assert reasons() == {}


def test_an_office_phone_makes_nobody_a_duplicate():
    for n in range(duplicates.MOST_ON_PHONE):
        person(name=f"陈{n}", number=number(f"198{n}0101"), phone="0590-88888888", address="")
    for born in ("19710101", "19720202"):
        person(name="陈九", number=number(born), phone="0590-88888888", address="")
    assert reasons() == {}


# --- what becomes of a pair -------------------------------------------------------------------------------


@pytest.fixture
def pair():
    for order in (100, 999):
        person(name="陈双", number=number("19800101", order), phone="16000000010", address="")
    find()
    return DuplicatePair.objects.get()


def test_a_second_search_changes_nothing(pair):
    found = find()
    assert (found.added, found.dropped, found.waiting) == (0, 0, 1)
    assert DuplicatePair.objects.get() == pair


def test_a_pair_disappears_when_its_records_are_no_longer_alike(pair):
    Person.objects.filter(pk=pair.first_id).update(name="另一人")
    assert likeness(pair) is None
    assert find().dropped == 1
    assert not DuplicatePair.objects.exists()


def test_a_pair_is_told_anew_when_its_records_have_changed(pair):
    Person.objects.filter(pk=pair.first_id).update(birth_date=None)
    assert likeness(pair) == (65, "姓名相同，联系电话相同")
    find()
    pair.refresh_from_db()
    assert (pair.score, pair.reasons) == (65, "姓名相同，联系电话相同")


def test_two_people_are_not_proposed_again(village, pair):
    dismiss(village.actor, pair, reason="已上门核实")
    assert find().added == 0
    pair.refresh_from_db()
    assert (pair.state, pair.by_name) == (DuplicatePair.DIFFERENT, village.actor.name)
    assert LogEntry.objects.get(act="判为非同一人").reason == "已上门核实"
    with pytest.raises(ValidationError, match="已经判为"):
        dismiss(village.actor, pair)


def test_a_verdict_can_be_taken_back(village, pair):
    dismiss(village.actor, pair)
    reopen(village.actor, pair)
    pair.refresh_from_db()
    assert (pair.state, pair.by_name, pair.decided_at) == (DuplicatePair.WAITING, "", None)


def test_a_pair_is_seen_by_those_who_see_both_records(district, town, village, othertown, nobody, pair):
    seen = [p.login for p in (district, town, village, othertown, nobody) if pairs_of(p.actor, "view")]
    assert seen == ["district", "town", "village"]
    Person.objects.filter(pk=pair.second_id).update(region=OTHER_VILLAGE)
    seen = [p.login for p in (district, town, village, othertown, nobody) if pairs_of(p.actor, "view")]
    assert seen == ["district", "town"]
    Person.objects.filter(pk=pair.second_id).update(region=OTHER_TOWN)
    seen = [p.login for p in (district, town, village, othertown, nobody) if pairs_of(p.actor, "view")]
    assert seen == ["district"]
    with pytest.raises(DuplicatePair.DoesNotExist):
        dismiss(town.actor, pair)


def test_who_may_review_more_than_view_sees_no_pair_with_a_record_out_of_sight(pair):
    wide, narrow = (DataScope(regions=frozenset([code])) for code in ("990101", "990101001001"))
    clerk = Actor(grants={"duplicates.view": wide, "people.view": narrow})
    assert pairs_of(clerk, "view").get() == pair
    Person.objects.filter(pk=pair.second_id).update(region=OTHER_VILLAGE)
    assert not pairs_of(clerk, "view").exists()


def test_a_pair_holds_up_no_record(pair):
    Person.objects.get(pk=pair.first_id).delete()
    assert not DuplicatePair.objects.exists()
