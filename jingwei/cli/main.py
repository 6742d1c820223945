"""Entry of the `jingwei` command.

A subcommand's module promises `add_arguments(parser)` and `run(options)`, which returns the exit code. It is
imported when Django is set up, and runs while the database of the instance answers, unless it brings that up
itself. What an operator has to mend leaves as a Chinese sentence on the error stream and exit code 2.
"""

import argparse
import contextlib
import importlib
import os
import sys

import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, PermissionDenied, ValidationError
from django.core.management import CommandError
from django.db import OperationalError

from jingwei import embedded
from jingwei.base import wall

COMMANDS = {
    "up": ("jingwei.cli.up", "在一台机器上启动全部服务，直到按下 Ctrl-C"),
    "setup": ("jingwei.cli.set_up", "建立正式实例：三个管理员，没有演示账号"),
    "renew": ("jingwei.cli.renew", "为管理员的账号续期（没有人能在页面上办理时）"),
    "migrate": ("jingwei.cli.migrate", "建立或升级数据库结构"),
    "web": ("jingwei.cli.web", "启动本机的网页服务"),
    "worker": ("jingwei.cli.worker", "启动本机的后台任务"),
    "integrity": ("jingwei.cli.integrity", "校验程序和静态文件是否被改动"),
    "demo": ("jingwei.cli.demo", "生成演示人口"),
    "demo-venues": ("jingwei.cli.demo_venues", "生成演示公共场所"),
    "import": ("jingwei.cli.import_sheet", "导入表格"),
    "boundaries": ("jingwei.cli.boundaries", "导入区划边界"),
    "export": ("jingwei.cli.export", "导出数据"),
    "rows": ("jingwei.cli.rows", "查询数据"),
    "leak-scan": ("jingwei.cli.leak_scan", "检查日志、文件和数据库中有没有个人信息明文"),
    "rotate-keys": ("jingwei.cli.rotate_keys", "轮换密钥：重新加密全部个人信息，不停机"),
    "verify-log": ("jingwei.cli.verify_log", "校验操作日志是否被改动"),
    "run-nightly": ("jingwei.cli.nightly", "场所比对、扫码预警和预警短信"),
    "backup": ("jingwei.cli.backup", "备份数据库和附件，不停机"),
    "restore": ("jingwei.cli.restore", "恢复备份并核对，或检验备份"),
}


def main():
    """Run the subcommand that the command line names and exit with its code."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jingwei.settings")
    try:
        sys.exit(_run(sys.argv[1:]))
    except ValidationError as refusal:
        problem = "；".join(refusal.messages)
    except OperationalError as refusal:
        problem = f"数据库无法访问：{refusal}"
    except (CommandError, embedded.EmbeddedError, ImproperlyConfigured, PermissionDenied) as refusal:
        problem = str(refusal)
    except KeyboardInterrupt:
        problem = "已中断"
    except BrokenPipeError:  # `jingwei rows … | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    print(problem, file=sys.stderr)
    sys.exit(2)


def _run(arguments):
    parser = argparse.ArgumentParser(prog="jingwei", description="经纬：县区数字治理平台")
    commands = parser.add_subparsers(dest="command", metavar="命令", required=True)
    for name, (module, purpose) in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=purpose)
        if arguments[:1] == [name]:
            django.setup()
            chosen = importlib.import_module(module)
            chosen.add_arguments(command)
    options = parser.parse_args(arguments)
    # Who may run this command here is the platform; for an account named by --as it takes that one's place.
    alone = options.command in ("setup", "up", "restore")
    with contextlib.nullcontext() if alone else _database(), wall.beyond_scope():
        return chosen.run(options)


def _database():
    """The embedded server for as long as a command runs, unless the database is elsewhere."""
    if settings.EMBEDDED_SERVER is None:
        return contextlib.nullcontext()
    if not settings.EMBEDDED_SERVER.exists():
        raise ImproperlyConfigured(
            f"{settings.JINGWEI_HOME} 中还没有实例，请先运行 make run（或 jingwei up）。"
        )
    return embedded.Server(settings.EMBEDDED_SERVER)
