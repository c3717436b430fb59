"""Which completion windows there are, and which an operator's offers cover."""

import pytest

from api.batches.windows import is_offer, offered, window_seconds


@pytest.mark.parametrize(
    ("window", "seconds"),
    [("1s", 1), ("90m", 5400), ("24h", 86_400), ("30d", 2_592_000), ("2592000s", 2_592_000)],
)
def test_a_window_is_a_number_and_a_unit(window: str, seconds: int) -> None:
    assert window_seconds(window) == seconds
    assert is_offer(window)


@pytest.mark.parametrize(
    "window",
    ["", "24", "h", "0s", "01h", "1.5h", "-1h", "24H", "1w", "24h ", "31d", "2592001s", "9" * 99 + "s"],
)
def test_everything_else_is_none(window: str) -> None:
    assert window_seconds(window) is None
    assert not is_offer(window)
    assert not offered(window, ("24h", "1s-30d", window))


def test_a_window_is_asked_for_as_it_is_offered() -> None:
    assert offered("24h", ("24h",))
    for other in ("1d", "1440m", "25h", "1h"):
        assert not offered(other, ("24h",))


@pytest.mark.parametrize(
    ("window", "covered"), [("59m", False), ("1h", True), ("90m", True), ("7d", True), ("169h", False)]
)
def test_a_range_covers_every_window_between(window: str, covered: bool) -> None:
    assert offered(window, ("24h", "1h-7d")) == covered
    assert offered("24h", ("24h", "2d-7d"))


@pytest.mark.parametrize("offer", ["1h-", "-1h", "7d-1h", "1h-1h", "1h-31d", "1h-2h-3h", "1h - 2h"])
def test_what_no_operator_may_write(offer: str) -> None:
    assert not is_offer(offer)
