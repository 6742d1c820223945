"""`jingwei web`: the web processes of one machine, beside others (P-10.2).

Environment, beside that of the settings:
    PORT          8000
    JINGWEI_BIND  address to listen on (default 127.0.0.1)
    JINGWEI_WEB   number of web processes (default one per core, at most 4)
"""

import os
import shutil
import sys

from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection

from jingwei.base import audit
from jingwei.base.access import platform_actor
from jingwei.running import health, integrity, machines

# Per process. Few may ask the database at a time, since more would only wait for the interpreter; entries at
# venues wait together for one transaction, and the more of them, the more it stores (jingwei.scans.entries).
THREADS, CONNECTIONS = 64, 4


def add_arguments(parser):
    environment = os.environ.get
    parser.add_argument("--host", default=environment("JINGWEI_BIND", "127.0.0.1"), help="监听地址")
    parser.add_argument("--port", type=int, default=environment("PORT", "8000"), help="端口")
    parser.add_argument(
        "--web", type=int, default=environment("JINGWEI_WEB", min(os.cpu_count(), 4)), help="网页进程数"
    )


def run(options):
    check_machine()
    check_files()
    connection.close()
    # In this process' place: whoever started it sends its signals to the server itself.
    os.execve(sys.executable, command(options), os.environ | environment(options))  # noqa: S606


def check_machine():
    """Refuse to start beside a database of another version, or with other secrets than its machines have."""
    if settings.EMBEDDED_SERVER:
        raise CommandError(
            "内置数据库的实例只在一台机器上运行，请用 jingwei up；多台机器时请先设置 DATABASE_URL。"
        )
    if missing := health.missing_migrations():
        raise CommandError(f"数据库结构缺少 {len(missing)} 个升级步骤，请先运行 jingwei migrate。")
    machines.check_secrets()


def check_files(*, on_purpose=False):
    """List the files of a new release; say and log which of a known one are not as listed (SEC-20).

    The start goes on: the page is worth more than its refusal, and the machine reports itself as not ready.
    `on_purpose`: see `integrity.is_upgraded`.
    """
    actor = platform_actor("启动校验")
    if not integrity.is_made():
        list_files(actor, "本机还没有登记过")
    elif integrity.is_upgraded(on_purpose=on_purpose):
        print(f"程序已升级，重新登记了文件：{list_files(actor, '程序升级')}", flush=True)
    elif found := integrity.verify(actor):
        print(f"文件与登记的摘要不一致：{integrity.in_words(found)}", file=sys.stderr)
        print(
            "如果刚刚升级或修改过程序，请运行 jingwei integrity --make 后重新启动；否则请立即检查这台机器。",
            file=sys.stderr,
        )


def list_files(actor, reason) -> str:
    """Collect the files of the pages from the program, and list both as they are; the releases in words."""
    before = integrity.listed_release()
    # All anew: a collected file that somebody has changed would be listed with the others.
    if settings.STATIC_ROOT.exists():
        shutil.rmtree(settings.STATIC_ROOT)
    private = os.umask(0o022)  # nginx serves them, under a user of its own
    try:
        call_command("collectstatic", interactive=False, verbosity=0)
    finally:
        os.umask(private)
    now = integrity.make()
    audit.record(
        actor,
        "文件登记",
        resource="integrity",
        label="程序和静态文件",
        reason=reason,
        原版本=str(before or ""),
        版本=str(now),
    )
    return f"{before} → {now}" if before else str(now)


def command(options):
    """The web server's command line."""
    return [
        *[sys.executable, "-m", "granian", "jingwei.wsgi:application", "--interface", "wsgi", "--no-ws"],
        *["--host", options.host, "--port", str(options.port), "--workers", str(options.web)],
        *["--blocking-threads", str(THREADS), "--respawn-failed-workers", "--workers-kill-timeout", "3"],
    ]


def environment(options):
    """What its processes find in their environment; the figures they count begin anew."""
    figures = settings.JINGWEI_HOME / "metrics" / str(options.port)
    shutil.rmtree(figures, ignore_errors=True)
    figures.mkdir(parents=True)
    return of_instance() | {"PROMETHEUS_MULTIPROC_DIR": str(figures)}


def of_instance():
    """What any process of the instance finds in its environment."""
    return {
        "JINGWEI_HOME": str(settings.JINGWEI_HOME),
        "JINGWEI_POOL": os.environ.get("JINGWEI_POOL") or str(CONNECTIONS),
    }
