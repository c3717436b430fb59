"""The work board: which batches are open, which chunks exist, who holds a claim to which.

Live state beside the log. All of it can be dropped and rebuilt from the log; claims then get new tokens,
so nothing old can match.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, cast
from uuid import UUID, uuid4

import asyncpg
import msgspec

from events.bus import Work
from events.database import Database
from events.failpoint import at
from events.log import Leadership, Phase
from events.statements import load_statements

_SQL: Final = load_statements("events", "sql/work.sql")
MOST_WAITS: Final = 1000


class OpenBatch(msgspec.Struct, frozen=True):
    """A batch that has not ended. Times are seconds from now, negative when past.

    `waiting` is why the dispatcher hands out nothing of it, if so. `next_line` of `total` is the first line
    never handed out; `open_lines` are those in chunks without an outcome yet; `held` and `free` count chunks.
    `estimated_tokens` are those of all its prompts; `created_at` is Unix time, the order in which they queue.
    """

    batch_id: str
    project_id: str
    phase: Phase
    input_file_id: str
    model: str | None
    total: int
    next_line: int
    waiting: str | None
    expires_in: float
    stop_in: float | None
    since: float
    held: int
    free: int
    open_lines: int
    estimated_tokens: int = 0
    created_at: float = 0.0

    @property
    def lines_left(self) -> int:
        """Lines without an outcome."""
        return self.total - self.next_line + self.open_lines

    @property
    def tokens_left(self) -> int:
        """The share of the estimated tokens that its lines without an outcome have."""
        return -(-self.estimated_tokens * self.lines_left // max(1, self.total))

    @property
    def needs_a_hand(self) -> bool:
        """Whether it is to be planned, or finalized: nothing more can be recorded of it, or what is in flight
        has had its time."""
        if self.phase == "running":
            return self.lines_left == 0
        if self.phase == "stopping":
            return self.held == 0 or (self.stop_in is not None and self.stop_in <= 0)
        return True

    def after(self, lines: int) -> "OpenBatch":
        """The batch after so many more lines were handed out as one chunk."""
        return msgspec.structs.replace(
            self,
            next_line=self.next_line + lines,
            open_lines=self.open_lines + lines,
            free=self.free + 1,
        )


class Claim(msgspec.Struct, frozen=True):
    """A worker's right to record outcomes of a chunk, as long as the token holds.

    `done` has a character per line of the chunk, '1' where an outcome is recorded. A `suspect` is one line
    that may have killed its worker: it runs alone, and `deaths` counts how often that ended badly.
    """

    id: int
    batch_id: str
    project_id: str
    token: UUID
    first_line: int
    lines: int
    done: str
    suspect: bool
    deaths: int
    expires_in: float

    def open_lines(self) -> list[int]:
        """Ordinals of the lines that still need an outcome."""
        return [self.first_line + n for n, bit in enumerate(self.done) if bit == "0"]

    def bits(self, lines: Sequence[int]) -> str:
        """The lines of a flush as bits of the chunk."""
        bits = bytearray(b"0" * self.lines)
        for line in lines:
            bits[line - self.first_line] = 49
        return bits.decode()


class Held(msgspec.Struct, frozen=True):
    """A chunk that a worker holds, as the board knows it."""

    id: int
    token: UUID


class Wait(msgspec.Struct, frozen=True):
    """What a batch waited for, in the dispatcher's words; `ended` is None while it waits."""

    reason: str
    began: datetime
    ended: datetime | None


