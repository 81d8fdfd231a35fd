"""What an IP address leads to, whichever way it is written and whatever it is wrapped in."""

from collections.abc import Iterable, Iterator
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

__all__ = ["Address", "Reach", "judged"]

Address = IPv4Address | IPv6Address


class Reach(IntEnum):
    """How far an address is from where a request may go, from the best to the worst.

    PRIVATE is reached by a host named in `allow_private`; FORBIDDEN only where the very address is named there.
    """

    PUBLIC = 0
    PRIVATE = 1
    FORBIDDEN = 2


_METADATA: Final = frozenset(
    {
        IPv4Address("169.254.169.254"),
        IPv4Address("169.254.170.2"),
        IPv4Address("100.100.100.200"),
        IPv4Address("192.0.0.192"),
        IPv4Address("168.63.129.16"),
        IPv6Address("fd00:ec2::254"),
        IPv6Address("fd20:ce::254"),
    }
)
_NAT64: Final = IPv6Network("64:ff9b::/96")
_COMPATIBLE: Final = IPv6Network("::/96")
_OWN_NETWORKS: Final = (
    IPv4Network("10.0.0.0/8"),
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.168.0.0/16"),
    IPv4Network("100.64.0.0/10"),
    IPv6Network("fc00::/7"),
    IPv6Network("fec0::/10"),
)
_SPECIAL: Final = (  # the standard library's tables differ from one Python to the next
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv4Network("198.18.0.0/15"),
    IPv4Network("240.0.0.0/4"),
    IPv6Network("64:ff9b:1::/48"),
    IPv6Network("100::/64"),
    IPv6Network("2001::/23"),
    IPv6Network("3fff::/20"),
    IPv6Network("5f00::/16"),
)
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})


def judged(address: Address) -> tuple[Reach, str]:
    """Return where `address` leads and a word for it; an IPv6 address that carries an IPv4 one, where that leads."""
    return max((_plainly(each) for each in _meant(address)), key=lambda verdict: verdict[0])


def _meant(address: Address) -> Iterator[Address]:
    """Yield the addresses a packet to `address` may end at."""
    if isinstance(address, IPv4Address):
        yield address
        return
    low = IPv4Address(int(address) & 0xFFFFFFFF)
    if address.ipv4_mapped is not None or (address in _COMPATIBLE and int(address) > 0xFFFF) or address in _NAT64:
        yield low
        return
    yield address
    if address.sixtofour is not None:
        yield address.sixtofour
    if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        yield low


def _plainly(address: Address) -> tuple[Reach, str]:
    if address in _METADATA:
        return Reach.FORBIDDEN, "a metadata address"
    if address.is_unspecified or (isinstance(address, IPv4Address) and address in IPv4Network("0.0.0.0/8")):
        return Reach.FORBIDDEN, "an unspecified address"
    if address.is_multicast:
        return Reach.FORBIDDEN, "a multicast address"
    if address.is_link_local:
        return Reach.FORBIDDEN, "a link-local address"
    if address.is_loopback:
        return Reach.PRIVATE, "a loopback address"
    if _within(address, _OWN_NETWORKS):
        return Reach.PRIVATE, "a private address"
    if not address.is_global or _within(address, _SPECIAL):
        return Reach.FORBIDDEN, "a reserved address"
    return Reach.PUBLIC, "a public address"


def _within(address: Address, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    return any(address in network for network in networks if network.version == address.version)
