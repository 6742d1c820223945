"""OpenID Connect: authorization code flow with PKCE (P-2.4).

Authlib makes and checks state, nonce, verifier and the ID token's signature and claims.
"""

from authlib.integrations.django_client import DjangoIntegration, DjangoOAuth2App

SECONDS = 10  # the other system may take for an answer


def send(request, provider, back: str):
    """A redirect to the sign-in page of the other system, which comes back to `back`."""
    return _client(provider).authorize_redirect(request, back)


def subject_of(request, provider) -> str:
    """Who comes back, as the claim of the provider names them."""
    claims = {
        "iss": {"essential": True, "value": provider.issuer},
        "aud": {"essential": True, "value": provider.client},
    }
    token = _client(provider).authorize_access_token(request, claims_options=claims, leeway=60)
    return str(token["userinfo"][provider.claim])


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
