"""WeChat official accounts: web authorisation (网页授权) with the scope snsapi_base (P-2.4).

WeChat's own dialect of OAuth 2: ``appid`` and ``secret`` instead of client id and secret, the code is
exchanged by GET, errors are JSON under status 200, and the answer names no person but an ``openid``, which is
somebody's at this account only. Whose it is the operators say themselves, see `bindings`.
"""

import secrets
import time
from hmac import compare_digest
from urllib.parse import urlencode

import requests
from django.shortcuts import redirect

PAGE = "https://open.weixin.qq.com/connect/oauth2/authorize"
API = "https://api.weixin.qq.com"
SECONDS = 10  # WeChat may take for an answer
RETURN_SECONDS = 600  # the way there and back may take; a code is good for 300


class Refused(ValueError):
    """WeChat's answer, or the way back, proves nobody."""


def is_within(request) -> bool:
    """Whether a page is read in WeChat itself: its sign-in page opens nowhere else."""
    return "MicroMessenger" in request.headers.get("User-Agent", "")


def send(request, provider, back: str):
    """A redirect to WeChat, which asks nothing under snsapi_base and comes back to `back`."""
    state = secrets.token_hex(16)  # WeChat takes letters and digits only
    request.session[_kept(provider)] = {"state": state, "back": back, "until": time.time() + RETURN_SECONDS}
    asked = {"appid": provider.client, "redirect_uri": back, "response_type": "code"}
    query = urlencode(asked | {"scope": "snsapi_base", "state": state})
    return redirect(f"{provider.page or PAGE}?{query}#wechat_redirect")


def subject_of(request, provider) -> str:
    """The openid of who comes back; Refused where anything does not fit."""
    kept = request.session.pop(_kept(provider), None)
    if kept is None or kept["until"] < time.time():
        raise Refused("没有从这里出发或已超时")
    sent = request.GET.get("state", "")
    if not compare_digest(sent.encode(), kept["state"].encode()) or kept["back"] != _here(request):
        raise Refused("state 不符")
    if not request.GET.get("code"):
        raise Refused("没有 code")
    answer = requests.get(
        f"{(provider.issuer or API).rstrip('/')}/sns/oauth2/access_token",
        {
            "appid": provider.client,
            "secret": provider.secret.clear() if provider.secret else "",
            "code": request.GET["code"],
            "grant_type": "authorization_code",
        },
        timeout=SECONDS,
        allow_redirects=False,
    ).json()
    if answer.get("errcode"):
        raise Refused(f"errcode {answer['errcode']}")
    if answer.get("is_snapshotuser"):
        raise Refused("快照页模式的虚拟账号")  # WeChat makes its openid up
    if not isinstance(answer.get("openid"), str) or not answer["openid"]:
        raise Refused("没有 openid")
    return answer["openid"]


def _here(request):
    return request.build_absolute_uri(request.path)


def _kept(provider):
    return f"wechat-{provider.pk}"
