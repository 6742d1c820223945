"""An operator signs in, is locked out, changes the password, signs out."""

import base64
import hashlib
import re
import time
from datetime import timedelta

import pytest
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jingwei.base.actions import set_parameter
from jingwei.base.models import LogEntry
from jingwei.base.parameters import forget
from jingwei.directory import actions, parameters, passwords
from jingwei.directory.actors import actor_for
from jingwei.directory.hashers import PBKDF2SM3PasswordHasher
from jingwei.directory.models import Appointment, Guard, Operator, Organisation, Role, Session, SignIn
from jingwei.directory.sessions import digest_of
from jingwei.directory.setup import SETUP

pytestmark = pytest.mark.django_db

RIGHT = "Jinwei-9999"


def enter(browser, login, password, **more):
    return browser.enter(login, password, **more)


def is_in(browser):
    return browser.get("/password/").status_code == 200


@pytest.mark.req("P-2.1", "P-2.3")
def test_name_and_password_open_the_desk_and_are_logged(browser, clerk):
    answer = browser.post("/sign-in/", {"login": " Village ", "password": RIGHT, "next": "/password/"})
    assert answer.headers["Location"] == "/password/"
    assert is_in(browser)
    row = SignIn.objects.get(operator=clerk)
    assert (row.login, row.succeeded, row.address) == ("village", True, "127.0.0.1")
    assert LogEntry.objects.filter(act="登录", operator=clerk.pk, result="成功").count() == 1


@pytest.mark.req("P-2.1")
def test_the_way_back_leads_to_no_other_site(browser, clerk):
    answer = browser.post(
        "/sign-in/", {"login": "village", "password": RIGHT, "next": "https://example.com/"}
    )
    assert answer.headers["Location"] == "/"


@pytest.mark.req("SEC-2", "P-2.3")
def test_an_unknown_name_is_answered_like_a_wrong_password(browser, clerk):
    answers = [
        enter(browser, login, "wrong").context["form"].non_field_errors() for login in ("village", "somebody")
    ]
    assert answers == [["登录名或口令不正确，再输错 4 次将锁定"]] * 2
    assert set(SignIn.objects.values_list("login", "reason")) == {
        ("village", "登录名或口令不正确"),
        ("somebody", "登录名或口令不正确"),
    }
    assert LogEntry.objects.filter(act="登录", result="拒绝").count() == 2


@pytest.mark.req("SEC-2")
def test_an_unknown_name_takes_as_long_as_a_wrong_password(browser, clerk, monkeypatch):
    derived = []
    encode = PBKDF2SM3PasswordHasher.encode
    monkeypatch.setattr(
        PBKDF2SM3PasswordHasher, "encode", lambda *a, **k: derived.append(1) or encode(*a, **k)
    )
    enter(browser, "village", "wrong")
    cost = len(derived)
    enter(browser, "somebody", "wrong")
    assert len(derived) == 2 * cost == 2
    clerk.set_unusable_password()
    clerk.save()
    enter(browser, "village", "wrong")
    assert len(derived) == 3 * cost, "nor does an account without a password answer sooner"


@pytest.mark.req("SEC-2")
def test_the_database_is_asked_the_same_of_an_unknown_name(browser, clerk):
    """From one address each, so that the tries before do not differ."""
    asked = []
    for number, login in enumerate(["village", "somebody"] * 2):  # the first of a process asks for more
        elsewhere = at(browser, f"192.0.2.{number}")
        with CaptureQueriesContext(connection) as statements:
            enter(elsewhere, login, "wrong")
        asked.append([re.sub(r"'[^']*'|\d+|NULL", "", each["sql"]) for each in statements])
    assert asked[2] == asked[3]


@pytest.mark.req("SEC-2", "P-2.1")
@pytest.mark.parametrize("login", ["village", "somebody"])
def test_five_bad_tries_lock_the_name_even_for_the_right_password(browser, clerk, login):
    for _ in range(5):
        answer = enter(browser, login, "wrong")
    assert "已锁定 15 分钟" in answer.content.decode()
    answer = enter(browser, login, RIGHT)
    assert "已锁定" in answer.content.decode() and "以后再试" in answer.content.decode()
    assert not is_in(browser)


@pytest.mark.req("SEC-2")
def test_a_lock_ends_by_itself(browser, clerk):
    for _ in range(5):
        enter(browser, "village", "wrong")
    Guard.objects.update(locked_until=timezone.now() - timedelta(seconds=1))
    enter(browser, "village", RIGHT)
    assert is_in(browser)


