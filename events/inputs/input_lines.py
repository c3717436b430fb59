"""Reads the request lines of a running batch by their ordinals, from the input file and the line index.

Lines that lie near each other are read together, in windows of at most `WINDOW_BYTES`; a line that is
larger is read alone. Each is held against the digest that was taken when it was validated.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final, NamedTuple

from events.batch import BLOCKS_PER_GROUP, BatchCreated
from events.inputs.line_index import BadIndex, IndexBlock, LineSpan, block_of, decode_block, line_digest
from events.inputs.planning import InputChanged, InputGone
from events.log import Log
from events.outcomes.lines import unpack_block
from storage.store import ObjectMissing, Store

WINDOW_BYTES: Final = 4 << 20
GAP_BYTES: Final = 64 << 10
"""Reading on over so many bytes that nobody asked for costs less than another request to a store."""
INLINE_BYTES: Final = 512 << 10
"""A larger window is checked in a thread, so that it holds up nothing else."""
BLOCKS_HELD: Final = 8
"""Decoded blocks of the index kept, 90 kB each: the chunks of one worker mostly lie near each other."""


class InputLine(NamedTuple):
    """A request line: its ordinal from 0, its physical line number from 1, its bytes without the newline."""

    line: int
    number: int
    raw: bytes


class InputLines:
    """The request lines of one batch that has started. May be used by several tasks at once."""

    def __init__(self, log: Log, store: Store, batch_id: str, created: BatchCreated) -> None:
        if created.input is None:
            raise BadIndex(f"batch {batch_id} has no input file: it cannot have started")
        self.endpoint = created.endpoint
        """The path that its lines are posted to."""
        self._log = log
        self._store = store
        self._batch_id = batch_id
        self._file_id = created.input_file_id
        self._key = created.input.storage_key
        self._blocks: OrderedDict[int, IndexBlock] = OrderedDict()
        self._loading = asyncio.Lock()

    async def lines(self, ordinals: Iterable[int]) -> AsyncIterator[InputLine]:
        """The lines of these ordinals, in this order; ascending ones are read together.

        Raises `InputChanged` where the file does not hold what was validated (`InputGone`: nothing),
        `BadIndex` where the index does not tell, and as `Store.read`.
        """
        async for window in self.windows(ordinals):
            for found in window:
                yield found

    async def windows(self, ordinals: Iterable[int]) -> AsyncIterator[list[InputLine]]:
        """The same as `lines`, those that were read together at once."""
        window: list[tuple[int, LineSpan]] = []
        block: IndexBlock | None = None
        for line in ordinals:
            if block is None or line not in block.lines:
                block = self._held(line) or await self._block(line)
            span = block.span(line)
            if window and not _near(window[0][1], window[-1][1], span):
                yield await self._read(window)
                window = []
            window.append((line, span))
        if window:
            yield await self._read(window)

    async def find(self, line: int) -> None:
        """Reads the index where it tells of a line, so that `lines` has it at hand. Raises `BadIndex`."""
        if self._held(line) is None:
            await self._block(line)

    async def _read(self, window: Sequence[tuple[int, LineSpan]]) -> list[InputLine]:
        start, end = window[0][1].start, window[-1][1].end
        try:
            data = await self._store.read(self._key, start, end)
        except ObjectMissing as error:
            raise InputGone(
                f"the contents of input file {self._file_id} of batch {self._batch_id} are gone from "
                f"storage: something other than this program removed them ({error})"
            ) from error
        if len(data) > INLINE_BYTES:
            return await asyncio.to_thread(self._cut, window, data)
        return self._cut(window, data)

    def _cut(self, window: Sequence[tuple[int, LineSpan]], data: bytes) -> list[InputLine]:
        origin = window[0][1].start
        found = []
        for line, (start, end, digest, number) in window:
            raw = data[start - origin : end - origin]
            if line_digest(raw) != digest:
                raise InputChanged(
                    f"line {number} of input file {self._file_id} of batch {self._batch_id} is not the line "
                    "that was validated: something other than this program writes to the stored file"
                )
            found.append(InputLine(line, number, raw))
        return found

    def _held(self, line: int) -> IndexBlock | None:
        block = self._blocks.get(block_of(line))
        if block is not None:
            self._blocks.move_to_end(block_of(line))
        return block

    async def _block(self, line: int) -> IndexBlock:
        async with self._loading:
            if (held := self._held(line)) is not None:
                return held
            ordinal = block_of(line)
            attachment = await self._log.index_block(self._batch_id, *divmod(ordinal, BLOCKS_PER_GROUP))
            if attachment is None:
                raise BadIndex(
                    f"batch {self._batch_id} has no block {ordinal} of its line index in the log: it has not "
                    "started, or not so many lines"
                )
            block = decode_block(unpack_block(attachment.body))
            self._blocks[ordinal] = block
            if len(self._blocks) > BLOCKS_HELD:
                self._blocks.popitem(last=False)
            return block


def _near(first: LineSpan, last: LineSpan, span: LineSpan) -> bool:
    """Whether `span` may be read together with those from `first` to `last`."""
    gap = span.start - last.end
    return 0 <= gap <= GAP_BYTES and span.end - first.start <= WINDOW_BYTES
