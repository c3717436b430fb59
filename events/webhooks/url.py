"""Which URLs a webhook endpoint may have, as far as the text tells: a name is judged when it is called."""

from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from events.webhooks.public_address import AddressRule

LONGEST_URL: Final = 2048


def url_refusal(url: str, rule: AddressRule) -> str | None:
    """Why a URL cannot be that of an endpoint, as the end of a sentence; None where it can.

    Plain http is for the networks that a rule allows; without any it is refused here already.
    """
    if len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        return f"must be a URL of at most {LONGEST_URL} printable ASCII characters"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is no URL"
    if parts.scheme not in ("https", "http") or not host:
        return "must be an HTTPS URL such as https://example.com/webhooks"
    if parts.scheme == "http" and not rule.allowed:
        return "must begin with https://"
    if parts.username is not None or parts.password is not None:
        return "must not hold a password: the signature is what tells who sends"
    if parts.fragment:
        return "must not have a fragment (#)"
    try:
        address = str(ip_address(host))
    except ValueError:
        return None
    refusal = rule.refusal(address, secure=parts.scheme == "https")
    return None if refusal is None else f"must not be called: {address} {refusal}"
