"""A clear value is found however it is written (SEC-13)."""

import base64
import gzip
import io
import json
import zipfile
from urllib.parse import quote

import pytest

from jingwei.kit import leaks
from jingwei.kit.leaks import Leaks

NUMBER, ADDRESS, SHORT = "990101197304110017", "上埔社区秘密巷171号", "1号"
LEAKS = Leaks([NUMBER, ADDRESS, SHORT])


def zipped(content):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/b.xml", content)
    return packed.getvalue()


def written(value):
    """A value as programs write it."""
    text = f"前{value}后"
    return {
        "UTF-8": text.encode(),
        "GB 18030": text.encode("gb18030"),
        "UTF-16": text.encode("utf-16"),
        "UTF-16 from an odd place": b"x" + text.encode("utf-16-le"),
        "JSON": json.dumps({"v": text}).encode(),
        "an address": quote(text).encode(),
        "base64": base64.b64encode(f"ab{text}".encode()),
        "base64 behind other letters": b"x" + base64.b64encode(text.encode()),
        "hexadecimal, as PostgreSQL writes bytes": b"\\x" + text.encode().hex().encode(),
        "JSON in a text of PostgreSQL": json.dumps({"v": text}).replace("\\", "\\\\").encode(),
        "zip": zipped(text.encode("utf-16")),
        "zip in zip": zipped(zipped(text)),
        "gzip": gzip.compress(text.encode()),
    }


@pytest.mark.req("SEC-13")
@pytest.mark.parametrize("value", [NUMBER, ADDRESS])
@pytest.mark.parametrize("how", written(""))
def test_a_value_is_found_in_every_writing(how, value):
    content = written(value)[how]
    assert LEAKS.found_in(content) == {value}
    assert LEAKS.found_in_stream(io.BytesIO(content)) == {value}


@pytest.mark.req("SEC-13")
def test_what_holds_no_value_or_only_looks_packed_is_read_through():
    for content in (b"", b"PK\3\4 no zip", b"\x1f\x8b no gzip", NUMBER[:-1].encode(), "上埔社区1号".encode()):
        assert LEAKS.found_in(content) == set()
    assert LEAKS.found_in(b"PK\3\4 no zip " + NUMBER.encode()) == {NUMBER}
    for inside in (f"7{NUMBER}", f"{NUMBER}7", f"-{NUMBER}77"):  # another number
        assert LEAKS.found_in(inside.encode()) == set()
    assert LEAKS.found_in(f"7{NUMBER}，{ADDRESS}2，{NUMBER}，".encode()) == {NUMBER, ADDRESS}


@pytest.mark.req("SEC-13")
def test_what_is_packed_is_read_to_its_end(monkeypatch):
    monkeypatch.setattr(leaks, "BLOCK", 2_000)
    long = b" " * 50_000 + NUMBER.encode()
    for packed in (gzip.compress(long), zipped(long), gzip.compress(zipped(long))):
        assert LEAKS.found_in(packed) == {NUMBER}


@pytest.mark.req("SEC-13")
def test_a_value_between_two_blocks_is_found(monkeypatch):
    monkeypatch.setattr(leaks, "BLOCK", 2_000)
    for before in (1_990, 1_999, 3_995):
        assert LEAKS.found_in_stream(io.BytesIO(b" " * before + NUMBER.encode() + b" " * 900)) == {NUMBER}
