"""`jingwei up`: the whole instance in one command, and the last word on its processes (P-10.1).

Everything started here ends with it: in order on Ctrl-C or SIGTERM, by the kernel's hand if it is killed. A
part that dies is started again.

Environment, beside that of the settings and of `jingwei web`:
    DEMO          0: region tree, roles and demonstration logins, but no people and no venues
"""

import contextlib
import fcntl
import http.client
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from logging.handlers import RotatingFileHandler

import psutil
from django.conf import settings
from django.core.management import CommandError
from django.db import connection

from jingwei import embedded
from jingwei.base import wall
from jingwei.cli import migrate, web, worker
from jingwei.cli.demo import ensure_base, ensure_demo
from jingwei.cli.demo_venues import MOST, ensure_venues
from jingwei.directory.setup import is_for_real
from jingwei.running import machines

START_SECONDS = 60  # for the web to answer
PEOPLE_OF_A_VENUE = 100  # of the demonstration
RETRY_SECONDS = 5  # until a database that does not start is tried again
MARK = "JINGWEI_PART_OF"  # environment variable by which the parts of an instance are known


def add_arguments(parser):
    web.add_arguments(parser)
    parser.add_argument(
        "--people", type=int, default=20_000, help="演示人口数，每百人一个公共场所（DEMO=0：都没有）"
    )


def run(options):
    # From here on a signal unwinds the stack below; a second one does not disturb that.
    for number in [signal.SIGINT, signal.SIGTERM]:
        signal.signal(number, _stop)
    with contextlib.ExitStack() as stack:
        _claim(stack, options)
        server = None
        if settings.EMBEDDED_SERVER:
            _say("正在启动内置数据库……")
            server = stack.enter_context(embedded.Server(settings.EMBEDDED_SERVER, tied=True))
            stack.callback(server.stop)
        _prepare_data(options)
        web.check_files()
        parts = [
            Part("web", web.command(options), web.environment(options)),
            Part("worker", worker.command(), worker.environment()),
        ]
        for part in parts:
            stack.callback(part.kill)
        for part in parts:
            stack.callback(part.ask_to_stop)
        _start(parts, options)
        _keep_running(parts, server)


def _stop(*_):
    for number in [signal.SIGINT, signal.SIGTERM]:
        signal.signal(number, signal.SIG_IGN)
    _say("正在停止……")
    sys.exit(0)


def _say(text):
    print(text, flush=True)


def _claim(stack, options):
    """Refuse a second start on the same instance or the same port."""
    lock = stack.enter_context(open(settings.JINGWEI_HOME / "up.lock", "w"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CommandError(f"{settings.JINGWEI_HOME} 中的实例已经在运行。") from None
    _end_orphans()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((options.host, options.port))
        except OSError as error:
            raise CommandError(
                f"端口 {options.port} 不能使用（{error.strerror}），请换一个，例如 PORT={options.port + 1}"
            ) from None


def _end_orphans():
    """End what a killed run left: a part that is still stopping, or whose own parent was killed as well."""
    orphans = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == str(settings.JINGWEI_HOME):
                orphans.append(process)
    _, orphans = psutil.wait_procs(orphans, timeout=2)
    for process in orphans:
        process.kill()
    psutil.wait_procs(orphans, timeout=5)


def _prepare_data(options):
    """Keys, tables and the demonstration district; what is there already is left alone."""
    _say("正在检查数据表……")
    with wall.as_owner():
        migrate.migrate()
    with wall.beyond_scope():
        machines.check_secrets()
        if os.environ.get("DEMO") == "0" or is_for_real():
            ensure_base()
        else:
            ensure_demo(people=options.people)
            ensure_venues(min(options.people // PEOPLE_OF_A_VENUE, MOST))
    connection.close()


class Part:
    """One process of the instance, with a log in JINGWEI_HOME/logs that is bounded in size."""

    def __init__(self, name, command, environment):
        self.name = name
        self.command = command
        self.environment = os.environ | environment | {MARK: str(settings.JINGWEI_HOME)}
        self.log = settings.JINGWEI_HOME / "logs" / f"{name}.log"
        self.process = None

    def start(self):
        self.log.parent.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches this command only, which then stops its parts in order
            preexec_fn=embedded.die_with_parent,
        )
        threading.Thread(target=self._write_log, args=[self.process.stdout], daemon=True).start()

    def _write_log(self, lines):
        with contextlib.closing(RotatingFileHandler(self.log, maxBytes=10 * 2**20, backupCount=5)) as file:
            file.handleError = lambda record: None  # on a full disk a line is lost, and nothing else
            for line in lines:
                file.handle(logging.makeLogRecord({"msg": line.rstrip("\n")}))

    def has_ended(self):
        return self.process.poll() is not None

    def ask_to_stop(self):
        if self.process:
            self.process.terminate()

    def kill(self):
        """End it after a grace of some seconds, with whatever it started."""
        if self.process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def _start(parts, options):
    """Start the parts and say where the instance is, once it answers."""
    _say("正在启动网页和后台任务……")
    for part in parts:
        part.start()
    deadline = time.monotonic() + START_SECONDS
    while not _answers(options):
        for part in parts:
            if part.has_ended() or time.monotonic() > deadline:
                tail = "\n".join(part.log.read_text().splitlines()[-20:])
                raise CommandError(f"{part.name} 没有启动成功，日志 {part.log} 的末尾是：\n{tail}")
        time.sleep(0.1)
    _say(f"网址　　　http://{options.host}:{options.port}/")
    logins = settings.JINGWEI_HOME / "demo-logins.txt"
    if logins.exists():
        _say(f"演示账号　{logins}")
    _say(f"日志　　　{settings.JINGWEI_HOME / 'logs'}")
    _say(f"ready http://{options.host}:{options.port}/")


def _answers(options):
    answering = http.client.HTTPConnection(options.host, options.port, timeout=5)
    try:
        answering.request("GET", "/healthz", headers={"Host": settings.ALLOWED_HOSTS[0]})
        return answering.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        answering.close()


def _keep_running(parts, server):
    while True:
        time.sleep(1)
        if server and not server.is_running():
            _say("数据库意外停止，正在重新启动……")
            try:
                server.ensure()
            except (embedded.EmbeddedError, OSError) as error:
                # A full disk, say: it is there again as soon as somebody has made room.
                _say(f"数据库没有启动成功，{RETRY_SECONDS} 秒后再试：{error}")
                time.sleep(RETRY_SECONDS)
        for part in parts:
            if part.has_ended():
                _say(f"{part.name} 意外停止（{part.process.returncode}），正在重新启动……")
                part.kill()
                part.start()
