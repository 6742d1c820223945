"""A list shows the rows that were asked for, in the order asked for, and says when it cannot tell."""

import json
import re
from base64 import urlsafe_b64encode
from types import SimpleNamespace
from urllib.parse import urlencode

import pytest
from django.http import QueryDict

from jingwei import menu
from jingwei.base.access import Actor, DataScope
from jingwei.base.models import ListSetting
from jingwei.base.resource import Between, Choice, Contains, Exact, Ref, Region, Where, YesNo
from jingwei.desk import lists
from jingwei.desk.lists import Selection, Total, with_keys
from jingwei.directory.models import Organisation
from jingwei.people.models import Person
from jingwei.people.samples import number, person
from jingwei.scans.models import Scan

pytestmark = pytest.mark.django_db
NEXT_VILLAGE = "990101001002"
OTHER_TOWN = "990101002001"


def select(persona, resource="people", action="view", where=(), **params):
    return Selection(
        menu.resource(resource),
        persona.actor,
        QueryDict(urlencode(params, doseq=True)),
        action=action,
        where=where,
    )


def names(selection):
    return [row.name for row in selection.page(1, 200).rows]


# --- quick search -----------------------------------------------------------------------------------------


@pytest.fixture
def three():
    """Three residents of the village who differ in everything a search looks at."""
    return [
        person(name="林晓东", address="上埔社区12号3栋402室", phone="16000000011", occupation="货车司机"),
        person(name="陈小冬", address="上埔社区1203号", phone="16000000012", occupation="退休"),
        person(name="林一", address="北门路8号", phone="16000000013", occupation="上埔小学教师"),
    ]


@pytest.mark.req("CL-3.4", "P-4.2", "P-5.1")
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("林", ["林晓东", "林一"]),
        ("晓东", ["林晓东"]),
        ("上埔", ["林晓东", "陈小冬", "林一"]),
        ("上埔 司机", ["林晓东"]),
        ("上埔社区", ["林晓东", "陈小冬", "林一"]),
        ("3栋402", ["林晓东"]),
        ("１６０００００００１２", ["陈小冬"]),
        ("160-0000-0013", ["林一"]),
        ("没有这个人", []),
        ("6000000", []),
    ],
)
def test_each_word_of_a_search_is_found_in_some_column(village, three, text, found):
    assert names(select(village, q=text)) == found


@pytest.mark.req("P-4.2")
def test_a_document_number_is_found_whole_also_by_its_old_fifteen_digits(village):
    known = number("19500102")
    person(name="老人", number=known, address="上埔社区9号", registered_address="上埔社区9号")
    old = known[:6] + known[8:17]
    assert names(select(village, q=known)) == names(select(village, q=known.lower())) == ["老人"]
    assert names(select(village, q=old)) == ["老人"]
    assert names(select(village, q=known[:17])) == []


@pytest.mark.req("P-5.1", "CL-3.2")
def test_an_empty_list_says_why_and_what_to_do(village):
    known = number("19500102")
    wrong = known[:17] + ("1" if known[17] != "1" else "2")
    assert f"校验位应为 {known[17]}" in village.client.get("/people/", {"q": wrong}).content.decode()
    assert "减少搜索词" in village.client.get("/people/", {"q": "没有这个人"}).content.decode()
    assert "导入摸排表" in village.client.get("/people/").content.decode()


@pytest.mark.req("P-4.2")
def test_a_long_word_has_to_stand_in_one_piece(village):
    """All pairs of 1203 stand in 12号203室, but not the number."""
    person(name="分开", address="上埔社区12号203室20栋", registered_address="")
    person(name="连着", address="上埔社区1203室", registered_address="")
    selection = select(village, q="1203")
    assert Person.objects.filter(grams__fragment="1203").count() == 2
    assert names(selection) == ["连着"]
    assert selection.total() == Total(1)
    assert list(selection.stored(["name"])) == [[("连着",)]]


