"""A record is added, changed and deleted on the desk, and nobody's work is overwritten in silence."""

import os
from types import SimpleNamespace

import psycopg
import pytest
from django.core.exceptions import ValidationError
from django.db import OperationalError, connection

from jingwei import menu
from jingwei.base.models import LogEntry
from jingwei.base.saving import StaleRecord
from jingwei.desk.unmasking import note_unmasking
from jingwei.directory.models import Department
from jingwei.people.models import Dose, Person
from jingwei.people.samples import dose, number, person

pytestmark = pytest.mark.django_db
ELSEWHERE = "990101002001"


def fields(**changed):
    """What the form of a new resident sends."""
    cells = {
        "region": "990101001001",
        "name": "新来",
        "sex": "",
        "doc_type": "111",
        "number": number(),
        "resident": "是",
        "registered_address": "",
        "address": "上埔社区5号",
        "tenant": "",
        "occupation": "",
        "group": "",
        "phone": "160 0000 0002",
        "birth_date": "",
    }
    return cells | changed


def form_of(answer):
    """The values a browser would send back from the form on a page."""
    form = answer.context["form"]
    values = {name: "" if form[name].value() is None else form[name].value() for name in form.fields}
    shown = {
        f"initial-{name}": values[name] for name, field in form.fields.items() if field.show_hidden_initial
    }
    return values | shown | {"version": answer.context["version"]}


@pytest.mark.req("CL-3.5", "P-5.2", "CL-3.2")
def test_a_person_is_added_cleaned_and_shown(village):
    answer = village.client.post("/people/new/", fields(number=number("19900102", 12).lower()))
    added = Person.objects.get()
    assert answer.url == f"/people/{added.pk}/"
    assert (added.phone.clear(), added.sex, added.birth_date.isoformat()) == (
        "16000000002",
        "2",
        "1990-01-02",
    )
    page = village.client.get(answer.url).content.decode()
    assert "160****0002" in page and "16000000002" not in page
    assert LogEntry.objects.get(act="新增", resource="people").object_id == str(added.pk)


@pytest.mark.req("P-5.2")
def test_each_mistake_is_told_beside_its_field_and_nothing_typed_is_lost(village):
    wrong = number()[:-1] + ("0" if number()[-1] != "0" else "1")
    answer = village.client.post(
        "/people/new/", fields(name="", number=wrong[:17] + "?", phone="123", birth_date="2990-01-01")
    )
    errors = answer.context["form"].errors
    assert set(errors) == {"name", "number", "phone", "birth_date"}
    assert errors["name"] == ["姓名不能为空，请填写"]
    page = answer.content.decode()
    for name in errors:
        assert f'id="id_{name}_error"' in page and f'href="#id_{name}"' in page
    assert 'value="123"' in page and "上埔社区5号" in page
    assert not Person.objects.exists()


@pytest.mark.req("CL-2.1", "P-1.6")
def test_a_form_takes_no_row_out_of_the_territory(village):
    answer = village.client.post("/people/new/", fields(region=ELSEWHERE))
    assert "不在您的管辖范围内或不存在" in answer.context["form"].errors["region"][0]
    unknown = village.client.post("/people/new/", fields(region="990101999999"))
    assert (
        unknown.context["form"].errors["region"][0].replace("990101999999", ELSEWHERE)
        == answer.context["form"].errors["region"][0]
    )
    mine = person()
    village.client.post(f"/people/{mine.pk}/edit/", fields(region=ELSEWHERE, version=1))
    mine.refresh_from_db()
    assert mine.region_id == village.region


@pytest.mark.req("CL-3.5")
def test_the_form_is_filled_in_for_the_clerk_of_a_community(village, district):
    assert village.client.get("/people/new/").context["form"]["region"].value() == village.region
    assert not district.client.get("/people/new/").context["form"]["region"].value()


@pytest.mark.req("CL-3.5", "P-1.6")
def test_a_document_registered_before_is_refused_with_the_way_there_if_one_may_go(village):
    known, far = person(name="王在册"), person(region=ELSEWHERE, name="王他乡")
    page = village.client.post("/people/new/", fields(number=known.number.clear())).content.decode()
    assert f'href="/people/{known.pk}/"' in page
    page = village.client.post("/people/new/", fields(number=far.number.clear())).content.decode()
    assert "已登记" in page and f"/people/{far.pk}/" not in page and "王他乡" not in page


# --- changing ---------------------------------------------------------------------------------------------


