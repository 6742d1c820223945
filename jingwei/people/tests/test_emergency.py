"""Somebody opens one record beyond the own territory, and everybody concerned knows (P-1.9)."""

from datetime import timedelta
from html.parser import HTMLParser

import pytest
from django.utils import timezone

from jingwei.base import parameters
from jingwei.base.models import LogEntry, ParameterValue
from jingwei.directory.models import Role
from jingwei.people import emergency as acts
from jingwei.people.models import EmergencyAccess, Person
from jingwei.people.samples import number, person

pytestmark = [pytest.mark.django_db, pytest.mark.req("P-1.9")]
REASON = "120 急救，联系家属"


@pytest.fixture
def patient():
    return person(name="林急诊", address="上埔社区秘密巷71号")


def ask(persona, found, **changes):
    asked = {"doc_type": "111", "number": found.number.clear(), "reason": REASON} | changes
    return persona.client.post("/emergency/", asked)


def opened(persona, found):
    answer = ask(persona, found)
    assert answer.status_code == 302, text_of(answer)
    return EmergencyAccess.objects.get(by=persona.operator.pk, person=found)


def text_of(answer):
    said = []

    class Words(HTMLParser):
        def handle_data(self, data):
            said.append(data.strip())

    Words().feed(answer.content.decode())
    return " ".join(filter(None, said))


def logged(**which):
    return LogEntry.objects.filter(**which)


def test_one_record_opens_for_a_reason_masked_and_to_be_read_only(emergency, patient):
    assert not emergency.actor.may("people.view")
    access = opened(emergency, patient)
    page = emergency.client.get(f"/emergency/{access.pk}/")
    text = page.content.decode()
    assert page.status_code == 200
    assert "林急诊" in text
    assert str(patient.number) in text
    for secret in (patient.number.clear(), patient.phone.clear(), "秘密巷71号"):
        assert secret not in text
    for way in ("/edit/", "/unmask/", "/delete/", "/do/"):
        assert way not in text
    assert emergency.client.get(f"/people/{patient.pk}/").status_code == 403


def test_the_request_and_each_look_are_one_row_each_of_the_log(emergency, patient):
    access = opened(emergency, patient)
    about = {"operator": emergency.operator.pk, "resource": "people", "object_id": str(patient.pk)}
    assert logged(act="申请紧急查看", result="成功", reason=REASON, **about).count() == 1
    for looks in (1, 2):
        emergency.client.get(f"/emergency/{access.pk}/")
        access.refresh_from_db()
        assert logged(act="紧急查看", reason=REASON, **about).count() == access.looks == looks


def test_nobody_found_is_logged_counted_and_reviewed_without_the_number(emergency, secadmin):
    missing = number("19660606")
    answer = emergency.client.post("/emergency/", {"doc_type": "111", "number": missing, "reason": REASON})
    assert "没有查到登记这个证件的人员" in text_of(answer)
    [row] = logged(act="申请紧急查看")
    assert (row.result, row.label) == ("失败", "990101********" + missing[-4:])
    assert missing not in str(list(EmergencyAccess.objects.values()))
    assert "990101********" in text_of(secadmin.client.get("/emergency-reviews/"))


def test_the_bound_of_the_day_stops_asking_for_a_list_of_people(emergency, patient):
    allowed = acts.PER_DAY.value()
    for _ in range(allowed):
        ask(emergency, patient, number=number("19660606"))
    refused = ask(emergency, patient)
    assert "您今天已申请" in text_of(refused)
    assert not EmergencyAccess.objects.filter(person=patient).exists()
    assert logged(act="申请紧急查看", result="拒绝").count() == 1
    EmergencyAccess.objects.update(at=timezone.now() - timedelta(days=1))
    assert ask(emergency, patient).status_code == 302


def test_an_access_ends_by_time_and_by_hand(emergency, patient):
    access = opened(emergency, patient)
    assert access.until - access.at == timedelta(hours=2)
    address = f"/emergency/{access.pk}/"
    EmergencyAccess.objects.update(until=timezone.now() - timedelta(seconds=1))
    over = emergency.client.get(address, follow=True)
    assert "这次紧急查看已经结束" in text_of(over)
    assert not logged(act="紧急查看").exists()
    EmergencyAccess.objects.update(until=timezone.now() + timedelta(hours=1))
    assert emergency.client.get(address).status_code == 200
    emergency.client.post(f"{address}end/")
    assert emergency.client.get(address).status_code == 302
    assert logged(act="结束紧急查看").count() == 1


def test_the_time_is_a_parameter(emergency, patient):
    ParameterValue.objects.create(name=acts.HOURS.name, value="1")
    parameters.forget()
    access = opened(emergency, patient)
    assert access.until - access.at == timedelta(hours=1)


