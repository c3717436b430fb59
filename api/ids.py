"""Ids: how ours are made, and which texts can be an id at all."""

import secrets
from typing import Final

_LONGEST: Final = 256


def fresh_batch_id() -> str:
    """`batch_` and 32 hex digits."""
    return "batch_" + secrets.token_hex(16)


def plausible(text: str) -> bool:
    """Whether an id could be this text. What is not never reaches the database, which cannot hold every
    character."""
    return 0 < len(text) <= _LONGEST and text.isascii() and text.isprintable()