@pytest.mark.req("P-4.2")
def test_a_search_for_one_character_says_where_it_looks(village, three):
    says = "一个字只在姓名等四个字以内的内容里查"
    words = ("东", "林", "栋", "东园", "")
    pages = {word: village.client.get("/people/", {"q": word}).content.decode() for word in words}
    assert {word for word, page in pages.items() if says in page} == {"东", "林", "栋"}


@pytest.mark.req("P-1.6", "CL-2.1")
def test_a_search_ends_at_the_border_of_the_territory(village, town, district):
    person(name="甲一"), person(region=NEXT_VILLAGE, name="甲二"), person(region=OTHER_TOWN, name="甲三")
    assert names(select(village, q="甲")) == ["甲一"]
    assert names(select(town, q="甲")) == ["甲一", "甲二"]
    assert names(select(district, q="甲")) == ["甲一", "甲二", "甲三"]


# --- filters ----------------------------------------------------------------------------------------------


@pytest.mark.req("CL-3.4", "P-5.1")
def test_filters_combine(village):
    person(name="甲", sex="男", number=number("19500101", 11), group="老年人", tenant="是")
    person(name="乙", number=number("19500101", 12), group="老年人")
    person(name="丙", number=number("20000101", 13), group="学生", tenant="是")
    assert names(select(village, age__from="60", age__to="90")) == ["甲", "乙"]
    assert names(select(village, age__from="60", tenant="是")) == ["甲"]
    assert names(select(village, group=["老年人", "学生"], tenant="是")) == ["甲", "丙"]
    assert names(select(village, birth_date__from="2000.1.1")) == ["丙"]
    assert names(select(village, number=number("20000101", 13))) == ["丙"]
    assert names(select(village, name="甲", tenant="否")) == []


@pytest.mark.req("P-5.1")
def test_both_ends_of_a_range_of_times_count(village):
    made = person(name="今天")
    day = made.created_at.astimezone().date().isoformat()
    assert names(select(village, created_at__from=day, created_at__to=day)) == ["今天"]
    assert names(select(village, created_at__to="2020-01-01")) == []


@pytest.mark.req("P-5.1")
def test_rows_that_hold_nothing_are_a_choice(village):
    person(name="填了"), person(name="没填", group="")
    assert names(select(village, group="-")) == ["没填"]
    assert names(select(village, group=["-", "普通人群"])) == ["填了", "没填"]


@pytest.mark.req("P-1.6", "P-5.1")
@pytest.mark.parametrize(
    "params",
    [
        {"sex": "9X"},
        {"age__from": "很老"},
        {"birth_date__to": "明天"},
        {"region": "990102"},
        {"region": OTHER_TOWN},
        {"elderly": "也许"},
        {"tab": "7"},
        {"load": "1"},
        {"resident": "1=1"},
    ],
)
def test_a_filter_that_cannot_be_read_gives_no_rows_and_says_which(village, params):
    person()
    selection = select(village, **params)
    assert names(selection) == []
    assert len(selection.refusals) == 1
    answer = village.client.get("/people/", params).content.decode()
    assert selection.refusals[0] in answer


KINDS = {Choice, YesNo, Ref, Region, Exact, Contains, Between, Where}


@pytest.mark.req("SEC-12", "P-5.1")
def test_a_number_of_any_size_in_an_address_is_answered(village):
    person(name="甲")
    names = ["tab", "load", "size", "page", "age__from", "age__to", "dose__from", "created_at__to"]
    for text in ("9" * 5000, "9" * 16, "-" + "9" * 16, "3000", "٣", "²"):
        for name in names:
            answer = village.client.get("/people/", {name: text})
            assert answer.status_code == 200, (name, text[:20])
    for address, sent in [
        ("columns/", {"size": "9" * 5000}),
        ("export/", {"query": f"page={'9' * 5000}", "rows": "page", "format": "csv"}),
    ]:
        assert village.client.post(f"/people/{address}", sent).status_code < 400, address


