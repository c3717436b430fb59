"""Where a request came from, and what of it is kept."""

import pytest

from api.source_address import Kept, kept_address, source_address

PROXIES = ("10.0.0.0/8", "fd00::/8")


@pytest.mark.parametrize(
    ("peer", "forwarded", "source"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        # Nobody vouches for what a stranger writes.
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        # What the client wrote stands left of what the first proxy saw.
        ("10.0.0.1", ["127.0.0.1, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, 10.2.0.1"], "198.51.100.1"),
        ("10.0.0.1", ["127.0.0.1", "198.51.100.1", "10.2.0.1"], "198.51.100.1"),
        ("10.0.0.1", ["10.3.0.1, 10.2.0.1"], "10.3.0.1"),
        # As proxies write it: with a port, in brackets, an IPv4 address in IPv6.
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("::ffff:10.0.0.1", ["2001:db8::1, fd00::7"], "2001:db8::1"),
        ("::ffff:203.0.113.9", [], "203.0.113.9"),
        # A trusted proxy that does not know: it is the last that is known.
        ("10.0.0.1", ["198.51.100.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, , 10.2.0.1"], "10.2.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
    ],
)
def test_the_source_is_the_last_that_somebody_trusted_has_seen(
    peer: str, forwarded: list[str], source: str
) -> None:
    assert str(source_address(peer, forwarded, PROXIES)) == source


def test_without_trusted_proxies_the_peer_is_the_source() -> None:
    assert str(source_address("127.0.0.1", ["198.51.100.1"], ())) == "127.0.0.1"


def test_what_is_no_address_has_no_source() -> None:
    assert source_address("/run/batchmill.sock", ["198.51.100.1"], PROXIES) is None
    assert kept_address(None, "full") is None


@pytest.mark.parametrize(
    ("kept", "v4", "v6"),
    [
        ("off", None, None),
        ("network", "203.0.113.0/24", "2001:db8:1::/48"),
        ("full", "203.0.113.9", "2001:db8:1:2::3"),
    ],
)
def test_only_as_much_is_kept_as_is_set(kept: Kept, v4: str | None, v6: str | None) -> None:
    assert kept_address(source_address("203.0.113.9", [], ()), kept) == v4
    assert kept_address(source_address("2001:db8:1:2::3", [], ()), kept) == v6