def test_the_access_is_one_persons_and_one_operators(emergency, patient, secadmin, request):
    access, other = opened(emergency, patient), person(name="林旁人")
    assert emergency.client.get(f"/emergency/{access.pk + 1}/").status_code == 404
    assert "林旁人" not in emergency.client.get(f"/emergency/{access.pk}/").content.decode()
    assert not Person.objects.visible_to(emergency.actor, "people.view").filter(pk=other.pk).exists()
    for login in ("nobody", "village", "district", "secadmin"):
        persona = request.getfixturevalue(login)
        assert persona.client.get(f"/emergency/{access.pk}/").status_code == 403
    town = Role.objects.get(name="乡镇街道操作员")
    town.permissions.append("emergency.open")
    town.save()
    othertown = request.getfixturevalue("othertown")
    assert othertown.client.get(f"/emergency/{access.pk}/").status_code == 404
    assert othertown.client.post(f"/emergency/{access.pk}/end/").status_code == 404


def test_a_record_of_ones_own_territory_is_no_emergency(town, patient):
    role = Role.objects.get(name="乡镇街道操作员")
    role.permissions.append("emergency.open")
    role.save()
    assert "此人在您的数据范围内" in text_of(ask(town, patient))
    assert not EmergencyAccess.objects.exists()


def test_a_former_document_opens_the_record_too_and_another_type_does_not(emergency, patient):
    patient.aliases.create(doc_type="414", number="E12345678")
    assert ask(emergency, patient, doc_type="414", number="e12345678").status_code == 302
    assert "没有查到" in text_of(ask(emergency, patient, doc_type="516", number="E12345678"))


@pytest.mark.parametrize(
    ("changes", "said"), [({"reason": ""}, "事由"), ({"number": "99010119800101001X"}, "校验位")]
)
def test_what_is_asked_wrongly_opens_and_counts_nothing(emergency, patient, changes, said):
    answer = ask(emergency, patient, **changes)
    assert answer.status_code == 200
    assert said in text_of(answer)
    assert not EmergencyAccess.objects.exists()


def test_the_persons_territory_is_told_at_once_until_somebody_there_knows(
    emergency, village, town, othertown, patient
):
    opened(emergency, patient)
    for persona in (village, town):
        assert "1 未知悉的紧急查看" in text_of(persona.client.get("/"))
    assert "未知悉的紧急查看" not in text_of(othertown.client.get("/"))
    listed = text_of(village.client.get("/emergency-notices/"))
    assert "急救演示账号" in listed
    assert REASON in listed
    access = EmergencyAccess.objects.get()
    assert othertown.client.get(f"/emergency-notices/{access.pk}/").status_code == 404
    address = "/emergency-notices/do/acknowledge/"
    assert othertown.client.post(address, {"pk": access.pk, "confirm": 1}).status_code == 404
    village.client.post(address, {"pk": access.pk, "confirm": 1})
    access.refresh_from_db()
    assert access.seen_by == village.operator.name
    assert "未知悉的紧急查看" not in text_of(village.client.get("/"))
    assert logged(act="知悉紧急查看", operator=village.operator.pk).count() == 1


def test_the_security_administrator_reviews_within_a_week_and_learns_no_name(emergency, secadmin, patient):
    access = opened(emergency, patient)
    home = secadmin.client.get("/").content.decode()
    assert "待复核的紧急查看" in home
    assert "tile-urgent" not in home
    EmergencyAccess.objects.update(at=timezone.now() - timedelta(days=7, minutes=1))
    home = secadmin.client.get("/").content.decode()
    assert "一周以上未复核的紧急查看" in home
    assert "tile-urgent" in home
    for page in (f"/emergency-reviews/{access.pk}/", "/emergency-reviews/"):
        assert "林急诊" not in secadmin.client.get(page).content.decode()
    asked = {"pk": access.pk, "confirm": 1, "opinion": "与 120 出车单不符"}
    assert secadmin.client.post("/emergency-reviews/do/object/", asked).status_code == 302
    access.refresh_from_db()
    assert (access.verdict, access.reviewed_by) == ("不当", secadmin.operator.name)
    assert logged(act="复核紧急查看", reason="与 120 出车单不符").count() == 1
    assert not access.is_open, "what was found to be without reason goes on no longer"
    again = secadmin.client.post("/emergency-reviews/do/justify/", asked)
    assert "现在不能复核" in text_of(again)
    assert "紧急查看" not in text_of(secadmin.client.get("/")).partition("安全与审计")[0]


def test_nobody_reviews_or_acknowledges_the_own_access(emergency, patient):
    access = opened(emergency, patient)
    for act in (acts.acknowledge, acts.justify):
        with pytest.raises(acts.ValidationError, match="自己的"):
            act(emergency.actor, access)


def test_the_review_outlives_the_record(emergency, secadmin, village, patient):
    access = opened(emergency, patient)
    patient.delete()
    assert emergency.client.get(f"/emergency/{access.pk}/").status_code == 302
    for persona, name in ((secadmin, "emergency-reviews"), (village, "emergency-notices")):
        assert persona.client.get(f"/{name}/{access.pk}/").status_code == 200


def test_the_right_is_granted_to_single_people_and_no_other_shipped_role_holds_it():
    holding = Role.objects.filter(permissions__contains=["emergency.open"])
    assert [role.name for role in holding] == ["紧急查看"]
    assert holding[0].permissions == ["emergency.open"]