@pytest.mark.req("SEC-2")
def test_bad_tries_of_long_ago_do_not_count(browser, clerk):
    for _ in range(4):
        enter(browser, "village", "wrong")
    guard = Guard.objects.get(key="name village")
    Guard.objects.filter(pk=guard.pk).update(tries=[[at - 16 * 60, name] for at, name in guard.tries])
    assert "再输错 4 次" in enter(browser, "village", "wrong").content.decode()


def at(browser, address):
    """Another browser, at this address."""
    return type(browser)(REMOTE_ADDR=address)


def has_signed_in(operator, address, days=1):
    SignIn.objects.create(
        login=operator.login_key,
        operator=operator,
        address=address,
        succeeded=True,
        at=timezone.now() - timedelta(days=days),
    )


@pytest.mark.req("SEC-2")
@pytest.mark.parametrize("names", [["guess"] * 5, [f"guess{n}" for n in range(5)]])
def test_five_bad_tries_from_an_address_lock_it_even_for_the_right_password(browser, clerk, names):
    for name in names:
        enter(browser, name, "wrong")
    assert "以后再试" in enter(browser, "village", RIGHT).content.decode()
    assert not is_in(browser)
    elsewhere = at(browser, "192.0.2.7")
    enter(elsewhere, "village", RIGHT)
    assert is_in(elsewhere)


@pytest.mark.req("SEC-2")
def test_one_subscribers_many_ipv6_addresses_are_one(browser, clerk, town):
    has_signed_in(clerk, "2001:db8:0:7::aaaa")
    for number in range(5):
        enter(at(browser, f"2001:db8:0:7::{number}"), f"guess{number}", "wrong")
    passwords.set_password(town.operator, RIGHT, must_change=False)
    assert "以后再试" in enter(at(browser, "2001:db8:0:7:1::9"), "town", RIGHT).content.decode()
    for login, address in [("village", "2001:db8:0:7::bbbb"), ("town", "2001:db8:0:8::9")]:
        other = at(browser, address)
        enter(other, login, RIGHT)
        assert is_in(other), address


@pytest.mark.req("SEC-2")
def test_who_is_at_home_at_an_address_works_on_while_it_is_locked_for_strangers(browser, clerk, town):
    has_signed_in(clerk, "127.0.0.1")
    for _ in range(5):
        enter(browser, "guess", "wrong")
    enter(browser, "village", RIGHT)
    assert is_in(browser)
    passwords.set_password(town.operator, RIGHT, must_change=False)
    stranger = type(browser)()
    assert "以后再试" in enter(stranger, "town", RIGHT).content.decode()


@pytest.mark.req("SEC-2")
def test_the_slips_of_one_who_is_at_home_count_once_for_the_address(browser, clerk):
    has_signed_in(clerk, "127.0.0.1")
    for _ in range(5):
        enter(browser, "village", "wrong")
    assert "以后再试" in enter(browser, "village", RIGHT).content.decode(), "the own name is locked"
    guard = Guard.objects.get(key="address 127.0.0.1")
    assert [name for _, name in guard.tries] == ["village"]


@pytest.mark.req("SEC-2", "P-6.2")
@pytest.mark.parametrize(("remembered", "days"), [("30", 31), ("0", 1)])
def test_one_is_at_home_for_as_long_as_the_parameter_says(browser, clerk, remembered, days):
    set_parameter(SETUP, parameters.HOME, remembered)
    forget()
    has_signed_in(clerk, "127.0.0.1", days)
    for _ in range(5):
        enter(browser, "guess", "wrong")
    assert "以后再试" in enter(browser, "village", RIGHT).content.decode()


@pytest.mark.req("SEC-2")
def test_the_security_administrator_lifts_the_lock_of_an_address(browser, clerk, secadmin, sysadmin):
    for _ in range(5):
        enter(browser, "guess/<b>", "wrong")
    page = secadmin.client.get("/locks/").content.decode()
    assert "地址 127.0.0.1" in page and "登录名 guess/&lt;b&gt;" in page
    assert sysadmin.client.get("/locks/").status_code == 403
    guard = Guard.objects.get(key="address 127.0.0.1")
    secadmin.client.post("/locks/do/unlock/", {"pk": guard.pk, "confirm": "1"})
    assert LogEntry.objects.get(act="解锁").label == "地址 127.0.0.1"
    enter(browser, "village", RIGHT)
    assert is_in(browser)


