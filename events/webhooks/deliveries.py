"""Messages on their way to webhook endpoints: a row each, until a while after it was taken or given up.

    pending ──taken──▶ delivered          Any of them is pending again when somebody asks for it anew.
       │ └────given up, or nobody to send to──▶ failed
       └─not taken: due again, later

Beside the log, like the work board: what is here says what was sent, and the log what there was to send.
"""

from collections.abc import Sequence
from typing import Final, Literal

import asyncpg
import msgspec

from events.database import Database
from events.errors import NotFound
from events.log import Leadership
from events.statements import load_statements
from events.webhooks.event import Announcement, WebhookType

_SQL: Final = load_statements("events.webhooks", "deliveries.sql")
KEPT: Final = 30 * 86_400.0
"""Seconds that rows are kept; older ends of batches are announced no more, since they may have been."""
PRUNED: Final = 1_000
"""Most rows forgotten by one statement."""
DeliveryState = Literal["pending", "delivered", "failed"]


class NewDelivery(msgspec.Struct, frozen=True):
    """A message that is to be sent to an endpoint."""

    id: str
    endpoint_id: str
    project_id: str
    announcement: Announcement


class DueDelivery(msgspec.Struct, frozen=True):
    """A message whose time has come. `in_a_row` are the attempts since it was made, or asked for again."""

    id: str
    endpoint_id: str
    announcement: Announcement
    attempts: int
    in_a_row: int


class Delivery(msgspec.Struct, frozen=True):
    """How a message stands. `status` is the HTTP status of the last answer, `error` why the last attempt
    failed; times are Unix seconds, `due_at` None where nothing more will be sent."""

    id: str
    event_id: str
    type: WebhookType
    batch_id: str
    happened_at: int
    state: DeliveryState
    attempts: int
    status: int | None
    error: str | None
    created_at: int
    due_at: int | None
    attempted_at: int | None


class Settled(msgspec.Struct, frozen=True):
    """How sending went. `again_within` are the seconds until the next attempt of a pending one; `tried` is
    False where nothing could be sent at all, which costs no attempt."""

    state: DeliveryState
    again_within: float | None = None
    status: int | None = None
    error: str | None = None
    tried: bool = True


class WebhookDeliveries:
    """The rows of all endpoints."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, deliveries: Sequence[NewDelivery]) -> None:
        """Adds what is not there yet; harmless when repeated."""
        if not deliveries:
            return
        rows = [
            (d.id, d.endpoint_id, d.project_id, a.id, a.type, a.batch_id, a.happened_at)
            for d in deliveries
            for a in [d.announcement]
        ]
        async with self._database.writing() as connection:
            await connection.execute(_SQL["add"], *map(list, zip(*rows, strict=True)), KEPT)

    async def due(self, under_way: Sequence[str], each: int) -> list[DueDelivery]:
        """What is to be sent now but for the messages `under_way`, at most `each` of an endpoint, the longest
        due first."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(_SQL["due"], list(under_way), each)
        return [
            DueDelivery(
                row["id"],
                row["endpoint_id"],
                Announcement(row["event_id"], row["type"], row["batch_id"], row["happened_at"]),
                row["attempts"],
                row["in_a_row"],
            )
            for row in rows
        ]

    async def settle(self, leadership: Leadership, due: DueDelivery, settled: Settled) -> None:
        """Records how sending a message went, unless that was recorded already or it was asked for again
        meanwhile. Raises `LeadershipLost`."""
        async with self._database.writing() as connection:
            await connection.execute(
                _SQL["settle"],
                leadership.name,
                leadership.token,
                due.id,
                due.attempts,
                due.in_a_row,
                int(settled.tried),
                settled.state,
                settled.again_within,
                settled.status,
                settled.error,
            )

    async def any_taken(self, endpoint_id: str, since: int) -> bool:
        """Whether an endpoint has taken any message since then (Unix seconds)."""
        async with self._database.reading() as connection:
            return bool(await connection.fetchval(_SQL["any_taken"], endpoint_id, since))

    async def page(self, endpoint_id: str, *, after: str | None, limit: int) -> tuple[list[Delivery], bool]:
        """At most `limit` messages of an endpoint after the message `after`, the newest first, and whether
        there are more. Raises `NotFound` for a cursor that is no message of it."""
        if after is not None:
            await self.get(endpoint_id, after)
        async with self._database.reading() as connection:
            rows = await connection.fetch(_SQL["page"], endpoint_id, after, limit + 1)
        return [_delivery(row) for row in rows[:limit]], len(rows) > limit

    async def get(self, endpoint_id: str, id: str) -> Delivery:
        """One message of an endpoint. Raises `NotFound`."""
        async with self._database.reading() as connection:
            row = await connection.fetchrow(_SQL["one"], id, endpoint_id)
        if row is None:
            raise NotFound(f"no delivery {id!r} to {endpoint_id}")
        return _delivery(row)

    async def redeliver(self, endpoint_id: str, id: str) -> Delivery:
        """Has a message sent again, whatever became of it. Raises `NotFound`."""
        async with self._database.writing() as connection:
            await connection.execute(_SQL["redeliver"], id, endpoint_id)
        return await self.get(endpoint_id, id)

    async def prune(self) -> int:
        """Forgets messages that ended long ago; says how many, at most `PRUNED`."""
        async with self._database.writing() as connection:
            done = await connection.execute(_SQL["prune"], KEPT, PRUNED)
        return int(done.rpartition(" ")[2])


def _delivery(row: asyncpg.Record) -> Delivery:
    return Delivery(**dict(row))
