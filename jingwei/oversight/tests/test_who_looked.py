"""Who looked at me: every operator that opened, exported or unmasked one person's record (P-3.4)."""

import io
from array import array

import pytest
from python_calamine import load_workbook

from jingwei.base import audit
from jingwei.base.access import platform_actor
from jingwei.base.models import LogEntry, LogPeople
from jingwei.oversight.queries import looks_at
from jingwei.people.models import Person
from jingwei.people.samples import dose
from jingwei.people.samples import person as new_person

pytestmark = pytest.mark.django_db


@pytest.fixture
def person(village):
    return new_person()


def seen(person):
    return [(look.login, look.act) for look in looks_at(person)]


@pytest.mark.req("P-3.4", "P-3.1")
def test_opening_unmasking_and_exporting_a_person_is_kept(village, town, district, person):
    other = new_person()
    assert town.client.get(f"/people/{person.pk}/").status_code == 200
    assert town.client.get(f"/people/{person.pk}/edit/").status_code == 200
    village.client.post(f"/people/{person.pk}/unmask/", {"reason": "核对名单"})
    wish = {"format": "csv", "rows": "chosen", "pk": [person.pk]}
    assert district.client.post("/people/export/", wish).status_code == 200
    assert seen(person) == [("district", "导出"), ("village", "查看明文"), ("town", "查看"), ("town", "查看")]
    assert seen(other) == []


@pytest.mark.req("P-3.4")
def test_what_hangs_on_a_person_counts_as_looking_at_the_person(village, person):
    given = dose()
    assert village.client.get(f"/doses/{given.pk}/").status_code == 200
    assert seen(given.person) == [("village", "查看")]
    village.client.post("/doses/export/", {"format": "csv", "rows": "all"})
    assert seen(given.person)[0] == ("village", "导出")


@pytest.mark.req("P-3.4")
def test_a_list_is_no_look_and_a_stranger_to_the_row_leaves_none(othertown, village, person):
    village.client.get("/people/")
    assert othertown.client.get(f"/people/{person.pk}/").status_code == 404
    assert seen(person) == []


@pytest.mark.req("P-3.4")
def test_an_export_of_many_keeps_each_of_them(person):
    entry = audit.record(platform_actor("测试"), "导出", resource="people")
    audit.note_people(entry, array("q", [person.pk, *range(10**6, 10**6 + 9_000), person.pk]))
    assert LogPeople.objects.filter(entry=entry.pk).count() == 3
    assert [look.pk for look in looks_at(person)] == [entry.pk]
    absent = Person(pk=10**6 + 9_001)
    assert not looks_at(absent) and looks_at(Person(pk=10**6 + 8_999)).count() == 1


@pytest.mark.req("P-3.4", "SEC-8")
def test_the_audit_administrator_asks_by_document_number(auditadmin, village, person):
    village.client.get(f"/people/{person.pk}/")
    asked = {"doc_type": person.doc_type, "number": person.number.clear(), "reason": "本人投诉"}
    page = auditadmin.client.post("/who-looked/", asked).content.decode()
    assert village.operator.name in page and page.count(person.number.clear()) == 1  # in the form
    [entry] = LogEntry.objects.filter(act="查询谁看过")
    assert (entry.login, entry.object_id, entry.reason) == ("auditadmin", str(person.pk), "本人投诉")
    answer = auditadmin.client.post("/who-looked/", asked | {"export": "1"})
    sheet = load_workbook(io.BytesIO(answer.content)).get_sheet_by_index(0).to_python()
    assert len(sheet) == 2 and "查看" in sheet[1]
    [entry] = LogEntry.objects.filter(act="导出", login="auditadmin")
    assert entry.reason == "本人投诉" and entry.detail["行数"] == 1


@pytest.mark.req("P-3.4", "P-4.2")
def test_a_question_without_reason_or_number_is_refused_in_words(auditadmin, person):
    page = auditadmin.client.post("/who-looked/", {"doc_type": "111", "number": "12", "reason": ""})
    assert "事由" in page.content.decode() and not LogEntry.objects.filter(act="查询谁看过").exists()
    nobody = {"doc_type": person.doc_type, "number": "A1234567", "reason": "本人投诉"}
    assert "没有登记此人" in auditadmin.client.post("/who-looked/", nobody).content.decode()


@pytest.mark.req("P-3.4")
def test_the_manager_sees_it_on_the_persons_page_and_a_clerk_does_not(district, village, person):
    village.client.get(f"/people/{person.pk}/")
    assert "谁看过" in district.client.get(f"/people/{person.pk}/").content.decode()
    assert "谁看过" not in village.client.get(f"/people/{person.pk}/").content.decode()
    assert village.client.get("/looks/").status_code == 403
    assert village.operator.name in district.client.get("/looks/").content.decode()


@pytest.mark.req("P-3.4", "P-3.1")
def test_the_log_is_exported_with_a_reason_only(auditadmin, person):
    answer = auditadmin.client.post("/logs/export/", {"format": "csv", "rows": "all"})
    assert answer.status_code == 422 and "须填写事由" in answer.content.decode()
    answer = auditadmin.client.post("/logs/export/", {"format": "csv", "rows": "all", "reason": "三季度审计"})
    assert answer.status_code == 200
    assert LogEntry.objects.get(act="导出").reason == "三季度审计"
