"""nginx as it ships, before the first machine."""

import re
import shutil
import socket
import ssl
import warnings

import pytest
import urllib3

from tests.production import SITE, Nginx, Visitor, database, free_port, until

pytestmark = [pytest.mark.req("P-10.2"), pytest.mark.xdist_group("running")]


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
    database(site, "DELETE FROM directory_guard")  # the next from here is asked for no picture
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
def test_an_upload_is_not_laid_down_by_nginx(visitor, nginx, officer):
    shutil.rmtree(nginx.temporary)  # who would write there, fails
    file = {"file": ("名单.xlsx", b"x" * 5_000_000)}
    cookies = "; ".join(f"{name}={value}" for name, value in officer.cookies.items())
    headers = visitor.headers | {"Cookie": cookies}
    answer = visitor.pool.request("POST", "/people/import/", fields=file, headers=headers)
    assert answer.status == 403  # by Django, which looked for the token of the form in all of it


@pytest.mark.req("SEC-13")
def test_the_log_of_nginx_names_no_query(visitor, nginx):
    visitor.get("/people/?q=13800000001")
    until(lambda: "GET /people/ " in (nginx.folder / "jingwei.log").read_text())
    for log in nginx.folder.glob("*.log"):
        assert "13800000001" not in log.read_text()


def assert_told(answer, status, words):
    """It is in the words and under the policy of a page of the platform."""
    assert (answer.status, answer.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert words in answer.data.decode()
    for name in ("Strict-Transport-Security", "Content-Security-Policy", "X-Content-Type-Options"):
        assert len(answer.headers.getlist(name)) == 1, name
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Frame-Options"] == "DENY" and answer.headers["Cache-Control"] == "no-store"


@pytest.mark.req("SEC-11", "SEC-12")
def test_an_upload_beyond_the_bound_is_refused_in_words(visitor):
    assert_told(visitor.get("/people/import/", **{"Content-Length": "80000000"}), 413, "文件太大")


@pytest.mark.req("SEC-11")
def test_while_no_machine_answers_nginx_says_so_in_words(first, tmp_path):
    with Nginx(first.home, free_port(), tmp_path).running() as nginx:
        assert_told(Visitor(nginx.https, nginx.certificate).get("/people/"), 502, "系统正在维护或重新启动")


@pytest.mark.req("SEC-11")
def test_a_flood_of_sign_ins_from_one_address_is_turned_away_in_words(visitor):
    answers = [visitor.get("/sign-in/") for _ in range(60)]
    assert {answer.status for answer in answers} == {200, 429}
    assert_told(next(answer for answer in answers if answer.status == 429), 429, "访问太频繁")
