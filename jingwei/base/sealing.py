"""The sealed form of a file's content: blocks that can be neither changed nor moved (P-4.1, SEC-13).

A block is SM4-GCM over up to 1 MiB with its tag behind it. Its nonce is its number and whether it is the
last, so that no block can be changed, moved, repeated or cut off. Every file has a key of its own.
"""

from itertools import count

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from django.core.exceptions import ValidationError

BLOCK = 2**20
TAG = 16


class Damaged(ValidationError):
    """The file in the store is not the one that was written."""

    def __init__(self):
        super().__init__("文件已损坏，无法读取。请重新上传或重新导出。")


class BlockWriter:
    """A file object that seals what is written to it with `key`; `size` counts the clear bytes."""

    def __init__(self, raw, key: bytes):
        self.raw, self.key, self.size, self.number = raw, key, 0, 0
        self.waiting = bytearray()

    def write(self, data):
        self.waiting += data
        self.size += len(data)
        # The last block is known only at the end, so one full block always waits.
        while len(self.waiting) > BLOCK:
            self._seal(bytes(self.waiting[:BLOCK]), last=False)
            del self.waiting[:BLOCK]
        return len(data)

    def flush(self):
        """Nothing: a block is written when it is full."""

    def finish(self):
        """Write the last block."""
        self._seal(bytes(self.waiting), last=True)
        self.raw.flush()

    def _seal(self, block, *, last):
        cipher = Cipher(SM4(self.key), modes.GCM(_nonce(self.number, last))).encryptor()
        self.raw.write(cipher.update(block) + cipher.finalize() + cipher.tag)
        self.number += 1


def _nonce(number, last):
    return number.to_bytes(11, "big") + bytes([last])


def opened(raw, key: bytes):
    """The clear content of sealed blocks that `raw` reads, block by block; Damaged where they are none."""
    try:
        block = raw.read(BLOCK + TAG)
        for number in count():
            following = raw.read(BLOCK + TAG)
            mode = modes.GCM(_nonce(number, not following), block[-TAG:])
            cipher = Cipher(SM4(key), mode).decryptor()
            yield cipher.update(block[:-TAG]) + cipher.finalize()
            if not following:
                return
            block = following
    except (InvalidTag, ValueError):
        raise Damaged() from None
