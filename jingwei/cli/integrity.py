"""`jingwei integrity`: compare the files of this machine with their digests (SEC-20)."""

import sys

from jingwei.base.access import platform_actor
from jingwei.cli.web import list_files
from jingwei.running import integrity


def add_arguments(parser):
    parser.add_argument("--make", action="store_true", help="以现在的文件为准重新登记摘要（安装或升级之后）")


def run(options):
    actor = platform_actor("命令行")
    if options.make:
        print(f"已登记程序和静态文件的摘要：{list_files(actor, '手工登记')}")
        return 0
    found = integrity.verify(actor)
    for line in found:
        print(line, file=sys.stderr)
    if not found:
        print("程序和静态文件与登记的摘要一致。")
    return 1 if found else 0