@pytest.mark.req("SEC-2")
def test_who_errs_and_then_gets_in_does_not_count_against_the_office(browser, clerk):
    for _ in range(3):
        enter(browser, "village", "wrong")
    enter(browser, "guess", "wrong")
    enter(browser, "village", RIGHT)
    guard = Guard.objects.get(key="address 127.0.0.1")
    assert [name for _, name in guard.tries] == ["guess"]
    assert is_in(browser)


@pytest.mark.req("SEC-8", "P-2.3")
def test_behind_a_trusted_proxy_the_address_is_the_browsers(browser, clerk, settings):
    forwarded = {"X-Forwarded-For": "198.51.100.9, 203.0.113.7"}
    browser.post("/sign-in/", {"login": "village", "password": "wrong"}, headers=forwarded)
    settings.JINGWEI_TRUSTED_PROXIES = {"127.0.0.1"}
    browser.post("/sign-in/", {"login": "village", "password": "wrong"}, headers=forwarded)
    assert set(SignIn.objects.values_list("address", flat=True)) == {"127.0.0.1", "203.0.113.7"}


@pytest.mark.req("SEC-2", "P-1.4")
def test_an_administrator_unlocks(browser, clerk, secadmin):
    has_signed_in(clerk, "127.0.0.1")  # or the address were locked as well
    for _ in range(5):
        enter(browser, "village", "wrong")
    actions.unlock_operator(secadmin.actor, clerk)
    enter(browser, "village", RIGHT)
    assert is_in(browser)
    assert LogEntry.objects.filter(act="解锁", operator=secadmin.operator.pk).exists()


@pytest.mark.req("P-6.2", "P-2.1")
def test_the_number_of_tries_is_a_parameter(browser, clerk, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        set_parameter(SETUP, parameters.TRIES, "3")
    for _ in range(3):
        enter(browser, "village", "wrong")
    assert "以后再试" in enter(browser, "village", RIGHT).content.decode()


@pytest.mark.req("SEC-1")
@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("Ab1-Ab1-A", "至少要有 10 个字符"),
        ("abcdefgh1234", "至少要有 3 种"),
        ("My-VILLAGE-77", "不能含有登录名"),
        ("村居演示账号-Abc1", "不能含有姓名"),
        ("Ab-13800000001", "不能含有电话号码"),
        (RIGHT, "新口令不能与原口令相同"),
    ],
)
def test_a_weak_password_is_refused_with_the_reason(clerk, village, password, reason):
    operator = village.operator
    operator.phone = "13800000001"
    operator.save()
    answer = village.client.post("/password/", {"old": RIGHT, "new": password, "again": password})
    assert reason in answer.content.decode()
    assert village.operator.check_password(RIGHT)


@pytest.mark.req("SEC-1")
def test_a_common_password_is_refused(clerk, village, monkeypatch):
    monkeypatch.setattr(passwords._common, "passwords", {"correct-horse-1"})
    answer = village.client.post(
        "/password/", {"old": RIGHT, "new": "Correct-Horse-1", "again": "Correct-Horse-1"}
    )
    assert "太常见" in answer.content.decode()


@pytest.mark.req("SEC-1")
@pytest.mark.parametrize(
    "password",
    [
        "Password-2026",
        "P@ssw0rd2026!",
        "Admin@123456",
        "Qwer1234!@#$",
        "Aa123456789!",
        "2026-Welcome",
        "ABC-abc-123",
    ],
)
def test_a_common_password_stays_one_with_digits_and_symbols_around_it(clerk, password):
    with pytest.raises(ValidationError, match="太常见"):
        passwords.require_good_password(clerk, password)


@pytest.mark.req("SEC-1")
def test_none_of_the_last_five_passwords_comes_again(clerk, village):
    for number in range(5):
        passwords.set_password(clerk, f"Jin-wei-{number}{number}{number}", must_change=False)
    for used in ("Jin-wei-000", "Jin-wei-444"):
        with pytest.raises(Exception, match="最近 5 次|用过"):
            passwords.require_good_password(clerk, used)
    passwords.require_good_password(clerk, RIGHT)  # the sixth from last


@pytest.mark.req("SEC-1", "P-2.1")
def test_an_account_with_a_new_password_opens_only_the_page_that_changes_it(browser, clerk, secadmin):
    told = actions.reset_password(secadmin.actor, clerk)
    password = told.split("新口令是 ")[1].split("　")[0]
    assert enter(browser, "village", password).status_code == 302
    assert browser.get("/").headers["Location"] == "/password/"
    answer = browser.post("/password/", {"old": password, "new": "Quite-New-77", "again": "Quite-New-77"})
    assert answer.headers["Location"] == "/"
    assert browser.get("/").status_code == 200
    assert LogEntry.objects.filter(act="改密", operator=clerk.pk).count() == 1
    assert not LogEntry.objects.filter(detail__icontains=password).exists()


