"""`jingwei web`: the web processes of one machine, beside others (P-10.2).

Environment, beside that of the settings:
    PORT          8000
    JINGWEI_BIND  address to listen on (default 127.0.0.1)
    JINGWEI_WEB   number of web processes (default one per core, at most 4)
"""

import hashlib
import os
import shutil
import sys

from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection

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


def check_files():
    """Collect the files of the pages; say and log which files are not as they were when made (SEC-20).

    The start goes on: the page is worth more than its refusal, and the machine reports itself as not ready.
    """
    if not integrity.is_made():
        integrity.make(integrity.PROGRAM)
    if found := integrity.verify(platform_actor("启动校验")):
        print(f"文件与登记的摘要不一致：{integrity.in_words(found)}", file=sys.stderr)
        print("如果刚刚升级过，请运行 jingwei integrity --make；否则请立即检查这台机器。", file=sys.stderr)
    elif collect_static_files():
        integrity.make(integrity.SERVED)


def collect_static_files() -> bool:
    """Copy, hash and compress the files of the pages, if they have changed since the last time."""
    digest = hashlib.sha256()
    for path in sorted(settings.PACKAGE.glob("**/static/**/*")):
        digest.update(f"{path} {path.stat().st_mtime_ns}\n".encode())
    stamp = settings.STATIC_ROOT / ".stamp"
    if stamp.exists() and stamp.read_text() == digest.hexdigest():
        return False
    call_command("collectstatic", interactive=False, clear=True, verbosity=0)
    stamp.write_text(digest.hexdigest())
    return True


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
