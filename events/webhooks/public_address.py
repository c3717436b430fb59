"""Which addresses a webhook may be sent to: public ones, and those of networks that the operator allows.

What a project may have called must not reach what only this machine or its network can reach: a cloud's
metadata service, the database, another tenant's service.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Network = IPv4Network | IPv6Network

_NAT64: Final = IPv6Network("64:ff9b::/96")
_COMPATIBLE: Final = IPv6Network("::/96")


class AddressRule:
    """`allowed` networks may be called although they are private, and also without TLS."""

    def __init__(self, allowed: Sequence[Network] = ()) -> None:
        self.allowed = tuple(allowed)

    def refusal(self, address: str, *, secure: bool) -> str | None:
        """Why nothing may be sent to an IP address, over TLS (`secure`) or without it; None where it may. It
        is the end of a sentence about the address, which it does not name: where a name leads is not for
        everybody to know.
        """
        try:
            parsed = _meant(ip_address(address))
        except ValueError:
            return "is no IP address"
        if any(parsed in network for network in self.allowed):
            return None
        if not _is_public(parsed):
            return "is not public"
        return None if secure else "would be called without TLS"


def _meant(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 address stands for, where it does (mapped, compatible, NAT64, 6to4)."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 0xFFFF):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address) and (address.is_site_local or address.is_reserved):
        return False
    return address.is_global and not address.is_multicast
