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

The keys of the ring are wrapped under a master key, which is another file, so that it can lie on another
medium or stay in a module: who has the ring alone, or a backup of it, opens nothing. Beside the numbered
keys, which rotate (P-4.4), the ring holds one for digests. It opens no value and stays, since what a digest
is compared with (a scan that came before, a poster on a wall) can't be worked out again (decision 29).
"""

import contextlib
import json
import os
import re
import secrets
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone
from django.utils.module_loading import import_string

from jingwei.kit.sm4siv import Cmac, Sm4Siv, Tampered

DETERMINISTIC, RANDOM = 1, 2
HEAD = 2  # bytes before nonce, tag and text
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
        """Message authentication codes, uint8 of shape (messages, 16), under a key of this purpose alone.

        It is derived from the key for digests, which no rotation changes, or from the key that is named.
        """

    def random(self, size: int) -> bytes:
        """Random bytes fit for keys and nonces."""

    def wrap(self, name: str, key: bytes) -> bytes:
        """A key of the ring, sealed under the master key together with its name."""

    def unwrap(self, name: str, wrapped: bytes) -> bytes:
        """What was wrapped under this name; `Tampered` if the master key is another one."""

    def add_key(self) -> str:
        """Add a key and have it seal new values; the others still open theirs. Returns its id."""

    def remove_key(self, key_id: str) -> None:
        """Forget a key: what is still sealed under it never opens again."""

    def change_master(self) -> None:
        """Wrap all keys under a new master key; cut off at any point, they still unwrap."""

    def self_test(self) -> None:
        """Known answers of SM3, SM4 and what is built of them; `SelfTestFailed` if one is wrong. No key."""


class SelfTestFailed(RuntimeError):
    """The cryptographic library gives wrong answers; nothing may be sealed with it."""


def provider() -> Provider:
    """The configured provider."""
    return _provider(settings.JINGWEI_CRYPTO)


@cache
def _provider(path):
    return import_string(path)()


@dataclass(frozen=True)
class SelfTest:
    """What a self-test of this process found, and when; `failure` is empty if all answers were right."""

    at: datetime
    failure: str


last_self_test: SelfTest | None = None


def self_test() -> SelfTest:
    """Have the provider test itself, and remember it; `SelfTestFailed` for a wrong answer (P-4.7, SEC-15)."""
    global last_self_test
    try:
        provider().self_test()
    except SelfTestFailed as failed:
        last_self_test = SelfTest(timezone.now(), str(failed))
        raise
    last_self_test = SelfTest(timezone.now(), "")
    return last_self_test


def mac_numbers(purpose: str, messages: Sequence[bytes], *, bits: int) -> np.ndarray:
    """MACs cut to signed integers of 32 or 64 bits, as the database indexes them."""
    tags = provider().mac(purpose, messages)
    return tags[:, : bits // 8].copy().view(f"<i{bits // 8}").ravel()


class SoftwareProvider:
    """SM4-SIV, SM4-CMAC and HMAC-SM3 in software; keys from the file `settings.JINGWEI_KEYS`.

    They are wrapped with SM4-SIV (RFC 5297 is a key wrap, too) under the master key in the file
    `settings.JINGWEI_MASTER_KEY_FILE`. A module that holds the master key itself overrides `make_master`,
    `wrap`, `unwrap` and `change_master`.
    """

    def __init__(self):
        self._read = None, None  # the files as they were, and the ring that they made

    @property
    def key_id(self):
        return self._ring().current

    @property
    def key_ids(self):
        return self._ring().key_ids

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
        return ring.cmac(key_id or ring.digests, purpose).tags(messages)

    def random(self, size):
        return secrets.token_bytes(size)

    def make_master(self):
        """Make a master key unless there is one."""
        _create(settings.JINGWEI_MASTER_KEY_FILE, secrets.token_hex(_KEY_BYTES) + "\n")

    def wrap(self, name, key):
        return _wrapping(_masters()[0]).seal([key], _wrapped_as(name))[0]

    def unwrap(self, name, wrapped):
        for master in _masters():
            with contextlib.suppress(Tampered):
                return _wrapping(master).open([wrapped], _wrapped_as(name))[0]
        raise Tampered(0)

    def add_key(self):
        ring = self._ring()
        key_id = f"k{1 + max(int(known[1:]) for known in ring.key_ids)}"
        if not _KEY_ID.fullmatch(key_id):
            raise ImproperlyConfigured("密钥编号已用完（最多 255 个）。")
        keys = ring.keys | {key_id: self.random(_KEY_BYTES)}
        _replace(settings.JINGWEI_KEYS, _written(self, key_id, keys, ring.of_digests))
        return key_id

    def remove_key(self, key_id):
        ring = self._ring()
        if key_id == ring.current or key_id not in ring.key_ids:
            raise ValueError(f"{key_id} is no old key")
        keys = {known: key for known, key in ring.keys.items() if known != key_id}
        _replace(settings.JINGWEI_KEYS, _written(self, ring.current, keys, ring.of_digests))

    def change_master(self):
        ring, path = self._ring(), settings.JINGWEI_MASTER_KEY_FILE
        new, old = secrets.token_hex(_KEY_BYTES), path.read_text()
        # Both are there until the ring is wrapped under the new one: a kill in between closes nothing.
        _replace(path, f"{new}\n{old}")
        _replace(settings.JINGWEI_KEYS, _written(self, ring.current, ring.keys, ring.of_digests))
        _replace(path, f"{new}\n")

    def self_test(self):
        key, text = bytes(range(32)), b"990101197112042874"
        digest = hashes.Hash(hashes.SM3())
        digest.update(b"abc")
        ecb = Cipher(SM4(_BLOCK), modes.ECB()).encryptor()  # noqa: S305, one block of a published vector
        keyed = hmac.HMAC(bytes(range(1, 33)), hashes.SM3())
        keyed.update(b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq" * 2)
        derivation = PBKDF2HMAC(hashes.SM3(), 32, b"salt", 3)
        found = {
            "SM3": digest.finalize(),
            "SM4": ecb.update(_BLOCK),
            "HMAC-SM3": keyed.finalize(),
            "PBKDF2-SM3": derivation.derive(b"jingwei"),
            "SM4-CMAC": Cmac(key[:16], SM4).tags([text])[0].tobytes(),
            "SM4-SIV": Sm4Siv(key, SM4).seal([text], [b"\1\1", b"person.number"])[0],
        }
        for name, answer in found.items():
            if answer.hex() != KNOWN_ANSWERS[name]:
                raise SelfTestFailed(f"{name} gives a wrong answer")

    def _ring(self):
        """The keys as the files have them now: a rotation in another process is seen at the next call."""
        path = settings.JINGWEI_KEYS
        try:
            stamp = path, path.stat().st_mtime_ns
        except FileNotFoundError:
            raise ImproperlyConfigured(
                f"找不到密钥文件 {path}。请从备份恢复它；没有它，已加密的数据无法读取。"
            ) from None
        with contextlib.suppress(FileNotFoundError):
            stamp += (settings.JINGWEI_MASTER_KEY_FILE.stat().st_mtime_ns,)
        seen, ring = self._read
        if seen != stamp:
            ring = _read_key_ring(self, path)
            self._read = stamp, ring
        return ring


_BLOCK = bytes.fromhex("0123456789abcdeffedcba9876543210")
KNOWN_ANSWERS = {
    "SM3": "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0",  # GB/T 32905-2016, A.1
    "SM4": "681edf34d206965e86b3e94f536e4246",  # GB/T 32907-2016, A.1
    "HMAC-SM3": "ca05e144ed05d1857840d1f318a4a8669e559fc8391f414485bfdf7bb408963a",  # GM/T 0042-2015, D.3
    # Of these no standard has an example: worked out by programs of their own, from the block upwards.
    "PBKDF2-SM3": "a61a18fbc9534aaefe2a2ebab5d08e410a878bf0fa1f367a8917690794ac633f",
    "SM4-CMAC": "f9f77f1c19b066b5fe762c50f4092e6f",
    "SM4-SIV": "82e220e52f2f9091216f0a27896ca126caaef85cb7997701efb5f43efc48ef76c47e",
}


class _KeyRing:
    """`keys` are those that seal values, by their ids; `of_digests` is the name and the key of digests."""

    def __init__(self, current, keys, of_digests):
        self.current, self.keys, self.of_digests = current, keys, of_digests
        self.digests = of_digests[0]
        self.known = keys | dict([of_digests])
        self.siv = cache(self._siv)
        self.cmac = cache(self._cmac)

    @property
    def key_ids(self):
        return sorted(self.keys, key=lambda key_id: (key_id != self.current, int(key_id[1:])))

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
        return derivation.derive(self.known[key_id])


def _read_key_ring(crypto, path):
    if path.stat().st_mode & 0o077:
        raise ImproperlyConfigured(f"密钥文件 {path} 可被他人读取，请先执行 chmod 600。")
    try:
        content = json.loads(path.read_text())
        if "digests" not in content:
            content = _taken_over(crypto, path, content)
        keys = {key_id: crypto.unwrap(key_id, bytes.fromhex(k)) for key_id, k in content["keys"].items()}
        name, wrapped = content["digests"]["name"], bytes.fromhex(content["digests"]["key"])
        digests = name, crypto.unwrap(name, wrapped)
        current = content["current"]
    except Tampered:
        raise ImproperlyConfigured(
            f"密钥文件 {path} 不是用现在的主密钥保护的，请恢复与它相配的主密钥。"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        # The error itself may quote the file.
        raise ImproperlyConfigured(f"密钥文件 {path} 的格式不对，请从备份恢复。") from None
    wrong = [key_id for key_id, k in keys.items() if not _KEY_ID.fullmatch(key_id) or len(k) != _KEY_BYTES]
    if wrong or current not in keys:
        raise ImproperlyConfigured(f"密钥文件 {path} 的内容不完整，请从备份恢复。")
    return _KeyRing(current, keys, digests)


def _taken_over(crypto, path, content):
    """A ring of an earlier release, whose keys lay open and made the digests too: the same, wrapped."""
    keys = {key_id: bytes.fromhex(key) for key_id, key in content["keys"].items()}
    crypto.make_master()
    # Whoever does the same at the same moment writes the same.
    text = _written(crypto, content["current"], keys, (content["current"], keys[content["current"]]))
    _replace(path, text)
    return json.loads(text)


def _written(crypto, current, keys, digests):
    """The text of a key ring."""
    name, key = digests
    content = {
        "current": current,
        "keys": {key_id: crypto.wrap(key_id, key).hex() for key_id, key in keys.items()},
        "digests": {"name": name, "key": crypto.wrap(name, key).hex()},
    }
    return json.dumps(content, indent=1)


def create_key_ring(path: Path) -> bool:
    """Make a key ring with one key, readable by its owner only, unless there is one; True if made."""
    if path.exists():
        return False
    crypto = provider()
    crypto.make_master()
    keys = {"k1": crypto.random(_KEY_BYTES)}
    return _create(path, _written(crypto, "k1", keys, ("digests", crypto.random(_KEY_BYTES))))


def _masters():
    """The master keys, the one that wraps first; more than one only while it is changed."""
    path = settings.JINGWEI_MASTER_KEY_FILE
    try:
        if path.stat().st_mode & 0o077:
            raise ImproperlyConfigured(f"主密钥文件 {path} 可被他人读取，请先执行 chmod 600。")
        masters = [bytes.fromhex(line) for line in path.read_text().split()]
    except FileNotFoundError:
        raise ImproperlyConfigured(
            f"找不到主密钥文件 {path}。请把它放回原处；没有它，密钥环打不开，已加密的数据无法读取。"
        ) from None
    except ValueError:
        masters = []
    if not masters or any(len(master) != _KEY_BYTES for master in masters):
        raise ImproperlyConfigured(f"主密钥文件 {path} 的内容不完整，请从备份恢复。")
    return masters


@cache
def _wrapping(master):
    return Sm4Siv(master)


def _wrapped_as(name):
    return [b"jingwei key", name.encode()]


def _create(path, text):
    """Make a file unless it is there; whether it was made."""
    draft = _draft(path, text)
    try:
        # Unlike a rename, a link never replaces a file that another process has made meanwhile.
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def _replace(path, text):
    _draft(path, text).replace(path)


def _draft(path, text):
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return draft
