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
    return limit_of(query, BATCHES_PER_PAGE, MOST_BATCHES)


def limit_of(query: Mapping[str, str], usual: int, most: int) -> int:
    """How many of something, `usual` unless the query says otherwise. Raises `ApiError`."""
    limit = number_of(query, "limit", least=1)
    if limit is None:
        return usual
    if limit > most:
        raise above_maximum("limit", most, limit)
    return limit


def number_of(query: Mapping[str, str], name: str, least: int = 0) -> int | None:
    """A whole number of the query; None where it is absent. Raises `ApiError`."""
    text = query.get(name)
    if text is None:
        return None
    number = whole_number(text)
    if number is None:
        raise invalid_type(name, "an integer", text)
    if number < least:
        raise below_minimum(name, least, number)
    return number


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
