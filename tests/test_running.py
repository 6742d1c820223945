"""Two machines, a database elsewhere with a streaming replica, nginx with TLS in front: as in production."""

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import psycopg
import pytest
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.conf import settings

from jingwei import embedded
from tests.instance import JINGWEI, new_instance

pytestmark = [pytest.mark.req("P-10.2"), pytest.mark.xdist_group("running")]
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
            self.headers = {"X-Forwarded-Proto": "https"}
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
            connection.execute(statement)

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


@pytest.fixture(scope="module")
def site():
    """(first machine, replica, database folder): `jingwei up` beside a database elsewhere."""
    with new_instance(settings.JINGWEI_HOME) as first:
        data = first.home / "database"
        with embedded.Server(data):
            replica = Replica(data, first.home / "replica")
            replica.start()
            first.environment |= {
                "DATABASE_URL": embedded.url(data, user="jingwei_app"),
                "JINGWEI_OWNER_URL": embedded.url(data),
                "JINGWEI_REPLICA_URL": replica.url,
                "JINGWEI_FILES": str(first.home / "shared"),
                "JINGWEI_WEB": "1",
                "JINGWEI_TLS": "1",
                "JINGWEI_HOSTS": SITE,
                "JINGWEI_TRUSTED_PROXY": "127.0.0.1",
                "JINGWEI_MONITOR": "192.0.2.0/24",
                "JINGWEI_MONITOR_TOKEN": "token-of-monitoring",
            }
            try:
                first.start()
                yield first, replica, data
                first.stop()
            finally:
                replica.stop()


@pytest.fixture(scope="module")
def first(site):
    return site[0]


@pytest.fixture(scope="module")
def second(site):
    machine = Machine(site[0], site[0].home / "second")
    try:
        machine.start("web", "worker")
        yield machine
    finally:
        machine.stop()


@pytest.fixture
def officer(first):
    visitor = Visitor(first.port)
    assert visitor.sign_in("district", first.password("district")).status == 302
    return visitor


def monitored(machine, path):
    return Visitor(machine.port).get(path, Authorization="Bearer token-of-monitoring")


def database(site, statement, *values):
    with psycopg.connect(embedded.url(site[2], user="postgres"), autocommit=True) as connection:
        cursor = connection.execute(statement, values)
        return cursor.fetchall() if cursor.description else None


# --- several machines -------------------------------------------------------------------------------------


@pytest.mark.req("SEC-3")
def test_who_signed_in_at_one_machine_is_signed_in_at_the_other_and_out_of_both(first, second, officer):
    there = Visitor(second.port)
    there.cookies = officer.cookies
    page = there.text("/people/")
    token = re.search(
        'csrfmiddlewaretoken[^>]+value="([^"]+)"|hx-headers=\'[^\']*"X-CSRFToken": "([^"]+)"', page
    )
    assert token
    there.ask("POST", "/sign-out/", {"csrfmiddlewaretoken": token[1] or token[2]})
    assert officer.get("/people/").status == 302


def test_every_machine_has_a_worker_and_says_so(site, second):
    until(lambda: database(site, "SELECT count(*) FROM procrastinate_workers") == [(2,)])
    for machine in (site[0], second):
        parts = monitored(machine, "/readyz").json()["parts"]
        assert parts["worker"]["good"] and parts["database"]["good"] and parts["migrations"]["good"]


@pytest.mark.parametrize("command", ["web", "worker"])
def test_a_machine_with_another_signing_key_does_not_start(first, tmp_path, command):
    stranger = Machine(first, tmp_path / "stranger")
    (stranger.home / "secret-key").unlink()
    refused = stranger.run(command)
    assert refused.returncode == 2 and "签名密钥与这个实例的不同" in refused.stderr, refused.stderr


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


def test_a_file_made_on_one_machine_is_given_out_by_the_other(first, second, officer):
    pk = inside(
        first,
        """
        from jingwei.desk import files
        from jingwei.directory.models import Operator
        with files.create(Operator.objects.get(login="district").pk, "名单.txt") as file:
            file.write("一人".encode())
        print(file.stored.pk)
        """,
    )
    there = Visitor(second.port)
    there.cookies = officer.cookies
    assert there.text(f"/files/{pk}/") == "一人"


def test_migration_on_a_second_machine_changes_nothing(second):
    done = second.run("migrate")
    assert done.returncode == 0 and "已是最新" in done.stdout, done.stderr


