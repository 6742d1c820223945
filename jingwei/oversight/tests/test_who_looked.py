"""Who looked at me: every operator that opened, exported or unmasked one person's record (P-3.4)."""

import io
from array import array

import pytest
from python_calamine import load_workbook

from jingwei import menu
from jingwei.base import audit
from jingwei.base.access import platform_actor
from jingwei.base.models import LogEntry, LogPeople
from jingwei.desk.lists import key_text
from jingwei.desk.looks import telling
from jingwei.messages.models import SmsMessage, SmsReply
from jingwei.messages.samples import SAMPLES as MESSAGES
from jingwei.oversight.models import ErasureRequest
from jingwei.oversight.queries import looks_at
from jingwei.oversight.samples import SAMPLES as OVERSIGHT
from jingwei.people.models import Person, Unregistered
from jingwei.people.samples import SAMPLES as PEOPLE
from jingwei.people.samples import dose, number
from jingwei.people.samples import person as new_person
from jingwei.scans.models import Contact, ContactSearch, Scan
from jingwei.scans.samples import SAMPLES as SCANS
from jingwei.testing.models import Sample, SampleBefore
from jingwei.testing.samples import SAMPLES as TESTING

pytestmark = pytest.mark.django_db
SAMPLES = PEOPLE | TESTING | SCANS | MESSAGES | OVERSIGHT


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
    people = array("q", [person.pk, *range(10**6, 10**6 + 9_000), person.pk])
    entry = audit.record(platform_actor("测试"), "导出", resource="people", people=people)
    assert LogPeople.objects.filter(entry=entry.pk).count() == 3
    assert [look.pk for look in looks_at(person)] == [entry.pk]
    absent = Person(pk=10**6 + 9_001, number=number())
    assert not looks_at(absent) and looks_at(Person(pk=10**6 + 8_999, number=number())).count() == 1


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
    page = auditadmin.client.post("/who-looked/", nobody).content.decode()
    assert "常住人口中没有这个证件号" in page


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


# Each kind of row with somebody's number and no link to the register: who sees it, its sample, the column.
OTHERS = {
    "samples": ("village", Sample, "number"),
    "samples-before": ("village", SampleBefore, "number"),
    "unregistered": ("village", Unregistered, "number"),
    "scans": ("venueops", Scan, "number"),
    "scan-query": ("venueops", Scan, "number"),
    "contact-searches": ("venueops", ContactSearch, "number"),
    "contacts": ("venueops", Contact, "number"),
    "erasure-requests": ("district", ErasureRequest, "number"),
    "sms-messages": ("district", SmsMessage, "receiver"),
    "sms-replies": ("district", SmsReply, "sender"),
}


@pytest.mark.req("P-3.4")
@pytest.mark.parametrize("name", OTHERS)
def test_a_row_with_the_persons_number_counts_as_looking_at_the_person(request, name):
    who, model, column = OTHERS[name]
    persona = request.getfixturevalue(who)
    row = SAMPLES[model]()
    known = getattr(row, column).clear()
    somebody = Person.objects.filter(**{column: known}).first() if column == "number" else None
    somebody = somebody or new_person(**{"number" if column == "number" else "phone": known})
    other = new_person(phone="16000000099")
    resource, key = menu.resource(name), key_text(row)
    acts = ["导出"]
    wish = {"format": "csv", "rows": "chosen", "pk": [key], "reason": "核查"}
    assert persona.client.post(f"/{name}/export/", wish).status_code == 200
    if resource.has_page:
        assert persona.client.get(f"/{name}/{key}/").status_code == 200
        persona.client.post(f"/{name}/{key}/printed/")
        acts += ["查看", "打印"]
    if persona.actor.may(f"{name}.clear"):
        persona.client.post(f"/{name}/{key}/unmask/", {"reason": "核对名单"})
        acts.append("查看明文")
    assert sorted(act for _, act in seen(somebody)) == sorted(acts)
    assert seen(other) == []


@pytest.mark.req("P-3.4", "KP-9.1")
def test_whose_contacts_were_searched_for_is_told(venueops):
    row = SAMPLES[Scan]()
    somebody, other = new_person(number=row.number.clear()), new_person()
    asked = {"number": row.number.clear(), "since": "2026-10-31", "until": "2026-11-01", "minutes": "10"}
    venueops.client.post("/contact-searches/new/", asked | {"second_ring": "1", "reason": "流调核查"})
    assert seen(somebody) == [("venueops", "查找接触者")]
    assert seen(other) == []


@pytest.mark.req("P-3.4")
def test_the_table_above_leaves_out_no_resource():
    """Venues, operators, registrations and systems are nobody's of the register: staff, or secrets."""
    staff = {"venues", "thresholds", "scan-statistics", "operators", "registrations"}
    numbers = {
        name for name, resource in menu.resources().items() if not resource.people and telling(resource)
    }
    assert numbers - staff == set(OTHERS)


@pytest.mark.req("P-3.4")
def test_whom_the_register_does_not_know_is_found_by_number(auditadmin, village):
    row = SAMPLES[Sample]()
    village.client.get(f"/samples/{key_text(row)}/")
    asked = {"doc_type": "111", "number": row.number.clear(), "reason": "本人投诉"}
    page = auditadmin.client.post("/who-looked/", asked).content.decode()
    assert village.operator.name in page and page.count(row.number.clear()) == 1
    assert row.number.clear() not in LogEntry.objects.get(act="查询谁看过").label


@pytest.mark.req("P-3.4", "SEC-13")
def test_the_log_tells_no_number_by_its_marks():
    number = "11010119800101001X"
    [mark] = audit.marks("number", [number])
    assert mark < 0 and audit.marks("number", [f" {number.lower()}"]) == [mark]
    assert audit.marks("phone", [number]) != [mark]
