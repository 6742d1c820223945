"""`jingwei verify-log`: whether nobody has changed, removed or added a row of the operation log (P-3.2)."""

import json
from dataclasses import asdict

from jingwei.base.access import platform_actor
from jingwei.oversight import verifying


def add_arguments(parser):
    parser.add_argument("--json", action="store_true", help="以 JSON 输出")


def run(options):
    verdict = verifying.verify(platform_actor("命令行"))
    if options.json:
        print(json.dumps(asdict(verdict) | {"sound": verdict.sound}, ensure_ascii=False))
        return 0 if verdict.sound else 1
    if verdict.sound:
        left = f"，{verdict.unsealed:,} 条刚写入的待封存" if verdict.unsealed else ""
        dropped = f"，{verdict.dropped:,} 条已过保存期限" if verdict.dropped else ""
        print(f"{verifying.in_words(verdict)}{left}{dropped}。")
        return 0
    print(f"操作日志没有通过校验，共 {verdict.in_all:,} 处问题：")
    for broken in verdict.breaks:
        print(f"  {broken.said}")
    if verdict.in_all > len(verdict.breaks):
        print(f"  ……其余 {verdict.in_all - len(verdict.breaks):,} 处从略")
    return 1
