"""The roster of the samples comes in as its README says, in every count, row number and value (CL-6)."""

import json
from datetime import date
from pathlib import Path

import pytest

from jingwei.base import codes, loading
from jingwei.base.fields import bulk_reveal
from jingwei.base.models import Load, LoadRow, LogEntry
from jingwei.people.models import Person
from jingwei.people.sheets import RosterSheet

pytestmark = pytest.mark.django_db
DATA = Path(__file__).parent / "data"
TODAY = date(2026, 11, 20)
EXPECTED = json.loads((DATA / "expected.json").read_text())
ROSTER = EXPECTED["roster"]
# What each kind of refusal of expected.json is told in.
WORDS = {
    "check digit": "校验位应为",
    "stored as a number, last digits lost": "末几位已丢失",
    "missing": ["姓名不能为空，请填写", "证件号为空，请填写"],
    "unknown": "请核对村/社区",
    "impossible birth date": "出生日期不存在",
    "南山村 stands in two towns": "不止一个乡镇(街道)有“南山村”",
}


@pytest.fixture
def loaded(district):
    return loading.load(district.actor, RosterSheet(), DATA / "roster.xlsx", today=TODAY)


@pytest.mark.req("CL-6.1", "CL-6.2", "CL-6.4", "CL-3.5")
def test_the_counts_are_the_expected_ones(loaded):
    counts = loaded.counts
    assert loaded.state == Load.DONE
    assert counts["read"] == ROSTER["read"]
    assert counts["added"] == ROSTER["added"]
    assert counts["merged"] == ROSTER["merged_in_file"]
    assert counts["same"] == ROSTER["same_in_file"]
    assert counts["changed"] == counts["unchanged"] == 0
    assert counts["rejected_rows"] == len(ROSTER["rejected"])
    assert counts["corrected"] == ROSTER["corrected"]


@pytest.mark.req("CL-6.2", "P-5.3")
def test_every_refusal_names_row_column_and_reason(loaded):
    said = {(refusal["row"], refusal["column"]): refusal["reason"] for refusal in loaded.counts["rejected"]}
    assert set(said) == {(refusal["row"], refusal["column"]) for refusal in ROSTER["rejected"]}
    for refusal in ROSTER["rejected"]:
        words, reason = WORDS[refusal["why"]], said[refusal["row"], refusal["column"]]
        assert reason in words if isinstance(words, list) else words in reason


@pytest.mark.req("CL-6.2")
def test_a_phone_that_is_none_is_a_warning_and_the_row_is_kept(loaded):
    warnings = loaded.counts["warnings"]
    assert len(warnings) == ROSTER["warnings"]
    assert {(warning["column"], warning["reason"]) for warning in warnings} == {
        ("联系方式", "不是有效的电话号码，应为 11 位手机号或带区号的座机")
    }
    kept = LoadRow.objects.filter(load=loaded, sheet_row=warnings[0]["row"]).get()
    assert Person.objects.get(pk=kept.row).phone is None


@pytest.mark.req("CL-3.1", "CL-3.2", "CL-6.2")
def test_every_person_has_the_expected_values(loaded):
    people = list(Person.objects.select_related("region__parent"))
    bulk_reveal(people, ["number", "registered_address", "address", "phone"])
    found = {person.number.clear(): as_expected(person) for person in people}
    assert found == {
        person["证件号"]: {heading: person[heading] for heading in found[person["证件号"]]}
        for person in EXPECTED["people"]
    }


def as_expected(person):
    """The roster's part of a person in the words of expected.json."""
    yes_no = {True: "是", False: "否", None: ""}
    clear = {
        name: value.clear() if (value := getattr(person, name)) else ""
        for name in ("number", "registered_address", "address", "phone")
    }
    return {
        "证件号": clear["number"],
        "证件类型": codes.labels("证件类型")[person.doc_type],
        "姓名": person.name,
        "性别": codes.labels("性别").get(person.sex, ""),
        "乡镇（街道）": person.region.parent.name,
        "村/社区": person.region.name,
        "是否为常住人口": yes_no[person.resident],
        "户籍地": clear["registered_address"],
        "居住地": clear["address"],
        "是否为租户": yes_no[person.tenant],
        "单位（从业情况）": person.occupation,
        "人群分类": codes.labels("人群分类").get(person.group, ""),
        "联系电话": clear["phone"],
        "出生日期": person.birth_date.isoformat() if person.birth_date else "",
        "年龄@2026-11-20": "" if person.age_on(TODAY) is None else person.age_on(TODAY),
    }


@pytest.mark.req("CL-6.2", "P-5.3")
def test_the_same_file_again_adds_changes_and_stores_nothing(loaded, district):
    before = list(Person.objects.order_by("pk").values())
    again = loading.load(district.actor, RosterSheet(), DATA / "roster.xlsx", today=TODAY)
    assert again.pk != loaded.pk
    assert (again.counts["added"], again.counts["changed"], again.counts["unchanged"]) == (
        0,
        0,
        ROSTER["added"],
    )
    assert list(Person.objects.order_by("pk").values()) == before
    assert not LoadRow.objects.filter(load=again).exists()
    assert not Person.objects.filter(events__isnull=False).exists()


@pytest.mark.req("P-3.1", "SEC-8")
def test_a_load_leaves_one_line_in_the_log_without_a_personal_value(loaded, district):
    entry = LogEntry.objects.get(act="导入")
    assert (entry.login, entry.resource, entry.result) == ("district", "people", "成功")
    assert entry.detail["added"] == ROSTER["added"]
    assert not any(person["证件号"] in str(entry.detail) for person in EXPECTED["people"])


@pytest.mark.req("CL-2.1", "P-1.6")
def test_a_village_takes_only_its_own_people_out_of_the_district_s_roster(village, district):
    load = loading.load(village.actor, RosterSheet(), DATA / "roster.xlsx", today=TODAY)
    assert set(Person.objects.values_list("region_id", flat=True)) <= {village.region}
    strangers = {r["reason"] for r in load.counts["rejected"] if r["column"] in ("村/社区", "乡镇(街道)")}
    assert strangers
    assert all("管辖范围内" in reason or "没有“" in reason for reason in strangers)
    # The rest comes in with the district, and what the village has is left as it is.
    had = load.counts["added"]
    whole = loading.load(district.actor, RosterSheet(), DATA / "roster.xlsx", today=TODAY)
    assert (whole.counts["added"], whole.counts["unchanged"]) == (ROSTER["added"] - had, had)