@pytest.mark.req("P-4.3", "P-5.2", "CL-6.3")
def test_a_masked_value_stays_unless_something_else_is_written_over_it(village):
    mine = person(phone="16000000007", address="上埔社区1号2栋301室")
    address = f"/people/{mine.pk}/edit/"
    page = village.client.get(address)
    assert "16000000007" not in page.content.decode()
    sent = form_of(page)
    assert sent["phone"] == "160****0007"
    village.client.post(address, sent | {"occupation": "务农"})
    stored = Person.objects.get()
    assert (stored.phone.clear(), stored.occupation) == ("16000000007", "务农")
    assert stored.address.clear() == "上埔社区1号2栋301室"
    village.client.post(address, sent | {"version": 2, "phone": "16000000008", "address": ""})
    stored = Person.objects.get()
    assert (stored.phone.clear(), stored.address) == ("16000000008", None)
    refused = village.client.post(address, sent | {"version": 3, "phone": "160****9999"})
    assert "phone" in refused.context["form"].errors


@pytest.mark.req("P-3.1")
def test_a_change_is_logged_field_by_field_without_clear_values(village):
    mine = person(phone="16000000007")
    sent = form_of(village.client.get(f"/people/{mine.pk}/edit/"))
    village.client.post(
        f"/people/{mine.pk}/edit/", sent | {"phone": "16000000008", "tenant": "是", "group": "学生"}
    )
    entry = LogEntry.objects.get(act="修改")
    assert entry.detail["changes"] == {
        "联系电话": ["160****0007", "160****0008"],
        "是否为租户": ["否", "是"],
        "人群分类": ["普通人群", "学生"],
    }
    page = village.client.get(f"/people/{mine.pk}/").content.decode()
    assert "160****0008" in page and "16000000008" not in page


@pytest.mark.req("P-5.2")
def test_who_would_overwrite_a_newer_change_sees_it_first(village, town):
    mine = person(name="原名", phone="16000000007")
    address = f"/people/{mine.pk}/edit/"
    sent = form_of(village.client.get(address))
    town.client.post(
        address, form_of(town.client.get(address)) | {"occupation": "快递员", "phone": "16000000009"}
    )
    mine_now = sent | {"occupation": "司机", "name": "新名"}
    answer = village.client.post(address, mine_now)
    page = answer.content.decode()
    assert Person.objects.get().occupation == "快递员"
    assert town.operator.name in page
    conflict = {heading: (now, entered) for heading, now, entered in answer.context["conflict"].differences}
    assert conflict["单位（从业情况）"] == ("快递员", "司机")
    assert conflict["姓名"] == ("原名", "新名")
    assert "16000000009" not in page
    # Having seen it, the second save counts; what was not touched stays as the other one left it.
    village.client.post(address, mine_now | {"version": answer.context["version"]})
    stored = Person.objects.get()
    assert (stored.name, stored.occupation, stored.phone.clear()) == ("新名", "司机", "16000000009")


@pytest.mark.req("P-5.2")
@pytest.mark.parametrize("version", ["", "abc", "0", "99"])
def test_a_form_without_a_true_version_overwrites_nothing(village, version):
    mine = person(occupation="务农")
    sent = form_of(village.client.get(f"/people/{mine.pk}/edit/")) | {
        "occupation": "司机",
        "version": version,
    }
    assert village.client.post(f"/people/{mine.pk}/edit/", sent).status_code == 200
    assert Person.objects.get().occupation == "务农"


# --- deleting ---------------------------------------------------------------------------------------------


@pytest.mark.req("P-5.1", "P-3.1")
def test_deleting_says_first_what_goes_along(village):
    given = dose()
    address = f"/people/{given.person_id}/delete/"
    page = village.client.get(address).content.decode()
    assert "疫苗接种 1 条" in page and Person.objects.exists()
    assert village.client.post(address).url == "/people/"
    assert not Person.objects.exists() and not Dose.objects.exists()
    assert LogEntry.objects.get(act="删除", resource="people").label == "林样例"


@pytest.mark.req("P-1.3")
def test_what_is_in_use_cannot_be_deleted_and_says_by_what(sysadmin):
    from jingwei.directory.models import Department, Organisation, Post

    department = Department.objects.create(organisation=Organisation.objects.first(), name="临时科")
    Post.objects.create(department=department, name="科员")
    page = sysadmin.client.get(f"/departments/{department.pk}/delete/").content.decode()
    assert "不能删除" in page and "职务 1 条" in page
    page = sysadmin.client.post(f"/departments/{department.pk}/delete/").content.decode()
    assert "仍被职务使用" in page
    assert Department.objects.filter(pk=department.pk).exists()


