"""The samples of venues and scans come out as expected, through the command line (KP-1 … KP-6, KP-8.1)."""

import argparse
import json
from collections import Counter
from pathlib import Path

import pytest

from jingwei.base.wall import beyond_scope
from jingwei.cli import import_sheet, main, nightly, rows
from jingwei.messages.models import SmsMessage

pytestmark = pytest.mark.django_db
DATA = Path(__file__).parent / "data"
EXPECTED = json.loads((DATA / "expected_scans.json").read_text())
TODAY = EXPECTED["evaluated_on"]
VENUE = "公共场所ID 公共场所 类别 所在街道 所在位置 监管单位 阈值最小值 阈值最大值"
SCAN = (
    "公共场所ID 公共场所 类别 所在市区 所在街道 公共场所管理员 被采集人身份证 被采集人 联系电话 采集结果 "
    "核酸结果 核酸结果时间 健康码状态 采集人所在位置 采集时间 数据导入人 数据导入时间"
)
HEADINGS = {
    "venues": VENUE,
    "thresholds": VENUE,
    "scans": SCAN,
    "scan-query": f"{SCAN} 监管单位",
    "scan-statistics": "公共场所ID 公共场所 类别 监管单位 所在市区 所在街道 扫码量",
    "alerts": "公共场所ID 公共场所 类别 所在市区 所在街道 预警时间段 预警原因",
}


@pytest.fixture
def run(capsys):
    """A function that runs a subcommand as the command line does and returns what it prints."""

    def command(module, *arguments):
        parser = argparse.ArgumentParser()
        module.add_arguments(parser)
        with beyond_scope():  # as `jingwei` runs them
            assert module.run(parser.parse_args([str(argument) for argument in arguments])) == 0
        return capsys.readouterr().out

    return command


@pytest.fixture
def load(run):
    def load(sheet, name):
        asked = [sheet, DATA / name, "--as", "venueops", "--today", TODAY, "--json"]
        return json.loads(run(import_sheet, *asked))

    return load


@pytest.fixture
def listed(run):
    return lambda resource, *more, login="venueops": json.loads(run(rows, resource, "--as", login, *more))


@pytest.fixture
def loaded(load):
    return {
        "venues": load("venues", "venues.xlsx"),
        "thresholds": load("thresholds", "thresholds.csv"),
        "scans": load("scans", "scans.csv"),
    }


def alerts(listed, **options):
    return sorted(
        [[row["公共场所ID"], row["预警时间段"], row["预警原因"]] for row in listed("alerts", **options)]
    )


