"""`jingwei setup`: an instance for real people, with its three administrators and nobody else (P-1.8, SEC-6).

Their passwords are made here and told once, on the terminal. No demonstration login, ever (SEC-5).
"""

import contextlib

from django.conf import settings

from jingwei import embedded
from jingwei.base import wall
from jingwei.cli import migrate
from jingwei.directory.rules import AUDIT, SECURITY, SYSTEM
from jingwei.directory.setup import set_up_for_real

OPTIONS = {"sysadmin": SYSTEM, "secadmin": SECURITY, "auditadmin": AUDIT}


def add_arguments(parser):
    parser.add_argument(
        "--region",
        nargs=2,
        action="append",
        required=True,
        metavar=("代码", "名称"),
        help="所服务的行政区划，自省级起逐级写：--region 99 示例省 --region 9901 示例市 …",
    )
    parser.add_argument("--office", required=True, metavar="单位", help="管理员所在的单位")
    for option, kind in OPTIONS.items():
        parser.add_argument(f"--{option}", nargs=2, required=True, metavar=("登录名", "姓名"), help=kind)


def run(options):
    administrators = {kind: tuple(getattr(options, option)) for option, kind in OPTIONS.items()}
    server = embedded.Server(settings.EMBEDDED_SERVER) if settings.EMBEDDED_SERVER else None
    with server or contextlib.nullcontext(), wall.beyond_scope():
        migrate.bring_up_to_date()
        made = set_up_for_real(options.region, options.office, administrators)
    print("三个管理员的一次性口令，只显示这一次，请分别交给本人：")
    for kind, (operator, password) in zip(administrators, made, strict=True):
        print(f"{kind}\t{operator.name}\t登录名 {operator.login}\t口令 {password}")
    print("首次登录须修改口令，并设置双因素登录。其他人在登录页“申请账号”，由安全管理员审核、任职授权。")
    return 0
