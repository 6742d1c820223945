"""The three sheets of the samples come in as expected, in every count, row number and value (CL-6)."""

import io
import json
from datetime import date
from pathlib import Path

import openpyxl
import pytest
from django.utils import timezone

from jingwei import menu
from jingwei.base import loading
from jingwei.base.fields import bulk_reveal
from jingwei.base.models import Load, LoadRow
from jingwei.people.models import Dose, Person, Unregistered
from jingwei.people.sheets import RosterSheet, VaccinationSheet
from jingwei.testing.models import Sample, SampleBefore
from jingwei.testing.sheets import SampleSheet
from tests.test_roster import as_expected

pytestmark = pytest.mark.django_db
DATA = Path(__file__).parent / "data"
TODAY = date(2026, 11, 20)
EXPECTED = json.loads((DATA / "expected.json").read_text())
SHEETS = {"roster": RosterSheet, "nucleic_samples": SampleSheet, "vaccinations": VaccinationSheet}


def load_all(actor):
    return {
        name: loading.load(actor, sheet(), DATA / f"{name}.xlsx", today=TODAY)
        for name, sheet in SHEETS.items()
    }


@pytest.fixture
def loads(district):
    return load_all(district.actor)


def refusals(load):
    return {(refusal["row"], refusal["column"]) for refusal in load.counts["rejected"]}


def expected_refusals(name):
    return {(refusal["row"], refusal["column"]) for refusal in EXPECTED[name]["rejected"]}


@pytest.mark.req("CL-6.1", "CL-6.4", "CL-6.5")
def test_the_samples_are_counted_as_expected(loads):
    counts, expected = loads["nucleic_samples"].counts, EXPECTED["nucleic_samples"]
    assert counts["read"] == expected["read"]
    assert counts["added"] == expected["stored"]
    assert counts["same"] + counts["merged"] == expected["duplicates"]
    assert counts["unregistered"] == expected["unregistered_people"] == Unregistered.objects.count()
    assert (counts["changed"], counts["unchanged"], counts["warnings"]) == (0, 0, [])
    assert refusals(loads["nucleic_samples"]) == expected_refusals("nucleic_samples")


@pytest.mark.req("CL-6.1", "CL-6.4")
def test_the_vaccinations_are_counted_as_expected(loads):
    counts, expected = loads["vaccinations"].counts, EXPECTED["vaccinations"]
    assert (counts["read"], counts["added"]) == (expected["read"], expected["stored"])
    assert refusals(loads["vaccinations"]) == expected_refusals("vaccinations")
    assert counts["rejected_rows"] == len(expected["rejected"])
    assert counts["unregistered"] == counts["same"] == counts["merged"] == 0
    assert Dose.objects.count() == expected["stored"]


@pytest.mark.req("CL-3.1", "CL-3.3", "CL-6.1", "CL-6.2")
def test_every_person_has_every_expected_value(loads):
    people = list(Person.objects.select_related("region__parent"))
    bulk_reveal(people, ["number", "registered_address", "address", "phone"])
    found = {person.number.clear(): as_expected(person) | latest(person) for person in people}
    assert found == {person["证件号"]: person for person in EXPECTED["people"]}


def latest(person):
    """The columns that follow from doses and samples in the words of expected.json."""
    at = person.sampled_at and timezone.localtime(person.sampled_at)
    return {
        "接种针次": person.dose or "",
        "接种日期": person.dose_on.isoformat() if person.dose_on else "",
        "接种单位": person.dose_unit,
        "最后一次核酸检测时间": f"{at:%Y-%m-%d %H:%M:%S}" if at else "",
        "检测结果": person.sample_result,
        "采样点名称": person.sample_point,
    }


@pytest.mark.req("CL-6.2", "CL-6.3", "P-5.3")
def test_the_same_files_again_add_change_and_store_nothing(loads, district):
    tables = [Person, Dose, Sample, SampleBefore, Unregistered]
    before = [list(model.objects.order_by("pk").values()) for model in tables]
    again = load_all(district.actor)
    assert [list(model.objects.order_by("pk").values()) for model in tables] == before
    for name, load in again.items():
        first = loads[name].counts
        assert (load.counts["added"], load.counts["changed"]) == (0, 0)
        assert load.counts["unchanged"] == first["added"]
        assert load.counts["unregistered"] == first["unregistered"]
        assert not LoadRow.objects.filter(load=load).exists()


@pytest.mark.req("CL-6.1")
def test_every_sheet_has_its_name_on_the_command_line():
    assert {"roster", "nucleic-samples", "vaccinations"} <= set(menu.sheets())


@pytest.mark.req("P-5.3")
@pytest.mark.parametrize("name", SHEETS)
def test_a_preview_counts_what_the_load_then_does(district, name):
    if name != "roster":
        loading.load(district.actor, RosterSheet(), DATA / "roster.xlsx", today=TODAY)
    sheet, path = SHEETS[name](), DATA / f"{name}.xlsx"
    preview = loading.preview(district.actor, sheet, path, today=TODAY)
    assert not Sample.objects.exists() and not Dose.objects.exists() and not Unregistered.objects.exists()
    load = loading.load(district.actor, sheet, path, today=TODAY)
    assert load.state == Load.DONE
    for count in ("read", "added", "changed", "unchanged", "merged", "same", "rejected", "unregistered"):
        assert preview[count] == load.counts[count]


@pytest.mark.req("CL-6.3")
def test_the_import_page_says_which_value_wins(district):
    for resource, sheet in (("people", RosterSheet), ("samples", SampleSheet), ("doses", VaccinationSheet)):
        page = district.client.get(f"/{resource}/import/").content.decode()
        assert all(rule in page for rule in sheet().conflicts())


@pytest.mark.req("CL-6.4", "CL-6.5")
def test_the_cleaning_report_is_a_page_and_a_workbook(loads, district, village):
    load = loads["nucleic_samples"]
    address = f"/samples/import/{load.pk}/"
    page = district.client.get(address).content.decode()
    assert "有 19 人不在册" in page and "/unregistered/" in page and f"{address}report/" in page
    answer = district.client.get(f"{address}report/")
    book = openpyxl.load_workbook(io.BytesIO(answer.getvalue()))
    assert book.sheetnames == ["汇总", "更正", "拒绝", "提醒"]
    told = {cells[0]: cells[1] for cells in book["汇总"].iter_rows(values_only=True)}
    expected = EXPECTED["nucleic_samples"]
    assert [told[name] for name in ("读到的行", "新增", "拒绝的行", "不在册的人员")] == [
        *(expected["read"], expected["stored"], len(expected["rejected"])),
        expected["unregistered_people"],
    ]
    rejected = list(book["拒绝"].iter_rows(min_row=2, values_only=True))
    assert {(row, column) for row, column, _ in rejected} == expected_refusals("nucleic_samples")
    assert village.client.get(f"{address}report/").status_code == 404

    roster = district.client.get(f"/people/import/{loads['roster'].pk}/report/")
    book = openpyxl.load_workbook(io.BytesIO(roster.getvalue()))
    rules = dict(book["更正"].iter_rows(min_row=2, values_only=True))
    assert rules["15 位身份证号升为 18 位"] == EXPECTED["roster"]["corrected"]["15-digit id"]
    assert book["提醒"].max_row == 1 + EXPECTED["roster"]["warnings"]
