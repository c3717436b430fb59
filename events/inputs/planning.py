"""Turns the bytes of an input file into a plan, or into the reasons why the batch cannot start.

One pass over chunks of any size, in memory that grows neither with the file nor with its lines: a line is
held until its newline (one over the limit is only measured), a full block of the index is handed out, and
custom_ids are remembered by `CustomIds`. Nothing here waits or reads on its own.
"""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from events.errors import BatchmillError
from events.inputs.custom_ids import CustomIds, Place, Twin
from events.inputs.line_index import LINES_PER_BLOCK, BlockWriter, line_digest
from events.inputs.validator import LineError, LineRules, LineValidator, RequestLine, line_too_long, quoted
from events.limits import Limits

MAX_ERRORS: Final = 100
"""Entries of a failed batch's `errors`: errors of the whole file, then the first of its lines."""
MAX_LINES: Final = 50_000
MAX_EMBEDDING_INPUTS: Final = 50_000
"""Texts that all embeddings lines of a batch may hold together."""
BYTES_PER_TOKEN: Final = 4
"""What English text comes to with common tokenizers. A line is more than its prompt, and other languages take
more tokens for their bytes: an estimate for limits and budgets, not for a bill."""
_BOM: Final = b"\xef\xbb\xbf"


class InputChanged(BatchmillError):
    """The input file does not hold what it held a moment ago."""


class InputGone(InputChanged):
    """Its contents are not in storage any more."""


class Plan(msgspec.Struct, frozen=True):
    """A batch that may start: its request lines, their model, how many index blocks were handed out, and the
    tokens that all prompts may have."""

    total: int
    model: str
    blocks: int
    estimated_tokens: int


