"""The page on which two records are compared and merged."""

import re

import pytest

from jingwei.people.duplicates import dismiss, find
from jingwei.people.models import Dose, DuplicatePair, Merge, Person
from jingwei.people.samples import number, person

pytestmark = [pytest.mark.django_db, pytest.mark.req("P-5.7")]
OTHER_TOWN = "990101002001"


@pytest.fixture
def pair():
    phone = {"phone": "16000000010"}
    one = person(
        name="陈双", number=number("19800101", 100), address="上埔社区1号", occupation="务农", **phone
    )
    two = person(name="陈双", number=number("19800101", 999), address="上埔社区9号", occupation="", **phone)
    Dose.objects.create(person=two, dose=1, on="2021-04-01")
    Person.objects.filter(pk=one.pk).update(updated_at="2026-01-01T00:00+08:00")
    find()
    return DuplicatePair.objects.get(first=one, second=two)


def page(persona, pair, **fields):
    address = f"/duplicates/{pair.pk}/"
    answer = persona.client.post(address, fields) if fields else persona.client.get(address)
    return answer, re.sub(r"\s+", " ", answer.content.decode())


def test_the_list_names_the_pairs_and_opens_them(village, pair):
    listed = village.client.get("/duplicates/").content.decode()
    assert "陈双" in listed
    assert "姓名相同，出生日期相同，联系电话相同" in listed
    assert f'href="/duplicates/{pair.pk}/"' in listed


def test_the_records_stand_side_by_side_and_no_number_is_clear(village, pair):
    answer, text = page(village, pair)
    assert answer.status_code == 200
    for record in (pair.first, pair.second):
        assert record.number.clear() not in text
        assert record.phone.clear() not in text
        assert str(record.number) in text
    rows = dict(re.findall(r'<th scope="row">([^<]+)</th>.*?<td>(?:<span[^>]*>|<b>)(相同|不同)</', text))
    assert (rows["姓名"], rows["联系电话"], rows["证件"], rows["居住地"]) == ("相同", "相同", "不同", "不同")
    # The masks of both addresses are the same, what they hide is not.
    assert "不同处打了星号" in text


def test_the_choice_is_the_newer_value_unless_it_is_empty(village, pair):
    _, text = page(village, pair)
    checked = set(re.findall(r'name="(take-\w+|keep)" value="(\d+)" checked', text))
    first, second = str(pair.first_id), str(pair.second_id)
    assert {("keep", first), ("take-address", second), ("take-occupation", first)} <= checked


def chosen(pair, **takes):
    records = [pair.first, pair.second]
    return {
        "keep": pair.first_id,
        "record": [record.pk for record in records],
        "version": [record.version for record in records],
        **{f"take-{name}": pk for name, pk in takes.items()},
    }


def test_what_will_happen_is_said_before_it_happens(village, pair):
    _, text = page(
        village, pair, preview=1, **chosen(pair, address=pair.second_id, occupation=pair.second_id)
    )
    assert "打星号的部分改为另一条记录的内容" in text
    assert "<del>务农</del> <ins>（空）</ins>" in text
    assert "疫苗接种：0 条与 1 条归到一人" in text
    assert Person.objects.count() == 2
    confirmed = dict(re.findall(r'name="(keep|take-\w+)" value="(\d+)"', text))
    assert confirmed == {
        "keep": str(pair.first_id),
        "take-address": str(pair.second_id),
        "take-occupation": str(pair.second_id),
    }


def test_merging_leads_to_the_person_and_can_be_undone_from_the_list_of_merges(village, pair):
    answer, _ = page(village, pair, merge=1, **chosen(pair, address=pair.second_id))
    assert answer.status_code == 302
    assert answer["Location"] == f"/people/{pair.first_id}/"
    shown = village.client.get(answer["Location"]).content.decode()
    assert "上埔社区" in shown
    assert "合并记录" in shown
    done = Merge.objects.get()
    undone = village.client.post("/merges/do/undo/", {"pk": done.pk, "confirm": 1, "reason": "误判"})
    assert undone.status_code == 302
    assert Person.objects.count() == 2


def test_a_record_changed_meanwhile_is_told_and_nothing_is_merged(village, pair):
    seen = chosen(pair)
    Person.objects.filter(pk=pair.second_id).update(version=7)
    _, text = page(village, pair, merge=1, **seen)
    assert "刚被他人修改过" in text
    assert Person.objects.count() == 2


def test_what_hangs_on_whom_is_counted_by_permission(village, pair):
    _, text = page(village, pair)
    assert re.search(r'<th scope="row">疫苗接种</th><td>0</td><td>1</td>', text)


def test_two_people_are_shown_without_a_choice(village, pair):
    dismiss(village.actor, pair)
    _, text = page(village, pair)
    assert "判为非同一人" in text
    assert "重新核对" in text
    assert 'type="radio"' not in text


def test_a_pair_across_territories_does_not_exist_for_who_sees_one_of_them(
    district, village, othertown, pair
):
    Person.objects.filter(pk=pair.second_id).update(region=OTHER_TOWN)
    assert page(district, pair)[0].status_code == 200
    for persona in (village, othertown):
        assert page(persona, pair)[0].status_code == 404
        assert page(persona, pair, merge=1, **chosen(pair))[0].status_code == 404
    assert Person.objects.count() == 2


def test_without_permission_nothing_is_shown_or_merged(nobody, pair):
    assert page(nobody, pair)[0].status_code == 403
    assert page(nobody, pair, merge=1, **chosen(pair))[0].status_code == 403


def test_nothing_is_merged_past_the_review(village, pair):
    for asked in ({"pk": pair.pk}, {"all": 1}):
        answer = village.client.post("/duplicates/do/merge/", {"confirm": 1, **asked})
        assert answer.status_code in (200, 404)
    assert Person.objects.count() == 2
