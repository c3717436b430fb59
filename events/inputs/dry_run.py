"""A dry run: what planning says of an input, without a batch."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from events.inputs.planning import Plan, Planning, fitting
from events.inputs.validator import LineError, LineRules
from events.limits import Limits


class DryRun(msgspec.Struct, frozen=True):
    """What became of it: `errors` are those a batch would fail with, none of an input that is valid. `lines`
    and `tokens`, an estimate, are None where the errors were so many that the rest was not read."""

    model: str | None
    lines: int | None
    tokens: int | None
    errors: tuple[LineError, ...]


async def dry_run(
    pieces: AsyncIterator[bytes],
    read: Callable[[int, int], bytes],
    rules: LineRules,
    spill_folder: Path,
    max_lines: int,
    limits: Limits,
    project_id: str,
) -> DryRun:
    """Plans an input that comes in `pieces`, for a project with these limits; `read(start, end)` reads bytes
    of it again, in another thread. Memory does not grow with the input. Raises what both raise, and `OSError`
    where there is no room in `spill_folder`."""
    with Planning(rules, spill_folder, limits.most_lines(max_lines)) as planning:
        async for piece in pieces:
            await asyncio.to_thread(_feed, planning, piece)
            if planning.decided:
                break
        planned = fitting(await asyncio.to_thread(planning.finish, read), limits, project_id)
        whole = not planning.decided
        return DryRun(
            model=planned.model if isinstance(planned, Plan) else None,
            lines=planning.lines if whole else None,
            tokens=planning.estimated_tokens if whole else None,
            errors=() if isinstance(planned, Plan) else tuple(planned),
        )


def _feed(planning: Planning, piece: bytes) -> None:
    planning.feed(piece)
    planning.take_blocks()