@pytest.mark.req("SEC-12")
def test_a_key_of_several_columns_that_nobody_made_finds_nothing():
    day = "2026-11-20T04:00:25+00:00"
    odd = [json.dumps([text, day, "9"]) for text in ("\0", "\ud800", 5, None, "9" * 9000)]
    for written in ("[" * 9000, "12", "{}", "[[],[]]", '["x"]', "\udcff", *odd):
        key = urlsafe_b64encode(written.encode(errors="surrogatepass")).decode()
        assert not with_keys(Scan.objects.all(), [key]).exists(), written[:9]


@pytest.mark.req("P-5.1")
def test_every_kind_of_filter_reads_its_text(district, secadmin):
    office = Organisation.objects.order_by("pk").first()
    tried = {
        Ref: select(secadmin, "operators", organisation=str(office.pk)),
        Choice: select(district, sex="女"),
        YesNo: select(district, resident="是"),
        Region: select(district, region=OTHER_TOWN),
        Exact: select(district, phone="16000000001"),
        Contains: select(district, name="林"),
        Between: select(district, dose__from="1"),
        Where: select(district, elderly="是"),
    }
    assert set(tried) == KINDS
    for kind, selection in tried.items():
        [control] = [control for control in selection.controls if control.is_set]
        assert type(control.filter) is kind and not selection.refusals and control.shown


@pytest.mark.req("P-1.6")
def test_a_reference_outside_the_territory_is_no_choice(village):
    of_town = DataScope(regions=frozenset(["990101001"]))
    persona = SimpleNamespace(actor=Actor(grants={"operators.view": of_town}))
    inside, outside = (Organisation.objects.get(region=code) for code in (village.region, OTHER_TOWN))
    assert not select(persona, "operators", organisation=str(inside.pk)).refusals
    assert select(persona, "operators", organisation=str(outside.pk)).refusals
    assert village.client.get("/people/options/region/", {"q": "社区"}).json()["options"] == [
        {"value": village.region, "text": "上埔社区", "hint": "安平街道"}
    ]


# --- order, pages, totals ---------------------------------------------------------------------------------


@pytest.mark.req("P-5.1")
def test_a_list_is_sorted_by_any_column(village):
    person(name="中", number=number("19700101")), person(name="老", number=number("19500101"))
    person(name="青", number=number("20000101"))
    assert names(select(village, sort="age")) == ["青", "中", "老"]
    assert names(select(village, sort="-age")) == ["老", "中", "青"]
    assert names(select(village, sort="-年龄")) == ["老", "中", "青"]
    assert names(select(village, sort="number")) == ["中", "老", "青"]  # sealed: no order at all


@pytest.mark.req("P-5.1")
def test_no_row_repeats_between_pages_and_positions_go_on(village):
    for _ in range(7):
        person(name="同名")
    selection = select(village, sort="name")
    pages = [selection.page(number, 3) for number in (1, 2, 3)]
    assert len({row.pk for page in pages for row in page.rows}) == 7
    assert [row.place_in_list for page in pages for row in page.rows] == [1, 2, 3, 4, 5, 6, 7]
    assert [page.has_next for page in pages] == [True, True, False]
    assert selection.page(99, 3).number == 3


@pytest.mark.req("P-5.1")
def test_totals_are_exact_up_to_a_bound(village, monkeypatch):
    for _ in range(4):
        person(name="林三四")
    monkeypatch.setattr(lists, "LOOK_BOUND", 3)
    assert str(select(village).total(bound=4)) == "4"
    assert str(select(village).total(bound=3)) == "超过 3"
    assert str(select(village, q="林三四").total()) == "超过 3"
    assert select(village, q="林三四").total(bound=None) == Total(4)
    assert len(select(village, q="林三四").keys()) == 4


@pytest.mark.req("P-5.1")
def test_tabs_count_under_the_same_filters(secadmin):
    answer = secadmin.client.get("/operators/", {"q": "village"}).context["selection"]
    [enabled] = [
        total
        for tab, total in zip(answer.resource.tabs, answer.tab_totals, strict=True)
        if tab.label == "启用"
    ]
    assert enabled == Total(1)


# --- addresses --------------------------------------------------------------------------------------------


