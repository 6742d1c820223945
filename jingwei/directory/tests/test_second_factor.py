"""A second factor is set up, asked for, used up, lost, reset."""

import time

import pyotp
import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client

from jingwei.base.models import LogEntry
from jingwei.directory import actions, factors, passwords
from jingwei.directory.models import Operator, Role, SecondFactor, SignIn
from jingwei.directory.tests.conftest import RIGHT

pytestmark = pytest.mark.django_db


@pytest.fixture
def clock(monkeypatch):
    """The time by which codes are made and taken; tests move it on."""

    class Clock:
        now = time.time()

    monkeypatch.setattr(factors.time, "time", lambda: Clock.now)
    return Clock


@pytest.fixture
def device(clerk, village, clock):
    """The clerk's device with a confirmed second factor; `codes` are the recovery codes."""
    factor = factors.set_up(clerk)
    device = pyotp.TOTP(factor.secret.clear())
    device.codes = factors.confirm(village.actor, clerk, device.at(clock.now))
    clock.now += 30
    return device


def required(operator):
    operator.appointments.get().roles.update(second_factor=True)


def begin(browser, password=RIGHT):
    return browser.post("/second-factor/", {"do": "set-up", "password": password})


def give(browser, code):
    return browser.post("/sign-in/code/", {"code": code})


@pytest.mark.req("P-2.2", "SEC-4")
def test_the_password_alone_opens_nothing(browser, clerk, device):
    answer = browser.enter("village")
    assert answer.headers["Location"] == "/sign-in/code/"
    assert not browser.is_in()
    assert not SignIn.objects.filter(operator=clerk, succeeded=True).exists()


@pytest.mark.req("P-2.2", "P-2.3", "SEC-4")
def test_password_and_code_open_the_page_that_was_asked_for(browser, clerk, device, clock):
    browser.enter("village", next="/password/")
    answer = give(browser, f" {device.at(clock.now)[:3]} {device.at(clock.now)[3:]} ")
    assert answer.headers["Location"] == "/password/"
    assert browser.is_in()
    row = SignIn.objects.get(operator=clerk)
    assert (row.succeeded, row.reason) == (True, "动态口令")
    assert LogEntry.objects.filter(act="登录", operator=clerk.pk, result="成功").count() == 1


@pytest.mark.req("SEC-4")
@pytest.mark.parametrize("off", [-30, 0, 30])
def test_the_device_may_be_half_a_minute_off(clerk, device, clock, off):
    clock.now += 90
    assert factors.accept(clerk, device.at(clock.now + off)) == "动态口令"


@pytest.mark.req("SEC-4")
@pytest.mark.parametrize("off", [-90, 90])
def test_a_code_of_another_time_is_refused(clerk, device, clock, off):
    clock.now += 300
    assert factors.accept(clerk, device.at(clock.now + off)) == ""


@pytest.mark.req("P-2.2", "SEC-4")
def test_no_code_is_taken_twice_nor_an_older_one_after_it(clerk, device, clock):
    clock.now += 90
    older, code = device.at(clock.now - 30), device.at(clock.now)
    assert factors.accept(clerk, code)
    assert not factors.accept(clerk, code)
    assert not factors.accept(clerk, older)


@pytest.mark.req("SEC-4", "SEC-2")
def test_wrong_codes_lock_and_the_right_password_does_not_forgive_them(browser, clerk, device, clock):
    for _ in range(5):
        browser.enter("village")
        answer = give(browser, "000000")
    assert "已锁定 15 分钟" in answer.content.decode()
    assert "以后再试" in give(browser, device.at(clock.now)).content.decode()
    assert "以后再试" in browser.enter("village").content.decode()
    assert SignIn.objects.filter(operator=clerk, reason="动态口令或恢复码不正确").count() == 5


@pytest.mark.req("SEC-2", "P-1.4")
def test_an_account_locked_by_wrong_codes_is_listed_and_unlocked_like_one_by_wrong_passwords(
    browser, clerk, device, clock, secadmin
):
    for _ in range(5):
        browser.enter("village")
        give(browser, "000000")
    assert "village" in secadmin.client.get("/operators/?tab=2").content.decode()
    secadmin.client.post("/operators/do/unlock/", {"pk": clerk.pk, "confirm": "1"})
    browser.enter("village")
    give(browser, device.at(clock.now))
    assert browser.is_in()


@pytest.mark.req("SEC-4", "P-2.2")
def test_a_recovery_code_works_once_and_is_logged(browser, clerk, device):
    browser.enter("village")
    give(browser, device.codes[3].upper())
    assert browser.is_in()
    assert LogEntry.objects.filter(act="登录", operator=clerk.pk, reason="恢复码").count() == 1
    assert not factors.accept(clerk, device.codes[3])
    assert factors.accept(clerk, device.codes[4]) == "恢复码"


