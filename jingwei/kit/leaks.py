"""Whether clear values stand in bytes, however these are written (SEC-13).

Texts are looked for as UTF-8, UTF-16 and GB 18030, behind the escapes of JSON and of addresses, in base64 and
in hexadecimal, and inside zip and gzip, workbooks too. That is what programs write by themselves; who hides
something on purpose is not found.
"""

import base64
import binascii
import codecs
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO
from urllib.parse import unquote

import polars as pl

BLOCK = 32 << 20  # read at once, since each look begins with building the automaton of the values
OVERLAP = 1 << 10  # bytes that two blocks share, so that no value is cut
DEEP = 3  # a zip in a zip in a zip

_ESCAPED = re.compile(r"(?:\\+u[0-9a-fA-F]{4})+")
_HEX = re.compile(rb"x?([0-9a-fA-F]{12,})")  # PostgreSQL writes \x before it
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{16,}")
_CONTINUING = bytes(range(0x80, 0xC0))  # bytes of UTF-8 with which no letter begins


class Leaks:
    """Looks for these values; those shorter than `shortest` would be found anywhere and are left out."""

    def __init__(self, values: Iterable[str], shortest=6):
        self.values = sorted({value for value in values if len(value) >= shortest})

    def __len__(self):
        return len(self.values)

    def found_in(self, content: bytes) -> set[str]:
        """Those of the values that stand in the content."""
        return self.found_in_stream(io.BytesIO(content))

    def found_in_stream(self, stream: BinaryIO, deep=DEEP) -> set[str]:
        """The same, whatever its size; what is packed must be a stream that can go back to its beginning."""
        block, found = stream.read(BLOCK), set()
        if deep and block[:2] in (b"PK", b"\x1f\x8b") and stream.seekable():
            try:
                for part in _unpacked(stream, block):
                    found |= self.found_in_stream(part, deep - 1)
                return found
            except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, zlib.error):
                stream.seek(0)  # only named so, or broken: as it lies there
                block = stream.read(BLOCK)
        while block:
            found |= self._found(block)
            following = stream.read(BLOCK)
            block = following and block[-OVERLAP:] + following
        return found

    def _found(self, block):
        if not self.values:
            return set()
        texts = pl.Series("text", list(readings(block)), dtype=pl.String)
        seen = pl.col("text").str
        found = texts.to_frame().select(
            value=seen.extract_many(self.values, overlapping=True),
            at=seen.find_many(self.values, overlapping=True),
        )
        places = zip(texts, found["value"], found["at"], strict=True)
        return {value for text, values, at in places for value in _apart(text, values, at)}


def _apart(text, values, places):
    """Those of the values found at these bytes that are no part of a longer number: of such there are many
    millions in a register, and in some of them a telephone stands by chance."""
    if len(values):
        content = text.encode()
        for value, at in zip(values, places, strict=True):
            end = at + len(value.encode())
            if not (
                (value[0].isdigit() and content[at - 1 : at].isdigit())
                or (value[-1].isdigit() and content[end : end + 1].isdigit())
            ):
                yield value


def _unpacked(stream, block):
    stream.seek(0)
    if block[:2] == b"\x1f\x8b":
        with gzip.open(stream) as packed:
            yield packed
        return
    with zipfile.ZipFile(stream) as packed:
        for name in packed.namelist():
            with packed.open(name) as part:
                yield part


def readings(content: bytes) -> Iterator[str]:
    """The texts as which a content may be read."""
    text = content.decode("utf-8", "replace")
    yield text
    if not _is_utf8(content):
        yield content.decode("gb18030", "replace")
    if b"\0" in content:
        yield content.decode("utf-16-le", "replace")
        yield content[1:].decode("utf-16-le", "replace")  # beginning at an odd place
    if "\\u" in text:
        yield _ESCAPED.sub(_without_escapes, text)
    if "%" in text:
        yield unquote(text)
    in_hex = (binascii.unhexlify(word[: len(word) // 2 * 2]) for word in _HEX.findall(content))
    yield b"\0".join(in_hex).decode("utf-8", "replace")
    words = (word for word in _BASE64.findall(content) if not _HEX.fullmatch(word))
    yield b"\0".join(part for word in words for part in _from_base64(word)).decode("utf-8", "replace")


def _is_utf8(content):
    """Whether a piece of a content can be UTF-8: at its edges a letter may be cut."""
    try:
        codecs.utf_8_decode(content[:3].lstrip(_CONTINUING) + content[3:], "strict", False)
    except UnicodeDecodeError:
        return False
    return True


def _without_escapes(found):
    return bytes.fromhex(re.sub(r"\\+u", "", found[0])).decode("utf-16-be", "replace")


def _from_base64(word):
    """What a word of these letters says, read from each of the four places at which it may begin."""
    standard = word.replace(b"-", b"+").replace(b"_", b"/")
    for start in range(4):
        part = standard[start:]
        try:
            yield base64.b64decode(part[: len(part) // 4 * 4])
        except binascii.Error:
            continue
