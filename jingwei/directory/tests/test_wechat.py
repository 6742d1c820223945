"""Operators sign in by WeChat once they have bound it to their account (P-2.4).

WeChat is a local server that speaks 网页授权: its parameter names, codes for one use, errors under 200.
"""

import secrets

import pytest
from django.db import connection
from django.test import Client

from jingwei.base.models import LogEntry
from jingwei.directory import factors, wechat
from jingwei.directory.actions import reset_password
from jingwei.directory.models import Binding, Operator, Provider, Role, SignIn
from jingwei.directory.tests.standing_in import Answers, StandIn, is_in, there_and_back

pytestmark = [pytest.mark.django_db, pytest.mark.req("P-2.4")]

APP, SECRET, PASSWORD = "wx990101example", "app-secret-of-the-account", "Good-Pass-2026"
IN_WECHAT = "Mozilla/5.0 (Linux; Android 14) MicroMessenger/8.0.49 NetType/WIFI Language/zh_CN"


class WeChat(StandIn):
    """WeChat: `openid` is who reads the page there; `bend` is merged into the answer about a code."""

    def __init__(self):
        super().__init__(WeChatAnswers)
        self.renew()

    def renew(self):
        self.openid, self.bend, self.codes, self.asked = "oWX-village-1", {}, {}, []


class WeChatAnswers(Answers):
    def do_GET(self):
        own, (path, given) = self.server, self.asked()
        own.asked.append((path, given))
        if path == "/connect/oauth2/authorize":
            wanted = {"appid": APP, "response_type": "code", "scope": "snsapi_base"}
            if not (wanted.items() <= given.items() and given["state"].isalnum()):
                return self.send_error(400)
            code = secrets.token_hex(16)
            own.codes[code] = own.openid
            return self.send_back(given, code)
        self.tell(self.token(given), kind="text/plain")  # as WeChat does

    def token(self, given):
        own = self.server
        if given.get("appid") != APP:
            return {"errcode": 40013, "errmsg": "invalid appid"}
        if given.get("secret") != SECRET:
            return {"errcode": 40125, "errmsg": "invalid appsecret"}
        if given.get("grant_type") != "authorization_code":
            return {"errcode": 40002, "errmsg": "invalid grant_type"}
        openid = own.codes.pop(given.get("code"), None)
        if openid is None:
            return {"errcode": 40163, "errmsg": "code been used, rid: 1"}
        token = {"access_token": "A", "expires_in": 7200, "refresh_token": "R", "scope": "snsapi_base"}
        return token | {"openid": openid} | own.bend


@pytest.fixture(scope="module")
def server():
    with WeChat().at_work() as server:
        yield server


@pytest.fixture
def stand_in(server):
    server.renew()
    return server


@pytest.fixture
def provider(stand_in):
    return Provider.objects.create(
        name="示例公众号",
        kind=Provider.WECHAT,
        issuer=stand_in.root,
        page=f"{stand_in.root}/connect/oauth2/authorize",
        client=APP,
        secret=SECRET,
    )


@pytest.fixture
def owner(village):
    """The account, its password known, signed in by it in WeChat."""
    operator = village.operator
    operator.set_password(PASSWORD)
    operator.save()
    return village.browser(HTTP_USER_AGENT=IN_WECHAT)


def go(browser, address, data=None):
    """Follow the redirect of `address` to WeChat; the address that leads back here."""
    answer = browser.post(address, data) if data else browser.get(address)
    assert answer.headers["Location"].endswith("#wechat_redirect")
    return there_and_back(answer)


def bind(browser, provider):
    back = go(browser, f"/account/wechat/{provider.pk}/", {"password": PASSWORD})
    return browser.get(back, follow=True).content.decode()


def way_in(browser, provider):
    return go(browser, f"/sign-in/with/{provider.pk}/?next=/people/")


def reader():
    """A browser in WeChat in which nobody is signed in."""
    return Client(HTTP_USER_AGENT=IN_WECHAT)


def refused(browser, back):
    assert browser.get(back).headers["Location"] == "/sign-in/"
    assert not is_in(browser)
    return browser.get("/sign-in/").content.decode()