class WorkBoard:
    """One call each; nothing is locked across two."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open_batches(self, batch_ids: Sequence[str] | None = None) -> list[OpenBatch]:
        """The batches that have not ended (of those named), the nearest deadline first."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(
                _SQL["open_batches"], None if batch_ids is None else list(batch_ids)
            )
        return [msgspec.convert(dict(row), OpenBatch) for row in rows]

    async def open_batches_of(self, project_id: str) -> list[OpenBatch]:
        """The batches of a project that have not ended, in order of creation."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(_SQL["open_batches_of"], project_id)
        return [msgspec.convert(dict(row), OpenBatch) for row in rows]

    async def waits(self, batch_id: str) -> list[Wait]:
        """What a batch has waited for, also when it has ended: the last `MOST_WAITS` of it, in order."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(_SQL["waits"], batch_id, MOST_WAITS)
        return [Wait(row["reason"], row["began_at"], row["ended_at"]) for row in reversed(rows)]

    async def holds_input(self, file_id: str) -> bool:
        """Whether a batch that has not ended reads this file."""
        async with self._database.reading() as connection:
            return cast(bool, await connection.fetchval(_SQL["holds_input"], file_id))

    async def hand_out(
        self, leadership: Leadership, cuts: Sequence[tuple[OpenBatch, int]]
    ) -> list[int | None]:
        """Cuts the next lines of batches, so many of each, into chunks, in one commit; of those of one batch
        each begins where the one before ends. Returns their claim ids in the order of the cuts; None where
        the batch has moved on. Raises `LeadershipLost`."""
        await at("hand_out.before")
        async with self._database.writing() as connection:
            rows = await connection.fetch(
                _SQL["hand_out"],
                leadership.name,
                leadership.token,
                [batch.batch_id for batch, _ in cuts],
                [batch.next_line for batch, _ in cuts],
                [lines for _, lines in cuts],
            )
        await at("hand_out.after")
        made = {row["cut"]: row["claim_id"] for row in rows}
        return [made[cut] for cut in range(1, len(cuts) + 1)]

    async def lend_hand(self, batch_id: str, helper: str, lease: float) -> bool:
        """Takes a batch in hand, or shows again that it is. False: another has it, and has said so within
        `lease` seconds. This spares work and guards nothing: the log decides whose work counts."""
        async with self._database.writing() as connection:
            return await connection.fetchval(_SQL["lend_hand"], batch_id, helper, lease) is not None

    async def withdraw_hand(self, batch_id: str, helper: str) -> None:
        """Lets go of a batch; harmless where another has it."""
        async with self._database.writing() as connection:
            await connection.execute(_SQL["withdraw_hand"], batch_id, helper)

    async def explain(self, reasons: Mapping[str, str | None], leadership: Leadership | None = None) -> None:
        """Says of batches why they wait; None: they do not. Raises `LeadershipLost`."""
        async with self._database.writing() as connection:
            await connection.execute(
                _SQL["explain"],
                list(reasons.keys()),
                list(reasons.values()),
                None if leadership is None else leadership.name,
                None if leadership is None else leadership.token,
            )

    async def free_claims(self, limit: int) -> list[Work]:
        """Chunks of running batches that nobody holds, at most `limit`, the oldest first."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(_SQL["free_claims"], limit)
        return [
            Work(row["batch_id"], row["id"], row["suspect"], row["lines"], row["first_line"]) for row in rows
        ]

    async def claim(self, claim_id: int, worker_id: str, most: int | None = None) -> Claim | None:
        """Takes a chunk, or one of the same batch that lies free because its worker died: but for suspects,
        these go first. None where it is gone, held, or its batch does not run. Of one that has no outcome yet
        no more than the first `most` lines are taken; the others stay free as a chunk of their own."""
        await at("claim.before")
        async with self._database.writing() as connection:
            row = await connection.fetchrow(_SQL["claim"], claim_id, worker_id, most)
        await at("claim.after")
        return None if row is None else _claim(row)

    async def hand_back(self, claims: Sequence[Claim | Held]) -> None:
        """Gives chunks back with what of them is still open; those no longer held are left alone."""
        await at("hand_back.before")
        async with self._database.writing() as connection:
            await connection.execute(_SQL["hand_back"], [c.id for c in claims], [c.token for c in claims])
        await at("hand_back.after")

    async def held_by(self, worker_id: str) -> list[Held]:
        """The chunks that a worker holds."""
        async with self._database.reading() as connection:
            return [Held(**dict(row)) for row in await connection.fetch(_SQL["held_by"], worker_id)]

    async def register(self, worker_id: str) -> None:
        """A worker begins; it may claim from now on, as long as it beats."""
        async with self._database.writing() as connection:
            await connection.execute(_SQL["register"], worker_id)

    async def beat(self, worker_id: str, pauses: Mapping[str, str] | None = None) -> bool:
        """A worker lives, and has paused these routes for these reasons. False: it was declared dead and
        holds nothing any more."""
        told = msgspec.json.encode(pauses or {}).decode()
        async with self._database.writing() as connection:
            return await connection.fetchval(_SQL["beat"], worker_id, told) is not None

    async def pauses(self) -> dict[str, dict[str, str]]:
        """Every worker, and why it has paused which routes, as of its last beat."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(_SQL["pauses"])
        return {row["id"]: msgspec.json.decode(row["pauses"], type=dict[str, str]) for row in rows}

    async def workers(self) -> dict[str, int]:
        """Every worker and its beat."""
        async with self._database.reading() as connection:
            return {row["id"]: row["beat"] for row in await connection.fetch(_SQL["workers"])}

    async def strays(self) -> list[str]:
        """Workers that hold claims and are not registered: a claim raced with their death."""
        async with self._database.reading() as connection:
            return [row["worker"] for row in await connection.fetch(_SQL["strays"])]

    async def leave(self, worker_id: str) -> None:
        """A worker stops cleanly: what it still holds is free, no death counted."""
        async with self._database.writing() as connection:
            await connection.execute(_SQL["leave"], worker_id)

    async def void_claims(self, dead: Sequence[str] | None) -> int:
        """Frees the claims of workers that died (None: of every one) and counts the death against each;
        says how many claims."""
        async with self._database.writing() as connection:
            return cast(
                int,
                await connection.fetchval(_SQL["void_claims"], None if dead is None else list(dead)),
            )

    async def observe(self, leadership: str) -> tuple[UUID, int] | None:
        """The token and beat of a leadership; None where nobody leads."""
        async with self._database.reading() as connection:
            row = await connection.fetchrow(_SQL["observe_leadership"], leadership)
        return None if row is None else (row["token"], row["beat"])

    async def take_leadership(self, name: str, observed: tuple[UUID, int] | None) -> Leadership | None:
        """Takes a leadership that is free, or still exactly as it was observed; None where it is not."""
        token = uuid4()
        seen_token, seen_beat = observed or (None, None)
        async with self._database.writing() as connection:
            taken = await connection.fetchval(_SQL["take_leadership"], name, token, seen_token, seen_beat)
        return None if taken is None else Leadership(name, token)

    async def beat_leadership(self, leadership: Leadership) -> bool:
        """False: another leads."""
        async with self._database.writing() as connection:
            beat = await connection.fetchval(_SQL["beat_leadership"], leadership.name, leadership.token)
        return beat is not None

    async def leave_leadership(self, name: str, token: UUID | None) -> None:
        """Steps down; with no token it clears whoever leads (only for who knows that nobody lives)."""
        async with self._database.writing() as connection:
            await connection.execute(_SQL["leave_leadership"], name, token)


def _claim(row: asyncpg.Record) -> Claim:
    return Claim(**dict(row))
