"""Signing in through another system that speaks OpenID Connect (P-2.4).

Authorization code flow with PKCE; Authlib makes and checks state, nonce, verifier and the ID token's
signature and claims. The other system says only who somebody is: the account stands here already, found by
its external id, and what it may do is decided here.
"""

from authlib.integrations.base_client import OAuthError
from authlib.integrations.django_client import DjangoIntegration, DjangoOAuth2App
from django.core.exceptions import ValidationError
from django.db import transaction
from joserfc.errors import JoseError
from requests import RequestException

from jingwei.base import audit
from jingwei.directory.models import Provider
from jingwei.directory.signing_in import refuse

SECONDS = 10  # the other system may take for an answer
_FAILED = (OAuthError, JoseError, RequestException, RuntimeError, KeyError, ValueError)


def send(request, provider: Provider, back: str):
    """A redirect to the sign-in page of the other system, which comes back to `back`."""
    try:
        return _client(provider).authorize_redirect(request, back)
    except _FAILED as error:
        raise ValidationError(f"“{provider}”现在连接不上，请用登录名和口令登录，或稍后再试") from error


def who_came_back(request, provider: Provider, where) -> str:
    """The external id of who comes back from the other system; ValidationError if anything does not verify.

    `where`: address, device and request id, for the log.
    """
    claims = {
        "iss": {"essential": True, "value": provider.issuer},
        "aud": {"essential": True, "value": provider.client},
    }
    try:
        token = _client(provider).authorize_access_token(request, claims_options=claims, leeway=60)
        return str(token["userinfo"][provider.claim])
    except _FAILED as error:
        refusal = f"通过“{provider}”登录没有成功，请重新登录"
        raise refuse(str(provider), None, refusal, "统一认证没有通过", where) from error


def _client(provider):
    return DjangoOAuth2App(
        DjangoIntegration(f"provider-{provider.pk}"),
        f"provider-{provider.pk}",
        client_id=provider.client,
        client_secret=provider.secret.clear() if provider.secret else None,
        server_metadata_url=f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration",
        client_kwargs={
            "scope": "openid",
            "code_challenge_method": "S256",
            "default_timeout": SECONDS,
        },
    )


@transaction.atomic
def set_secret(actor, provider: Provider, *, secret):
    """Keep the secret that the other system has given this platform; it is never shown again."""
    Provider.objects.filter(pk=provider.pk).update(secret=secret)
    audit.record(actor, "更换密钥", provider, resource="providers")
