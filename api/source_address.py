"""Where a request came from, through proxies that are trusted to say so, and how much of it is kept.

Each proxy appends the address that it was called from to `X-Forwarded-For`. Read from the right, the first
one that is no trusted proxy is the last that somebody trusted has seen; what stands left of it anybody may
have written.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, Literal

Address = IPv4Address | IPv6Address
Kept = Literal["off", "network", "full"]
"""How much of an address is kept: nothing, the network that it is in, all of it."""
_NETWORK: Final = {4: 24, 6: 48}
"""Bits of a network by version: about as much as one site has."""


def source_address(peer: str, forwarded: Sequence[str], trusted: Sequence[str]) -> Address | None:
    """The address that a request came from: `peer` called, and these are its `X-Forwarded-For` headers.

    `trusted` are the networks of proxies. Where a trusted one says what is no address, the source is that
    proxy, the last that is known. None where not even `peer` is an address, as on a Unix socket.
    """
    networks = [ip_network(network) for network in trusted]
    source = _address(peer)
    hops = [hop for header in forwarded for hop in header.split(",")]
    while source is not None and hops and any(source in network for network in networks):
        before = _address(hops.pop())
        if before is None:
            break
        source = before
    return source


def kept_address(address: Address | None, kept: Kept) -> str | None:
    """The text of an address that may be kept; of a network without its hosts' bits, `203.0.113.0/24`."""
    if address is None or kept == "off":
        return None
    if kept == "full":
        return str(address)
    return str(ip_network((address, _NETWORK[address.version]), strict=False))


def _address(text: str) -> Address | None:
    """An address as proxies write it: bare, with a port, in brackets; one of IPv4 in IPv6 as what it is."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
