"""`jingwei boundaries`: the boundaries of regions from a GeoJSON file (P-1.1)."""

import socket
from pathlib import Path

from django.core.exceptions import PermissionDenied, ValidationError

from jingwei.directory.actors import actor_of_login
from jingwei.directory.region_actions import outline_regions
from jingwei.kit.coordinates import SYSTEMS


def add_arguments(parser):
    parser.add_argument("file", metavar="FILE", type=Path, help="GeoJSON 要素集，每个要素是一个区划的面")
    parser.add_argument(
        "--as", dest="login", required=True, metavar="LOGIN", help="以哪个账号的权限和数据范围"
    )
    parser.add_argument("--system", choices=SYSTEMS, default="WGS-84", help="坐标系，默认 WGS-84")
    parser.add_argument("--key", default="code", metavar="NAME", help="存放区划代码的属性，默认 code")


def run(options):
    actor = actor_of_login(options.login, address="", device=f"命令行 {socket.gethostname()}")
    if not actor.may("regions.outline"):
        raise PermissionDenied(f"账号“{options.login}”没有设置区划边界的权限")
    try:
        text = options.file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise ValidationError(f"文件“{options.file}”无法读取，或不是 UTF-8 编码的文本") from None
    print(f"已设置 {outline_regions(actor, text, system=options.system, key=options.key)} 个区划的边界。")
    return 0
