"""Which addresses of the network may be talked to: public ones, and what the person has opened.

The ranges are those of the IANA registries of special-purpose addresses. They stand here in full because what
`ipaddress` calls global depends on the release of Python.
"""

import ipaddress
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import msgspec

from tidegate.errors import Refused

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PUBLIC_PORTS = frozenset({80, 443})
FREE_PORTS_FROM = 1_024

_PRIVATE_4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, and the metadata service of one cloud
        "127.0.0.0/8",
        "168.63.129.16/32",  # public by number, a cloud's inside by use
        "169.254.0.0/16",  # link-local, and the metadata services of the others
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
#: all that is handed out for the public; mapped, compatible, NAT64, unique local, link-local and multicast are outside
_PUBLIC_6 = IPv6Network("2000::/3")
_PRIVATE_6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocols, among them Teredo, which wraps IPv4
        "2001:db8::/32",
        "2002::/16",  # 6to4, which wraps IPv4
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)


class AddressRefused(Refused):
    """This address may not be talked to."""

    code = "address_refused"
    status = 403


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What is opened and what is closed beyond the public addresses; closing wins.

    A name that is opened is that name alone, one that is closed is it and all below it.
    """

    allow: Sequence[Network | str] = ()
    deny: Sequence[Network | str] = ()

    def check(self, host: str, port: int, addresses: Sequence[Address]) -> None:
        """Let a host pass if every one of its addresses may be talked to.

        One bad address among good ones refuses it: whoever mixes them wants to be connected to the bad one.

        Raises:
            AddressRefused: One of them may not be, or the port may not.
        """
        if _is_below(host, self.deny) or any(_is_in(address, self.deny) for address in addresses):
            raise AddressRefused(f"{host!r} is closed by [egress] deny")
        if host in self.allow:
            return
        for address in addresses:
            if _is_in(address, self.allow):
                continue
            if not is_public(address):
                raise AddressRefused(
                    f"{host!r} is the address {address}, which is not public",
                    hint="the person can open it with [egress] allow",
                )
            if port not in PUBLIC_PORTS and port < FREE_PORTS_FROM:
                raise AddressRefused(f"port {port} of a public address is closed")


def rule(text: str) -> Network | str:
    """Read one entry of a list: an address, a network, or the name of a host.

    Raises:
        ValueError: It is none of these.
    """
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        if "/" in text or ":" in text or text.replace(".", "").isdigit():
            raise
    return name(text)


def name(text: str) -> str:
    """Return the name of a host as it is compared: ASCII, small letters, no dot at the end.

    Raises:
        ValueError: It is no name.
    """
    if len(text) > 253:  # the codec takes its time with long ones
        raise ValueError("the name of a host has at most 253 characters")
    ascii_ = text.rstrip(".").encode("idna").decode().lower()
    labels = ascii_.split(".")
    if len(ascii_) > 253 or not all(label.replace("-", "").replace("_", "").isalnum() for label in labels):
        raise ValueError("this is no name of a host")
    return ascii_


def plain(text: str) -> Address:
    """Read an address as it will be talked to: one of IPv4 in the clothes of IPv6 is one of IPv4.

    Raises:
        ValueError: It is no address.
    """
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public network."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _PRIVATE_4)
    return (
        address.scope_id is None
        and address in _PUBLIC_6
        and not any(address in network for network in _PRIVATE_6)
    )


def _is_in(address: Address, rules: Sequence[Network | str]) -> bool:
    return any(not isinstance(one, str) and address in one for one in rules)


def _is_below(host: str, rules: Sequence[Network | str]) -> bool:
    return any(isinstance(one, str) and (host == one or host.endswith(f".{one}")) for one in rules)
