"""Vaccination sheets: whose the doses are, which one wins, what a load takes back (CL-6)."""

import csv
from datetime import date

import pytest

from jingwei.base import loading, parameters, undoing
from jingwei.base.models import LoadRow, ParameterValue
from jingwei.people import merges
from jingwei.people.models import Dose, Person, Unregistered, UnregisteredDose
from jingwei.people.samples import duplicate_pair, number, person
from jingwei.people.sheets import NEWER_DOSE_WINS, ROSTER_WINS, RosterSheet, VaccinationSheet

pytestmark = pytest.mark.django_db
HEADINGS = ["姓名", "证件号码", "疫苗名称", "剂次", "接种日期", "接种单位", "电话"]
SHEET = VaccinationSheet()


def row(number, dose="1", on="2021-05-01", vaccine="科兴", unit="甲卫生院", name="林样例"):
    return [name, number, vaccine, dose, on, unit, ""]


@pytest.fixture
def doses(tmp_path):
    """A function that writes rows below a title into a file and returns its path."""

    def write(*rows, name="接种.csv", headings=HEADINGS):
        path = tmp_path / name
        with open(path, "w", newline="") as file:
            csv.writer(file).writerows([["接种情况统计表"], headings, *rows, ["合计", len(rows)]])
        return path

    return write


def outcome(load):
    """(added, changed, unchanged, rejected rows, people in no register) of a load."""
    names = ("added", "changed", "unchanged", "rejected_rows", "unregistered")
    return tuple(load.counts[name] for name in names)


def own_number(someone):
    return someone.number.clear()


def latest(someone):
    someone.refresh_from_db()
    return someone.dose, someone.dose_on, someone.dose_unit


@pytest.mark.req("CL-6.1", "CL-6.2", "CL-3.3")
def test_doses_in_words_and_dates_in_five_writings_find_their_person(village, doses):
    someone = person()
    own = own_number(someone)
    path = doses(
        row(own, "第一剂", "20210501"),
        row(own, "第2针", "2021.6.1"),
        row(own, 3, 44562),
        row(own, "4.0", "2022年5月1日"),
        row(own, "五", "2023/5/1", unit="末次卫生院"),
        row(own, "加强"),
        row(own, "6", "2099-01-01"),
        row("", "1"),
        row(own, "1", ""),
        row(own, "1", name=""),
    )
    load = loading.load(village.actor, SHEET, path)
    assert outcome(load) == (5, 0, 0, 5, 0)
    assert {(r["row"], r["column"]) for r in load.counts["rejected"]} == {
        *((8, "剂次"), (9, "接种日期"), (10, "证件号码"), (11, "接种日期"), (12, "姓名")),
    }
    assert latest(someone) == (5, date(2023, 5, 1), "末次卫生院")
    assert someone.doses.get(dose=3).on == date(2022, 1, 1)


@pytest.mark.req("CL-6.3")
def test_the_later_dose_of_one_number_wins_wherever_it_stands(village, doses):
    someone = person()
    own = own_number(someone)
    path = doses(
        row(own, on="2021-05-02", unit=""), row(own, on="2021-05-01", vaccine="智飞", unit="乙卫生院")
    )
    load = loading.load(village.actor, SHEET, path)
    assert (load.counts["added"], load.counts["merged"]) == (1, 1)
    dose = Dose.objects.get()
    assert (dose.on, dose.vaccine, dose.unit) == (date(2021, 5, 2), "科兴", "乙卫生院")
    older = doses(row(own, on="2020-01-01", unit="丙卫生院"), name="2.csv")
    assert outcome(loading.load(village.actor, SHEET, older)) == (0, 0, 1, 0, 0)
    newer = doses(row(own, on="2021-06-01", vaccine="", unit="丙卫生院"), name="3.csv")
    assert outcome(loading.load(village.actor, SHEET, newer)) == (0, 1, 0, 0, 0)
    dose.refresh_from_db()
    assert (dose.on, dose.vaccine, dose.unit) == (date(2021, 6, 1), "科兴", "丙卫生院")
    [before] = dose.events.all()
    assert (before.on, before.unit, before.pgh_context.metadata["act"]) == (
        date(2021, 5, 2),
        "乙卫生院",
        "导入",
    )
    assert latest(someone) == (1, date(2021, 6, 1), "丙卫生院")


