"""An instance of the platform as a process of its own, driven as an operator would."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg

from jingwei import embedded
from jingwei.cli.up import MARK

JINGWEI = Path(sys.executable).with_name("jingwei")


class Instance:
    """`jingwei up` in a folder of its own, with so many synthetic people."""

    def __init__(self, home, people=0):
        self.home = home
        self.people = people
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        self.environment = environment | {"JINGWEI_HOME": str(home), "PORT": str(self.port)}
        self.environment["DJANGO_SETTINGS_MODULE"] = "jingwei.settings"
        self.environment["DEMO"] = "1" if people else "0"
        self.process = None

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        """Start it and wait for its last line; returns all lines."""
        command = [JINGWEI, "up", "--people", str(self.people)]
        self.process = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, text=True)
        lines = []
        for line in self.process.stdout:
            lines.append(line.strip())
            if line.startswith("ready"):
                return lines
        raise AssertionError("\n".join(lines))

    def stop(self, sent=signal.SIGTERM):
        """Stop it and return its exit code."""
        self.process.send_signal(sent)
        self.process.communicate(timeout=30)
        return self.process.returncode

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def run(self, *arguments):
        """What the command line answers."""
        command = [JINGWEI, *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)

    def answers(self):
        """Whether web and database answer."""
        try:
            with urllib.request.urlopen(f"{self.address}/sign-in/", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def password(self, login):
        """The password of a demonstration login."""
        lines = (self.home / "demo-logins.txt").read_text().splitlines()
        return next(line.split("\t")[1] for line in lines if line.split("\t")[0] == login)

    def parts(self, words):
        """Its processes whose command line has these words."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == str(self.home) and words in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                pass
        return found

    def postmaster(self):
        return psutil.Process(int((self.home / "pg" / "postmaster.pid").read_text().split()[0]))

    def operators(self):
        with psycopg.connect(embedded.url(self.home / "pg")) as connection:
            return connection.execute("SELECT count(*) FROM directory_operator").fetchone()[0]


@contextmanager
def new_instance(folder, people=0):
    """An instance below `folder`, which must be open to the user that the database runs as."""
    with tempfile.TemporaryDirectory(dir=folder) as home:
        instance = Instance(Path(home), people)
        try:
            yield instance
        finally:
            if instance.is_running():
                instance.stop()
