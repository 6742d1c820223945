"""Somebody signs in through another system that speaks OpenID Connect (P-2.4).

The system is a local server that speaks the protocol: discovery, code flow with PKCE, signed ID tokens.
"""

import base64
import hashlib
import json
import secrets
import time
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from joserfc import jwt
from joserfc.jwk import RSAKey

from jingwei.base.models import LogEntry
from jingwei.directory import factors
from jingwei.directory.models import Operator, Provider, SignIn
from jingwei.directory.tests.standing_in import Answers, StandIn, is_in, there_and_back

pytestmark = [pytest.mark.django_db, pytest.mark.req("P-2.4")]

CLIENT, SECRET = "jingwei", "shared-with-the-other-system"


class OpenIdProvider(StandIn):
    """An OpenID provider. `subject` signs in there; tests bend `claims`, `algorithm` and `key`."""

    def __init__(self):
        super().__init__(OpenIdAnswers)
        self.key = self.published = RSAKey.generate_key(2048, parameters={"kid": "k1"})
        self.subject, self.claims, self.algorithm = "oa-7", {}, "RS256"
        self.codes, self.refused = {}, []

    def id_token(self, nonce):
        now = int(time.time())
        claims = {"iss": self.root, "aud": CLIENT, "sub": self.subject, "nonce": nonce}
        claims |= {"iat": now, "exp": now + 60} | self.claims
        claims = {name: value for name, value in claims.items() if value is not None}
        if self.algorithm == "none":
            parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)]
            return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."
        return jwt.encode({"alg": self.algorithm, "kid": "k1"}, claims, self.key)


class OpenIdAnswers(Answers):
    def do_GET(self):
        own, (path, given) = self.server, self.asked()
        if path == "/.well-known/openid-configuration":
            self.tell(
                {
                    "issuer": own.root,
                    "authorization_endpoint": f"{own.root}/authorize",
                    "token_endpoint": f"{own.root}/token",
                    "jwks_uri": f"{own.root}/keys",
                    "response_types_supported": ["code"],
                    "id_token_signing_alg_values_supported": ["RS256"],
                }
            )
        elif path == "/keys":
            self.tell({"keys": [own.published.as_dict(private=False)]})
        else:
            code = secrets.token_urlsafe(8)
            own.codes[code] = given
            self.send_back(given, code)

    def do_POST(self):
        own = self.server
        given = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        asked = own.codes.pop(given["code"][0], None)
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        digest = hashlib.sha256(given.get("code_verifier", [""])[0].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        right = (
            asked
            and self.headers["Authorization"] == f"Basic {basic}"
            and (asked["code_challenge_method"], asked["code_challenge"]) == ("S256", challenge)
            and asked["redirect_uri"] == given["redirect_uri"][0]
        )
        if not right:
            own.refused.append(given)
            return self.tell({"error": "invalid_grant"}, 400)
        token = own.id_token(asked["nonce"])
        self.tell({"access_token": "a", "token_type": "Bearer", "expires_in": 60, "id_token": token})


@pytest.fixture(scope="module")
def server():
    with OpenIdProvider().at_work() as server:
        yield server


@pytest.fixture
def stand_in(server):
    key = server.key
    yield server
    server.key, server.subject, server.claims, server.algorithm = key, "oa-7", {}, "RS256"
    server.refused.clear()


@pytest.fixture
def provider(stand_in):
    return Provider.objects.create(name="政务统一认证", issuer=stand_in.root, client=CLIENT, secret=SECRET)


@pytest.fixture
def linked(village):
    operator = village.operator
    Operator.objects.filter(pk=operator.pk).update(external_id="oa-7")
    return operator


def go(browser, provider, **more):
    """Open the link of the sign-in page, sign in there; the address that leads back here."""
    return there_and_back(browser.get(f"/sign-in/with/{provider.pk}/", more))


def said(answer, browser):
    """The message of the page that a refusal leads to."""
    assert answer.headers["Location"] == "/sign-in/"
    return browser.get("/sign-in/").content.decode()


def test_who_is_linked_gets_in_with_the_rights_they_have_here(provider, linked, village):
    browser = Client()
    assert "政务统一认证" in browser.get("/sign-in/").content.decode()
    before = village.actor.grants
    answer = browser.get(go(browser, provider, next="/people/"))
    assert answer.headers["Location"] == "/people/"
    assert is_in(browser) and village.actor.grants == before
    row = SignIn.objects.get(operator=linked)
    assert (row.succeeded, row.reason) == (True, "政务统一认证")
    assert LogEntry.objects.filter(act="登录", operator=linked.pk, result="成功").count() == 1


def test_who_is_not_linked_gets_no_account(provider, village):
    browser, before = Client(), Operator.objects.count()
    assert "还没有对应到本平台的账号" in said(browser.get(go(browser, provider)), browser)
    assert not is_in(browser) and Operator.objects.count() == before
    assert SignIn.objects.get().login == "政务统一认证：oa-7"


def test_an_empty_subject_is_nobody(provider, stand_in, village):
    stand_in.subject = ""
    browser = Client()
    said(browser.get(go(browser, provider)), browser)
    assert not is_in(browser)


def test_a_way_back_leads_in_once(provider, linked):
    browser = Client()
    back = go(browser, provider)
    browser.get(back)
    browser.post("/sign-out/")
    assert "没有成功" in said(browser.get(back), browser)
    assert not is_in(browser)


def test_a_way_back_of_another_browser_leads_nowhere(provider, linked):
    victim, thief = Client(), Client()
    back = go(thief, provider)
    go(victim, provider)
    assert "没有成功" in said(victim.get(back), victim)
    assert not is_in(victim)
    assert SignIn.objects.get().reason == "统一认证没有通过"


@pytest.mark.parametrize(
    "bent",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another-client"},
        {"aud": None},
        {"iss": "https://another.example"},
        {"iss": None},
        {"exp": 1_000_000_000},  # 2001; a time of now would give the test another name in each process
        {"exp": None},
    ],
    ids=str,
)
def test_a_token_with_a_wrong_claim_is_refused(provider, stand_in, linked, bent):
    stand_in.claims = bent
    browser = Client()
    assert "没有成功" in said(browser.get(go(browser, provider)), browser)
    assert not is_in(browser)