@pytest.mark.req("P-4.3", "SEC-16", "P-3.1")
def test_clear_values_need_the_permission_a_reason_and_a_log_row(village, district):
    mine = person(phone="16000000007")
    address = f"/people/{mine.pk}/unmask/"
    for reason in ("", " ", "x"):
        page = village.client.post(address, {"reason": reason})
        assert "事由" in page.content.decode() and "16000000007" not in page.content.decode()
    assert not LogEntry.objects.filter(act="查看明文").exists()
    page = village.client.post(address, {"reason": "电话联系本人"})
    assert "16000000007" in page.content.decode()
    assert page["Cache-Control"] == "no-store"
    entry = LogEntry.objects.get(act="查看明文")
    assert (entry.object_id, entry.reason, entry.operator) == (
        str(mine.pk),
        "电话联系本人",
        village.operator.pk,
    )
    assert "16000000007" not in str(entry.detail)
    assert "16000000007" not in village.client.get(f"/people/{mine.pk}/").content.decode()


@pytest.mark.req("P-4.3")
def test_clear_values_come_where_they_were_asked_for(village):
    mine = person(phone="16000000007", name="甲")
    asked = {"reason": "核对", "in": "row", "position": "3"}
    row = village.client.post(
        f"/people/{mine.pk}/unmask/", asked, headers={"HX-Request": "true"}
    ).content.decode()
    assert row.strip().startswith("<tr") and "16000000007" in row and ">3<" in row
    form = village.client.post(f"/people/{mine.pk}/unmask/", {"reason": "核对", "in": "form"})
    assert 'value="16000000007"' in form.content.decode()
    village.client.post(f"/people/{mine.pk}/edit/", form_of(form))
    assert Person.objects.get().version == 1  # sent back as it was: nothing changed


@pytest.mark.req("SEC-16")
def test_looking_at_clear_values_is_limited_by_the_hour(village, monkeypatch):
    monkeypatch.setattr("jingwei.desk.unmasking.PER_HOUR", SimpleNamespace(value=lambda: 2))
    mine = person(phone="16000000007")
    answers = [village.client.post(f"/people/{mine.pk}/unmask/", {"reason": "核对"}) for _ in range(3)]
    assert ["16000000007" in answer.content.decode() for answer in answers] == [True, True, False]


@pytest.mark.req("P-5.2", "SEC-12")
def test_what_somebody_else_adds_at_the_same_moment_is_refused_in_words(district, monkeypatch):
    really, office = Department.full_clean, district.operator.organisation

    def checked_a_moment_before(department, *args, **kwargs):
        really(department, *args, **kwargs)
        if not Department.objects.filter(name="同名科").exists():
            Department.objects.create(organisation=office, name="同名科")

    monkeypatch.setattr(Department, "full_clean", checked_a_moment_before)
    sent = {"organisation": office.pk, "name": "同名科", "order": "1"}
    answer = district.client.post("/departments/new/", sent)
    assert "该单位已有同名部门" in answer.content.decode()


@pytest.mark.req("P-5.2", "SEC-8")
def test_a_record_is_deleted_and_logged_once(village):
    first, second = person(), Person.objects.get()
    resource = menu.resource("people")
    resource.delete(village.actor, first)
    with pytest.raises(ValidationError, match="已被删除"):
        resource.delete(village.actor, second)
    assert second.pk, "the page that tells so looks at what hangs on it"
    with pytest.raises(StaleRecord):
        resource.save(village.actor, second, values={"name": "乙"})
    assert LogEntry.objects.filter(act="删除").count() == 1


@pytest.mark.req("SEC-16")
def test_looks_at_the_same_moment_are_counted_one_after_the_other(village):
    mine = person()
    with psycopg.connect(os.environ["JINGWEI_OWNER_URL"]) as another, connection.cursor() as cursor:
        another.execute("SELECT FROM directory_operator WHERE login = 'village' FOR UPDATE")
        cursor.execute("SET LOCAL lock_timeout = '50ms'")
        with pytest.raises(OperationalError, match="lock timeout"):
            note_unmasking(village.actor, menu.resource("people"), mine, "核对")


@pytest.mark.req("P-1.6", "SEC-7")
def test_without_the_permission_or_the_row_nobody_sees_clear_values(regulator, othertown):
    mine = person()
    assert regulator.client.post(f"/people/{mine.pk}/unmask/", {"reason": "看看"}).status_code == 403
    assert othertown.client.post(f"/people/{mine.pk}/unmask/", {"reason": "看看"}).status_code == 404
    assert not LogEntry.objects.filter(act="查看明文").exists()
