"""`jingwei rows` gives the rows of the page: same selection, same scope, same masks, same log."""

import argparse
import csv
import io
import json
import os
import subprocess
import sys

import pytest
from django.core.exceptions import PermissionDenied, ValidationError

from jingwei.base.models import LogEntry
from jingwei.cli import rows
from jingwei.people.samples import number, person

pytestmark = pytest.mark.django_db
HEADINGS = (
    "序号 乡镇（街道） 村/社区 姓名 性别 证件类型 证件号 是否为常住人口 户籍地 居住地 是否为租户 "
    "单位（从业情况） 人群分类 联系电话 出生日期 年龄 是否为60岁(以上) 疫苗接种情况 接种单位 接种针次 "
    "接种日期 是否做过核酸检测 最后一次核酸检测时间 检测结果 采样点名称"
).split()


@pytest.fixture
def run(capsys):
    """Run the subcommand; what it wrote."""

    def command(*arguments):
        parser = argparse.ArgumentParser()
        rows.add_arguments(parser)
        assert rows.run(parser.parse_args(arguments)) == 0
        return capsys.readouterr().out

    return command


@pytest.mark.req("CL-3.1", "CL-3.2", "P-4.3")
def test_the_keys_are_the_headings_of_the_list_and_personal_values_masked(village, run):
    person(name="甲", number=number("19500101"), phone="16000000005")
    [row] = json.loads(run("people", "--as", "village"))
    assert list(row) == HEADINGS
    assert (row["姓名"], row["联系电话"], row["村/社区"]) == ("甲", "160****0005", "上埔社区")
    assert row["年龄"] > 70 and row["是否为60岁(以上)"] == "是" and row["出生日期"] == "1950-01-01"


@pytest.mark.req("CL-2.1", "P-1.6", "P-5.1")
def test_rows_are_selected_ordered_limited_and_counted_within_the_scope(run):
    for year in ("1950", "1960", "1970"):
        person(name=f"生于{year}", number=number(f"{year}0101"))
    person(name="生于1980", region="990101002001")
    assert run("people", "--as", "village", "--q", "生于", "--count").strip() == "3"
    assert run("people", "--as", "district", "--q", "生于", "--count").strip() == "4"
    assert run("people", "--as", "village", "--q", "生于", "--count", "--limit", "2").strip() == "2"
    found = json.loads(
        run(
            "people", "--as", "village", "--where", "是否为60岁(以上)=是", "--order=-出生日期", "--limit", "1"
        )
    )
    assert [row["姓名"] for row in found] == ["生于1960"]
    assert json.loads(run("people", "--as", "othertown", "--q", "生于1950")) == []


@pytest.mark.req("P-5.4")
def test_csv_has_the_same_cells(run):
    person(name="甲,乙")
    headings, row = csv.reader(io.StringIO(run("people", "--as", "village", "--format", "csv")))
    assert headings == HEADINGS
    assert row[HEADINGS.index("姓名")] == "甲,乙"


@pytest.mark.req("P-4.3", "SEC-16", "P-3.1")
def test_clear_values_need_a_reason_and_leave_a_log_row(run):
    person(phone="16000000005")
    with pytest.raises(ValidationError, match="事由"):
        run("people", "--as", "village", "--clear")
    assert not LogEntry.objects.filter(act="查看明文").exists()
    [row] = json.loads(run("people", "--as", "village", "--clear", "--reason", "核对"))
    assert row["联系电话"] == "16000000005"
    entry = LogEntry.objects.get(act="查看明文")
    assert (entry.login, entry.reason, entry.detail["行数"]) == ("village", "核对", 1)


@pytest.mark.req("P-1.10", "P-1.6")
@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (["people", "--as", "ghost"], "没有登录名为“ghost”的账号"),
        (["poeple", "--as", "village"], "没有名为“poeple”的数据"),
        (["people", "--as", "nobody"], "没有查看“人员信息”的权限"),
        (["people", "--as", "auditadmin"], "没有查看“人员信息”的权限"),
        (["people", "--as", "village", "--where", "身高=180"], "没有名为“身高”的列或筛选"),
        (["people", "--as", "village", "--where", "sex"], "应写成 列名=值"),
        (["people", "--as", "village", "--where", "sex=9X"], "没有选项“9X”"),
        (["people", "--as", "village", "--order", "证件号"], "不能按“证件号”排序"),
    ],
)
def test_what_cannot_be_done_is_said_in_words(run, arguments, refusal):
    with pytest.raises((ValidationError, PermissionDenied)) as said:
        run(*arguments)
    assert refusal in str(said.value)


@pytest.mark.req("P-1.10")
@pytest.mark.django_db(transaction=True)
def test_a_refusal_leaves_on_the_error_stream_with_exit_code_2():
    command = [sys.executable, "-c", "from jingwei.cli.main import main; main()"]
    done = subprocess.run(
        [*command, "rows", "people", "--as", "nobody"],
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "jingwei.settings"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.strip() == "账号“nobody”没有查看“人员信息”的权限"


@pytest.mark.req("P-5.1")
@pytest.mark.django_db(transaction=True)
def test_a_reader_that_has_seen_enough_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from jingwei.cli.main import main; main()",
            "rows",
            "regions",
            "--as",
            "village",
        ],
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "jingwei.settings"},
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
