"""A person is registered once, corrected, moved and vaccinated."""

from datetime import date, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from jingwei.base.columns import Context
from jingwei.base.loading import load
from jingwei.base.models import LogEntry
from jingwei.base.sheets import clean_row
from jingwei.desk.history import history_of
from jingwei.directory.models import Region
from jingwei.people import actions
from jingwei.people.models import Dose, Person, Transfer
from jingwei.people.queries import household_of
from jingwei.people.resources import PersonResource
from jingwei.people.samples import number, person
from jingwei.people.sheets import RosterSheet

pytestmark = pytest.mark.django_db
PEOPLE = PersonResource()
ELSEWHERE = "990101002001"  # a community of the second township


def entered(actor, **cells):
    """What the form gives for these cells."""
    base = {"region": "990101001001", "name": "陈新", "doc_type": "居民身份证", "number": number()}
    context = Context(actor, "people.add", datetime.now())
    values, errors = clean_row(RosterSheet(), base | cells, context)
    assert not errors
    return values


# --- registering ------------------------------------------------------------------------------------------


@pytest.mark.req("CL-3.5", "CL-3.2")
def test_birth_date_and_sex_follow_from_the_document_number(village):
    values = entered(village.actor, number=number("19511203", 468))
    added = PEOPLE.save(village.actor, Person(), values=values)
    added = Person.objects.get(pk=added.pk)
    assert (added.birth_date, added.sex) == (date(1951, 12, 3), "2")


@pytest.mark.req("CL-3.3")
def test_a_new_or_corrected_number_finds_the_samples_it_has_already(village):
    waiting = ProcrastinateJob.objects.filter(task_name=actions.ROLL_UP_SAMPLES)
    added = PEOPLE.save(village.actor, Person(), values=entered(village.actor))
    assert waiting.get().args == {"people": [added.pk]}
    PEOPLE.save(village.actor, added, values={"occupation": "务农"}, version=1)
    assert waiting.count() == 1
    PEOPLE.save(village.actor, added, values={"number": number("19790101")}, version=2)
    assert waiting.count() == 2


@pytest.mark.req("CL-3.2")
def test_other_documents_carry_sex_and_birth_date_as_entered(village):
    values = entered(village.actor, doc_type="护照", number="E99000001", sex="女", birth_date="1990-05-06")
    added = PEOPLE.save(village.actor, Person(), values=values)
    assert (added.birth_date, added.sex) == (date(1990, 5, 6), "2")


@pytest.mark.req("CL-3.5")
def test_a_second_person_with_the_same_document_is_refused_with_a_link(village):
    known = person(name="王在册")
    with pytest.raises(ValidationError) as refusal:
        PEOPLE.save(village.actor, Person(), values=entered(village.actor, number=known.number.clear()))
    [said] = refusal.value.message_dict["number"]
    assert f'href="/people/{known.pk}/"' in said
    assert "王在册" in said
    assert Person.objects.count() == 1


@pytest.mark.req("CL-3.5", "P-1.6")
def test_of_a_person_registered_elsewhere_only_the_fact_is_told(village):
    known = person(region=ELSEWHERE, name="王他乡")
    with pytest.raises(ValidationError) as refusal:
        PEOPLE.save(village.actor, Person(), values=entered(village.actor, number=known.number.clear()))
    assert refusal.value.message_dict == {"number": ["该证件号已登记，不能重复登记"]}


@pytest.mark.req("CL-2.1")
def test_nobody_is_registered_outside_the_own_territory(village, district):
    values = entered(district.actor, region=ELSEWHERE)
    with pytest.raises(ValidationError, match="管辖范围"):
        PEOPLE.save(village.actor, Person(), values=values)
    assert not Person.objects.exists()


@pytest.mark.req("CL-3.2")
@pytest.mark.parametrize(
    ("day", "age"),
    [(date(2026, 2, 27), 65), (date(2026, 2, 28), 65), (date(2026, 3, 1), 66), (date(2028, 2, 29), 68)],
)
def test_age_is_right_on_every_day(day, age):
    assert Person(birth_date=date(1960, 2, 29)).age_on(day) == age


@pytest.mark.req("CL-3.6", "P-3.1")
def test_every_overwritten_value_stays_in_the_history(village):
    someone = person(occupation="务农")
    PEOPLE.save(village.actor, someone, values={"occupation": "快递员"}, version=1)
    [event] = someone.events.all()
    assert event.occupation == "务农"
    assert event.pgh_context.metadata["name"] == village.operator.name
    [log] = LogEntry.objects.filter(resource="people", act="修改")
    assert log.detail["changes"] == {"单位（从业情况）": ["务农", "快递员"]}


@pytest.mark.req("CL-3.6")
def test_the_household_is_who_lives_at_the_same_address_in_the_same_community():
    someone = person(address="上埔社区9号1栋101室")
    together = person(address="上埔社区 9号1栋101室")
    person(address="上埔社区9号1栋102室")
    person(region=ELSEWHERE, address="上埔社区9号1栋101室")
    assert list(household_of(someone)) == [together]