@pytest.mark.req("P-4.1")
def test_what_was_searched_for_stands_in_no_address(village):
    wanted = person(name="找到的人", phone="16000000021")
    typed = {"q": "16000000021", "number": wanted.number.clear(), "sex": wanted.sex}
    answer = village.client.post("/people/", typed)
    page = village.client.get(answer.url)
    assert (
        "sex=" in answer.url and "16000000021" not in answer.url and wanted.number.clear() not in answer.url
    )
    assert [row.name for row in page.context["page"].rows] == ["找到的人"]
    links = re.findall(r'(?:href|action|hx-get|hx-post|value)="([^"]*[?=][^"]*)"', page.content.decode())
    assert links and not [link for link in links if "16000000021" in link or wanted.number.clear() in link]
    fragment = village.client.post("/people/", typed, headers={"HX-Request": "true"})
    assert fragment["HX-Push-Url"].startswith("/people/?") and "16000000021" not in fragment["HX-Push-Url"]
    village.client.post("/people/queries/", {"name": "查过", "query": answer.url.partition("?")[2]})
    assert "16000000021" not in str(ListSetting.objects.get().value)


@pytest.mark.req("P-4.1", "P-1.6")
def test_an_address_that_was_altered_selects_nothing(village):
    person()
    sealed = village.client.post("/people/", {"q": "样例"}).url
    assert village.client.get(sealed).context["page"].total == Total(1)
    for address in (sealed[:-2] + "AA", "/people/?q=~abc", "/people/?number=~"):
        answer = village.client.get(address)
        assert answer.context["page"].total == Total(0)
        assert "已失效" in answer.content.decode()


# --- what the operator keeps ------------------------------------------------------------------------------


@pytest.mark.req("P-5.1")
def test_columns_and_page_size_are_remembered_per_operator(village, town):
    person()
    chosen = {"column": ["number", "phone"], "size": "50", "query": "sex=1"}
    answer = village.client.post("/people/columns/", chosen)
    assert answer.url == "/people/?sex=1"
    selection = village.client.get("/people/").context["selection"]
    # The column that opens a row stays in any case.
    assert [column.name for column in selection.columns()] == ["name", "number", "phone"]
    assert selection.page_size() == 50
    assert len(town.client.get("/people/").context["selection"].columns()) == 25
    village.client.post("/people/columns/", chosen | {"standard": "1"})
    assert len(village.client.get("/people/").context["selection"].columns()) == 25


@pytest.mark.req("P-5.1")
def test_a_query_is_saved_and_forgotten(village):
    village.client.post("/people/queries/", {"name": "老年租户", "query": "elderly=是&tenant=是"})
    page = village.client.get("/people/").content.decode()
    assert "老年租户" in page and 'href="/people/?elderly=是&amp;tenant=是"' in page
    village.client.post("/people/queries/", {"name": "老年租户", "forget": "1"})
    assert "老年租户" not in village.client.get("/people/").content.decode().partition("alert")[0]
    assert not ListSetting.objects.exists()


# --- the command line's conditions ------------------------------------------------------------------------


@pytest.mark.req("P-1.6")
@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("性别", "男", ["甲"]),
        ("sex", "1", ["甲"]),
        ("姓名", "甲", ["甲"]),
        ("证件号", number("19500101", 11), ["甲"]),
        ("年龄", "26", ["乙"]),
        ("年龄", "20~30", ["乙"]),
        ("是否为60岁(以上)", "是", ["甲"]),
        ("疫苗接种情况", "未接种", ["甲", "乙"]),
        ("村/社区", "上埔社区", ["甲", "乙"]),
        ("乡镇（街道）", "望海街道", []),
        ("居住地", "上埔社区7号", ["乙"]),
        ("elderly", "否", ["乙"]),
        ("出生日期", "2000-01-01", ["乙"]),
    ],
)
def test_a_column_is_compared_with_what_it_shows(village, name, value, found, settings):
    person(name="甲", number=number("19500101", 11))
    person(name="乙", number=number("20000101", 12), address="上埔社区7号")
    assert names(select(village, where=[(name, value)])) == found
