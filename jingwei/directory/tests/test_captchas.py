"""A question is asked after wrong tries and of applicants; each is answered once (P-2.1)."""

import re
import time

import pytest
from django.test import Client

from jingwei.base.actions import set_parameter
from jingwei.base.parameters import forget
from jingwei.directory import captchas, parameters
from jingwei.directory.models import AnsweredCaptcha, Guard, Registration, SignIn
from jingwei.directory.setup import SETUP

pytestmark = [pytest.mark.django_db, pytest.mark.req("P-2.1")]

RIGHT = "Jinwei-9999"


@pytest.fixture
def stranger():
    """Enters name and password, and answers no question."""

    class Stranger(Client):
        def enter(self, login, password, **more):
            return self.post("/sign-in/", {"login": login, "password": password, **more}).content.decode()

    return Stranger()


def test_nobody_is_asked_before_the_first_wrong_try(stranger, clerk):
    assert "验证码" not in stranger.get("/sign-in/").content.decode()
    stranger.enter("village", RIGHT)
    assert stranger.get("/password/").status_code == 200


@pytest.mark.req("SEC-2")
@pytest.mark.parametrize("login", ["village", "somebody"])
def test_after_a_wrong_try_the_right_password_needs_an_answer(stranger, clerk, login, captcha):
    assert "data:image/png" in stranger.enter(login, "wrong")
    elsewhere = type(stranger)(REMOTE_ADDR="192.0.2.7")  # the name is asked for everywhere
    assert "请填写验证码" in elsewhere.enter(login, RIGHT)
    assert "不正确" in elsewhere.enter(login, RIGHT, **captcha | {"captcha": "0000"})
    assert elsewhere.get("/password/").status_code == 302
    assert SignIn.objects.filter(login=login, reason="验证码不正确").count() == 2
    [guard] = Guard.objects.filter(key=f"name {login}")
    assert len(guard.tries) == 1, "a try without an answer was checked"


def test_with_the_answer_in_any_case_one_gets_in(stranger, clerk, captcha):
    stranger.enter("village", "wrong")
    stranger.enter("village", RIGHT, **captcha | {"captcha": f" {captcha['captcha'].lower()} "})
    assert stranger.get("/password/").status_code == 200


def test_an_answer_is_taken_once(captcha):
    given = captcha["captcha_token"], captcha["captcha"]
    assert captchas.take(*given)
    assert not captchas.take(*given)


def test_an_answer_is_taken_for_five_minutes(captcha, monkeypatch):
    later = time.time() + 301
    monkeypatch.setattr(captchas.time, "time", lambda: later)
    assert not captchas.take(captcha["captcha_token"], captcha["captcha"])


@pytest.mark.parametrize("token", ["", "x", "AAAA", "键" * 9, "A" * 5000])
def test_a_question_nobody_asked_has_no_answer(token):
    assert not captchas.take(token, "A")


def test_what_was_answered_is_forgotten_when_the_question_is_too_old_anyway(captcha):
    AnsweredCaptcha.objects.create(digest="old", at="2020-01-01T00:00Z")
    captchas.take(captcha["captcha_token"], captcha["captcha"])
    assert AnsweredCaptcha.objects.count() == 1


def test_the_answer_stands_nowhere_in_the_page(stranger, clerk, captcha):
    page = stranger.enter("village", "wrong")
    token = re.search(r'name="captcha_token" value="([^"]+)"', page)[1]
    assert len(token) == len(captcha["captcha_token"])
    assert captcha["captcha"] not in captchas.question().picture[:60]
    assert not stranger.cookies.get("sessionid"), "the question hangs on a session"


def test_who_cannot_see_the_picture_gets_words_and_keeps_the_name(stranger, clerk):
    stranger.enter("village", "wrong")
    page = stranger.enter("village", RIGHT, another="words")
    assert 'value="village"' in page and RIGHT not in page and "data:image" not in page
    tens, ones, more = re.search(r"<span>(.?)十(.?)加(.)等于几", page).groups()
    digits = "零一二三四五六七八九"
    answer = 10 * (digits.index(tens) if tens else 1) + (digits.index(ones) if ones else 0)
    token = re.search(r'name="captcha_token" value="([^"]+)"', page)[1]
    stranger.enter("village", RIGHT, captcha_token=token, captcha=str(answer + digits.index(more)))
    assert stranger.get("/password/").status_code == 200


@pytest.mark.req("P-6.2")
@pytest.mark.parametrize(("number", "asked"), [("0", True), ("1", False)])
def test_with_nought_every_sign_in_asks(stranger, clerk, number, asked):
    set_parameter(SETUP, parameters.CAPTCHA, number)
    forget()
    assert ("验证码" in stranger.get("/sign-in/").content.decode()) == asked


@pytest.mark.req("P-1.4")
def test_an_application_needs_an_answer(village, captcha):
    wish = {
        "kind": "普通用户",
        "name": "林申请",
        "organisation": village.operator.organisation_id,
        "login": "LinShen",
        "phone": "13800000009",
        "password": "Rice-field 2026",
        "again": "Rice-field 2026",
    }
    refused = Client().post("/register/", wish).content.decode()
    assert captchas.WRONG in refused and 'value="LinShen"' in refused
    assert not Registration.objects.exists()
    Client().post("/register/", wish | captcha)
    assert Registration.objects.count() == 1
