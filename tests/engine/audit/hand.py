"""The hand of somebody who owns the database and the storage, and how they say what they did."""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final

import asyncpg
import msgspec

from events.audit.records import Signed

TABLES: Final = ("events", "attachments", "read_models", "signed_checkpoints", "incarnations")
Connection = asyncpg.Connection


class Done(msgspec.Struct, frozen=True):
    """What was done, and what it must be called: one of `kinds`, at one of `positions` or of `keys` (which
    a defect's key begins with), where these are given."""

    told: str
    kinds: tuple[str, ...]
    positions: Sequence[int] = ()
    keys: Sequence[str] = ()


class Hand:
    """The hand that does it."""

    def __init__(
        self, connection: Connection, folder: Path, witnessed: Sequence[Signed], dice: Random
    ) -> None:
        self.connection = connection
        self.folder = folder
        self.witnessed = witnessed
        self.dice = dice
        self.size = witnessed[-1].checkpoint.size

    async def row(self, query: str, *arguments: object) -> asyncpg.Record:
        """One of the rows, by the dice."""
        rows = await self.connection.fetch(query, *arguments)
        return self.dice.choice(rows)

    async def position(self) -> int:
        return self.dice.randint(1, self.size)

    async def execute(self, statement: str, *arguments: object) -> None:
        await self.connection.execute(statement, *arguments)

    async def shift(self, first: int, by: int) -> None:
        """Moves events from a position on, so that none is missing."""
        await self.execute("UPDATE events SET position = -position - 1000000 WHERE position >= $1", first)
        await self.execute(
            "UPDATE events SET position = -position - 1000000 + $1 WHERE position < -1000000", by
        )

    def flipped(self, value: bytes) -> bytes:
        """The same with one bit changed."""
        at = self.dice.randrange(len(value))
        return value[:at] + bytes([value[at] ^ 1 << self.dice.randrange(8)]) + value[at + 1 :]

    def misspelt(self, text: str) -> str:
        """The same with one letter changed."""
        at = self.dice.randrange(len(text))
        other = self.dice.choice([sign for sign in "abc012 x" if sign != text[at]])
        return text[:at] + other + text[at + 1 :]


DIGESTED: Final = """
    WITH c AS (
        SELECT position, sha256(
            length_prefixed(convert_to(type, 'UTF8')) || length_prefixed(convert_to(data, 'UTF8'))
            || length_prefixed(lines) || length_prefixed(attachments)) AS content
        FROM events WHERE position = $1)
    UPDATE events e SET content_digest = content, digest = event_digest(
        stream_id, version, event_id, project_id, metadata, recorded_at, content)
    FROM c WHERE e.position = c.position
"""
"""Gives an event the digests that its columns have now, as the log's own functions do."""
