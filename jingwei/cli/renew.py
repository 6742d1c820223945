"""`jingwei renew`: an administrator whose account has ended gets it back, with nobody else left (SEC-5)."""

from jingwei.base.access import platform_actor
from jingwei.directory.actions import renew_administrator


def add_arguments(parser):
    parser.add_argument("login", metavar="登录名", help="管理员的登录名")
    parser.add_argument("--reason", required=True, metavar="事由", help="记入操作日志，例如批准人和文号")
    parser.add_argument("--password", action="store_true", help="同时生成一次性口令，并重置双因素登录")


def run(options):
    told = renew_administrator(
        platform_actor("命令行"), options.login, reason=options.reason, anew=options.password
    )
    for sentence in told:
        print(sentence)
    return 0