@pytest.mark.req("SEC-1")
def test_a_password_expires(village, clerk):
    Operator.objects.filter(pk=clerk.pk).update(password_at=timezone.now() - timedelta(days=91))
    assert village.client.get("/").headers["Location"] == "/password/"


@pytest.mark.req("SEC-3")
def test_changing_the_password_ends_every_other_session(village, clerk):
    here, there = village.browser(), village.browser()
    here.post("/password/", {"old": RIGHT, "new": "Quite-New-77", "again": "Quite-New-77"})
    assert is_in(here)
    assert not is_in(there)


@pytest.mark.req("SEC-3", "P-1.4")
def test_disabling_the_account_ends_the_session_for_good(village, clerk, secadmin):
    browser = village.client
    actions.disable_operator(secadmin.actor, clerk, reason="离岗")
    assert browser.get("/password/").headers["Location"].startswith("/sign-in/")
    actions.enable_operator(secadmin.actor, village.operator)
    assert not is_in(browser)


@pytest.mark.req("P-1.2", "SEC-3")
def test_disabling_the_organisation_ends_its_sessions_and_deletes_nothing(village, clerk, sysadmin, browser):
    open_browser = village.client
    before = Operator.objects.count()
    actions.disable_organisation(sysadmin.actor, village.operator.organisation, reason="撤并")
    assert not is_in(open_browser)
    assert "已停用" in enter(browser, "village", RIGHT).content.decode()
    assert Operator.objects.count() == before
    actions.enable_organisation(sysadmin.actor, Organisation.objects.get(region=village.region))
    enter(browser, "village", RIGHT)
    assert is_in(browser)


@pytest.mark.req("SEC-3", "P-1.4")
def test_the_end_of_an_appointment_ends_the_session(village):
    browser = village.client
    Appointment.objects.filter(operator=village.operator).update(ends_on="2020-01-01")
    assert not is_in(browser)


def _appoint(clerk):
    return Appointment.objects.create(operator=clerk, organisation=clerk.organisation)


CHANGES = {
    "a role given": lambda clerk: clerk.appointments.get().roles.add(Role.objects.get(name="领导查阅")),
    "a role taken": lambda clerk: clerk.appointments.get().roles.clear(),
    "a role disabled": lambda clerk: Role.objects.filter(name="村社区操作员").update(enabled=False),
    "another appointment": _appoint,
    "an appointment taken": lambda clerk: clerk.appointments.all().delete(),
    "the end of the account": lambda clerk: Operator.objects.filter(pk=clerk.pk).update(ends_on="2020-01-01"),
    "another password": lambda clerk: passwords.set_password(clerk, "Quite-New-77", must_change=False),
}


@pytest.mark.req("SEC-3", "SEC-5")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_of_role_state_or_password_ends_every_session_at_its_next_request(village, clerk, change):
    browsers = [village.browser(), village.browser()]
    assert all(map(is_in, browsers))
    change(clerk)
    assert not any(map(is_in, browsers))


@pytest.mark.req("SEC-5")
def test_an_account_past_its_end_does_not_get_in(browser, clerk):
    Operator.objects.filter(pk=clerk.pk).update(ends_on="2020-01-01")
    assert "到期" in enter(browser, "village", RIGHT).content.decode()


@pytest.mark.req("SEC-5")
def test_an_account_unused_for_ninety_days_is_disabled(browser, clerk):
    long_ago = timezone.now() - timedelta(days=91)
    Operator.objects.filter(pk=clerk.pk).update(last_login=long_ago, enabled_at=long_ago)
    assert "长期未使用" in enter(browser, "village", RIGHT).content.decode()
    clerk.refresh_from_db()
    assert not clerk.enabled


@pytest.mark.req("SEC-3", "P-2.1")
@pytest.mark.parametrize(("name", "seconds"), [("seen", 31 * 60), ("begun", 12 * 3600 + 60)])
def test_a_session_ends_idle_or_old(village, name, seconds):
    browser = village.client
    assert is_in(browser)
    session = browser.session
    session[name] = time.time() - seconds
    session.save()
    assert not is_in(browser)
    assert not Session.objects.filter(pk=digest_of(session.session_key)).exists()