@pytest.mark.req("KP-1.1", "KP-1.3", "KP-1.4", "KP-2.1", "KP-3.1", "KP-5.1", "KP-6.1", "KP-6.3", "KP-8.1")
def test_the_samples_come_out_exactly(loaded, load, listed, run):
    venues, thresholds, scans = loaded.values()
    assert (venues["added"], venues["rejected"], venues["warnings"]) == (36, [], [])
    assert (thresholds["added"], thresholds["rejected"]) == (36, [])
    assert scans["added"] == EXPECTED["stored"]
    assert scans["same"] == EXPECTED["same"]
    assert len(scans["rejected"]) == scans["rejected_rows"] == EXPECTED["unreadable"]
    assert {problem["column"] for problem in scans["rejected"]} == {"公共场所ID", "采集时间"}
    [newest] = listed("scans", "--limit", 1)
    assert newest["采集时间"] == EXPECTED["newest"]

    run(nightly, "--today", TODAY)
    unset = {row["公共场所ID"]: row for row in listed("venues") if not row["监管单位"]}
    assert sorted(unset) == EXPECTED["unknown_venues"]
    assert unset["KP000010"]["公共场所"] and unset["KP000010"]["类别"] and unset["KP000010"]["所在街道"]
    assert alerts(listed) == sorted(EXPECTED["alerts_first"])
    texts = Counter(message.receiver.clear() for message in SmsMessage.objects.all())
    assert texts == Counter(EXPECTED["sms_after_first"])

    late = load("scans", "scans_late.xlsx")
    assert (late["added"], late["same"]) == (EXPECTED["late_stored"], EXPECTED["late_same"])
    assert alerts(listed) == sorted(EXPECTED["alerts_after_late"])  # at once, before the next night
    run(nightly, "--today", TODAY)
    assert alerts(listed) == sorted(EXPECTED["alerts_after_late"])
    withdrawn = [alert for alert in EXPECTED["alerts_first"] if alert not in EXPECTED["alerts_after_late"]]
    gone = listed("withdrawn-alerts")
    assert sorted([row["公共场所ID"], row["预警时间段"], row["预警原因"]] for row in gone) == sorted(
        withdrawn
    )
    assert SmsMessage.objects.count() == len(EXPECTED["sms_after_first"])

    first, last = EXPECTED["days"]
    counted = listed("scan-statistics", "--where", f"from={first}", "--where", f"to={last}")
    counts = {row["公共场所ID"]: row["扫码量"] for row in counted if row["扫码量"]}
    assert counts == EXPECTED["scans_per_venue_after_late"]
    assert [row["扫码量"] for row in counted] == sorted((row["扫码量"] for row in counted), reverse=True)
    [one] = listed("scan-statistics", "--where", "公共场所ID=KP000001", "--where", "to=2026-10-16")
    assert one["扫码量"] == 6


@pytest.mark.req("KP-1.4", "KP-3.1", "KP-6.1", "KP-8.1")
def test_everything_twice_is_the_same_as_once(loaded, load, listed, run):
    run(nightly, "--today", TODAY)
    before = {name: listed(name) for name in ("venues", "alerts", "scan-statistics")}
    again = {name: load(sheet, name) for sheet, name in [("venues", "venues.xlsx"), ("scans", "scans.csv")]}
    assert (again["venues.xlsx"]["added"], again["venues.xlsx"]["changed"]) == (0, 0)
    assert (again["scans.csv"]["added"], again["scans.csv"]["same"]) == (
        0,
        EXPECTED["stored"] + EXPECTED["same"],
    )
    told = run(nightly, "--today", TODAY)
    assert "新预警 0 条，撤回 0 条，标记与数据不符 0 条" in told and "新增未登记场所 0 个" in told
    assert {name: listed(name) for name in before} == before
    assert SmsMessage.objects.count() == len(EXPECTED["sms_after_first"])


@pytest.mark.req("KP-1.1", "KP-2.1", "KP-3.2", "KP-4.1", "KP-5.1", "KP-6.2")
def test_every_list_has_exactly_the_columns_named(loaded, listed, run):
    run(nightly, "--today", TODAY)
    for resource, headings in HEADINGS.items():
        assert list(listed(resource, "--limit", 1)[0]) == headings.split()


@pytest.mark.req("KP-2.2", "KP-4.1", "KP-5.1", "KP-6.4")
def test_a_regulator_sees_only_its_own_venues_on_every_list(loaded, listed, run):
    run(nightly, "--today", TODAY)
    everything = {row["公共场所ID"]: row["监管单位"] for row in listed("venues")}
    for login, office in (("regulator", "区市场监督管理局"), ("regulator2", "区商务局")):
        own = {code for code, regulator in everything.items() if regulator == office}
        assert own
        for resource in ("thresholds", "scan-query", "scan-statistics", "alerts"):
            seen = {row["公共场所ID"] for row in listed(resource, login=login)}
            assert seen and seen <= own, resource
    unknown = [row for row in listed("scan-query", "--where", "公共场所ID=KP000010", "--limit", "3")]
    assert {row["监管单位"] for row in unknown} == {"空"}


def test_the_command_is_offered():
    assert main.COMMANDS["run-nightly"][0] == nightly.__name__