# --- monitoring -------------------------------------------------------------------------------------------


def test_figures_count_requests_by_route_and_name_nobody(first, officer):
    officer.text("/people/?q=13800000000")
    until(lambda: "jingwei_replica_lag_seconds" in monitored(first, "/metrics").data.decode())
    told = monitored(first, "/metrics").data.decode()
    [count] = re.findall(
        r'jingwei_requests_total\{method="GET",route="<resource:resource>/",status="200"\} (\S+)', told
    )
    assert float(count) >= 1
    assert 'jingwei_log_rows_5m{act="登录",result="成功"}' in told
    assert "jingwei_worker_silence_seconds" in told
    assert "13800000000" not in told and 'district"' not in told and "127.0.0.1" not in told


def test_who_may_not_monitor_learns_only_whether_it_works(first):
    stranger = Visitor(first.port)
    assert stranger.get("/metrics").status == 404
    assert stranger.get("/metrics", Authorization="Bearer guessed").status == 404
    assert set(stranger.get("/readyz").json()) == {"ready"}
    assert stranger.get("/healthz", Host="10.0.0.7:8000").data == b"ok"  # by the machine's address


# --- the replica ------------------------------------------------------------------------------------------


@contextmanager
def standing_still(replica):
    """The replica takes in nothing new."""
    replica.tell("SELECT pg_wal_replay_pause()")
    try:
        yield
    finally:
        replica.tell("SELECT pg_wal_replay_resume()")


def until_replica_is_used(machine):
    deadline = time.monotonic() + 60
    while said := monitored(machine, "/readyz").json()["parts"]["replica"]["said"]:
        assert time.monotonic() < deadline, said
        time.sleep(0.2)


def rename_a_town(site, name):
    database(site, "UPDATE directory_region SET name = %s WHERE code = '990101001'", name)


def allow_lag(site, seconds):
    database(
        site,
        "INSERT INTO base_parametervalue (name, value, version, created_at, updated_at)"
        " VALUES ('replica.lag', %s, 1, now(), now())"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        str(seconds),
    )


def test_statistics_come_from_the_replica_while_it_keeps_up(site, officer):
    first, replica, _ = site
    allow_lag(site, 600)
    until_replica_is_used(first)
    with standing_still(replica):
        rename_a_town(site, "改名街道")
        assert "改名街道" not in officer.text("/population/")
        assert "改名街道" in officer.text("/regions/?q=990101001")  # as lists do
        allow_lag(site, 1)
        until(lambda: "改名街道" in officer.text("/population/"))
        told = monitored(first, "/readyz")
        assert "落后" in told.json()["parts"]["replica"]["said"]
        assert told.json()["parts"]["replica"]["needed"] is False
    allow_lag(site, 600)
    until_replica_is_used(first)


WAIT = """
    import time
    from jingwei.base import replica
    while replica.problem():  # a process that has just begun has not seen it keep up yet
        time.sleep(0.1)
"""
EXPORT = """
    import io
    from array import array
    from django.db import connections
    from django.http import QueryDict
    from django.test.utils import CaptureQueriesContext
    from jingwei import menu
    from jingwei.base import replica
    from jingwei.base.access import platform_actor
    from jingwei.base.tables import FORMATS
    from jingwei.desk.exports import write
    from jingwei.desk.lists import Selection
    regions = menu.resource("regions")
    selection = Selection(regions, platform_actor("测试"), QueryDict(""), action="export")
    columns, content = selection.columns(everything=True), io.BytesIO()
    with replica.reads(of_now=True), CaptureQueriesContext(connections["replica"]) as there:
        with FORMATS["csv"](content, "区划", [column.heading for column in columns]) as table:
            write(selection, columns, table, clear=False, people=array("q"))
    print(len(there), "刚刚改名街道" in content.getvalue().decode("utf-8-sig"))
"""


def test_an_export_holds_what_was_saved_before_it_wherever_it_is_read(site):
    first, replica, _ = site
    until_replica_is_used(first)
    rename_a_town(site, "刚刚改名街道")
    asked, found = inside(first, WAIT + EXPORT).split()
    assert int(asked) > 0 and found == "True"  # from the replica
    rename_a_town(site, "改名街道")
    with standing_still(replica):
        rename_a_town(site, "刚刚改名街道")
        assert inside(first, EXPORT) == "0 True"  # from the database


