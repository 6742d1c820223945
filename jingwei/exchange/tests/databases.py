"""Front databases of the tests: a second PostgreSQL and Debian's MariaDB, each a server of its own.

They are reached through a `Door` on the loopback interface, which can be closed, slow, or fall shut.
"""

import datetime
import ipaddress
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer

import psycopg
import pymysql
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from jingwei import embedded

PASSWORD = "front; 'secret' 口令"  # noqa: S105


class Door(ThreadingTCPServer):
    """A port that leads to the Unix socket of a server.

    `silent`: it lets in and says nothing. `through`: after so many bytes from the server it falls shut, or
    with `stalls` says nothing more.
    `tls`: with this context it speaks PostgreSQL's way into TLS itself.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, path):
        super().__init__(("127.0.0.1", 0), _Passing)
        self.path, self.tls = path, None
        self.open()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def open(self):
        """Let everything through."""
        self.silent, self.stalls, self.through = False, False, None

    @property
    def port(self):
        return self.server_address[1]

    def handle_error(self, request, client_address):
        """A cut line is what the tests ask for."""


class _Passing(BaseRequestHandler):
    def handle(self):
        door, outside = self.server, self.request
        if door.tls and outside.recv(8)[4:] == b"\x04\xd2\x16/":  # SSLRequest
            outside.sendall(b"S")
            outside = door.tls.wrap_socket(outside, server_side=True)
        with socket.socket(socket.AF_UNIX) as inside, outside:
            inside.connect(str(door.path))
            threading.Thread(target=self._pass, args=[outside, inside], daemon=True).start()
            self._pass(inside, outside, answers=True)

    def _pass(self, one, other, answers=False):
        door = self.server
        with suppress(OSError):
            while data := one.recv(4096):
                if answers and door.through is not None:
                    door.through -= len(data)
                    if door.through < 0 and not door.stalls:
                        break
                while door.silent or (door.stalls and door.through < 0):
                    time.sleep(0.02)
                other.sendall(data)
        for line in (one, other):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)


class Front:
    """A running front database with a user `reader`. `source` are the fields of its FrontSource."""

    def create(self, table, **columns):
        """A table whose columns are given by (type, comment)."""
        raise NotImplementedError

    def insert(self, table, *rows):
        """Rows as dicts with the same keys."""
        for row in rows:
            names = ", ".join(map(self.quoted, row))
            self.execute(
                f"INSERT INTO {self.quoted(table)} ({names}) VALUES ({', '.join(['%s'] * len(row))})",
                row.values(),
            )

    def execute(self, statement, values=None):
        with self.admin.cursor() as cursor:
            cursor.execute(statement, values and list(values))

    def drop(self, table):
        self.execute(f"DROP TABLE IF EXISTS {self.quoted(table)}")

    @property
    def source(self):
        made = {"kind": self.kind, "host": "127.0.0.1", "port": self.door.port, "security": "plain"}
        return made | {"database": "front", "user": "reader"}


class PostgresFront(Front):
    kind = "postgresql"
    moment, number = "timestamp(6)", "bigint"

    def __init__(self, folder):
        self.folder = folder

    def connect(self):
        return psycopg.connect(embedded.url(self.folder, user="postgres", database="front"), autocommit=True)

    def create(self, table, **columns):
        lines = ", ".join(f"{self.quoted(name)} {kind}" for name, (kind, _) in columns.items())
        self.execute(f"CREATE TABLE {self.quoted(table)} ({lines})")
        for name, (_, comment) in columns.items():
            self.execute(f"COMMENT ON COLUMN {self.quoted(table)}.{self.quoted(name)} IS '{comment}'")
        self.execute(f"GRANT SELECT ON {self.quoted(table)} TO reader")

    def quoted(self, name):
        return '"' + name.replace('"', '""') + '"'


class MariaFront(Front):
    kind = "mysql"
    moment, number = "datetime(6)", "bigint"

    def __init__(self, path):
        self.path = path

    def connect(self, **options):
        return pymysql.connect(unix_socket=str(self.path), user="root", autocommit=True, **options)

    def create(self, table, **columns):
        lines = ", ".join(f"{self.quoted(name)} {kind} COMMENT '{c}'" for name, (kind, c) in columns.items())
        self.execute(f"CREATE TABLE {self.quoted(table)} ({lines})")

    def quoted(self, name):
        return f"`{name.replace('`', '``')}`"


@contextmanager
def postgres(folder):
    """A second embedded PostgreSQL whose `reader` has to give a password."""
    data = Path(tempfile.mkdtemp(prefix="front-", dir=folder)) / "pg"
    with embedded.Server(data) as server:
        admin = embedded.url(data, user="postgres", database="postgres")
        with psycopg.connect(admin, autocommit=True) as first:
            first.execute("CREATE DATABASE front")
            password = psycopg.sql.Literal(PASSWORD)
            first.execute(psycopg.sql.SQL("CREATE ROLE reader LOGIN PASSWORD {}").format(password))
            (data / "pg_hba.conf").write_text("local all postgres trust\nlocal all all scram-sha-256\n")
            first.execute("SELECT pg_reload_conf()")
        front = PostgresFront(data)
        front.door = Door(embedded.socket_folder(data) / ".s.PGSQL.5432")
        with front.connect() as front.admin, front.door:
            yield front
            front.door.shutdown()
        server.stop()
    shutil.rmtree(data.parent, ignore_errors=True)


@contextmanager
def maria():
    """Debian's MariaDB in a folder of its own; over TCP it speaks TLS with `authority`'s certificate."""
    with tempfile.TemporaryDirectory(prefix="front-", dir="/tmp") as folder:
        path, certificate, key = Path(folder) / "s", Path(folder) / "c.pem", Path(folder) / "k.pem"
        certificate_of_loopback(certificate, key)
        user = []
        if os.geteuid() == 0:
            user = ["--user=mysql"]
            for place in (folder, certificate, key):
                shutil.chown(place, "mysql", "mysql")
        data = f"--datadir={folder}/data"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(
            [
                *["mariadb-install-db", "--no-defaults", data, *user],
                *["--auth-root-authentication-method=normal", "--skip-test-db"],
            ],
            check=True,
            **quiet,
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = subprocess.Popen(
            [
                *["mariadbd", "--no-defaults", data, *user, f"--socket={path}", "--bind-address=127.0.0.1"],
                *[f"--port={port}", f"--pid-file={folder}/pid", "--innodb-flush-log-at-trx-commit=0"],
                *[f"--ssl-cert={certificate}", f"--ssl-key={key}", "--skip-name-resolve"],
            ],
            preexec_fn=embedded.die_with_parent,
            **quiet,
        )
        try:
            front = MariaFront(path)
            front.admin = _patiently(front.connect, server)
            front.execute("CREATE DATABASE front CHARACTER SET utf8mb4")
            front.admin.select_db("front")
            front.execute("CREATE USER reader IDENTIFIED BY %s", [PASSWORD])
            front.execute("GRANT SELECT ON front.* TO reader")
            front.port, front.authority = port, certificate.read_text()
            front.door = Door(path)
            with front.door:
                yield front
                front.door.shutdown()
            front.admin.close()
        finally:
            server.terminate()
            server.wait()


def _patiently(connect, server):
    until = time.monotonic() + 60
    while True:
        try:
            return connect()
        except pymysql.Error:
            assert server.poll() is None and time.monotonic() < until, "MariaDB did not start"
            time.sleep(0.05)


def certificate_of_loopback(certificate, key):
    """Write a self-signed certificate of 127.0.0.1 and its key."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "front")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))


def server_context(certificate, key) -> ssl.SSLContext:
    """The TLS of a server with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
