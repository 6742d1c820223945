"""Networks in CIDR notation, and what lies in them."""

import pytest

from jingwei.kit.networks import clean_network, is_confidential, is_inside, origin_of

pytestmark = pytest.mark.req("SEC-19")


@pytest.mark.parametrize(
    ("text", "network"),
    [
        (" 10.1.2.0/24 ", "10.1.2.0/24"),
        ("192.0.2.7", "192.0.2.7/32"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
        ("2001:DB8::/32", "2001:db8::/32"),
    ],
)
def test_a_network_takes_its_usual_form(text, network):
    assert clean_network(text) == network


@pytest.mark.parametrize(
    ("text", "says"),
    [("10.1.2.3/24", "是否应为 10.1.2.0/24"), ("10.1.2", "不是网段"), ("", "不是网段"), ("内网", "不是网段")],
)
def test_what_is_no_network_is_refused_with_advice(text, says):
    with pytest.raises(ValueError, match=says):
        clean_network(text)


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("2001:0db8:0:0:9::", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
    ],
)
def test_tries_are_counted_by_the_network_of_one_subscriber(address, origin):
    assert origin_of(address) == origin


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("10.1.2.255", True),
        ("10.1.3.0", False),
        ("::ffff:10.1.2.3", True),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("unknown", False),
        ("", False),
    ],
)
def test_an_address_lies_in_a_network_or_not(address, inside):
    assert is_inside(address, ["10.1.2.0/24", "2001:db8::/32"]) == inside


def test_nothing_lies_in_no_network():
    assert not is_inside("10.1.2.3", [])


@pytest.mark.req("SEC-11")
@pytest.mark.parametrize(
    ("address", "confidential"),
    [
        ("https://sso.example.gov.cn/x", True),
        ("http://10.1.2.3:8080/x", True),
        ("http://localhost/", True),
        ("http://[::1]/", True),
        ("http://sso.example.gov.cn/x", False),
        ("http://203.0.114.9/", False),
        ("http:///x", False),
        ("http://[x", False),
        ("ftp://10.1.2.3/", False),
        ("", False),
    ],
)
def test_what_goes_in_clear_stays_in_the_own_network(address, confidential):
    assert is_confidential(address) == confidential
