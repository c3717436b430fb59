"""Holds the line index of a batch being planned, until it is known that the batch is valid."""

import asyncio
import tempfile
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from events.batch import BLOCKS_PER_GROUP
from events.event import Attachment
from events.outcomes.lines import pack_block

MEMORY_BYTES: Final = 1 << 20
"""Above this they go to a file: a usual batch needs none."""


class IndexSpill:
    """Blocks in order, compressed; over `MEMORY_BYTES` in an unnamed file. A context."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.SpooledTemporaryFile(MEMORY_BYTES, dir=str(folder))  # noqa: SIM115  # closed on exit
        self._ends = [0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def full_groups(self) -> int:
        """Groups of blocks that have more blocks after them: each becomes an event of its own."""
        return max(0, len(self._ends) - 2) // BLOCKS_PER_GROUP

    def add(self, block: bytes) -> None:
        """Takes the next block. Raises `OSError` where the disk is full."""
        self._ends.append(self._ends[-1] + self._file.write(pack_block([block])))

    async def group(self, number: int) -> tuple[Attachment, ...]:
        """The blocks of a group, from 0; the last group may hold fewer."""
        if self._ends[-1] <= MEMORY_BYTES:
            return self._read(number)
        return await asyncio.to_thread(self._read, number)

    def _read(self, number: int) -> tuple[Attachment, ...]:
        first = number * BLOCKS_PER_GROUP
        ends = self._ends[first : first + BLOCKS_PER_GROUP + 1]
        self._file.seek(ends[0])
        return tuple(Attachment(self._file.read(end - start)) for start, end in pairwise(ends))
