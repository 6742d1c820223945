"""Whether clear values stand in bytes, however these are written (SEC-13).

Texts are looked for as UTF-8, UTF-16 and GB 18030, behind the escapes of JSON and of addresses, in base64,
and inside zip and gzip, workbooks too. That is what programs write by themselves; who hides something on
purpose is not found.
"""

import base64
import binascii
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO
from urllib.parse import unquote

import polars as pl

BLOCK = 8 << 20
OVERLAP = 1 << 10  # bytes that two blocks share, so that no value is cut
DEEP = 3  # a zip in a zip in a zip
LARGEST = 256 << 20  # of what is unpacked

_ESCAPED = re.compile(r"(?:\\u[0-9a-fA-F]{4})+")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{16,}")


class Leaks:
    """Looks for these values; those shorter than `shortest` would be found anywhere and are left out."""

    def __init__(self, values: Iterable[str], shortest=6):
        self.values = sorted({value for value in values if len(value) >= shortest})

    def __len__(self):
        return len(self.values)

    def found_in(self, content: bytes) -> set[str]:
        """Those of the values that stand in the content."""
        if not self.values:
            return set()
        texts = pl.Series(list(readings(content)), dtype=pl.String)
        return set(texts.str.extract_many(self.values, overlapping=True).explode().drop_nulls())

    def found_in_stream(self, stream: BinaryIO) -> set[str]:
        """The same for what is too much for the memory; zip and gzip are taken whole."""
        block = stream.read(BLOCK)
        if _is_packed(block):
            return self.found_in(block + stream.read(LARGEST))
        found = set()
        while block:
            found |= self.found_in(block)
            following = stream.read(BLOCK)
            block = following and block[-OVERLAP:] + following
        return found


def readings(content: bytes, deep=DEEP) -> Iterator[str]:
    """The texts as which a content may be read."""
    if _is_packed(content) and deep:
        for part in _unpacked(content):
            yield from readings(part, deep - 1)
        return
    for encoding in ("utf-8", "gb18030", "utf-16-le"):
        yield content.decode(encoding, "replace")
    yield content[1:].decode("utf-16-le", "replace")  # beginning at an odd place
    text = content.decode("utf-8", "replace")
    if "\\u" in text:
        yield _ESCAPED.sub(_without_escapes, text)
    if "%" in text:
        yield unquote(text)
    for found in _BASE64.findall(content) if deep else ():
        yield from _from_base64(found)


def _is_packed(content):
    return content[:2] in (b"PK", b"\x1f\x8b")


def _unpacked(content):
    try:
        if content[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(content)) as packed:
                yield from (packed.read(name) for name in packed.namelist())
        else:
            with gzip.open(io.BytesIO(content)) as packed:
                yield packed.read(LARGEST)
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, zlib.error):
        yield b"\0" + content  # only named so


def _without_escapes(found):
    return bytes.fromhex(found[0].replace("\\u", "")).decode("utf-16-be", "replace")


def _from_base64(word):
    """What a word of these letters says, read from each of the four places at which it may begin."""
    standard = word.replace(b"-", b"+").replace(b"_", b"/")
    for start in range(4):
        part = standard[start:]
        try:
            yield base64.b64decode(part[: len(part) // 4 * 4]).decode("utf-8", "replace")
        except binascii.Error:
            continue
