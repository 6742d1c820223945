"""Other systems that say who somebody is, each in its protocol (P-2.4).

They only stand in for the password: the account stands here already, and what it may do is decided here.
"""

from authlib.integrations.base_client import OAuthError
from django.core.exceptions import ValidationError
from django.db import transaction
from joserfc.errors import JoseError
from requests import RequestException

from jingwei.base import audit
from jingwei.directory import openid, wechat
from jingwei.directory.models import Provider

SPOKEN = {Provider.OPENID: openid, Provider.WECHAT: wechat}
_FAILED = (OAuthError, JoseError, RequestException, RuntimeError, KeyError, ValueError)


def send(request, provider: Provider, back: str):
    """A redirect to the other system's sign-in page, which comes back to `back`."""
    try:
        return SPOKEN[provider.kind].send(request, provider, back)
    except _FAILED as error:
        raise ValidationError(f"“{provider}”现在连接不上，请用登录名和口令登录，或稍后再试") from error


class Unproved(Exception):
    """Who comes back from another system has not proved who they are; the words are for the login log."""


def subject_of(request, provider: Provider) -> str:
    """How the other system names who comes back from it; Unproved if anything does not verify."""
    try:
        return SPOKEN[provider.kind].subject_of(request, provider)
    except wechat.Refused as error:
        raise Unproved(f"统一认证没有通过：{error}") from error
    except _FAILED as error:
        raise Unproved("统一认证没有通过") from error


@transaction.atomic
def set_secret(actor, provider: Provider, *, secret):
    """Keep the secret that the other system has given this platform; it is never shown again."""
    Provider.objects.filter(pk=provider.pk).update(secret=secret)
    audit.record(actor, "更换密钥", provider, resource="providers")
