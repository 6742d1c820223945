import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES, SM4
from hypothesis import given
from hypothesis import strategies as st

from jingwei.kit.sm4siv import Cmac, Sm4Siv, Tampered

pytestmark = pytest.mark.req("P-4.1")
KEY = bytes(range(32))
hexed = bytes.fromhex


def encrypt_block(key, block):
    return Cipher(SM4(key), modes.ECB()).encryptor().update(block)


def xor(left, right):
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def double(block):
    shifted = int.from_bytes(block) << 1
    return (shifted & (1 << 128) - 1 ^ (0x87 if shifted >> 128 else 0)).to_bytes(16)


def pad(text):
    return text + b"\x80" + bytes(15 - len(text))


def reference_cmac(key, message):
    subkey = double(encrypt_block(key, bytes(16)))
    whole, last = (
        message[: max(len(message) - 1, 0) // 16 * 16],
        message[max(len(message) - 1, 0) // 16 * 16 :],
    )
    last = xor(last, subkey) if len(last) == 16 else xor(pad(last), double(subkey))
    state = bytes(16)
    for start in range(0, len(whole), 16):
        state = encrypt_block(key, xor(state, whole[start : start + 16]))
    return encrypt_block(key, xor(state, last))


def reference_siv(key, strings, plaintext):
    """RFC 5297, 2.6, one value at a time."""
    state = reference_cmac(key[:16], bytes(16))
    for string in strings:
        state = xor(double(state), reference_cmac(key[:16], string))
    if len(plaintext) >= 16:
        mixed = plaintext[:-16] + xor(plaintext[-16:], state)
    else:
        mixed = xor(double(state), pad(plaintext))
    tag = reference_cmac(key[:16], mixed)
    counter = int.from_bytes(tag) & ~(1 << 63 | 1 << 31)
    stream = b"".join(
        encrypt_block(key[16:], ((counter + i) % 2**128).to_bytes(16))
        for i in range(len(plaintext) // 16 + 1)
    )
    return tag + xor(plaintext, stream[: len(plaintext)])


def test_the_structure_is_that_of_rfc_5297_without_nonce():
    # Appendix A.1
    siv = Sm4Siv(hexed("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"), cipher=AES)
    associated = [hexed("101112131415161718191a1b1c1d1e1f2021222324252627")]
    sealed = siv.seal([hexed("112233445566778899aabbccddee")], associated)
    assert sealed == [hexed("85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c")]


def test_the_structure_is_that_of_rfc_5297_with_nonce():
    # Appendix A.2
    siv = Sm4Siv(hexed("7f7e7d7c7b7a79787776757473727170404142434445464748494a4b4c4d4e4f"), cipher=AES)
    associated = [
        hexed("00112233445566778899aabbccddeeffdeaddadadeaddadaffeeddccbbaa99887766554433221100"),
        hexed("102030405060708090a0"),
    ]
    plaintext = b"this is some plaintext to encrypt using SIV-AES"
    nonces = [hexed("09f911029d74e35bd84156c5635688c0")]
    sealed = siv.seal([plaintext], associated, nonces)
    assert sealed == [
        hexed("7bdb6e3b432667eb06f4d14bff2fbd0fcb900f2fddbe404326601965c889bf17")
        + hexed("dba77ceb094fa663b7a3f748ba8af829ea64ad544a272e9c485b62a3fd5c0d")
    ]
    assert siv.open(sealed, associated, nonces) == [plaintext]


@given(
    st.lists(st.none() | st.binary(max_size=80), max_size=40),
    st.lists(st.binary(max_size=40), max_size=3),
    st.booleans(),
)
def test_a_column_is_sealed_like_each_value_alone(plaintexts, associated, with_nonces):
    nonces = [index.to_bytes(16) for index in range(len(plaintexts))] if with_nonces else None
    siv = Sm4Siv(KEY)
    sealed = siv.seal(plaintexts, associated, nonces)
    assert sealed == [
        None
        if plaintext is None
        else reference_siv(KEY, associated + (nonces[place : place + 1] if nonces else []), plaintext)
        for place, plaintext in enumerate(plaintexts)
    ]
    assert siv.open(sealed, associated, nonces) == plaintexts


@given(st.lists(st.binary(max_size=70)))
def test_many_tags_are_those_of_each_message(messages):
    tags = Cmac(KEY[:16]).tags(messages)
    assert [tag.tobytes() for tag in tags] == [reference_cmac(KEY[:16], message) for message in messages]


def test_more_values_than_go_at_once_keep_their_places():
    plaintexts = [b"%018d" % number if number % 3 else None for number in range(70_000)]
    siv = Sm4Siv(KEY)
    sealed = siv.seal(plaintexts, [b"column"])
    assert sealed[69_998] == reference_siv(KEY, [b"column"], plaintexts[69_998])
    assert siv.open(sealed, [b"column"]) == plaintexts


@pytest.mark.req("SEC-14")
@given(st.binary(max_size=40), st.data())
def test_one_flipped_bit_is_detected_and_its_place_named(plaintext, data):
    siv = Sm4Siv(KEY)
    sealed = siv.seal([b"before", None, plaintext, b"after"], [b"column"])
    bit = data.draw(st.integers(0, len(sealed[2]) * 8 - 1))
    sealed[2] = (int.from_bytes(sealed[2]) ^ 1 << bit).to_bytes(len(sealed[2]))
    with pytest.raises(Tampered) as caught:
        siv.open(sealed, [b"column"])
    assert caught.value.index == 2


@pytest.mark.req("SEC-14")
def test_other_data_other_key_or_a_cut_value_do_not_open():
    [sealed] = Sm4Siv(KEY).seal([b"13812345678"], [b"phone"])
    for siv, value, associated in [
        (Sm4Siv(KEY), sealed, [b"number"]),
        (Sm4Siv(KEY[::-1]), sealed, [b"phone"]),
        (Sm4Siv(KEY), sealed[:-1], [b"phone"]),
        (Sm4Siv(KEY), sealed[:10], [b"phone"]),
        (Sm4Siv(KEY), b"", [b"phone"]),
    ]:
        with pytest.raises(Tampered):
            siv.open([value], associated)


def test_a_key_of_another_length_is_refused():
    with pytest.raises(ValueError, match="32 bytes"):
        Sm4Siv(KEY[:16])
