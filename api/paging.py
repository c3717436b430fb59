"""The query of a list: which page is asked for."""

from collections.abc import Mapping
from typing import Final

from api.errors import ApiError, above_maximum, below_minimum, invalid_type, invalid_value
from api.numbers import whole_number

BATCHES_PER_PAGE: Final = 20
MOST_BATCHES: Final = 100
MOST_FILES: Final = 10_000
_ORDERS: Final = ("asc", "desc")


def batches_limit(query: Mapping[str, str]) -> int:
    """How many batches. Raises `ApiError`."""
    text = query.get("limit")
    if text is None:
        return BATCHES_PER_PAGE
    limit = whole_number(text)
    if limit is None:
        raise invalid_type("limit", "an integer", text)
    if limit < 1:
        raise below_minimum("limit", 1, limit)
    if limit > MOST_BATCHES:
        raise above_maximum("limit", MOST_BATCHES, limit)
    return limit


def files_limit(query: Mapping[str, str]) -> int:
    """How many files. Raises `ApiError`."""
    text = query.get("limit")
    limit = MOST_FILES if text is None else whole_number(text)
    if limit is None or not 1 <= limit <= MOST_FILES:
        raise ApiError(400, f"limit must be between 1 and {MOST_FILES}.")
    return limit


def newest_first(query: Mapping[str, str]) -> bool:
    """The order of files, by their creation. Raises `ApiError`."""
    order = query.get("order", "desc")
    if order not in _ORDERS:
        raise invalid_value("order", order, _ORDERS)
    return order == "desc"
