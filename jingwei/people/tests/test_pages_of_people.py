"""The register as its clerks see it: the table, one person's page, adding, moving, vaccinating."""

import re
from datetime import date, timedelta

import pytest
from django.http import QueryDict
from django.utils import timezone

from jingwei.desk.columns import columns_of
from jingwei.desk.lists import Selection
from jingwei.people import actions
from jingwei.people.models import Dose, Person
from jingwei.people.resources import PersonResource
from jingwei.people.samples import number, person
from jingwei.testing.samples import sample

pytestmark = pytest.mark.django_db
PEOPLE = PersonResource()
ELSEWHERE = "990101002001"

HEADINGS = (
    "序号 乡镇（街道） 村/社区 姓名 性别 证件类型 证件号 是否为常住人口 户籍地 居住地 是否为租户 "
    "单位（从业情况） 人群分类 联系电话 出生日期 年龄 是否为60岁(以上) 疫苗接种情况 接种单位 接种针次 "
    "接种日期 是否做过核酸检测 最后一次核酸检测时间 检测结果 采样点名称"
).split()


def rows(actor, **params):
    query = QueryDict(mutable=True)
    query.update(params)
    selection = Selection(PEOPLE, actor, query)
    assert not selection.refusals
    shown = selection.columns()
    return [{c.heading: c.value(row) for c in shown} for row in selection.page(1, 100).rows]