@pytest.mark.req("P-4.1", "SEC-13")
def test_neither_secret_nor_recovery_codes_are_stored_in_clear(clerk, device):
    with connection.cursor() as cursor:
        cursor.execute("SELECT directory_secondfactor::text, secret FROM directory_secondfactor")
        text, sealed = cursor.fetchone()
    clear = [device.secret, *device.codes, *(code.replace("-", "") for code in device.codes)]
    assert len(device.codes) == 10
    assert not [word for word in clear if word in text or word.encode() in bytes(sealed)]


@pytest.mark.req("P-2.2")
def test_the_half_of_a_sign_in_is_worth_nothing_after_five_minutes(
    browser, clerk, device, clock, monkeypatch
):
    browser.enter("village")
    session = browser.session
    session["half"] |= {"until": time.time() - 1}
    session.save()
    assert give(browser, device.at(clock.now)).headers["Location"] == "/sign-in/"
    assert give(Client(), device.at(clock.now)).headers["Location"] == "/sign-in/"


@pytest.mark.req("SEC-4", "SEC-3")
def test_what_happens_to_the_account_meanwhile_ends_the_half_sign_in(browser, clerk, device, clock, secadmin):
    browser.enter("village")
    actions.disable_operator(secadmin.actor, clerk, reason="离岗")
    assert give(browser, device.at(clock.now)).headers["Location"] == "/sign-in/"


@pytest.mark.req("P-2.2")
def test_the_page_sets_it_up_shows_the_recovery_codes_once_and_ends_other_sessions(clerk, village, clock):
    browser, other = village.browser(), village.browser()
    assert "开始设置" in browser.get("/second-factor/").content.decode()
    begin(browser)
    assert "data:image/svg+xml" in browser.get("/second-factor/").content.decode()
    device = pyotp.TOTP(SecondFactor.objects.get().secret.clear())
    wrong = browser.post("/second-factor/", {"do": "confirm", "code": "000000"})
    assert "不正确" in wrong.content.decode()
    shown = browser.post("/second-factor/", {"do": "confirm", "code": device.at(clock.now)})
    codes = shown.context["codes"]
    assert len(codes) == 10 and all(code in shown.content.decode() for code in codes)
    again = browser.get("/second-factor/").content.decode()
    assert device.secret not in again and codes[0] not in again and "还剩 10 个" in again
    assert other.get("/password/").status_code == 302, "a session without the second factor went on"
    assert LogEntry.objects.filter(act="启用双因素", operator=clerk.pk).count() == 1


@pytest.mark.req("P-2.2", "SEC-2", "SEC-4")
def test_who_finds_a_session_open_cannot_set_it_up_and_keep_the_owner_out(clerk, village):
    browser = village.browser()
    for given in ("", "Not-the-right-1"):
        page = begin(browser, given).content.decode()
        assert "开始设置" in page and "data:image/svg+xml" not in page
    assert "不正确" in page
    assert not SecondFactor.objects.exists()
    refused = LogEntry.objects.get(act="启用双因素", operator=clerk.pk)
    assert refused.result == "拒绝"


@pytest.mark.req("P-2.2")
def test_who_has_no_password_sets_it_up_without(clerk, village):
    Operator.objects.filter(pk=clerk.pk).update(password="!")
    browser = Client()
    browser.force_login(Operator.objects.get(pk=clerk.pk))
    browser.post("/second-factor/", {"do": "set-up"})
    assert SecondFactor.objects.get().operator_id == clerk.pk


@pytest.mark.req("P-2.2", "SEC-4")
def test_with_a_code_one_renews_the_recovery_codes_or_goes_back_to_the_password(
    village, clerk, device, clock
):
    browser = village.browser()
    refused = browser.post("/second-factor/", {"do": "switch-off", "code": "000000"})
    assert "不正确" in refused.content.decode()
    renewed = browser.post("/second-factor/", {"do": "renew", "code": device.at(clock.now)})
    assert not set(renewed.context["codes"]) & set(device.codes)
    assert not factors.accept(clerk, device.codes[0])
    clock.now += 30
    browser.post("/second-factor/", {"do": "switch-off", "code": device.at(clock.now)})
    assert not SecondFactor.objects.exists()
    assert set(LogEntry.objects.filter(resource="operators").values_list("act", flat=True)) >= {
        "更换恢复码",
        "停用双因素",
        "核对动态口令",
    }


