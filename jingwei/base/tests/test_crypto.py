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
    settings.JINGWEI_MASTER_KEY_FILE = tmp_path / "elsewhere.key"
    create_key_ring(settings.JINGWEI_KEYS)
    return settings.JINGWEI_KEYS


@pytest.mark.req("SEC-15")
def test_a_key_ring_is_made_once_and_for_its_owner_only(ring):
    content = ring.read_text()
    assert stat.S_IMODE(ring.stat().st_mode) == 0o600
    assert create_key_ring(ring) is False
    assert ring.read_text() == content
    assert sorted(path.name for path in ring.parent.iterdir()) == ["elsewhere.key", "keys.json"]


@pytest.mark.req("SEC-15")
def test_the_ring_holds_no_key_that_opens_without_the_master_key(ring, settings):
    master = settings.JINGWEI_MASTER_KEY_FILE
    assert stat.S_IMODE(master.stat().st_mode) == 0o600
    keys = provider()._ring().known
    assert set(keys) == {"k1", "digests"}
    assert not [name for name, key in keys.items() if key.hex() in ring.read_text()]
    right = master.read_text()
    for wrong, said in (
        ("", "不完整"),
        ("ab\n", "不完整"),
        ("x" * 64, "不完整"),
        (bytes(32).hex(), "主密钥"),
    ):
        master.write_text(wrong)
        with pytest.raises(ImproperlyConfigured, match=said):
            provider().encrypt(NUMBER, ["1"])
    master.unlink()
    with pytest.raises(ImproperlyConfigured, match="找不到主密钥文件"):
        provider().encrypt(NUMBER, ["1"])
    master.touch(0o644)
    with pytest.raises(ImproperlyConfigured, match="chmod 600"):
        provider().encrypt(NUMBER, ["1"])
    master.write_text(right)
    master.chmod(0o600)
    provider().encrypt(NUMBER, ["1"])


@pytest.mark.req("SEC-15")
def test_two_keys_of_a_ring_cannot_change_places(ring):
    provider().add_key()
    content = json.loads(ring.read_text())
    content["keys"] = {"k1": content["keys"]["k2"], "k2": content["keys"]["k1"]}
    ring.write_text(json.dumps(content))
    with pytest.raises(ImproperlyConfigured, match="主密钥"):
        provider().encrypt(NUMBER, ["1"])


@pytest.mark.req("SEC-15", "P-4.4")
def test_a_new_master_key_takes_over_wherever_it_is_cut_off(ring, settings, monkeypatch):
    master, sealed = settings.JINGWEI_MASTER_KEY_FILE, provider().encrypt(NUMBER, VALUES)
    before, replace = master.read_text(), crypto._replace
    for writes in range(3):
        left = list(range(writes))
        with monkeypatch.context() as patch:
            patch.setattr(crypto, "_replace", lambda *file, left=left: (left.pop(), replace(*file)))
            with pytest.raises(IndexError):
                provider().change_master()
        assert provider().decrypt(NUMBER, sealed) == VALUES
    provider().change_master()
    assert len(master.read_text().split()) == 1 and master.read_text() != before
    assert provider().decrypt(NUMBER, sealed) == VALUES
    master.write_text(before)
    with pytest.raises(ImproperlyConfigured, match="主密钥"):
        provider().decrypt(NUMBER, sealed)


@pytest.mark.req("SEC-15")
def test_a_missing_open_or_broken_key_ring_is_refused_without_showing_it(ring):
    ring.chmod(0o640)
    with pytest.raises(ImproperlyConfigured, match="chmod 600"):
        provider().encrypt(NUMBER, ["1"])
    content = json.loads(ring.read_text())
    key = content["keys"]["k1"]
    for broken in ["{", "[]", json.dumps(content | {"current": "k2"}), json.dumps(content | {"digests": 1})]:
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
    assert provider().add_key() == "k2"
    assert (provider().key_id, provider().key_ids) == ("k2", ["k2", "k1"])
    new = provider().encrypt(NUMBER, VALUES)
    assert new[0] != old[0]
    assert new[0][1] == 2
    assert provider().encrypt(NUMBER, VALUES, key_id="k1") == old
    assert provider().decrypt(NUMBER, [*old, *new]) == VALUES * 2
    assert stat.S_IMODE(ring.stat().st_mode) == 0o600


