"""The lines of a batch's two result files, made from the log: what was recorded, and what never ran.

The same log gives the same bytes, whoever asks: the finalizer, and whoever checks or restores its files.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from itertools import pairwise
from typing import Final

from engine.answer import error_line, line_id
from engine.line_order import NEVER_RUN, Stretch, in_line_order
from events.batch import Batch
from events.inputs.input_lines import INLINE_BYTES, InputLines
from events.inputs.planning import InputChanged
from events.inputs.request_line import custom_id_and_body
from events.log import Log
from events.outcomes.flush_body import ResultsDamaged
from events.outcomes.lines import UNRUN
from storage.store import Store

STRETCH: Final = 256
"""Lines that were never run and are written together: a few milliseconds of work."""


async def result_lines(
    log: Log, store: Store, batch_id: str, batch: Batch, *, input_lost: bool = False, proven: bool = False
) -> AsyncGenerator[Stretch, None]:
    """One line of a result file for each line of a batch that is finalizing or has ended, in line order, in
    stretches.

    Raises `ResultsDamaged`, `InputChanged` or `BadIndex` where the lines cannot be told, and as `Store.read`:
    the input is read for the lines that never ran. With `input_lost`, those of them that it does not tell
    have no `custom_id`, and say so. `proven` as of `in_line_order`.
    """
    inputs = InputLines(log, store, batch_id, batch.created)
    after = 0
    async for recorded in in_line_order(log, batch_id, proven=proven):
        if (last := recorded.lines[-1]) >= batch.total:
            raise ResultsDamaged(f"batch {batch_id} of {batch.total} lines has an outcome of line {last}")
        for stretch in _without_gaps(recorded):
            if after < stretch.lines[0]:
                unrun = range(after, stretch.lines[0])
                async for lines in _unrun_lines(batch_id, batch, inputs, unrun, input_lost=input_lost):
                    yield lines
            yield stretch
            after = stretch.lines[-1] + 1
    if after < batch.total:
        unrun = range(after, batch.total)
        async for lines in _unrun_lines(batch_id, batch, inputs, unrun, input_lost=input_lost):
            yield lines


async def _unrun_lines(
    batch_id: str, batch: Batch, inputs: InputLines, ordinals: range, *, input_lost: bool
) -> AsyncIterator[Stretch]:
    """The error lines of lines that were never run."""
    reason = batch.finalizing
    if reason is None or reason not in UNRUN:
        raise ResultsDamaged(f"batch {batch_id} has no outcome of line {ordinals[0]} in the log")
    code, message = UNRUN[reason]
    told = 0
    try:
        async for window in inputs.windows(ordinals):
            for first in range(0, len(window), STRETCH):
                lines, texts = [], []
                for found in window[first : first + STRETCH]:
                    if len(found.raw) > INLINE_BYTES:
                        custom_id_json, _ = await asyncio.to_thread(custom_id_and_body, found.raw)
                    else:
                        custom_id_json, _ = custom_id_and_body(found.raw)
                    lines.append(found.line)
                    texts.append(error_line(line_id(batch_id, found.line), custom_id_json, code, message))
                yield _never_run(lines, texts)
                told += len(lines)
                await asyncio.sleep(0)
    except InputChanged:
        if not input_lost:
            raise
    file_id = batch.created.input_file_id
    for first in range(told, len(ordinals), STRETCH):
        lines = list(ordinals[first : first + STRETCH])
        yield _never_run(lines, [_nameless(batch_id, line, code, message, file_id) for line in lines])
        await asyncio.sleep(0)


def _never_run(lines: list[int], texts: list[bytes]) -> Stretch:
    return Stretch(lines, [NEVER_RUN] * len(lines), [len(text) for text in texts], b"".join(texts))


def _nameless(batch_id: str, line: int, code: str, message: str, file_id: str) -> bytes:
    """The error line of the request `line` (from 0) of an input that was lost, and with it its name."""
    lost = f"Its custom_id is not known: it was request {line + 1} of input file {file_id}, which is lost."
    return error_line(line_id(batch_id, line), b"null", code, f"{message} {lost}")


def _without_gaps(recorded: Stretch) -> Iterator[Stretch]:
    """The same lines in stretches of consecutive ones: between two of them lines were never run."""
    lines = recorded.lines
    if lines[-1] - lines[0] == len(lines) - 1:
        yield recorded
        return
    first = 0
    for at, (line, following) in enumerate(pairwise(lines), 1):
        if line + 1 < following:
            yield recorded.part(first, at)
            first = at
    yield recorded.part(first, len(lines))