def test_who_has_bound_it_gets_in_with_the_rights_they_have_here(provider, owner, village):
    assert "已绑定" in bind(owner, provider)
    browser = reader()
    assert "示例公众号" in browser.get("/sign-in/").content.decode()
    assert browser.get(way_in(browser, provider)).headers["Location"] == "/people/"
    assert browser.get("/people/").status_code == 200
    row = SignIn.objects.get(operator=village.operator)
    assert (row.succeeded, row.reason) == (True, "示例公众号")


def test_who_has_not_is_refused_and_told_how(provider, stand_in):
    browser = reader()
    assert "还没有绑定账号" in refused(browser, way_in(browser, provider))
    row = SignIn.objects.get()
    assert (row.login, row.reason) == ("示例公众号", "没有绑定的账号")
    assert stand_in.openid not in str(list(SignIn.objects.values())) + str(list(LogEntry.objects.values()))


def test_it_is_asked_in_wechats_own_words(provider, stand_in, owner):
    bind(owner, provider)
    (page, asked), (api, exchanged) = stand_in.asked
    assert (page, api) == ("/connect/oauth2/authorize", "/sns/oauth2/access_token")
    assert set(asked) == {"appid", "redirect_uri", "response_type", "scope", "state"}
    assert set(exchanged) == {"appid", "secret", "code", "grant_type"}
    assert wechat.PAGE == "https://open.weixin.qq.com/connect/oauth2/authorize"
    assert wechat.API == "https://api.weixin.qq.com"


def test_binding_takes_the_own_password_and_wrong_ones_are_counted(provider, owner, village):
    page = owner.post(f"/account/wechat/{provider.pk}/", {"password": "Wrong-9999"})
    assert "口令不正确" in page.content.decode()
    assert LogEntry.objects.get(act="绑定微信").result == "拒绝"
    for _ in range(4):
        owner.post(f"/account/wechat/{provider.pk}/", {"password": "Wrong-9999"})
    page = owner.post(f"/account/wechat/{provider.pk}/", {"password": PASSWORD})
    assert "输错次数过多" in page.content.decode()
    assert not Binding.objects.exists()


def test_a_way_back_that_somebody_else_began_binds_and_opens_nothing(provider, owner, town):
    """A prepared link must not tie the victim's account to the sender's WeChat, nor sign the victim in."""
    back = go(owner, f"/account/wechat/{provider.pk}/", {"password": PASSWORD})
    victim = town.browser(HTTP_USER_AGENT=IN_WECHAT)
    assert "没有绑定" in victim.get(back, follow=True).content.decode()
    assert LogEntry.objects.get(act="绑定微信").reason.endswith("没有从这里出发或已超时")
    bind(owner, provider)
    thief, stranger = reader(), reader()
    link = way_in(thief, provider)
    way_in(stranger, provider)
    assert "没有成功" in refused(stranger, link)
    assert Binding.objects.count() == 1


def test_a_way_back_is_good_once_for_its_own_purpose_and_for_ten_minutes(provider, owner, monkeypatch):
    bind(owner, provider)
    browser = reader()
    back = way_in(browser, provider)
    browser.get(back)
    browser.post("/sign-out/")
    refused(browser, back)
    for_signing_in = way_in(owner, provider)
    other = for_signing_in.replace(f"/sign-in/back/{provider.pk}/", f"/account/wechat/{provider.pk}/back/")
    Binding.objects.all().delete()
    owner.get(other)
    assert not Binding.objects.exists()
    back = way_in(browser, provider)
    monkeypatch.setattr(wechat.time, "time", lambda: 4_000_000_000)
    refused(browser, back)


@pytest.mark.parametrize(
    ("bend", "why"),
    [
        ({"errcode": 40029, "errmsg": "invalid code"}, "errcode 40029"),
        ({"errcode": -1, "errmsg": "system error"}, "errcode -1"),
        ({"is_snapshotuser": 1}, "快照页模式的虚拟账号"),
        ({"openid": ""}, "没有 openid"),
        ({"openid": ["oWX-village-1"]}, "没有 openid"),
    ],
    ids=str,
)
def test_an_answer_that_names_nobody_is_refused_and_the_log_says_why(provider, stand_in, owner, bend, why):
    bind(owner, provider)
    stand_in.bend = bend
    browser = reader()
    refused(browser, way_in(browser, provider))
    assert SignIn.objects.get(succeeded=False).reason == f"统一认证没有通过：{why}"


