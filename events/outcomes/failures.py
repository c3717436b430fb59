"""The failures of a batch, grouped by their causes, in memory that does not grow with the batch.

What each line came to is among the facts of its flush. Why is in the answers, which are read only where a
flush has failures, and only up to a budget: lines past it are counted by their status alone.
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import islice
from typing import Final

import msgspec

from events.batch import Batch, LinesCompleted
from events.catalog import decode
from events.inputs.input_lines import InputLines
from events.inputs.line_index import BadIndex
from events.inputs.planning import InputChanged
from events.inputs.request_line import custom_id_and_body
from events.log import Log
from events.outcomes.cause import Cause, cause_of_error, coarse_cause
from events.outcomes.flush_failures import flush_failures
from events.outcomes.line_set import LineSet
from events.outcomes.lines import UNRUN, is_success, unpack_facts
from events.read_models import Seen
from storage.store import Store

MOST_GROUPS: Final = 100
EXAMPLES: Final = 3
READ_BYTES: Final = 32 << 20
"""Of result lines that are read for their messages: those of about 80,000 failures, or of 8 full flushes."""
PAGE: Final = 100


class Group(msgspec.Struct):
    """Lines that failed alike: how many, and the first few: `custom_ids` as JSON tokens, or physical `lines`
    of an input that was refused."""

    cause: Cause
    count: int = 0
    custom_ids: list[bytes] = []
    lines: list[int] = []


class Groups:
    """At most `most` groups; what would be one more is counted among those of its status."""

    def __init__(self, most: int = MOST_GROUPS) -> None:
        self._most = most
        self._groups: dict[Cause, Group] = {}

    def add(self, cause: Cause, count: int = 1) -> Group:
        """Counts lines that failed for a cause, and returns their group."""
        if cause not in self._groups and len(self._groups) >= self._most:
            cause = cause.coarse
        group = self._groups.setdefault(cause, Group(cause))
        group.count += count
        return group

    def largest_first(self) -> list[Group]:
        """The groups, those of equal size as they were found."""
        return sorted(self._groups.values(), key=lambda group: -group.count)


async def failures_of(log: Log, store: Store, seen: Seen[Batch], read_bytes: int = READ_BYTES) -> list[Group]:
    """The failures that are recorded of a batch, the largest group first; of one that was cancelled or has
    expired also the lines that were never run, and of one that could not start what is wrong with its input.

    Raises `ResultsDamaged`, and `UnknownEvent` for a history of a newer program.
    """
    groups = Groups()
    for error in seen.state.errors:
        group = groups.add(cause_of_error(error))
        if error.line is not None and len(group.lines) < EXAMPLES:
            group.lines.append(error.line)
    async for version in _flushes_with_failures(log, seen.id):
        read_bytes -= await _add_flush(log, seen.id, version, groups, read_bytes)
    await _add_unrun(log, store, seen, groups)
    return groups.largest_first()


async def lines_with_outcome(log: Log, batch_id: str, total: int) -> LineSet:
    """The lines of a batch that have an outcome."""
    lines = LineSet(total)
    after = 0
    while page := await log.facts(batch_id, after=after, limit=PAGE):
        for _, _, column in page:
            lines.update(unpack_facts(column).lines)
        after = page[-1][0]
    return lines


async def _flushes_with_failures(log: Log, batch_id: str) -> AsyncIterator[int]:
    """Their versions, in order."""
    after = 0
    while page := await log.stream(batch_id, after=after):
        for recorded in page:
            event = decode(recorded.type, recorded.data)
            if isinstance(event, LinesCompleted) and event.failed:
                yield recorded.version
        after = page[-1].version


async def _add_flush(log: Log, batch_id: str, version: int, groups: Groups, read_bytes: int) -> int:
    """Counts the failures of a flush; says how many bytes were read for it, at most `read_bytes`."""
    if read_bytes > 0:
        recorded = await log.flushed(batch_id, version)
        if recorded is not None and recorded.attachment is not None:
            facts = unpack_facts(recorded.lines)
            size = sum(facts.sizes)
            if size <= read_bytes:
                for _, failure in await flush_failures(recorded, facts):
                    group = groups.add(failure.cause)
                    if len(group.custom_ids) < EXAMPLES:
                        group.custom_ids.append(failure.custom_id)
                return size
    for _, _, column in await log.facts(batch_id, after=version - 1, limit=1):
        for status in unpack_facts(column).statuses:
            if not is_success(status):
                groups.add(coarse_cause(status))
    return 0


async def _add_unrun(log: Log, store: Store, seen: Seen[Batch], groups: Groups) -> None:
    """Counts the lines without an outcome, where they get none any more."""
    batch = seen.state
    unrun = batch.total - batch.completed - batch.failed
    if batch.finalizing is None or batch.finalizing not in UNRUN or not unrun:
        return
    code, message = UNRUN[batch.finalizing]
    group = groups.add(Cause(None, code, message), unrun)
    lines = await lines_with_outcome(log, seen.id, batch.total)
    inputs = InputLines(log, store, seen.id, batch.created)
    with suppress(InputChanged, BadIndex):  # both go with the files of a batch; then there are no examples
        async for line in inputs.lines(islice(lines.missing(), EXAMPLES)):
            group.custom_ids.append(custom_id_and_body(line.raw)[0])