@pytest.mark.req("P-1.10", "SEC-7")
def test_row_security_holds_on_the_replica_too(site):
    first, _, _ = site
    until_replica_is_used(first)
    seen = inside(
        first,
        WAIT
        + """
    from jingwei.base.models import LogEntry
    for stand in (wall.BEYOND, wall.NOWHERE):
        with wall.standing(stand), replica.reads() as there:
            print(there, LogEntry.objects.exists())
    """,
    )
    assert seen.split() == ["True", "True", "True", "False"]


def test_a_replica_that_is_gone_is_left_out_at_once(site, officer):
    first, replica, _ = site
    until_replica_is_used(first)
    replica.stop()
    rename_a_town(site, "再次改名街道")
    began = time.monotonic()
    assert "再次改名街道" in officer.text("/population/")
    assert time.monotonic() - began < 10
    assert not monitored(first, "/readyz").json()["parts"]["replica"]["good"]
    assert 'jingwei_check{part="replica"} 0.0' in monitored(first, "/metrics").data.decode()
    replica.start()


@contextmanager
def without_database(data):
    """Its server is stopped for the length of the block."""
    server = embedded.Server(data)
    server.stop()
    try:
        yield
    finally:
        with open(f"{data}.lock", "w") as server._lock:
            server._start()


@pytest.mark.req("P-3.3", "P-10.2")
def test_while_the_database_is_away_pages_say_so_and_then_everybody_goes_on(site, officer):
    first, _, data = site
    stranger, part = Visitor(first.port), {"HX-Request": "true", "HX-Current-URL": f"https://{SITE}/people/"}
    form = {"csrfmiddlewaretoken": officer.cookies["csrftoken"]}
    with without_database(data):
        asked = [
            partial(officer.get, "/"),
            partial(stranger.get, "/sign-in/"),
            partial(officer.get, "/people/", **part),
            partial(officer.ask, "POST", "/sign-out/", form),
            partial(stranger.get, "/readyz"),
        ]
        with ThreadPoolExecutor() as at_once:
            *answers, readiness = at_once.map(lambda ask: ask(), asked)
        assert readiness.status == 503
        for answer in answers:
            page = answer.data.decode()
            assert (answer.status, answer.headers["Retry-After"]) == (503, "30")
            assert "暂时无法连接数据库" in page and answer.headers["X-Request-Id"] in page
            assert not re.search("Traceback|psycopg|OperationalError|SELECT|socket", page)
        assert stranger.get("/healthz").status == 200
    until(lambda: officer.get("/").status == 200)
    assert monitored(first, "/readyz").json()["parts"]["database"]["good"]


# --- nginx ------------------------------------------------------------------------------------------------


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
    """nginx with the configuration that ships, on other ports, before the first machine."""

    def __init__(self, first, folder):
        self.folder, self.http, self.https = folder, free_port(), free_port()
        self.certificate = folder / "fullchain.pem"
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        make_certificate(folder)
        changed = {
            "listen 80 ": f"listen 127.0.0.1:{self.http} ",
            "listen 443 ": f"listen 127.0.0.1:{self.https} ",
            "server 127.0.0.1:8000": f"server 127.0.0.1:{first.port}",
            "/etc/jingwei/tls": str(folder),
            "/etc/nginx/jingwei-proxy.conf": str(DEPLOY / "nginx" / "jingwei-proxy.conf"),
            "/var/lib/jingwei/static/": f"{first.home}/static/",
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


@pytest.fixture(scope="module")
def nginx(first, tmp_path_factory):
    nginx = Nginx(first, tmp_path_factory.mktemp("nginx"))
    checked = nginx.check()
    assert checked.returncode == 0, checked.stderr
    process = subprocess.Popen(nginx.command, stderr=subprocess.DEVNULL, preexec_fn=embedded.die_with_parent)
    try:
        until(lambda: socket.socket().connect_ex(("127.0.0.1", nginx.https)) == 0)
        yield nginx
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def visitor(nginx):
    return Visitor(nginx.https, nginx.certificate)


def test_nginx_finds_nothing_wrong_with_its_configuration(nginx):
    assert "test is successful" in nginx.check().stderr


@pytest.mark.req("SEC-11")
def test_pages_come_by_tls_with_cookies_for_it_alone(visitor, first):
    page = visitor.get("/sign-in/")
    assert page.status == 200
    assert page.headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"
    signed_in = visitor.sign_in("town", first.password("town"))
    cookies = page.headers.getlist("Set-Cookie") + signed_in.headers.getlist("Set-Cookie")
    assert signed_in.status == 302 and len(cookies) >= 2
    for cookie in cookies:
        assert {"Secure", "HttpOnly", "SameSite=Lax"} <= set(cookie.split("; ")), cookie
    assert "人员" in visitor.text("/people/")


@pytest.mark.req("SEC-11")
def test_without_tls_there_is_only_a_way_to_it(nginx, first):
    plain = urllib3.request("GET", f"http://127.0.0.1:{nginx.http}/people/", redirect=False)
    assert (plain.status, plain.headers["Location"]) == (301, f"https://{SITE}/people/")
    behind = urllib3.request("GET", f"{first.address}/people/", headers={"Host": SITE}, redirect=False)
    assert (behind.status, behind.headers["Location"]) == (301, f"https://{SITE}/people/")


@pytest.mark.req("SEC-11")
@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
def test_old_versions_of_tls_are_refused(nginx, version):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with socket.create_connection(("127.0.0.1", nginx.https)) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname=SITE)


