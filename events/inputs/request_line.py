"""Reads again, at run time, what a line sends: its custom_id and body as the exact bytes of the file."""

import msgspec

from events.json_scan import members


class _Sent(msgspec.Struct, gc=False):
    custom_id: msgspec.Raw
    body: msgspec.Raw


_decode = msgspec.json.Decoder(_Sent).decode


def custom_id_and_body(raw: bytes) -> tuple[bytes, bytes]:
    """The JSON token of `custom_id` and the bytes of `body` of a validated line; of repeated names the last
    counts, as in validation."""
    try:
        sent = _decode(raw)
    except (msgspec.DecodeError, RecursionError):
        found = dict(members(raw))
        return found["custom_id"], found["body"]
    return bytes(sent.custom_id), bytes(sent.body)
