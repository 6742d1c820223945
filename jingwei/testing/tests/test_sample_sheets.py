"""Sample sheets: whose they are, which result wins, what a load takes back (CL-6)."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime

import pytest
from django.conf import settings

from jingwei.base import loading, parameters, undoing
from jingwei.base.models import Load, LoadChunk, ParameterValue
from jingwei.people import merges
from jingwei.people.models import Person, Unregistered
from jingwei.people.samples import duplicate_pair, number, person
from jingwei.testing.models import Sample, SampleBefore
from jingwei.testing.sheets import NEWER_RESULT_WINS, SampleSheet

pytestmark = pytest.mark.django_db
HEADINGS = ["受检人", "证件类型", "证件号", "手机", "采样点", "采样时间", "检测机构", "检测结果", "检测时间"]
SHEET = SampleSheet()
MORNING = "2026-11-05 09:00"


def row(number, at=MORNING, **cells):
    given = {
        "受检人": "林样例",
        "证件号": number,
        "采样点": "甲采样点",
        "采样时间": at,
        "检测结果": "阴性",
    } | cells
    return [given.get(heading, "") for heading in HEADINGS]


@pytest.fixture
def samples(tmp_path):
    """A function that writes rows into a file and returns its path."""

    def write(*rows, name="样表.csv", encoding="utf-8"):
        path = tmp_path / name
        with open(path, "w", newline="", encoding=encoding) as file:
            csv.writer(file).writerows([HEADINGS, *rows])
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
    return someone.sample_result, someone.sample_point


# --- whose they are ---------------------------------------------------------------------------------------


@pytest.mark.req("CL-6.1", "CL-2.1", "P-1.6")
def test_a_sample_of_somebody_registered_elsewhere_is_refused_with_only_the_fact(village, samples):
    far = person(region="990101002001")
    load = loading.load(village.actor, SHEET, samples(row(own_number(far)), row(own_number(person()))))
    assert outcome(load) == (1, 0, 0, 1, 0)
    [refusal] = load.counts["rejected"]
    assert (refusal["row"], refusal["column"]) == (2, "证件号")
    assert refusal["reason"] == "该证件号在其他辖区登记，不能在此导入"
    assert latest(far) == ("", "") and not Sample.objects.filter(number=far.number).exists()


@pytest.mark.req("CL-6.1", "P-5.7")
def test_a_number_of_a_merged_record_finds_the_kept_person(district, samples):
    pair = duplicate_pair()
    merges.merge(district.actor, pair, keep=pair.first_id, taken=())
    load = loading.load(district.actor, SHEET, samples(row(own_number(pair.second))))
    assert outcome(load) == (1, 0, 0, 0, 0)
    assert latest(pair.first) == ("阴性", "甲采样点")


@pytest.mark.req("CL-6.2")
def test_numbers_are_found_however_they_are_written(village, samples):
    old = person(number="990101800101481")  # fifteen digits
    passport = person(doc_type="护照", number="E12345678", sex="男")
    ending = person(number=next(n for n in (number("19800101", i) for i in range(1000)) if n.endswith("X")))
    path = samples(
        row("990101800101481"),
        row(" e12345678 ", 证件类型="护照"),
        row("Ｅ12345678", at="2026-11-06 09:00"),
        row(own_number(ending).lower()),
        encoding="gb18030",
    )
    assert outcome(loading.load(village.actor, SHEET, path)) == (4, 0, 0, 0, 0)
    assert [latest(someone)[0] for someone in (old, passport, ending)] == ["阴性"] * 3


# --- the same sample --------------------------------------------------------------------------------------


@pytest.mark.req("CL-6.2", "CL-6.1")
def test_person_time_and_point_make_the_same_sample(village, samples):
    own = own_number(person())
    path = samples(
        row(own),
        row(own, 采样点=" 甲采样点　"),
        row(own, 检测机构="安澜检验所"),
        row(own, 采样点="乙采样点"),
        row(own, at="2026/11/5 9:00:30"),
    )
    load = loading.load(village.actor, SHEET, path)
    assert (load.counts["added"], load.counts["same"], load.counts["merged"]) == (3, 1, 1)
    assert Sample.objects.get(point="甲采样点", sampled_at__second=0).institution == "安澜检验所"


@pytest.mark.req("CL-6.3")
@pytest.mark.parametrize("order", [1, -1])
def test_an_awaited_result_is_filled_in_and_never_comes_back(village, samples, order):
    someone = person()
    rows = [row(own_number(someone), 检测结果="待出"), row(own_number(someone), 检测结果="阳性(+)")]
    for place, cells in enumerate(rows[::order]):
        loading.load(village.actor, SHEET, samples(cells, name=f"{place}.csv"))
    assert latest(someone) == ("阳性", "甲采样点")
    both = loading.load(village.actor, SHEET, samples(*rows[::order], name="both.csv"))
    assert outcome(both)[:3] == (0, 0, 1)
    assert SampleBefore.objects.count() == (1 if order == 1 else 0)


@pytest.mark.req("CL-6.3")
def test_the_result_of_the_later_day_wins_and_the_other_one_is_kept(village, samples):
    someone = person()
    results = [("可疑", "2026-11-05 20:00"), ("阴性", "2026-11-06 08:00"), ("阳性", "2026-11-05 21:00")]
    for place, (result, at) in enumerate(results):
        cells = row(own_number(someone), 检测结果=result, 检测时间=at, 检测机构=f"{place}号所")
        loading.load(village.actor, SHEET, samples(cells, name=f"{place}.csv"))
    sample = Sample.objects.get()
    assert (sample.result, sample.institution) == ("阴性", "1号所")
    [before] = SampleBefore.objects.all()
    assert (before.result, before.institution, before.number) == ("可疑", "0号所", someone.number)
    page = village.client.get(f"/people/{someone.pk}/").content.decode()
    assert "阴性" in page


@pytest.mark.req("CL-6.3", "P-6.2")
def test_an_administrator_can_have_known_results_stay(village, samples):
    ParameterValue.objects.create(name=NEWER_RESULT_WINS.name, value="否")
    parameters.forget()
    someone = person()
    for place, result in enumerate(["待出", "阴性", "阳性"]):
        cells = row(own_number(someone), 检测结果=result, 检测时间=f"2026-11-06 0{place}:00")
        loading.load(village.actor, SHEET, samples(cells, name=f"{place}.csv"))
    assert latest(someone)[0] == "阴性"
    assert "保持不变" in SHEET.conflicts()[0]
    parameters.forget()


@pytest.mark.req("P-5.3")
def test_the_modes_hold_for_samples_too(village, samples):
    there, new = own_number(person()), own_number(person())
    loading.load(village.actor, SHEET, samples(row(there)))
    path = samples(row(there, 检测结果="阳性"), row(new), name="2.csv")
    assert outcome(loading.load(village.actor, SHEET, path, mode="add")) == (1, 0, 0, 1, 0)
    Sample.objects.filter(number=new).delete()
    assert outcome(loading.load(village.actor, SHEET, path, mode="update")) == (0, 1, 0, 1, 0)


# --- taken back and cut off -------------------------------------------------------------------------------


@pytest.mark.req("P-5.3", "CL-6.3")
def test_a_load_is_taken_back_as_a_whole(village, samples):
    someone, other, stranger = person(), person(), number("19700101")
    rows = row(own_number(someone), 检测结果="待出"), row(own_number(person()))
    first = loading.load(village.actor, SHEET, samples(*rows))
    path = samples(
        row(own_number(someone), 检测结果="阳性"), row(own_number(other)), row(stranger), name="2.csv"
    )
    second = loading.load(village.actor, SHEET, path)
    assert outcome(second) == (1, 1, 0, 0, 1)
    undone = undoing.undo(village.actor, SHEET, first)
    assert (undone["deleted"], undone["restored"], undone["left"]) == (1, 0, 1)
    [left] = undoing.left_rows(first)
    assert left.outcome == "此后已被另一次导入更新"
    assert "林样例" in SHEET.named(village.actor, [left.row])[left.row]
    undone = undoing.undo(village.actor, SHEET, second)
    assert (undone["deleted"], undone["restored"], undone["left"]) == (2, 1, 0)
    assert Sample.objects.get().result == "待出"
    assert (latest(someone), latest(other)) == (("待出", "甲采样点"), ("", ""))
    assert not Unregistered.objects.exists()
    assert set(SampleBefore.objects.values_list("result", flat=True)) == {"待出", "阳性"}


@pytest.mark.req("P-5.3")
def test_the_result_page_links_to_the_samples_of_the_load(village, samples):
    one, two = own_number(person()), own_number(person())
    loading.load(village.actor, SHEET, samples(row(one)))
    load = loading.load(village.actor, SHEET, samples(row(two), name="2.csv"))
    page = village.client.get("/samples/", {"load": load.pk}).context["page"]
    assert [found.number for found in page.rows] == [two]


# The command with small chunks, so that it can be cut off between many of them.
COMMAND = """
import sys
from jingwei.base import reading
reading.ROWS_AT_ONCE = 50
from jingwei.cli.main import main
main()
"""


@pytest.mark.django_db(transaction=True)
@pytest.mark.req("P-5.3", "CL-6.5")
def test_a_load_killed_in_the_middle_comes_out_as_if_nothing_had_happened(village, samples):
    people = [own_number(person()) for _ in range(20)]
    strangers = [number(f"19{year}0101", 7) for year in range(50, 70)]
    rows = [row(n, at=f"2026-11-{day:02d} 09:00") for day in range(1, 16) for n in people + strangers]
    path = samples(*rows, row("123"))

    def start():
        return subprocess.Popen(
            [sys.executable, "-c", COMMAND, "import", "nucleic-samples", path, "--as", "village", "--json"],
            stdout=subprocess.PIPE,
            start_new_session=True,
            env=os.environ
            | {"DJANGO_SETTINGS_MODULE": "jingwei.settings", "JINGWEI_HOME": str(settings.JINGWEI_HOME)},
        )

    for chunks in (1, 6):
        process = start()
        while LoadChunk.objects.count() < chunks:
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    process = start()
    counts = json.loads(process.communicate()[0])
    assert process.returncode == 0
    names = ("read", "added", "unchanged", "rejected_rows", "unregistered", "unregistered_rows")
    assert [counts[name] for name in names] == [601, 300, 0, 1, 20, 300]
    assert Sample.objects.count() == 600 and Unregistered.objects.count() == 20
    assert set(Person.objects.values_list("sampled_at__day", flat=True)) == {15}
    assert {entry.first_at.day for entry in Unregistered.objects.all()} == {1}
    load = Load.objects.get()
    assert undoing.undo(village.actor, SHEET, load)["deleted"] == 600
    assert not Sample.objects.exists() and not Unregistered.objects.exists()
    assert set(Person.objects.values_list("sampled_at", flat=True)) == {None}


@pytest.mark.req("CL-6.2")
def test_a_time_that_lies_ahead_or_is_none_refuses_the_row(village, samples):
    own = own_number(person())
    path = samples(
        row(own, at="昨天下午"), row(own, at="2099-01-01 00:00"), row(own, at=""), row(own, 检测结果="?")
    )
    load = loading.load(village.actor, SHEET, path, today=datetime(2026, 11, 20).date())
    assert {(r["row"], r["column"]) for r in load.counts["rejected"]} == {(n, "采样时间") for n in (2, 3, 4)}
    assert [(w["row"], w["column"]) for w in load.counts["warnings"]] == [(5, "检测结果")]
    assert Sample.objects.get().result == ""
