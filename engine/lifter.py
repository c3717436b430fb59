"""Lifts rows that older programs wrote: folds their streams again, and writes them in this program's shape.

A look at such an object folds a short stream again by itself (`events/shape.py`); this is for the long ones,
and so that none is folded again and again. Rows that were parked are tried again, too. One stream is read at
a time, page by page. What an older leader writes later, in a rolling upgrade, the next look lifts.
"""

import asyncio
from typing import Final

import structlog

from events.catalog import kind_of
from events.journal import Journal
from events.log import Leadership
from events.past import whole_stream
from events.read_models import ModelWrite, Written
from events.rebuild import FoldedStream
from events.segments.shelf import SegmentDamaged
from events.shape import SHAPES, encode_state, shape_of
from storage.store import StorageError

_logger = structlog.get_logger()
EVERY: Final = 3600.0
"""Seconds between two looks at all rows."""
PAGE: Final = 1000
"""Rows looked at together."""
REST: Final = 0.05
"""Seconds between two pages: the leader has other things to do."""


class Lifter:
    """Runs under a leadership; every write of it checks the token."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def run(self, leadership: Leadership) -> None:
        """Looks until cancelled. Raises `LeadershipLost`, and what the database raises."""
        while True:
            await self.look(leadership)
            await asyncio.sleep(EVERY)

    async def look(self, leadership: Leadership) -> int:
        """Lifts every row of an older shape, and each parked one that this program can fold further; says how
        many it has lifted."""
        lifted, left, after = 0, 0, ""
        while page := await self._journal.models.written(after, PAGE):
            for row in page:
                kind = kind_of(row.id)
                if kind is None or row.shape is None or row.shape > SHAPES[kind].number:
                    continue
                if row.shape < SHAPES[kind].number or row.parked is not None:
                    if await self._lift(row, leadership):
                        lifted += 1
                    else:
                        left += 1
            after = page[-1].id
            await asyncio.sleep(REST)
        if lifted or left:
            _logger.info("rows of an older program lifted", rows=lifted, left=left)
        return lifted

    async def _lift(self, row: Written, leadership: Leadership) -> bool:
        """Whether it could be: not where events of the stream are lost, nor where nothing is gained."""
        folded: FoldedStream | None = None
        version = 0
        try:
            async for event in whole_stream(self._journal.log, row.id):
                version += 1
                if event.version != version:
                    return False
                folded = folded or FoldedStream(event)
                folded.add(event)
        except (SegmentDamaged, StorageError):
            return False
        if folded is None or folded.state is None:
            return False
        state = encode_state(folded.state)
        if folded.parked is not None and shape_of(state).number == row.shape:
            return False
        await self._journal.models.advance(
            [ModelWrite(row.id, folded.version, state, folded.parked)], leadership=leadership
        )
        return True
