"""What is sent of a validated line is its bytes, also where a parser cannot hold them."""

import pytest

from events.inputs.request_line import custom_id_and_body
from events.inputs.validator import LineRules, LineValidator, RequestLine

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    "value",
    [
        b'{"role": "user",  "content":"\\u0061"}',
        b'"\\ud83d"',
        b"1e400",
        b"[" * 3_000 + b"]" * 3_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"9" * 10_000,
        '"\u2028"'.encode(),
    ],
    ids=["usual", "lone surrogate", "1e400", "3,000 deep", "100,000 deep", "10,000 digits", "line separator"],
)
@pytest.mark.parametrize("custom_id", [b'"a"', b'"\\uD83d\\u0061"', '"é\\n"'.encode()])
def test_custom_id_and_body_come_byte_for_byte(custom_id: bytes, value: bytes) -> None:
    body = b'{ "model":"m", "messages":[' + value + b"] }"
    raw = b'{"custom_id": %b,"method":"POST","url":"%b","body":%b }' % (custom_id, CHAT.encode(), body)

    assert isinstance(LineValidator(LineRules(CHAT)).validate(raw, 1), RequestLine)
    assert custom_id_and_body(raw) == (custom_id, body)


def test_of_repeated_names_the_last_counts() -> None:
    body = b'{"model":"m","messages":[]}'
    raw = b'{"custom_id":1,"body":[],"method":"POST","url":"%b","custom_id":"a","body":%b}' % (
        CHAT.encode(),
        body,
    )

    assert isinstance(LineValidator(LineRules(CHAT)).validate(raw, 1), RequestLine)
    assert custom_id_and_body(raw) == (b'"a"', body)