class Planning:
    """The planning of one batch: a context, fed with the file from its start, then finished.

    Lines end at LF or CRLF, the last one also at the end of the file; one byte order mark at the start is
    skipped; blank lines are skipped, but counted in line numbers.
    """

    def __init__(
        self,
        rules: LineRules,
        spill_folder: Path,
        max_lines: int = MAX_LINES,
        max_embedding_inputs: int = MAX_EMBEDDING_INPUTS,
    ) -> None:
        """`spill_folder` is where custom_ids go when there are too many for memory."""
        self.decided = False
        """Whether the rest of the file can no longer matter: it need not be read."""
        self.lines = 0
        """Request lines so far, good or bad."""
        self.estimated_tokens = 0
        """Tokens that their prompts may have: one for every `BYTES_PER_TOKEN` bytes of a line, rounded up."""

        self._rules = rules
        self._validator = LineValidator(rules)
        self._max_lines = max_lines
        self._max_embedding_inputs = max_embedding_inputs
        self._custom_ids = CustomIds(spill_folder)
        self._longest = rules.max_line_bytes + len(_BOM) + len(b"\r")

        self._start = 0  # of the physical line now being read, and what is known of it
        self._length = 0
        self._held = bytearray()
        self._number = 0  # of the last complete physical line

        self._embedding_inputs = 0
        self._model: str | None = None
        self._errors: list[LineError] = []
        self._block = BlockWriter(0)
        self._blocks: list[bytes] = []
        self._block_count = 0

    def __enter__(self) -> Self:
        self._custom_ids.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._custom_ids.__exit__(kind, error, trace)

    def feed(self, chunk: bytes) -> None:
        """Takes the next bytes of the file. Raises `OSError` when custom_ids cannot be spilled."""
        position = 0
        while not self.decided and (newline := chunk.find(b"\n", position)) >= 0:
            self._end_line(chunk[position:newline])
            position = newline + 1
        if not self.decided:
            self._hold(chunk[position:])

    def take_blocks(self) -> list[bytes]:
        """The blocks of the line index completed since the last call, in order. Void if the plan fails."""
        blocks, self._blocks = self._blocks, []
        return blocks

    def finish(self, read: Callable[[int, int], bytes]) -> Plan | list[LineError]:
        """The plan, or at most `MAX_ERRORS` errors: those of the whole file, then its lines in their order.

        `read(start, end)` reads bytes of the file again, to compare custom_ids that seem to be equal: at
        most twice for each error. Raises `InputChanged` when they are others than before. The last block of
        the index is ready after this.
        """
        if self._length and not self.decided:
            self._end_line(b"")
        errors = self._file_errors()
        if self.lines:
            twins = self._custom_ids.twins(MAX_ERRORS, lambda place: self._custom_id_at(place, read))
            errors += _in_line_order(self._errors, twins)
        if errors or self._model is None:
            return errors[:MAX_ERRORS]
        self._complete_block()
        return Plan(self.lines, self._model, self._block_count, self.estimated_tokens)

    def _hold(self, piece: bytes) -> None:
        """Keeps the beginning of a line, or only its length when that is over the limit."""
        self._length += len(piece)
        if self._length <= self._longest:
            self._held += piece
        else:
            self._held.clear()

    def _end_line(self, piece: bytes) -> None:
        """The physical line that `piece` ends is complete, up to its newline."""
        start, length = self._start, len(piece)
        self._number += 1
        if self._length:
            length += self._length
            self._held += piece
            piece = bytes(self._held)
            self._held.clear()
            self._length = 0
        self._start = start + length + len(b"\n")
        if self._number == 1 and piece.startswith(_BOM):
            piece = piece[len(_BOM) :]
            start += len(_BOM)
        raw = piece.removesuffix(b"\r")
        if length > self._longest:
            self._judged(line_too_long(length, self._number, self._rules), raw, start)
        elif raw.strip(b" \t\r"):
            self._judged(self._validator.validate(raw, self._number), raw, start)

    def _judged(self, line: RequestLine | LineError, raw: bytes, start: int) -> None:
        """One more request line, good or bad, that is `raw` at `start` of the file."""
        self.lines += 1
        self.estimated_tokens += -(-len(raw) // BYTES_PER_TOKEN)
        if self.lines > self._max_lines:
            self.decided = True
            return
        if isinstance(line, LineError):
            self._refuse(line)
            return
        self._custom_ids.add(line.custom_id, start, len(raw), self._number)
        self._embedding_inputs += line.embedding_inputs
        if self._model is None:
            self._model = line.model
        if line.model != self._model:
            self._refuse(_mismatched(line.model, self._number))
        if not self._errors:
            self._block.add(start, len(raw), line_digest(raw), self._number)
            if len(self._block) == LINES_PER_BLOCK:
                self._complete_block()

    def _refuse(self, error: LineError) -> None:
        self._errors.append(error)
        self.decided = len(self._errors) == MAX_ERRORS

    def _complete_block(self) -> None:
        if self._block:
            self._blocks.append(self._block.encode())
            self._block_count += 1
            self._block = BlockWriter(self._block_count * LINES_PER_BLOCK)

    def _file_errors(self) -> list[LineError]:
        if not self.lines:
            return [_EMPTY]
        errors: list[LineError] = []
        if self.lines > self._max_lines:
            errors.append(_too_many("requests", self._max_lines))
        if self._embedding_inputs > self._max_embedding_inputs:
            errors.append(_too_many("embedding inputs", self._max_embedding_inputs))
        return errors

    def _custom_id_at(self, place: Place, read: Callable[[int, int], bytes]) -> str:
        line = self._validator.validate(read(place.start, place.start + place.length), place.number)
        if isinstance(line, LineError):
            raise InputChanged(
                f"line {place.number} was valid when it was first read and is not any more ({line.code}): "
                "something other than this program writes to the stored input file"
            )
        return line.custom_id


def input_lost(file_id: str) -> LineError:
    """The error of a batch whose input file was taken in, and is not in storage any more."""
    message = (
        f"The contents of input file {file_id} are gone from storage, and did not come back. Upload the file "
        "again, and make another batch of it."
    )
    return LineError("input_lost", message, "file_id", None)


def cannot_find(file_id: str, project_id: str) -> LineError:
    """The error of a batch whose input file its project cannot see."""
    message = f"Cannot find file {file_id}, or organization {project_id} does not have access to it."
    return LineError("invalid_request", message, "file_id", None)


def fitting(planned: Plan | list[LineError], limits: Limits, project_id: str) -> Plan | list[LineError]:
    """The same, but for a plan that is larger than all its project may have queued: it could never start."""
    most = limits.queued_tokens
    if isinstance(planned, list) or not most or planned.estimated_tokens <= most:
        return planned
    message = (
        f"Enqueued token limit reached for {planned.model} in organization {project_id}. "
        f"Limit: {most:,} enqueued tokens. "
        "Please try again once some in_progress batches have been completed. "
        f"This batch alone has an estimated {planned.estimated_tokens:,}: split its input file."
    )
    return [LineError("token_limit_exceeded", message)]


_EMPTY: Final = LineError(
    "empty_file", "The input file is empty. Please ensure that the batch contains at least one request."
)


def _too_many(what: str, most: int) -> LineError:
    message = f"The number of {what} in the input file exceeds the maximum allowed value of {most:,}."
    return LineError("too_many_tasks", message)


def _mismatched(model: str, number: int) -> LineError:
    message = (
        f"The model {quoted(model)} for this request does not match the rest of the batch. "
        "Each batch must contain requests for a single model."
    )
    return LineError("mismatched_model", message, "body.model", number)


def _duplicate(twin: Twin) -> LineError:
    message = (
        f"The custom_id {quoted(twin.custom_id)} for this request is a duplicate of another request. "
        "The custom_id parameter must be unique for each request in a batch."
    )
    return LineError("duplicate_custom_id", message, "custom_id", twin.place.number)


def _in_line_order(errors: list[LineError], twins: list[Twin]) -> list[LineError]:
    """One entry a line: of two, the one that was found while reading."""
    by_line = {twin.place.number: _duplicate(twin) for twin in twins}
    by_line.update({error.line: error for error in errors if error.line is not None})
    return [by_line[number] for number in sorted(by_line)]
