"""SM4-SIV: the deterministic authenticated encryption of RFC 5297 with SM4 (GB/T 32907) as block cipher.

Whole columns are sealed at once: each step of all values is one call of the cipher over a NumPy array, so a
million document numbers take a second or two where one by one they take minutes. Values go through in blocks,
which keeps the steps in between in the processor's cache and the peak memory small.
"""

from collections.abc import Sequence

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import SM4

_VALUES_AT_ONCE = 1 << 15


class Tampered(ValueError):
    """A sealed value that doesn't verify: altered, of another column or under another key."""

    def __init__(self, index: int):
        super().__init__(f"sealed value {index} does not verify")
        self.index = index


class Cmac:
    """CMAC (NIST SP 800-38B, RFC 4493) with SM4, for many short messages at once.

    `cipher` is the block cipher; the tests put AES in its place to compare with the vectors of the RFCs.
    """

    def __init__(self, key: bytes, cipher=SM4):
        self._encrypt = _block_encryption(key, cipher)
        self._subkey = _double(self._encrypt(np.zeros((1, 16), np.uint8)))
        self._subkey_of_padded = _double(self._subkey)

    def tags(self, messages: Sequence[bytes]) -> np.ndarray:
        """The tags of the messages, uint8 of shape (messages, 16)."""
        tags = np.empty((len(messages), 16), np.uint8)
        for chosen, rows, lengths in _grouped(messages):
            tags[chosen] = self.tags_of_rows(rows, lengths)
        return tags

    def tags_of_rows(self, rows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Tags of messages laid out as rows of whole blocks, zero after their lengths in the last block."""
        last = rows[:, -16:].copy()
        padded = np.flatnonzero(lengths < rows.shape[1])
        last[padded, lengths[padded] % 16] = 0x80
        last ^= np.where((lengths < rows.shape[1])[:, None], self._subkey_of_padded, self._subkey)
        state = np.zeros((len(rows), 16), np.uint8)
        for start in range(0, rows.shape[1] - 16, 16):
            state = self._encrypt(state ^ rows[:, start : start + 16])
        return self._encrypt(state ^ last)


class Sm4Siv:
    """Seals and opens columns of values under a key of 32 bytes: 16 for S2V, 16 for CTR (RFC 5297, 2.2)."""

    def __init__(self, key: bytes, cipher=SM4):
        if len(key) != 32:
            raise ValueError("an SM4-SIV key has 32 bytes")
        self._cmac = Cmac(key[:16], cipher)
        self._encrypt = _block_encryption(key[16:], cipher)

    def seal(
        self,
        plaintexts: Sequence[bytes | None],
        associated: Sequence[bytes],
        nonces: Sequence[bytes] | None = None,
    ) -> list[bytes | None]:
        """Tag (16 bytes) and ciphertext of each value; None stays None.

        `associated` are the strings of associated data, the same for all values; equal values come out equal
        unless each has its own nonce.
        """

        def seal_rows(chosen, rows, lengths, batch):
            tags = self._tags(
                rows, lengths, associated, nonces and [nonces[batch[i]] for i in chosen.tolist()]
            )
            return np.hstack([tags, rows ^ self._keystream(tags, rows.shape[1])]), lengths + 16

        return self._in_batches(plaintexts, seal_rows)

    def open(
        self,
        sealed: Sequence[bytes | None],
        associated: Sequence[bytes],
        nonces: Sequence[bytes] | None = None,
    ) -> list[bytes | None]:
        """What was sealed, or `Tampered` with the index of a value that doesn't verify."""
        bodies = [None if value is None else value[16:] for value in sealed]

        def open_rows(chosen, rows, lengths, batch):
            places = [batch[i] for i in chosen.tolist()]
            if short := [place for place in places if len(sealed[place]) < 16]:
                raise Tampered(short[0])
            tags = np.frombuffer(b"".join([sealed[place][:16] for place in places]), np.uint8).reshape(-1, 16)
            rows ^= self._keystream(tags, rows.shape[1])
            rows[np.arange(rows.shape[1]) >= lengths[:, None]] = 0
            expected = self._tags(rows, lengths, associated, nonces and [nonces[place] for place in places])
            wrong = np.flatnonzero((tags ^ expected).any(axis=1))
            if len(wrong):
                raise Tampered(places[wrong[0]])
            return rows, lengths

        return self._in_batches(bodies, open_rows)

    def _in_batches(self, values, work):
        """Apply `work` to groups of values laid out as rows; it returns rows and lengths of the results."""
        results = [None] * len(values)
        present = [place for place, value in enumerate(values) if value is not None]
        for start in range(0, len(present), _VALUES_AT_ONCE):
            batch = present[start : start + _VALUES_AT_ONCE]
            for chosen, rows, lengths in _grouped([values[place] for place in batch]):
                rows, lengths = work(chosen, rows, lengths, batch)
                joined, width = rows.tobytes(), rows.shape[1]
                begin = range(0, len(joined), width)
                for i, at, length in zip(chosen.tolist(), begin, lengths.tolist(), strict=True):
                    results[batch[i]] = joined[at : at + length]
        return results

    def _tags(self, rows, lengths, associated, nonces):
        """S2V (RFC 5297, 2.4) of the associated strings, the nonce and the value in each row."""
        state = self._cmac.tags([bytes(16)])
        for string in associated:
            state = _double(state) ^ self._cmac.tags([string])
        if nonces:
            state = _double(state) ^ self._cmac.tags(nonces)
        mixed = rows.copy()
        short, long = np.flatnonzero(lengths < 16), np.flatnonzero(lengths >= 16)
        state = np.broadcast_to(state, (len(rows), 16))
        mixed[short, lengths[short]] = 0x80
        mixed[short, :16] ^= _double(state[short])
        mixed[long[:, None], lengths[long, None] + np.arange(-16, 0)] ^= state[long]
        return self._cmac.tags_of_rows(mixed, np.maximum(lengths, 16))

    def _keystream(self, tags, width):
        """CTR (RFC 5297, 2.5). Two bits of the first counter are cleared, so its last 32 never overflow."""
        start = tags & _COUNTER_MASK
        counters = np.repeat(start[:, None, :], width // 16, axis=1)
        last = start[:, 12:].copy().view(">u4") + np.arange(width // 16, dtype=np.uint32)
        counters[:, :, 12:] = last.astype(">u4")[:, :, None].view(np.uint8)
        return self._encrypt(counters.reshape(-1, 16)).reshape(len(tags), width)


_COUNTER_MASK = np.full(16, 0xFF, np.uint8)
_COUNTER_MASK[[8, 12]] = 0x7F


def _block_encryption(key, cipher):
    """A function from blocks to encrypted blocks, uint8 of shape (blocks, 16)."""
    ecb = Cipher(cipher(key), modes.ECB())  # noqa: S305, the building block of CMAC and CTR, not a mode of use

    def encrypt(blocks):
        return np.frombuffer(ecb.encryptor().update(blocks.tobytes()), np.uint8).reshape(blocks.shape)

    return encrypt


def _double(blocks):
    """Multiply by x in GF(2^128), row by row."""
    doubled = blocks << 1
    doubled[:, :-1] |= blocks[:, 1:] >> 7
    doubled[:, -1] ^= (blocks[:, 0] >> 7) * np.uint8(0x87)
    return doubled


def _grouped(values):
    """Values grouped by their number of 16-byte blocks: places in the list, zero-padded rows, lengths."""
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    blocks = np.maximum(1, -(-lengths // 16))
    for count in np.unique(blocks).tolist():
        chosen = np.flatnonzero(blocks == count)
        rows = np.zeros((len(chosen), count * 16), np.uint8)
        filled = np.arange(count * 16) < lengths[chosen, None]
        rows[filled] = np.frombuffer(b"".join([values[i] for i in chosen.tolist()]), np.uint8)
        yield chosen, rows, lengths[chosen]
