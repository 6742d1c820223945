"""A clerk whose password is known, and a browser to sign in with."""

import base64

import pytest
from django.test import Client

from jingwei.base.crypto import provider
from jingwei.directory import captchas, passwords
from jingwei.directory.hashers import PBKDF2SM3PasswordHasher

RIGHT = "Jinwei-9999"


def answered():
    """A question and its right answer, as a form sends them."""
    token = captchas.question().token
    [sealed] = provider().decrypt(captchas._SEALING, [base64.urlsafe_b64decode(token)])
    return {"captcha_token": token, "captcha": sealed.split(" ")[0]}


class Browser(Client):
    """Signs in by the page, by default with the clerk's password; it reads the pictures."""

    def enter(self, login, password=RIGHT, **more):
        return self.post("/sign-in/", {"login": login, "password": password, **answered(), **more})

    def is_in(self):
        return self.get("/password/").status_code == 200


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch):
    monkeypatch.setattr(PBKDF2SM3PasswordHasher, "iterations", 1000)


@pytest.fixture
def clerk(village):
    """The operator of the village, with a password known here."""
    operator = village.operator
    passwords.set_password(operator, RIGHT, must_change=False)
    return operator


@pytest.fixture
def browser():
    return Browser()


@pytest.fixture
def captcha():
    """A question and its right answer."""
    return answered()
