import json
import stat

import pytest
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st

from jingwei.base import crypto
from jingwei.base.crypto import (
    Column,
    SoftwareProvider,
    Tampered,
    add_key,
    create_key_ring,
    mac_numbers,
    provider,
)

NUMBER = Column("person.number", searchable=True)
ADDRESS = Column("people.person.address", searchable=False)
VALUES = ["990101197112042874", None, "", "金湾镇下洋村19号2栋", "陈𬭎"]


@pytest.fixture
def ring(settings, tmp_path):
    """A key ring of its own; the path of its file."""
    settings.JINGWEI_KEYS = tmp_path / "keys.json"
    create_key_ring(settings.JINGWEI_KEYS)
    return settings.JINGWEI_KEYS


@pytest.mark.req("SEC-15")
def test_a_key_ring_is_made_once_and_for_its_owner_only(ring):
    content = ring.read_text()
    assert stat.S_IMODE(ring.stat().st_mode) == 0o600
    assert create_key_ring(ring) is False
    assert ring.read_text() == content
    assert list(ring.parent.iterdir()) == [ring]


@pytest.mark.req("SEC-15")
def test_a_missing_open_or_broken_key_ring_is_refused_without_showing_it(ring):
    ring.chmod(0o640)
    with pytest.raises(ImproperlyConfigured, match="chmod 600"):
        provider().encrypt(NUMBER, ["1"])
    key = json.loads(ring.read_text())["keys"]["k1"]
    for broken in [
        "{",
        "[]",
        json.dumps({"current": "k2", "keys": {"k1": key}}),
        json.dumps({"current": "k1", "keys": {"k1": key[2:]}}),
    ]:
        ring.unlink()
        ring.touch(0o600)
        ring.write_text(broken)
        with pytest.raises(ImproperlyConfigured, match="从备份恢复") as caught:
            provider().encrypt(NUMBER, ["1"])
        assert key[:16] not in str(caught.getrepr())
    ring.unlink()
    with pytest.raises(ImproperlyConfigured, match="找不到密钥文件"):
        provider().encrypt(NUMBER, ["1"])


@pytest.mark.req("P-4.1")
@pytest.mark.parametrize("column", [NUMBER, ADDRESS])
def test_what_was_sealed_opens(ring, column):
    sealed = provider().encrypt(column, VALUES)
    assert provider().decrypt(column, sealed) == VALUES
    assert sealed[1] is None
    assert not any(
        value and value.encode() in blob for value, blob in zip(VALUES, sealed, strict=True) if blob
    )


@given(st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=60)))
def test_any_texts_come_back(values):
    for column in [NUMBER, ADDRESS]:
        assert provider().decrypt(column, provider().encrypt(column, values)) == values


@pytest.mark.req("SEC-14")
def test_equal_values_look_equal_only_where_searchable(ring):
    number, same_number = provider().encrypt(NUMBER, ["13812345678"] * 2)
    address, same_address = provider().encrypt(ADDRESS, ["13812345678"] * 2)
    assert number == same_number
    assert address != same_address


@pytest.mark.req("SEC-14")
@pytest.mark.parametrize("column", [NUMBER, ADDRESS])
def test_a_changed_or_moved_value_is_refused(ring, column):
    [good, blob] = provider().encrypt(column, ["13812345678", "13812345679"])
    flipped = [bytes([*blob[:at], blob[at] ^ 1, *blob[at + 1 :]]) for at in range(len(blob))]
    for changed in [*flipped, blob[:-1], blob[:5], b""]:
        with pytest.raises(Tampered) as caught:
            provider().decrypt(column, [good, None, changed])
        assert caught.value.index == 2
    for elsewhere in [Column("person.phone", column.searchable), Column(column.name, not column.searchable)]:
        with pytest.raises(Tampered):
            provider().decrypt(elsewhere, [blob])


@pytest.mark.req("P-4.4", "SEC-15")
def test_after_a_new_key_old_values_still_open(ring):
    old = provider().encrypt(NUMBER, VALUES)
    assert add_key(ring) == "k2"
    assert (provider().key_id, provider().key_ids) == ("k2", ["k2", "k1"])
    new = provider().encrypt(NUMBER, VALUES)
    assert new[0] != old[0]
    assert new[0][1] == 2
    assert provider().encrypt(NUMBER, VALUES, key_id="k1") == old
    assert provider().decrypt(NUMBER, [*old, *new]) == VALUES * 2
    assert stat.S_IMODE(ring.stat().st_mode) == 0o600


def test_purposes_have_keys_of_their_own(ring):
    message = ["金湾镇下洋村19号".encode()]
    assert provider().mac("grams", message).shape == (1, 16)
    assert (provider().mac("grams", message) != provider().mac("address", message)).any()
    assert mac_numbers("address", message, bits=64)[0] == mac_numbers("address", message, bits=64)[0]
    assert -(2**31) <= mac_numbers("grams", message, bits=32)[0] < 2**31
    before = mac_numbers("address", message, bits=64)
    add_key(ring)
    assert mac_numbers("address", message, bits=64) != before
    assert mac_numbers("address", message, bits=64, key_id="k1") == before


@pytest.mark.req("P-4.1")
def test_values_of_an_earlier_release_open(ring):
    ring.write_text(json.dumps({"current": "k1", "keys": {"k1": bytes(range(32)).hex()}}))
    number = "0101f746aee8f9f9179073f2a407889267a14911cc19657e4d5591ed005baeab00f5cec9"
    address = "02018bae3d02a7d3a9d0d2180b22d2c07cf6fd0982f53cc58c3c92bc29eb"
    address += "6aaeb31c3193e98dfd16c1d1361fa7a406734d2a160d678b13b6e2"
    assert provider().decrypt(NUMBER, [bytes.fromhex(number)]) == ["990101197112042874"]
    assert provider().decrypt(ADDRESS, [bytes.fromhex(address)]) == ["金湾镇下洋村19号"]
    assert mac_numbers("grams", [b"a"], bits=32).tolist() == [-1093217059]


@pytest.mark.req("P-4.7")
def test_known_answers_are_checked(monkeypatch):
    provider().self_test()
    monkeypatch.setattr(crypto, "SM4", AES)
    with pytest.raises(crypto.SelfTestFailed, match="SM4"):
        provider().self_test()


class Hardware(SoftwareProvider):
    """Stands for another module that offers the same interface."""

    def decrypt(self, column, sealed):
        return [value and "from the module" for value in sealed]


@pytest.mark.req("P-4.7")
def test_a_setting_replaces_the_provider(ring, settings):
    sealed = provider().encrypt(NUMBER, ["1"])
    settings.JINGWEI_CRYPTO = f"{__name__}.Hardware"
    assert provider().decrypt(NUMBER, sealed) == ["from the module"]