def test_another_name_is_not_answered(nginx):
    pool = urllib3.HTTPSConnectionPool(
        "127.0.0.1", nginx.https, server_hostname="other.example", cert_reqs="CERT_NONE"
    )
    with pytest.raises(urllib3.exceptions.SSLError):
        pool.request("GET", "/", retries=False)


def test_the_address_in_the_log_is_not_what_a_visitor_claims(visitor, site):
    visitor.sign_in("nobody-here", "Wrong-password-1", **{"X-Forwarded-For": "203.0.113.9"})
    rows = database(
        site,
        "SELECT address FROM base_logentry WHERE act = '登录' AND result = '拒绝' ORDER BY id DESC LIMIT 1",
    )
    assert rows == [("127.0.0.1",)]


def test_files_of_pages_are_served_by_nginx_and_kept(visitor, first):
    [style] = [
        p for p in (first.home / "static" / "css").iterdir() if re.fullmatch(r"jingwei\.\w{12}\.css", p.name)
    ]
    answer = visitor.get(f"/static/css/{style.name}", **{"Accept-Encoding": "gzip"})
    assert answer.status == 200
    assert answer.headers["Server"] == "nginx"
    assert answer.headers["Content-Encoding"] == "gzip"
    assert "immutable" in answer.headers["Cache-Control"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert visitor.get("/static/../keys.json").status in (400, 404)


def test_monitoring_is_not_reached_through_nginx(visitor):
    for path in ("/metrics", "/readyz"):
        assert visitor.get(path, Authorization="Bearer token-of-monitoring").status == 404
    assert visitor.get("/healthz").data == b"ok"


@pytest.mark.req("SEC-13")
def test_an_upload_is_not_laid_down_by_nginx(visitor, nginx):
    shutil.rmtree(nginx.temporary)  # who would write there, fails
    file = {"file": ("名单.xlsx", b"x" * 5_000_000)}
    visitor.text("/sign-in/")
    cookie = {"Cookie": f"csrftoken={visitor.cookies['csrftoken']}"}
    answer = visitor.pool.request("POST", "/sign-in/", fields=file, headers=visitor.headers | cookie)
    assert answer.status == 403  # by Django, which looked for the token of the form in all of it


@pytest.mark.req("SEC-13")
def test_the_log_of_nginx_names_no_query(visitor, nginx):
    visitor.get("/people/?q=13800000001")
    until(lambda: "GET /people/ " in (nginx.folder / "jingwei.log").read_text())
    for log in nginx.folder.glob("*.log"):
        assert "13800000001" not in log.read_text()


def test_a_flood_of_sign_ins_from_one_address_is_turned_away(visitor):
    statuses = {visitor.get("/sign-in/").status for _ in range(60)}
    assert statuses == {200, 429}


# --- files that were changed ------------------------------------------------------------------------------


@pytest.mark.req("SEC-20")
def test_a_changed_file_makes_the_machine_unready_and_stands_in_the_log(site, second):
    assert second.run("integrity", "--make").returncode == 0
    script = next((second.home / "static" / "js").glob("desk.*.js"))
    script.write_bytes(script.read_bytes() + b"\nsteal()")
    checked = second.run("integrity")
    assert checked.returncode == 1 and f"{script.name} 被修改" in checked.stderr
    [(reason,)] = database(
        site,
        "SELECT reason FROM base_logentry WHERE act = '文件校验' ORDER BY id DESC LIMIT 1",
    )
    assert script.name in reason
