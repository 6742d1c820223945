"""The crypto provider: everything that touches a key (P-4.1, P-4.7, SEC-14, SEC-15).

The software provider seals personal columns with SM4-SIV under the keys of a key ring, a file outside the
database. A sealed value has

    1 byte    form: 1 deterministic, 2 random
    1 byte    number of the key
    16 bytes  nonce, in the random form only
    16 bytes  tag
    the rest  ciphertext

The first two bytes and the name of the column are authenticated with it, so that a value moved to another
column doesn't open. No key and no clear text appears in a message of this module.
"""

import json
import os
import re
import secrets
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from jingwei.kit.sm4siv import Cmac, Sm4Siv, Tampered

DETERMINISTIC, RANDOM = 1, 2
_NONCE = 16
_KEY_BYTES = 32
_KEY_ID = re.compile(r"k([1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])")


@dataclass(frozen=True)
class Column:
    """A column of sealed values; between columns of one name they may be compared and moved."""

    name: str
    searchable: bool
    """Equal values have equal ciphertexts, so that they can be found and joined."""


class Provider(Protocol):
    """What a cryptographic module has to offer. It works in batches; None in gives None out.

    `settings.JINGWEI_CRYPTO` names the class; it is made without arguments.
    """

    @property
    def key_id(self) -> str:
        """The key that seals new values."""

    @property
    def key_ids(self) -> list[str]:
        """Every key that opens values, the current one first."""

    def encrypt(
        self, column: Column, values: Sequence[str | None], *, key_id: str | None = None
    ) -> list[bytes | None]:
        """Seal texts, under the current key unless another is named."""

    def decrypt(self, column: Column, sealed: Sequence[bytes | None]) -> list[str | None]:
        """Open sealed values of any key; `Tampered` names the index of the first that doesn't verify."""

    def mac(self, purpose: str, messages: Sequence[bytes], *, key_id: str | None = None) -> np.ndarray:
        """Message authentication codes, uint8 of shape (messages, 16), under a key of this purpose alone."""

    def random(self, size: int) -> bytes:
        """Random bytes fit for keys and nonces."""

    def self_test(self) -> None:
        """Known answers of SM3 and SM4; `SelfTestFailed` if one is wrong. Needs no key."""


class SelfTestFailed(RuntimeError):
    """The cryptographic library gives wrong answers; nothing may be sealed with it."""


def provider() -> Provider:
    """The configured provider."""
    return _provider(getattr(settings, "JINGWEI_CRYPTO", "jingwei.base.crypto.SoftwareProvider"))


@cache
def _provider(path):
    return import_string(path)()


