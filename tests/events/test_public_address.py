"""What a webhook may call: nothing that is not public, however it is written, unless it is allowed."""

from ipaddress import ip_network

import pytest

from events.webhooks.public_address import AddressRule

REFUSED = {
    "loopback": ["127.0.0.1", "127.8.9.1", "::1"],
    "unspecified": ["0.0.0.0", "0.1.2.3", "::"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fd00::1", "fc00::1", "fec0::1"],
    "carrier's": ["100.64.0.1", "100.127.255.254"],
    "link": ["169.254.169.254", "fe80::1", "fe80::1%eth0"],
    "mapped": ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:a00:1"],
    "embedded": ["64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "::127.0.0.1"],
    "multicast": ["224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::1"],
    "reserved": ["240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "2001:db8::1", "64:ff9b:1::1"],
    "nonsense": ["", "localhost", "127.1", "0x7f000001", "1.2.3.4.5"],
}
PUBLIC = ["1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::101:101"]


@pytest.mark.parametrize("address", [a for group in REFUSED.values() for a in group])
def test_what_is_not_public_is_refused(address: str) -> None:
    assert AddressRule().refusal(address, secure=True) is not None


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_called_over_tls_alone(address: str) -> None:
    assert AddressRule().refusal(address, secure=True) is None
    assert "without TLS" in (AddressRule().refusal(address, secure=False) or "")


def test_an_allowed_network_is_called_with_tls_and_without() -> None:
    rule = AddressRule([ip_network("10.1.0.0/16"), ip_network("fd00::/8")])
    for secure in (True, False):
        for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd00::7"):
            assert rule.refusal(address, secure=secure) is None
        for address in ("10.2.0.1", "127.0.0.1", "::1", "169.254.169.254"):
            assert rule.refusal(address, secure=secure) is not None
