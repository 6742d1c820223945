"""`jingwei import`: a sheet into its table, with the rights, the rules and the log of the page (P-5.3)."""

import json
import socket
from datetime import date
from pathlib import Path

from django.core.exceptions import ValidationError

from jingwei import menu
from jingwei.base import loading
from jingwei.base.findings import KINDS, Findings
from jingwei.base.models import Load
from jingwei.directory.actors import actor_of_login

_SHOWN = 20  # messages of each kind in the summary


def add_arguments(parser):
    parser.add_argument("sheet", metavar="SHEET", help="表样的名称，如 roster")
    parser.add_argument("file", metavar="FILE", type=Path, help="xlsx、xls 或 csv 文件")
    parser.add_argument(
        "--as", dest="login", required=True, metavar="LOGIN", help="以哪个账号的权限和数据范围"
    )
    parser.add_argument(
        "--mode", choices=loading.MODES, default="both", help="add 只新增，update 只修改，both 都做（默认）"
    )
    parser.add_argument(
        "--bad", choices=loading.BAD, default="skip", help="有错误行时：skip 跳过（默认），stop 全部不导入"
    )
    parser.add_argument("--worksheet", metavar="NAME", default="", help="读哪个工作表，默认最像的一个")
    parser.add_argument("--today", type=date.fromisoformat, metavar="YYYY-MM-DD", help="数据日期，默认今天")
    parser.add_argument("--json", action="store_true", help="结果写成 JSON")


def run(options):
    sheets = menu.sheets()
    if options.sheet not in sheets:
        raise ValidationError(f"没有名为“{options.sheet}”的表样，可用：{'、'.join(sheets)}")
    if not options.file.is_file():
        raise ValidationError(f"找不到文件“{options.file}”")
    actor = actor_of_login(options.login, address="", device=f"命令行 {socket.gethostname()}")
    sheet = sheets[options.sheet]
    asked = {name: getattr(options, name) for name in ("mode", "bad", "worksheet", "today")}
    load = loading.load(actor, sheet, options.file, **asked)
    if options.json:
        every = {kind: list(Findings(load, kind)) for kind in KINDS}
        print(json.dumps(load.counts | every, ensure_ascii=False))
    else:
        print("\n".join(_summary(sheet, load)))
    return 0 if load.state == Load.DONE else 2


def _summary(sheet, load):
    """The outcome in lines for a person."""
    counts = load.counts
    if load.state != Load.DONE:
        yield f"{sheet.label} {load.file_name}：有错误行，没有导入。"
    else:
        yield f"{sheet.label} {load.file_name}：已导入，用时 {counts['seconds']} 秒。"
    yield (
        f"读到 {counts['read']:,} 行：新增 {counts['added']:,}，修改 {counts['changed']:,}，"
        f"未变 {counts['unchanged']:,}，同一人合并 {counts['merged']:,}，重复 {counts['same']:,}，"
        f"拒绝 {counts['rejected_rows']:,}。"
    )
    if counts["unregistered"]:
        people, rows = counts["unregistered"], counts["unregistered_rows"]
        yield f"不在册 {people:,} 人（{rows:,} 行），已列入“未登记人员”。"
    corrected = [f"{rule} {count:,}" for rule, count in counts["corrected"].items() if count]
    if corrected:
        yield f"自动更正的单元格：{'，'.join(corrected)}。"
    yield from counts["notes"]
    for title, kind in (("拒绝的行", "rejected"), ("提醒（该行已导入）", "warnings")):
        messages = Findings(load, kind)
        if messages:
            yield f"{title}："
        for message in messages[:_SHOWN]:
            yield f"  第 {message['row']} 行 {message['column']}：{message['reason']}"
        if len(messages) > _SHOWN:
            yield f"  ……共 {len(messages):,} 条，用 --json 查看全部。"