@pytest.mark.req("SEC-3")
def test_a_page_that_asks_for_news_by_itself_keeps_no_session_alive(village):
    browser = village.client
    browser.get("/")
    session = browser.session
    session["seen"] = time.time() - 29 * 60
    session.save()
    browser.get("/badges/", headers={"X-Background": "1"})
    assert browser.session["seen"] == session["seen"]
    browser.get("/")
    assert browser.session["seen"] > session["seen"]


@pytest.mark.req("SEC-3")
def test_signing_out_makes_the_cookie_worthless(village):
    browser = village.client
    cookie = browser.cookies[settings.SESSION_COOKIE_NAME].value
    answer = browser.post("/sign-out/")
    assert "cookies" in answer.headers["Clear-Site-Data"]
    thief = Client()
    thief.cookies[settings.SESSION_COOKIE_NAME] = cookie
    assert not is_in(thief)
    assert village.client.get("/sign-out/").status_code in (302, 405)
    assert LogEntry.objects.filter(act="退出", operator=village.operator.pk).count() == 1


@pytest.mark.req("SEC-3")
def test_signing_in_gives_a_new_session(browser, clerk):
    browser.get("/sign-in/")
    enter(browser, "village", RIGHT)
    first = browser.cookies[settings.SESSION_COOKIE_NAME].value
    enter(browser, "village", RIGHT)
    assert browser.cookies[settings.SESSION_COOKIE_NAME].value != first
    assert not Session.objects.filter(pk=digest_of(first)).exists()


@pytest.mark.req("P-1.10")
def test_a_stranger_is_sent_to_the_sign_in_page_and_back(browser):
    assert browser.get("/jobs/?q=13800000000").headers["Location"] == "/sign-in/?next=%2Fjobs%2F"
    fragment = {"HX-Request": "true", "HX-Current-URL": "http://testserver/jobs/?q=13800000000"}
    answer = browser.get("/jobs/", headers=fragment)
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (204, "/sign-in/?next=%2Fjobs%2F")


@pytest.mark.req("SEC-12")
def test_a_stranger_who_says_to_come_from_no_address_is_sent_to_the_sign_in_page(browser):
    answer = browser.get("/jobs/", headers={"HX-Current-URL": "http://[x"})
    assert answer.headers["HX-Redirect"] == "/sign-in/?next=%2F"


@pytest.mark.req("P-1.4", "P-1.6")
def test_rights_of_two_appointments_never_add_up(village, othertown):
    operator = village.operator
    second = Appointment.objects.create(operator=operator, organisation=othertown.operator.organisation)
    second.roles.set(othertown.operator.appointments.get().roles.all())
    browser = village.browser()
    assert village.actor.data_scope("people.view").regions == {village.region}
    answer = browser.post("/appointment/", {"appointment": second.pk})
    assert answer.status_code == 302
    switched = actor_for(village.operator, browser.session["appointment"])
    assert switched.data_scope("people.view").regions == {othertown.region}
    browser.post("/appointment/", {"appointment": othertown.operator.appointments.get().pk})
    assert browser.session["appointment"] == second.pk, "an appointment of somebody else was taken"


@pytest.mark.req("P-1.6")
def test_a_request_costs_three_statements_before_the_page(village, django_assert_num_queries):
    browser = village.client
    browser.get("/password/")
    with django_assert_num_queries(3):
        browser.get("/password/")


@pytest.mark.req("P-1.5", "P-1.6")
def test_a_right_taken_away_is_gone_at_the_next_request(village):
    browser = village.client
    assert browser.get("/people/").status_code == 200
    role = village.operator.appointments.get().roles.get()
    role.permissions = [p for p in role.permissions if p != "people.view"]
    role.save()
    assert browser.get("/people/").status_code == 403


@pytest.mark.req("P-4.5")
def test_passwords_are_kept_as_pbkdf2_with_sm3(clerk):
    assert clerk.password.startswith("pbkdf2_sm3$")
    encoded = PBKDF2SM3PasswordHasher().encode("口令", "salt", 10)
    expected = base64.b64encode(hashlib.pbkdf2_hmac("sm3", "口令".encode(), b"salt", 10)).decode()
    assert encoded == f"pbkdf2_sm3$10$salt${expected}"


@pytest.mark.req("SEC-2")
@pytest.mark.parametrize("login", ["village", "somebody"])
def test_no_password_is_checked_while_the_name_is_locked(browser, clerk, login, monkeypatch):
    for _ in range(5):
        enter(browser, login, "wrong")
    monkeypatch.setattr(PBKDF2SM3PasswordHasher, "encode", None)
    assert "以后再试" in enter(browser, login, RIGHT).content.decode()
