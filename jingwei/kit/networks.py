"""Networks that an address may belong to, in CIDR notation (RFC 4632, RFC 4291)."""

from collections.abc import Iterable
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit


def clean_network(text: str) -> str:
    """A network or a single address in its usual form: "10.1.2.0/24", "192.0.2.7/32".

    ValueError in words if it is none, or if it names a host within a network.
    """
    text = text.strip()
    try:
        return str(ip_network(text))
    except ValueError:
        pass
    try:
        wider = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"“{text}”不是网段，请写成 10.1.2.0/24 这样，或单个地址 10.1.2.3") from None
    raise ValueError(f"“{text}”不是网段的起始地址，是否应为 {wider}？单个地址请不写“/”")


def is_inside(address: str, networks: Iterable[str]) -> bool:
    """Whether an address lies in one of the networks; what is no address lies in none."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return any(found in ip_network(network) for network in networks)


def origin_of(address: str) -> str:
    """By what tries from an address are counted: itself, or of IPv6 the /64 that one subscriber has.

    What is no address is counted as it stands.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or IPv6Network((found.packed, 64), strict=False))
    return str(found)


def is_confidential(address: str) -> bool:
    """Whether nobody outside reads what goes to a web address: https, or http to an IP of the own network."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    if parts.scheme != "http":
        return parts.scheme == "https"
    try:
        return ip_address(parts.hostname).is_private
    except ValueError:
        return parts.hostname == "localhost"
