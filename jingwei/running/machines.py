"""Several machines serve one instance: what they must have alike is compared at every start (P-10.2, P-4.4).

With another signing key each machine would end the sessions of the other, with another key ring it would
store what the other cannot open. The database keeps a fingerprint of each secret, no secret.
"""

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from jingwei.base.crypto import provider
from jingwei.running.models import Fingerprint

SIGNING = "signing"  # the name of the signing key; those of the ring go by their ids


def fingerprints() -> dict[str, str]:
    """The fingerprints of this machine's secrets by their names: HMAC-SM3 or CMAC of a name under each."""
    signed = HMAC(settings.SECRET_KEY.encode(), hashes.SM3())
    signed.update(b"jingwei fingerprint")
    found = {SIGNING: signed.finalize().hex()}
    for key_id in provider().key_ids:
        [mac] = provider().mac("fingerprint", [key_id.encode()], key_id=key_id)
        found[key_id] = mac.tobytes().hex()
    return found


@transaction.atomic
def check_secrets():
    """ImproperlyConfigured in words unless this machine has the secrets that the others have.

    What is new is entered: the first machine's secrets, and the key that a rotation has added. An old key may
    be retired, the newest may not be missing.
    """
    mine = fingerprints()
    Fingerprint.objects.bulk_create(
        [Fingerprint(name=name, digest=digest) for name, digest in mine.items()], ignore_conflicts=True
    )
    known = dict(Fingerprint.objects.values_list("name", "digest"))
    newest = max((name for name in known if name != SIGNING), key=lambda key_id: int(key_id[1:]))
    if newest not in mine:
        raise ImproperlyConfigured(
            f"本机的密钥文件 {settings.JINGWEI_KEYS} 缺少密钥 {newest}：别的机器已在使用它。"
            "请从那台机器复制密钥文件后再启动。"
        )
    other = [name for name, digest in mine.items() if known[name] != digest]
    if SIGNING in other:
        raise ImproperlyConfigured(
            "本机的签名密钥与这个实例的不同。请从别的机器复制 secret-key 文件，"
            "或设置相同的 JINGWEI_SECRET_KEY。"
            "确要换成本机的，请运行 jingwei migrate --new-signing-key，所有人须重新登录。"
        )
    if other:
        raise ImproperlyConfigured(
            f"本机密钥文件 {settings.JINGWEI_KEYS} 中的密钥 {'、'.join(other)} 与这个实例的不同，"
            "不能读取已加密的数据。请从别的机器或备份复制密钥文件。"
        )


def forget_signing_key():
    """Have the next start enter its own signing key."""
    Fingerprint.objects.filter(name=SIGNING).delete()