def mac_numbers(
    purpose: str, messages: Sequence[bytes], *, bits: int, key_id: str | None = None
) -> np.ndarray:
    """MACs cut to signed integers of 32 or 64 bits, as the database indexes them."""
    tags = provider().mac(purpose, messages, key_id=key_id)
    return tags[:, : bits // 8].copy().view(f"<i{bits // 8}").ravel()


class SoftwareProvider:
    """SM4-SIV, SM4-CMAC and HMAC-SM3 in software; keys from the file `settings.JINGWEI_KEYS`."""

    @property
    def key_id(self):
        return self._ring().current

    @property
    def key_ids(self):
        ring = self._ring()
        return sorted(ring.keys, key=lambda key_id: (key_id != ring.current, int(key_id[1:])))

    def encrypt(self, column, values, *, key_id=None):
        ring = self._ring()
        key_id = key_id or ring.current
        head = bytes([DETERMINISTIC if column.searchable else RANDOM, int(key_id[1:])])
        siv, associated = ring.siv(key_id, column.searchable), [head, column.name.encode()]
        clear = [None if value is None else value.encode() for value in values]
        if column.searchable:
            return [None if body is None else head + body for body in siv.seal(clear, associated)]
        drawn = self.random(_NONCE * len(clear))
        nonces = [drawn[start : start + _NONCE] for start in range(0, len(drawn), _NONCE)]
        bodies = siv.seal(clear, associated, nonces)
        return [
            None if body is None else head + nonce + body for nonce, body in zip(nonces, bodies, strict=True)
        ]

    def decrypt(self, column, sealed):
        ring = self._ring()
        numbers = {int(key_id[1:]): key_id for key_id in ring.keys}
        form = DETERMINISTIC if column.searchable else RANDOM
        places = defaultdict(list)
        for place, value in enumerate(sealed):
            if value is not None:
                places[value[:2]].append(place)
        opened = [None] * len(sealed)
        body_at = 2 if column.searchable else 2 + _NONCE
        for head, chosen in places.items():
            if len(head) < 2 or head[0] != form or head[1] not in numbers:
                raise Tampered(chosen[0])
            siv = ring.siv(numbers[head[1]], column.searchable)
            nonces = None if column.searchable else [sealed[place][2:body_at] for place in chosen]
            bodies = [sealed[place][body_at:] for place in chosen]
            try:
                texts = siv.open(bodies, [head, column.name.encode()], nonces)
            except Tampered as error:
                raise Tampered(chosen[error.index]) from None
            for place, text in zip(chosen, texts, strict=True):
                opened[place] = text.decode()
        return opened

    def mac(self, purpose, messages, *, key_id=None):
        ring = self._ring()
        return ring.cmac(key_id or ring.current, purpose).tags(messages)

    def random(self, size):
        return secrets.token_bytes(size)

    def self_test(self):
        digest = hashes.Hash(hashes.SM3())
        digest.update(b"abc")
        # GB/T 32905-2016, A.1
        if digest.finalize().hex() != "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0":
            raise SelfTestFailed("SM3 known answer of GB/T 32905 differs")
        # GB/T 32907-2016, A.1
        block = bytes.fromhex("0123456789abcdeffedcba9876543210")
        ecb = Cipher(SM4(block), modes.ECB()).encryptor()  # noqa: S305, one block of a published vector
        if ecb.update(block).hex() != "681edf34d206965e86b3e94f536e4246":
            raise SelfTestFailed("SM4 known answer of GB/T 32907 differs")

    def _ring(self):
        path = Path(settings.JINGWEI_KEYS)
        try:
            # A rotation in another process replaces the file; the next call here sees it.
            changed = path.stat().st_mtime_ns
        except FileNotFoundError:
            raise ImproperlyConfigured(
                f"找不到密钥文件 {path}。请从备份恢复它；没有它，已加密的数据无法读取。"
            ) from None
        return _read_key_ring(path, changed)


class _KeyRing:
    def __init__(self, current, keys):
        self.current, self.keys = current, keys
        self.siv = cache(self._siv)
        self.cmac = cache(self._cmac)

    def _siv(self, key_id, searchable):
        return Sm4Siv(self._derive(key_id, "deterministic" if searchable else "random"))

    def _cmac(self, key_id, purpose):
        return Cmac(self._derive(key_id, f"mac {purpose}")[:16])

    def _derive(self, key_id, label):
        """A key of 32 bytes for one purpose: SP 800-108 counter mode with HMAC-SM3."""
        derivation = KBKDFHMAC(
            algorithm=hashes.SM3(),
            mode=Mode.CounterMode,
            length=32,
            rlen=4,
            llen=4,
            location=CounterLocation.BeforeFixed,
            label=f"jingwei {label}".encode(),
            context=key_id.encode(),
            fixed=None,
        )
        return derivation.derive(self.keys[key_id])


@lru_cache(maxsize=2)
def _read_key_ring(path, changed):
    if path.stat().st_mode & 0o077:
        raise ImproperlyConfigured(f"密钥文件 {path} 可被他人读取，请先执行 chmod 600。")
    try:
        content = json.loads(path.read_text())
        keys = {key_id: bytes.fromhex(key) for key_id, key in content["keys"].items()}
        current = content["current"]
    except (ValueError, KeyError, TypeError, AttributeError):
        # The error itself may quote the file.
        raise ImproperlyConfigured(f"密钥文件 {path} 的格式不对，请从备份恢复。") from None
    wrong = [
        key_id for key_id, key in keys.items() if not _KEY_ID.fullmatch(key_id) or len(key) != _KEY_BYTES
    ]
    if wrong or current not in keys:
        raise ImproperlyConfigured(f"密钥文件 {path} 的内容不完整，请从备份恢复。")
    return _KeyRing(current, keys)


def create_key_ring(path: Path) -> bool:
    """Make a key ring with one key, readable by its owner only, unless there is one; True if made."""
    draft = _write_draft(path, "k1", {"k1": secrets.token_hex(_KEY_BYTES)})
    try:
        # Unlike a rename, a link never replaces a ring that another process has made meanwhile.
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def add_key(path: Path) -> str:
    """Add a new key to the ring and make it the current one; the others still open values. Returns its id."""
    content = json.loads(path.read_text())
    number = 1 + max(int(key_id[1:]) for key_id in content["keys"])
    key_id = f"k{number}"
    if not _KEY_ID.fullmatch(key_id):
        raise ImproperlyConfigured("密钥编号已用完（最多 255 个）。")
    _write_draft(path, key_id, {**content["keys"], key_id: secrets.token_hex(_KEY_BYTES)}).replace(path)
    return key_id


def _write_draft(path, current, keys):
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w") as file:
        json.dump({"current": current, "keys": keys}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    return draft