def text_of(response):
    """A page's text without tags, in one line."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


@pytest.mark.req("CL-3.1")
def test_the_table_has_the_25_columns_in_their_order():
    assert len(HEADINGS) == 25
    assert [column.heading for column in columns_of(PEOPLE)] == HEADINGS


@pytest.mark.req("CL-3.1", "CL-3.2", "CL-3.3")
def test_a_row_says_what_the_sheet_of_the_buyer_says(village):
    today = timezone.localdate()
    someone = person(name="林样例", born=f"{today.year - 60}{today:%m%d}", occupation="退休", group="老年人")
    given = date(2022, 3, 1)
    Dose.objects.create(person=someone, dose=3, on=given, unit="安平街道卫生院")
    actions.roll_up_doses([someone.pk])
    [row] = rows(village.actor)
    masked = someone.number.masked()
    assert list(row.values())[:16] == [
        *(1, "安平街道", "上埔社区", "林样例", row["性别"], "居民身份证", masked, "是"),
        *("示例省示例市****", "上埔社区1号****", "否", "退休", "老年人", "160****0001"),
        *(someone.birth_date, 60),
    ]
    assert list(row.values())[16:] == [*("是", "已接种3针", "安平街道卫生院", 3, given, "否", "", "", "")]


@pytest.mark.req("CL-3.4")
@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("欧阳", ["欧阳甲"]),
        ("滨江", ["欧阳甲"]),
        ("16000000009", ["乙"]),
        ("货车", ["乙"]),
        ("滨江 货车", []),
    ],
)
def test_quick_search_finds_by_name_address_phone_and_occupation(village, word, found):
    person(name="欧阳甲", address="上埔社区滨江里3号", occupation="教师")
    person(name="乙", address="上埔社区北街4号", phone="16000000009", occupation="货车司机")
    assert [row["姓名"] for row in rows(village.actor, q=word)] == found


@pytest.mark.req("CL-3.4")
def test_quick_search_finds_a_document_number(village):
    person()
    wanted = person(name="要找的人")
    assert [row["姓名"] for row in rows(village.actor, q=wanted.number.clear())] == ["要找的人"]
    assert [row["姓名"] for row in rows(village.actor, q=wanted.number.clear().lower())] == ["要找的人"]


@pytest.mark.req("CL-3.4")
def test_filters_combine(village):
    year = timezone.localdate().year
    person(name="甲", born=f"{year - 70}0101", tenant="是", group="老年人")
    person(name="乙", born=f"{year - 70}0101", tenant="否", group="老年人")
    person(name="丙", born=f"{year - 30}0101", tenant="是", group="普通人群")
    person(name="丁", born=f"{year - 30}0101", tenant="", group="", occupation="")

    def names(**params):
        return "".join(row["姓名"] for row in rows(village.actor, **params))

    assert names(elderly="是") == "甲乙"
    assert names(elderly="是", tenant="是") == "甲"
    assert names(age__from="20", age__to="40", tenant="是") == "丙"
    assert names(group="老年人", vaccination="未接种", tested="否") == "甲乙"
    assert names(missing="occupation") == "丁"
    assert names(tenant="-") == "丁"
    assert names(occupation="企业职工", region="990101001001") == "甲乙丙"


@pytest.mark.req("CL-3.6")
def test_a_persons_page_shows_everything_about_them(village):
    tested = sample()
    someone = Person.objects.get(number=tested.number)
    person(name="同住之人")
    actions.vaccinate(village.actor, someone, dose=1, on=date(2021, 5, 1), unit="某卫生院")
    text = text_of(village.client.get(f"/people/{someone.pk}/"))
    for expected in ("同住之人", "接种第1针，某卫生院", "核酸检测，阴性，安平街道上埔社区采样点", "登记接种"):
        assert expected in text, expected
    assert someone.number.masked() in text
    assert someone.number.clear() not in text


@pytest.mark.req("CL-3.6")
def test_each_part_of_the_page_needs_its_permission(village):
    someone = person()
    actions.vaccinate(village.actor, someone, dose=1, on=date(2021, 5, 1), unit="某卫生院")
    role = village.operator.appointments.get().roles.get()
    role.permissions = [p for p in role.permissions if p not in ("doses.view", "people.vaccinate")]
    role.save()
    response = village.client.get(f"/people/{someone.pk}/")
    assert response.status_code == 200
    assert "接种第1针" not in response.content.decode()
    assert village.client.get("/people/do/vaccinate/", {"pk": someone.pk}).status_code == 403


@pytest.mark.req("CL-3.5")
def test_the_form_links_to_who_is_registered_already(village):
    known = person(name="王在册")
    form = {"name": "王又来", "region": "990101001001", "doc_type": "111", "number": known.number.clear()}
    response = village.client.post("/people/new/", form)
    assert response.status_code == 200
    assert f'<a href="/people/{known.pk}/">查看王在册</a>' in response.content.decode()
    assert Person.objects.count() == 1


@pytest.mark.req("CL-3.5")
def test_one_person_is_added_by_the_form(village):
    form = {"name": "陈新", "region": "990101001001", "doc_type": "111", "number": number("19900307", 2)}
    response = village.client.post("/people/new/", form)
    assert response.status_code == 302
    added = Person.objects.get()
    assert (added.name, added.sex, added.birth_date) == ("陈新", "2", date(1990, 3, 7))


@pytest.mark.req("CL-3.7")
def test_a_clerk_moves_a_person_to_any_community_of_the_district(village, othertown):
    someone = person(name="林搬家")
    page = village.client.get("/people/do/transfer/", {"pk": someone.pk})
    assert "望海街道东园社区" in page.content.decode()
    form = {"pk": someone.pk, "to_region": ELSEWHERE, "reason": "购房", "confirm": "1"}
    assert village.client.post("/people/do/transfer/", form).status_code == 302
    someone.refresh_from_db()
    assert someone.region_id == ELSEWHERE
    assert village.client.get(f"/people/{someone.pk}/").status_code == 404
    assert "由安平街道上埔社区迁至望海街道东园社区" in text_of(othertown.client.get(f"/people/{someone.pk}/"))
    for side in (village, othertown):
        text = text_of(side.client.get("/transfers/"))
        assert "林搬家" in text
        assert "望海街道东园社区" in text


@pytest.mark.req("CL-3.3")
def test_a_dose_is_recorded_on_the_persons_page(village):
    someone = person()
    form = {
        "pk": someone.pk,
        "dose": "1",
        "on": "2021-05-01",
        "vaccine": "科兴",
        "unit": "某卫生院",
        "confirm": "1",
    }
    assert village.client.post("/people/do/vaccinate/", form).status_code == 302
    someone.refresh_from_db()
    assert (someone.dose, someone.dose_unit) == (1, "某卫生院")
    tomorrow = timezone.localdate() + timedelta(days=1)
    refused = village.client.post("/people/do/vaccinate/", form | {"dose": "2", "on": str(tomorrow)})
    assert "接种日期晚于今天" in refused.content.decode()
