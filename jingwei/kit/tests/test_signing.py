import pytest

from jingwei.kit.signing import is_signed, signature

REQUEST = {"method": "POST", "target": "/a?b=1", "time": "1700000000", "nonce": "n", "body": b"{}"}
SECRET = b"shared"


@pytest.mark.req("P-7.4")
def test_a_request_is_known_by_its_signature():
    given = signature(SECRET, **REQUEST)
    # By Python's own hmac over OpenSSL's SM3.
    assert given == "32c62419fc83aedec62b0bc11d64a5a6cdc2ad0e128a5f623cb4bb928fe069d3"
    assert is_signed(SECRET, given, **REQUEST, now=1700000000)


@pytest.mark.parametrize(
    "changed", [{"method": "GET"}, {"target": "/a?b=2"}, {"nonce": "m"}, {"body": b"{} "}]
)
def test_whatever_is_changed_breaks_the_signature(changed):
    assert not is_signed(SECRET, signature(SECRET, **REQUEST), **{**REQUEST, **changed}, now=1700000000)


def test_another_secret_breaks_the_signature():
    assert not is_signed(b"other", signature(SECRET, **REQUEST), **REQUEST, now=1700000000)


@pytest.mark.parametrize("now", [1700000301, 1699999699])
def test_an_old_or_future_request_is_refused(now):
    assert not is_signed(SECRET, signature(SECRET, **REQUEST), **REQUEST, now=now)


@pytest.mark.parametrize(("given", "time"), [("é" * 64, "1700000000"), ("", "1700000000"), ("00", "١٧")])
def test_nonsense_is_refused(given, time):
    assert not is_signed(SECRET, given, **{**REQUEST, "time": time}, now=1700000000)