def test_people_without_an_address_are_no_household():
    alone = person(address="")
    person(address="")
    assert not household_of(alone).exists()


# --- moving -----------------------------------------------------------------------------------------------


@pytest.mark.req("CL-3.7")
def test_a_person_who_moves_away_leaves_and_both_communities_see_the_transfer(village, othertown):
    someone = person(name="林搬家")
    Dose.objects.create(person=someone, dose=1, on=date(2021, 5, 1))
    actions.transfer_person(village.actor, someone, to_region=Region.objects.get(pk=ELSEWHERE), reason="购房")
    assert not Person.objects.visible_to(village.actor, "people.view").exists()
    there = Person.objects.visible_to(othertown.actor, "people.view").get()
    assert there.doses.count() == 1
    for side in (village, othertown):
        seen = Transfer.objects.visible_to(side.actor, "transfers.view").get()
        assert (seen.from_region_id, seen.to_region_id) == ("990101001001", ELSEWHERE)
        assert (seen.reason, seen.by_name) == ("购房", village.operator.name)


@pytest.mark.req("CL-3.7", "CL-2.1")
def test_nobody_fetches_a_person_from_another_territory(village, othertown):
    someone = person(region=ELSEWHERE)
    with pytest.raises(Person.DoesNotExist):
        actions.transfer_person(village.actor, someone, to_region=Region.objects.get(pk="990101001001"))
    assert not Transfer.objects.exists()


@pytest.mark.req("CL-3.7")
@pytest.mark.parametrize("target", ["990101001001", "990101002"])
def test_a_move_needs_another_community(village, target):
    someone = person()
    with pytest.raises(ValidationError):
        actions.transfer_person(village.actor, someone, to_region=Region.objects.get(pk=target))


@pytest.mark.req("CL-3.7")
def test_a_corrected_community_is_a_move_too(town):
    someone = person()
    PEOPLE.save(town.actor, someone, values={"region_id": "990101001002"}, version=1)
    moved = Transfer.objects.get()
    assert (moved.person, moved.to_region_id) == (someone, "990101001002")


# --- doses ------------------------------------------------------------------------------------------------


@pytest.mark.req("CL-3.3")
def test_the_latest_dose_is_the_one_with_the_highest_number(village):
    someone = person()
    for dose, on in [(2, date(2021, 8, 1)), (1, date(2021, 7, 1)), (3, date(2022, 2, 1))]:
        actions.vaccinate(village.actor, someone, dose=dose, on=on, unit=f"第{dose}卫生院")
    someone.refresh_from_db()
    assert (someone.dose, someone.dose_on, someone.dose_unit) == (3, date(2022, 2, 1), "第3卫生院")
    assert someone.version == 1  # nobody who edits the person is told of a change they didn't make

    actions.delete_dose(village.actor, someone.doses.get(dose=3))
    someone.refresh_from_db()
    assert (someone.dose, someone.dose_unit) == (2, "第2卫生院")


@pytest.mark.req("CL-3.3")
def test_a_dose_corrected_changes_the_person(village):
    someone = person()
    actions.vaccinate(village.actor, someone, dose=1, on=date(2021, 7, 1))
    actions.save_dose(village.actor, someone.doses.get(), values={"on": date(2021, 7, 2)})
    someone.refresh_from_db()
    assert someone.dose_on == date(2021, 7, 2)


@pytest.mark.req("CL-3.3")
def test_a_dose_is_given_once_and_not_tomorrow(village):
    someone = person()
    actions.vaccinate(village.actor, someone, dose=1, on=date(2021, 7, 1))
    with pytest.raises(ValidationError, match="已登记"):
        actions.vaccinate(village.actor, someone, dose=1, on=date(2021, 7, 9))
    with pytest.raises(ValidationError, match="晚于今天"):
        actions.vaccinate(village.actor, someone, dose=2, on=timezone.localdate() + timedelta(days=1))
    assert someone.doses.count() == 1


@pytest.mark.req("CL-3.6", "CL-6.3")
def test_what_an_import_overwrote_stands_in_the_history_with_who_did_it(village, tmp_path):
    someone = person(occupation="务农")
    sheet = tmp_path / "摸排表.csv"
    sheet.write_text(
        "村/社区,姓名,证件类型,证件号,工作单位\n"
        f"上埔社区,{someone.name},居民身份证,{someone.number.clear()},快递员\n",
        encoding="utf-8",
    )
    load(village.actor, RosterSheet(), sheet, today=timezone.localdate())
    someone.refresh_from_db()
    [change] = history_of(PEOPLE, someone)
    assert (change.who, change.act) == (village.operator.name, "导入")
    assert change.changes == {"单位（从业情况）": ["务农", "快递员"]}
