"""Machines, a replica and nginx as in production, for the tests in tests/running."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import psycopg
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from jingwei import embedded
from tests.instance import JINGWEI

DEPLOY = Path(__file__).parent.parent / "deploy"
SITE = "jingwei.example"
SECRETS = ["keys.json", "master.key", "secret-key"]  # what all machines have alike


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(fact, seconds=30):
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, f"not within {seconds} seconds"
        time.sleep(0.1)


class Visitor:
    """Somebody with cookies, straight at a machine or, by its certificate, at nginx."""

    def __init__(self, port, certificate=None):
        if certificate:
            self.pool = urllib3.HTTPSConnectionPool(
                "127.0.0.1", port, ca_certs=str(certificate), server_hostname=SITE, assert_hostname=SITE
            )
            self.headers = {}
        else:
            self.pool = urllib3.HTTPConnectionPool("127.0.0.1", port)
            # From another address than nginx's visitors, whose wrong tries are remembered against them.
            self.headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.7"}
        self.headers |= {"Host": SITE, "Referer": f"https://{SITE}/"}
        self.cookies = {}

    def ask(self, method, path, data=None, **headers):
        headers = self.headers | headers
        headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if data:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        body = urlencode(data) if data else None
        answer = self.pool.request(method, path, body=body, headers=headers, redirect=False, retries=False)
        for cookie in answer.headers.getlist("Set-Cookie"):
            name, _, value = cookie.partition("=")
            self.cookies[name] = value.partition(";")[0]
        return answer

    def get(self, path, **headers):
        return self.ask("GET", path, **headers)

    def text(self, path):
        answer = self.get(path)
        assert answer.status == 200, (path, answer.status)
        return answer.data.decode()

    def sign_in(self, login, password, **headers):
        token = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', self.text("/sign-in/"))[1]
        form = {"csrfmiddlewaretoken": token, "login": login, "password": password}
        return self.ask("POST", "/sign-in/", form, **headers)


class Replica:
    """A streaming replica of an embedded server, in a folder of its own."""

    def __init__(self, primary, folder):
        self.folder, self.process = folder, None
        folder.mkdir(mode=0o700)
        self.owner = {}
        if os.geteuid() == 0:
            user = primary.stat()
            os.chown(folder, user.st_uid, user.st_gid)
            self.owner = {"user": user.st_uid, "group": user.st_gid, "extra_groups": [], "cwd": "/"}
        source = embedded.url(primary, user="postgres", database="postgres")
        copy = [
            embedded.BIN / "pg_basebackup",
            "-D",
            folder,
            "-d",
            source,
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
        ]
        subprocess.run(copy, check=True, capture_output=True, **self.owner)

    @property
    def url(self):
        return embedded.url(self.folder, user="jingwei_app")

    def start(self):
        (self.folder / ".s.PGSQL.5432.lock").unlink(missing_ok=True)  # copied along
        command = [embedded.BIN / "postgres", "-D", self.folder, "-k", self.folder, "-h", ""]
        self.process = subprocess.Popen(
            command, stderr=subprocess.DEVNULL, preexec_fn=embedded.die_with_parent, **self.owner
        )
        until(self.answers)

    def answers(self):
        try:
            self.tell("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def tell(self, statement):
        admin = embedded.url(self.folder, user="postgres")
        with psycopg.connect(admin, autocommit=True) as connection:
            return connection.execute(statement).fetchone()

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(20)
            self.process = None


class Machine:
    """A second machine: `jingwei web` and `jingwei worker` in a home of its own, with the same secrets."""

    def __init__(self, first, home):
        self.home, self.port = home, free_port()
        home.mkdir()
        for name in SECRETS:
            if (first.home / name).exists():
                shutil.copy2(first.home / name, home / name)
        own = {"JINGWEI_HOME": str(home), "PORT": str(self.port), "JINGWEI_WEB": "1"}
        self.environment = first.environment | own
        self.parts = []

    def start(self, *commands):
        for command in commands:
            self.parts.append(
                subprocess.Popen(
                    [JINGWEI, command],
                    env=self.environment,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    preexec_fn=embedded.die_with_parent,
                )
            )
        until(lambda: answers(self.port))

    def run(self, *arguments):
        command = [JINGWEI, *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)

    def stop(self):
        for part in self.parts:
            part.terminate()
        for part in self.parts:
            part.wait(30)


def answers(port):
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)):
            return False
    return Visitor(port).get("/healthz").status == 200


def monitored(machine, path):
    return Visitor(machine.port).get(path, Authorization="Bearer token-of-monitoring")


def database(site, statement, *values):
    with psycopg.connect(embedded.url(site[2], user="postgres"), autocommit=True) as connection:
        cursor = connection.execute(statement, values)
        return cursor.fetchall() if cursor.description else None


def inside(machine, program):
    """What a program prints that runs in the environment of a machine, as the platform."""
    head = "import django\ndjango.setup()\nfrom jingwei.base import wall\nwall.place(wall.BEYOND)\n"
    done = subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(program)],
        env=machine.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def make_certificate(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, SITE)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(SITE)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "fullchain.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


class Nginx:
    """nginx with the configuration that ships, on other ports, before a machine with this home and port."""

    def __init__(self, home, port, folder):
        self.folder, self.http, self.https = folder, free_port(), free_port()
        self.certificate = folder / "fullchain.pem"
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        make_certificate(folder)
        changed = {
            "listen 80 ": f"listen 127.0.0.1:{self.http} ",
            "listen 443 ": f"listen 127.0.0.1:{self.https} ",
            "server 127.0.0.1:8000": f"server 127.0.0.1:{port}",
            "/etc/jingwei/tls": str(folder),
            "/etc/nginx/jingwei-proxy.conf": str(DEPLOY / "nginx" / "jingwei-proxy.conf"),
            "/var/lib/jingwei/static": f"{home}/static",
            "/var/log/nginx": str(folder),
        }
        site = (DEPLOY / "nginx" / "jingwei.conf").read_text()
        site = re.sub(r"\n *listen \[::\].*", "", site)
        for shipped, here in changed.items():
            assert shipped in site, shipped
            site = site.replace(shipped, here)
        (folder / "jingwei.conf").write_text(site)
        kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        places = "".join(f"{kind}_temp_path {self.temporary}/{kind};\n" for kind in kinds)
        user = "user root;\n" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(
            f"{user}daemon off;\npid {folder}/pid;\nworker_processes 1;\nevents {{}}\n"
            f"http {{\n{places}types {{ text/css css; }}\ninclude {folder}/jingwei.conf;\n}}\n"
        )
        self.command = ["nginx", "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"]

    def check(self):
        return subprocess.run([*self.command, "-t"], capture_output=True, text=True)

    @contextmanager
    def running(self):
        checked = self.check()
        assert checked.returncode == 0, checked.stderr
        process = subprocess.Popen(
            self.command, stderr=subprocess.DEVNULL, preexec_fn=embedded.die_with_parent
        )
        try:
            until(self.listens)
            yield self
        finally:
            process.terminate()
            process.wait(20)

    def listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.https)) == 0