@pytest.mark.req("SEC-4")
@pytest.mark.parametrize(("asked", "act"), [("renew", "更换恢复码"), ("switch-off", "停用双因素")])
def test_a_recovery_code_used_on_the_page_is_logged_and_used_up_too(village, clerk, device, asked, act):
    village.browser().post("/second-factor/", {"do": asked, "code": device.codes[0]})
    assert LogEntry.objects.get(act=act, operator=clerk.pk).reason == "恢复码"
    assert not factors.accept(clerk, device.codes[0])


@pytest.mark.req("P-2.2", "SEC-4")
def test_a_role_that_requires_it_opens_nothing_but_the_page_that_sets_it_up(browser, clerk, clock):
    required(clerk)
    browser.enter("village")
    for address in ("/", "/people/", "/jobs/", "/password/"):
        assert browser.get(address).headers["Location"] == "/second-factor/"
    assert browser.post("/people/export/", {"format": "csv"}).headers["Location"] == "/second-factor/"
    assert "您的角色要求" in browser.get("/second-factor/").content.decode()
    begin(browser)
    device = pyotp.TOTP(SecondFactor.objects.get().secret.clear())
    browser.post("/second-factor/", {"do": "confirm", "code": device.at(clock.now)})
    assert browser.get("/people/").status_code == 200


@pytest.mark.req("SEC-3", "SEC-4")
def test_who_reaches_no_organisation_is_told_that_it_is_required_and_stays_in(emergency, clock):
    """Rights over the own rows alone do not show the own appointment; requirement and session hang on it."""
    required(emergency.operator)
    passwords.set_password(emergency.operator, RIGHT, must_change=False)
    browser = emergency.browser()
    assert "您的角色要求" in browser.get("/second-factor/").content.decode()
    begin(browser)
    device = pyotp.TOTP(SecondFactor.objects.get().secret.clear())
    browser.post("/second-factor/", {"do": "confirm", "code": device.at(clock.now)})
    assert browser.get("/emergency/").status_code == 200


@pytest.mark.req("SEC-4")
def test_a_session_that_is_open_when_a_role_begins_to_require_it_is_held_up_too(village, clerk):
    browser = village.browser()
    assert browser.get("/people/").status_code == 200
    required(clerk)
    assert browser.get("/people/").headers["Location"] == "/second-factor/"


@pytest.mark.req("SEC-4")
def test_what_a_role_requires_cannot_be_switched_off(village, clerk, device):
    required(clerk)
    with pytest.raises(ValidationError, match="不能停用"):
        factors.switch_off(village.actor, village.operator, by=factors.CODE)


@pytest.mark.req("SEC-4", "P-2.2", "SEC-3")
def test_the_security_administrator_resets_a_lost_device_with_a_reason(village, clerk, device, secadmin):
    browser = village.browser()
    answer = secadmin.client.post(
        "/operators/do/reset-factor/", {"pk": clerk.pk, "confirm": "1", "reason": "手机丢失，已当面核实"}
    )
    assert answer.status_code == 302
    assert not SecondFactor.objects.filter(operator=clerk).exists()
    assert browser.get("/people/").headers["Location"].startswith("/sign-in/")
    row = LogEntry.objects.get(act="重置双因素")
    assert (row.operator, row.object_id, row.reason) == (
        secadmin.operator.pk,
        str(clerk.pk),
        "手机丢失，已当面核实",
    )


@pytest.mark.req("SEC-4", "P-1.8")
@pytest.mark.parametrize("login", ["sysadmin", "district"])
def test_nobody_else_resets_it(request, login, clerk, device):
    browser = request.getfixturevalue(login).client
    for data in ({"pk": clerk.pk}, {"pk": clerk.pk, "confirm": "1", "reason": "手机丢失"}):
        assert browser.post("/operators/do/reset-factor/", data).status_code == 403
    assert SecondFactor.objects.filter(operator=clerk).exists()


@pytest.mark.req("SEC-4")
def test_nobody_resets_the_own_one(secadmin):
    with pytest.raises(ValidationError, match="另一位"):
        actions.reset_second_factor(secadmin.actor, secadmin.operator, reason="手机丢失")


@pytest.mark.req("P-2.2")
def test_the_requirement_is_set_at_the_role_and_copied_with_it(secadmin):
    role = Role.objects.create(name="试点", second_factor=False)
    page = secadmin.client.get(f"/roles/{role.pk}/edit/")
    assert "须双因素登录" in page.content.decode()
    actions.save_role(secadmin.actor, role, values={"second_factor": True})
    assert actions.copy_role(secadmin.actor, role, name="试点二").second_factor
