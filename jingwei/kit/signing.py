"""Signed requests between systems: HMAC-SM3 (GB/T 32905, GB/T 15852.2) over what the request says (P-8.1)."""

import hmac

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC

FRESH_SECONDS = 300  # a request signed longer ago, or as far in the future, is refused


def signature(secret: bytes, *, method: str, target: str, time: str, nonce: str, body: bytes) -> str:
    """Signature of one request, in hex. `target` is path and query, `time` Unix seconds, `nonce` any text.

    Signed are the lines method, target, time, nonce and the SM3 digest of the body.
    """
    digest = hashes.Hash(hashes.SM3())
    digest.update(body)
    signed = HMAC(secret, hashes.SM3())
    signed.update("\n".join([method, target, time, nonce, digest.finalize().hex()]).encode())
    return signed.finalize().hex()


def is_signed(secret: bytes, given: str, *, method, target, time, nonce, body, now: float) -> bool:
    """Whether `given` is the request's signature and its time is fresh at `now` (Unix seconds)."""
    wanted = signature(secret, method=method, target=target, time=time, nonce=nonce, body=body)
    # Compared as octets: a header may hold anything, and only ASCII texts can be compared in constant time.
    signed = hmac.compare_digest(wanted.encode(), given.encode(errors="replace"))
    return signed and time.isascii() and time.isdecimal() and abs(int(time[:20]) - now) <= FRESH_SECONDS
