"""Which trace a request says it belongs to."""

import pytest

from api.trace_context import trace_parent

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{PARENT}-01"


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (VALID, VALID),
        (f" {VALID} ", VALID),
        (f"00-{TRACE}-{PARENT}-00", f"00-{TRACE}-{PARENT}-00"),
        # Flags that version 00 does not know are none.
        (f"00-{TRACE}-{PARENT}-ff", f"00-{TRACE}-{PARENT}-03"),
        # A later version is read as version 00.
        (f"01-{TRACE}-{PARENT}-01", VALID),
        (f"cc-{TRACE}-{PARENT}-01-what-the-future-brings", VALID),
    ],
)
def test_a_valid_one_is_read_as_version_00(sent: str, read: str) -> None:
    assert trace_parent([sent]) == read


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "00",
        TRACE,
        VALID.upper(),
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"cc-{TRACE}-{PARENT}-01.more",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-1",
        f"00_{TRACE}_{PARENT}_01",
    ],
)
def test_an_invalid_one_is_none(sent: str) -> None:
    assert trace_parent([sent]) is None


def test_of_two_none_is_believed() -> None:
    assert trace_parent([]) is None
    assert trace_parent([VALID, VALID]) is None
