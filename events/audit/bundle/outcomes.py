"""Which lines a bundle tells of, how each ended, and what each one's result must be.

Holds a byte for each line; what is needed to compare result files goes to a spool.
"""

from collections.abc import Iterator
from typing import BinaryIO, Final

import msgspec
import zstandard

from events.audit.tree import HASH_BYTES
from events.event import SALT_BYTES
from events.outcomes.lines import LineFacts, is_success, result_digest, unpack_block, unpack_facts

MOST_LINES: Final = 100_000_000
"""Of a batch that is checked; a larger number would only be there to use up memory."""
_UNRUN, _COMPLETED, _FAILED = range(3)
_KEPT: Final = SALT_BYTES + HASH_BYTES


def facts_of(lines: bytes) -> LineFacts:
    """The facts of a flush from its `lines` column. Raises `ValueError`."""
    try:
        facts = unpack_facts(lines)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
    if {len(getattr(facts, column)) for column in facts.__struct_fields__} != {len(facts.lines)}:
        raise ValueError("the columns of its facts are not of one length")
    return facts


def result_digests(lines: bytes, salt: bytes, body: bytes) -> list[bytes]:
    """The digest of each result line of a flush, from its `lines` column and its attachment. Raises
    `ValueError` where the two do not fit each other."""
    facts = facts_of(lines)
    size = sum(facts.sizes)
    try:
        block = unpack_block(body, limit=max(1, size))
    except (zstandard.ZstdError, OverflowError) as error:
        raise ValueError(str(error)) from error
    if len(block) != size:
        raise ValueError(f"its results have {len(block)} bytes, and not the {size} of its facts")
    return [result_digest(salt, line, result) for line, _, result in facts.results(memoryview(block))]


class Outcomes:
    """Filled in by whoever reads a bundle; read by who compares its files.

    With a `spool`, a file that is open for reading and writing, it also keeps what results must be.
    """

    def __init__(self, spool: BinaryIO | None = None) -> None:
        self._spool = spool
        self._known = bytearray()
        self._told = bytearray()

    def begin(self, total: int) -> None:
        """The batch has so many lines. Raises `ValueError`."""
        if self._known or not 0 <= total <= MOST_LINES:
            raise ValueError(f"it has {total} lines, which is out of the question")
        self._known, self._told = bytearray(total), bytearray(total)

    def add(self, facts: LineFacts, salt: bytes | None, digests: bytes) -> None:
        """Lines of a flush; no salt: their digests are erased. Raises `ValueError`."""
        for place, (line, status) in enumerate(zip(facts.lines, facts.statuses, strict=True)):
            if not 0 <= line < len(self._known):
                raise ValueError(f"there is no line {line}")
            if self._known[line]:
                raise ValueError(f"line {line} has an outcome already")
            self._known[line] = _COMPLETED if is_success(status) else _FAILED
            if self._spool is not None and salt is not None:
                self._told[line] = 1
                self._spool.seek(line * _KEPT)
                self._spool.write(salt + digests[place * HASH_BYTES : (place + 1) * HASH_BYTES])

    @property
    def completed(self) -> int:
        """Lines that belong into the output file."""
        return self._known.count(_COMPLETED)

    @property
    def failed(self) -> int:
        """Lines that were recorded as errors."""
        return self._known.count(_FAILED)

    @property
    def unrun(self) -> int:
        """Lines without an outcome."""
        return self._known.count(_UNRUN)

    def of_file(self, *, output: bool) -> Iterator[int]:
        """The lines of a result file, in its order: those that completed, or all others."""
        return (line for line, how in enumerate(self._known) if (how == _COMPLETED) == output)

    def ran(self, line: int) -> bool:
        """Whether the line has an outcome."""
        return self._known[line] != _UNRUN

    def fits(self, line: int, result: bytes) -> bool:
        """Whether this can be the result of a line that ran; of one whose digest is erased, anything can."""
        if self._spool is None or not self._told[line]:
            return True
        self._spool.seek(line * _KEPT)
        kept = self._spool.read(_KEPT)
        return kept[SALT_BYTES:] == result_digest(kept[:SALT_BYTES], line, result)