def test_a_token_signed_by_somebody_else_or_by_nobody_is_refused(provider, stand_in, linked):
    browser = Client()
    stand_in.key = RSAKey.generate_key(2048, parameters={"kid": "k1"})
    assert "没有成功" in said(browser.get(go(browser, provider)), browser)
    stand_in.algorithm = "none"
    assert "没有成功" in said(browser.get(go(browser, provider)), browser)
    assert not is_in(browser)


def test_a_code_with_another_verifier_is_refused_there(provider, stand_in, linked):
    browser = Client()
    back = go(browser, provider)
    session = browser.session
    [kept] = [name for name in session.keys() if name.startswith("_state_")]
    session[kept]["data"]["code_verifier"] = secrets.token_urlsafe(40)
    session.save()
    assert "没有成功" in said(browser.get(back), browser)
    assert stand_in.refused and not is_in(browser)


def test_what_the_user_refuses_there_is_told(provider, linked):
    browser = Client()
    back = go(browser, provider)
    state = parse_qs(urlsplit(back).query)["state"][0]
    path = f"/sign-in/back/{provider.pk}/?error=access_denied&state={state}"
    assert "没有成功" in said(browser.get(path), browser)


@pytest.mark.req("SEC-5", "SEC-19")
@pytest.mark.parametrize(
    "changed", [{"enabled": False}, {"ends_on": "2020-01-01"}, {"networks": ["10.1.2.0/24"]}], ids=str
)
def test_the_account_here_has_the_last_word(provider, linked, changed):
    Operator.objects.filter(pk=linked.pk).update(**changed)
    browser = Client()
    said(browser.get(go(browser, provider)), browser)
    assert not is_in(browser)


@pytest.mark.req("SEC-4")
def test_the_second_factor_is_asked_for_all_the_same(provider, linked, village, monkeypatch):
    factor = factors.set_up(linked)
    monkeypatch.setattr(factors, "_takes", lambda factor, code: code == "123456")
    factors.confirm(village.actor, linked, "123456")
    browser = Client()
    assert browser.get(go(browser, provider)).headers["Location"] == "/sign-in/code/"
    assert not is_in(browser)
    browser.post("/sign-in/code/", {"code": "123456"})
    assert is_in(browser) and factor.pk


def test_an_account_without_a_password_works_and_owes_none(provider, linked):
    linked.set_unusable_password()
    Operator.objects.filter(pk=linked.pk).update(
        password=linked.password, must_change_password=True, password_at=None
    )
    browser = Client()
    browser.get(go(browser, provider))
    assert "没有口令" in browser.get("/account/").content.decode()


@pytest.mark.parametrize("gone", ["disabled", "deleted", "silent"])
def test_without_the_other_system_one_is_told_and_uses_the_password(provider, stand_in, gone):
    if gone == "disabled":
        Provider.objects.update(enabled=False)
    elif gone == "deleted":
        provider.delete()
    else:
        Provider.objects.update(issuer="http://127.0.0.1:9")
    answer = Client().get(f"/sign-in/with/{provider.pk or 1}/")
    assert answer.status_code == (302 if gone == "silent" else 404)


@pytest.mark.req("SEC-11")
@pytest.mark.parametrize("address", ["http://sso.example.gov.cn", "http://203.0.114.9/x", "http://[x"])
def test_nobody_is_vouched_for_in_clear_over_a_foreign_network(provider, address):
    for name in ("issuer", "page"):
        given = {"issuer": "https://sso.example.cn", name: address}
        with pytest.raises(ValidationError) as refused:
            Provider(name="另一认证", client="x", **given).full_clean()
        assert "请用 https 地址" in str(refused.value.message_dict[name])


@pytest.mark.req("P-1.8", "P-4.1")
def test_the_security_administrator_keeps_it_and_nobody_sees_the_secret(provider, sysadmin, secadmin):
    browser = secadmin.client
    browser.post(
        f"/providers/do/secret/?pk={provider.pk}", {"pk": provider.pk, "confirm": "1", "secret": "S-9"}
    )
    provider.refresh_from_db()
    assert provider.secret.clear() == "S-9"
    for address in ("/providers/", f"/providers/{provider.pk}/", f"/providers/{provider.pk}/edit/"):
        assert "S-9" not in browser.get(address).content.decode()
    page = browser.post(f"/providers/{provider.pk}/unmask/", {"reason": "核对"}).content.decode()
    assert "S-9" not in page
    assert LogEntry.objects.filter(act="更换密钥", resource="providers").count() == 1
    assert sysadmin.client.get("/providers/").status_code == 403