def test_a_wrong_secret_of_the_account_is_told_by_wechats_number(provider):
    Provider.objects.update(secret="old")
    browser = reader()
    page = refused(browser, way_in(browser, provider))
    assert SignIn.objects.get().reason.endswith("errcode 40125")
    assert "old" not in page


def test_wechat_that_does_not_answer_lets_nobody_in(provider, owner):
    bind(owner, provider)
    Provider.objects.update(issuer="http://127.0.0.1:9")
    browser = reader()
    refused(browser, way_in(browser, provider))
    assert SECRET not in str(list(LogEntry.objects.values())) + str(list(SignIn.objects.values()))


def test_a_wechat_is_one_accounts_and_an_account_has_one(provider, stand_in, owner, village, town):
    bind(owner, provider)
    second = town.operator
    second.set_password(PASSWORD)
    second.save()
    assert "已经绑定过" in bind(town.browser(HTTP_USER_AGENT=IN_WECHAT), provider)
    stand_in.openid = "oWX-another"
    assert "已经绑定过" in bind(owner, provider)
    assert [b.subject.clear() for b in village.operator.bindings.all()] == ["oWX-village-1"]
    assert LogEntry.objects.filter(act="绑定微信", result="拒绝").count() == 2


def test_unbinding_and_resetting_the_password_close_the_way(provider, owner, village, secadmin):
    bind(owner, provider)
    assert "已解除绑定" in owner.post(f"/account/wechat/{provider.pk}/unbind/", follow=True).content.decode()
    browser = reader()
    refused(browser, way_in(browser, provider))
    bind(owner, provider)
    reset_password(secadmin.actor, village.operator)
    refused(browser, way_in(browser, provider))


@pytest.mark.req("SEC-5", "SEC-19")
@pytest.mark.parametrize(
    "changed", [{"enabled": False}, {"ends_on": "2020-01-01"}, {"networks": ["10.1.2.0/24"]}], ids=str
)
def test_the_account_here_has_the_last_word(provider, owner, village, changed):
    bind(owner, provider)
    Operator.objects.filter(pk=village.operator.pk).update(**changed)
    browser = reader()
    refused(browser, way_in(browser, provider))


@pytest.mark.req("SEC-4", "SEC-1")
def test_second_factor_and_due_change_of_password_are_asked_for_all_the_same(
    provider, owner, village, monkeypatch
):
    bind(owner, provider)
    Operator.objects.filter(pk=village.operator.pk).update(must_change_password=True)
    browser = reader()
    browser.get(way_in(browser, provider))
    assert browser.get("/people/").headers["Location"] == "/password/"
    Role.objects.filter(name="村社区操作员").update(second_factor=True)
    factors.set_up(village.operator)
    monkeypatch.setattr(factors, "_takes", lambda factor, code: code == "123456")
    factors.confirm(village.actor, village.operator, "123456")
    browser = reader()
    assert browser.get(way_in(browser, provider)).headers["Location"] == "/sign-in/code/"
    assert not is_in(browser)


def test_elsewhere_than_in_wechat_it_is_not_offered_and_one_is_told(provider, village):
    browser = village.browser(HTTP_USER_AGENT="Mozilla/5.0 (Windows NT 10.0) Firefox/140.0")
    assert "请在微信中打开本站" in browser.get("/account/").content.decode()
    assert "请在微信中打开本站" in browser.get(f"/account/wechat/{provider.pk}/").content.decode()
    assert "示例公众号" not in Client().get("/sign-in/").content.decode()


@pytest.mark.req("P-4.1")
def test_the_openid_lies_sealed(provider, stand_in, owner):
    bind(owner, provider)
    with connection.cursor() as cursor:
        cursor.execute("SELECT subject FROM directory_binding")
        [(stored,)] = cursor.fetchall()
    assert stand_in.openid.encode() not in bytes(stored)