@pytest.mark.req("P-4.4")
def test_a_key_that_is_removed_opens_nothing_any_more(ring):
    old = provider().encrypt(NUMBER, VALUES)
    provider().add_key()
    for kept in ("k2", "k3"):
        with pytest.raises(ValueError, match="no old key"):
            provider().remove_key(kept)
    provider().remove_key("k1")
    with pytest.raises(Tampered):
        provider().decrypt(NUMBER, old)
    assert provider().add_key() == "k3"  # no number is given twice


def test_purposes_have_keys_of_their_own(ring):
    message = ["金湾镇下洋村19号".encode()]
    assert provider().mac("grams", message).shape == (1, 16)
    assert (provider().mac("grams", message) != provider().mac("address", message)).any()
    assert mac_numbers("address", message, bits=64)[0] == mac_numbers("address", message, bits=64)[0]
    assert -(2**31) <= mac_numbers("grams", message, bits=32)[0] < 2**31
    before = mac_numbers("address", message, bits=64)
    # What was written down once, such as a scan's digest, is the same after a rotation.
    provider().add_key()
    provider().remove_key("k1")
    assert mac_numbers("address", message, bits=64) == before
    assert (provider().mac("grams", message) != provider().mac("grams", message, key_id="k2")).any()


@pytest.mark.req("P-4.1")
def test_values_of_an_earlier_release_open(ring):
    key = bytes(range(32)).hex()
    ring.write_text(json.dumps({"current": "k1", "keys": {"k1": key}}))
    number = "0101f746aee8f9f9179073f2a407889267a14911cc19657e4d5591ed005baeab00f5cec9"
    address = "02018bae3d02a7d3a9d0d2180b22d2c07cf6fd0982f53cc58c3c92bc29eb"
    address += "6aaeb31c3193e98dfd16c1d1361fa7a406734d2a160d678b13b6e2"
    assert provider().decrypt(NUMBER, [bytes.fromhex(number)]) == ["990101197112042874"]
    assert provider().decrypt(ADDRESS, [bytes.fromhex(address)]) == ["金湾镇下洋村19号"]
    assert mac_numbers("grams", [b"a"], bits=32).tolist() == [-1093217059]
    assert key not in ring.read_text()  # it was taken over, and lies open no more
    assert stat.S_IMODE(ring.stat().st_mode) == 0o600


@pytest.mark.req("P-4.7", "SEC-15")
@pytest.mark.parametrize("name", crypto.KNOWN_ANSWERS)
def test_a_wrong_answer_of_any_algorithm_is_noticed(monkeypatch, name):
    assert crypto.self_test().failure == ""
    monkeypatch.setitem(crypto.KNOWN_ANSWERS, name, "00" * 32)
    with pytest.raises(crypto.SelfTestFailed, match=f"^{name} "):
        crypto.self_test()
    assert name in crypto.last_self_test.failure


@pytest.mark.req("P-4.7")
def test_another_cipher_is_noticed(monkeypatch):
    monkeypatch.setattr(crypto, "SM4", AES)
    with pytest.raises(crypto.SelfTestFailed, match="SM4"):
        provider().self_test()


class Module(SoftwareProvider):
    """Stands for a module that keeps the master key to itself and notes what it is asked for."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def make_master(self):
        self.asked.append("make")

    def wrap(self, name, key):
        self.asked.append(f"wrap {name}")
        return bytes(byte ^ 0x5A for byte in key)

    def unwrap(self, name, wrapped):
        self.asked.append(f"unwrap {name}")
        return bytes(byte ^ 0x5A for byte in wrapped)

    def encrypt(self, column, values, *, key_id=None):
        self.asked.append(f"encrypt {column.name} {len(values)}")
        return super().encrypt(column, values, key_id=key_id)


@pytest.mark.req("P-4.7", "SEC-15")
def test_a_setting_replaces_the_provider(settings, tmp_path):
    settings.JINGWEI_KEYS, settings.JINGWEI_MASTER_KEY_FILE = tmp_path / "ring", tmp_path / "none"
    settings.JINGWEI_CRYPTO = f"{__name__}.Module"
    create_key_ring(settings.JINGWEI_KEYS)
    assert provider().decrypt(NUMBER, provider().encrypt(NUMBER, VALUES)) == VALUES
    assert provider().asked[:3] == ["make", "wrap k1", "wrap digests"]
    assert sorted(provider().asked[3:]) == [f"encrypt {NUMBER.name} 5", "unwrap digests", "unwrap k1"]
    assert not settings.JINGWEI_MASTER_KEY_FILE.exists()