@pytest.mark.req("CL-6.3", "P-6.2")
def test_an_administrator_can_have_doses_and_residences_stay(village, doses, tmp_path):
    for parameter in (NEWER_DOSE_WINS, ROSTER_WINS):
        ParameterValue.objects.create(name=parameter.name, value="否")
    parameters.forget()
    someone = person(address="1号", occupation="")
    own = own_number(someone)
    for place, on in enumerate(["2021-05-01", "2021-06-01"]):
        loading.load(village.actor, SHEET, doses(row(own, on=on, unit=f"{place}号院"), name=f"{place}.csv"))
    assert latest(someone) == (1, date(2021, 5, 1), "0号院")
    path = tmp_path / "名单.csv"
    path.write_text(f"村/社区,姓名,证件号,居住地,单位（从业情况）\n上埔社区,林改名,{own},2号,教师\n")
    assert outcome(loading.load(village.actor, RosterSheet(), path))[1] == 1
    someone.refresh_from_db()
    assert (someone.name, someone.address.clear(), someone.occupation) == ("林改名", "1号", "教师")
    parameters.forget()


@pytest.mark.req("CL-6.1", "P-5.7", "CL-6.2")
def test_two_numbers_of_a_merged_person_are_one_dose(district, doses):
    pair = duplicate_pair()
    merges.merge(district.actor, pair, keep=pair.first_id, taken=())
    path = doses(
        row(own_number(pair.first), on="2021-05-02", unit="乙卫生院"),
        row(own_number(pair.second)),
        row("X1Y2Z3"),
    )
    load = loading.load(district.actor, SHEET, path)
    assert outcome(load) == (1, 0, 0, 0, 1) and load.counts["same"] == 1
    assert latest(pair.first) == (1, date(2021, 5, 2), "乙卫生院")
    assert outcome(loading.load(district.actor, SHEET, path)) == (0, 0, 1, 0, 1)


@pytest.mark.req("CL-2.1", "P-1.6")
def test_a_dose_of_somebody_registered_elsewhere_is_refused_with_only_the_fact(village, doses):
    far = person(region="990101002001")
    load = loading.load(village.actor, SHEET, doses(row(own_number(far))))
    assert [(r["row"], r["column"], r["reason"]) for r in load.counts["rejected"]] == [
        (3, "证件号码", "该证件号在其他辖区登记，不能在此导入")
    ]
    assert not Dose.objects.exists() and not Unregistered.objects.exists()


@pytest.mark.req("P-5.3")
def test_a_load_is_taken_back_with_what_follows_from_it(village, doses):
    someone, other = person(), person()
    first = doses(row(own_number(someone)), row(number("19600101")))
    loading.load(village.actor, SHEET, first)
    path = doses(
        row(own_number(someone), on="2021-06-01", unit="乙卫生院"),
        row(own_number(someone), "2", "2021-07-01"),
        row(own_number(other)),
        row(number("19700101")),
        name="2.csv",
    )
    load = loading.load(village.actor, SHEET, path)
    assert outcome(load) == (2, 1, 0, 0, 1)
    undone = undoing.undo(village.actor, SHEET, load)
    assert (undone["deleted"], undone["restored"], undone["left"]) == (2, 1, 0)
    assert latest(someone) == (1, date(2021, 5, 1), "甲卫生院")
    assert latest(other) == (None, None, "")
    assert Unregistered.objects.count() == UnregisteredDose.objects.count() == 1


@pytest.mark.req("CL-6.5", "P-5.3")
def test_undoing_takes_back_a_dose_that_found_its_person_later(village, doses):
    stranger = number("19700101")
    load = loading.load(village.actor, SHEET, doses(row(stranger)))
    village.client.get(f"/doses/import/{load.pk}/")
    someone = register(village, stranger)
    assert latest(someone)[0] == 1
    assert LoadRow.objects.get(load=load).row == someone.doses.get().pk
    assert undoing.undo(village.actor, SHEET, load)["deleted"] == 1
    assert latest(someone) == (None, None, "")


def register(persona, number):
    from jingwei.directory.models import Region
    from jingwei.people.registering import register

    entry = Unregistered.objects.get(number=number)
    register(persona.actor, entry, region=Region.objects.get(pk=persona.region))
    return Person.objects.get(number=number)
