"""What one flush says of each of its lines, and the bodies that go with it.

`LineFacts` is stored beside the event (column `lines`): columns of small integers as MessagePack, about
25 bytes a line. The result lines themselves are one attachment, compressed together. No fold reads either.
"""

import hashlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeVar

import msgspec
import zstandard

from events.batch import Reason, Usage

Bytes = TypeVar("Bytes", bytes, memoryview)

COMPRESSION_LEVEL: Final = 1
"""zstd 1: what was measured as cheap enough for a durable loop to stay near a bare one."""

TIMED_OUT, NOT_CONNECTED, INVALID, TOO_LARGE, WORKER_LOST = -1, -2, -3, -4, -5
ERROR_CODES: Final = {
    TIMED_OUT: "request_timeout",
    NOT_CONNECTED: "connection_error",
    INVALID: "invalid_response",
    TOO_LARGE: "response_too_large",
    WORKER_LOST: "worker_lost",
}
"""Statuses of lines that never got a usable HTTP answer; every other status is the HTTP status."""

UNRUN: Final[Mapping[Reason, tuple[str, str]]] = {
    "cancelled": ("batch_cancelled", "This request was not executed because the batch was cancelled."),
    "expired": (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
}
"""Code and message of lines without an outcome, by why the batch ended."""


def is_success(status: int) -> bool:
    """Whether a line of this status belongs into the output file."""
    return 200 <= status < 300


class LineOutcome(msgspec.Struct, frozen=True, gc=False):
    """What became of one line. `result` is its whole line of the output or error file, with its newline.

    `line` is the ordinal among the request lines of the input, from 0. `started` is Unix time in seconds,
    `seconds` what the last attempt took.
    """

    line: int
    status: int
    attempts: int
    usage: Usage
    started: float
    seconds: float
    result: bytes

    @property
    def succeeded(self) -> bool:
        """Whether it belongs into the output file."""
        return is_success(self.status)


class LineFacts(msgspec.Struct, frozen=True, array_like=True):
    """The facts of the lines of one flush, as columns of equal length, in ascending line order.

    `sizes` are bytes of each result line in the uncompressed attachment; `started_ms` counts from the
    event's `began_ms`.
    """

    lines: list[int]
    statuses: list[int]
    attempts: list[int]
    sizes: list[int]
    input_tokens: list[int]
    output_tokens: list[int]
    cached_tokens: list[int]
    reasoning_tokens: list[int]
    started_ms: list[int]
    took_ms: list[int]

    def results(self, block: Bytes) -> Iterator[tuple[int, int, Bytes]]:
        """(line, status, result line) for each line of a flush, given its uncompressed attachment; of a view
        of that they are views."""
        start = 0
        for line, status, size in zip(self.lines, self.statuses, self.sizes, strict=True):
            yield line, status, block[start : start + size]
            start += size


def pack_facts(outcomes: Sequence[LineOutcome], began_ms: int) -> bytes:
    """The `lines` column of a flush; `outcomes` in ascending line order."""
    return msgspec.msgpack.encode(
        LineFacts(
            [o.line for o in outcomes],
            [o.status for o in outcomes],
            [o.attempts for o in outcomes],
            [len(o.result) for o in outcomes],
            [o.usage.input_tokens for o in outcomes],
            [o.usage.output_tokens for o in outcomes],
            [o.usage.cached_tokens for o in outcomes],
            [o.usage.reasoning_tokens for o in outcomes],
            [max(0, int(o.started * 1000) - began_ms) for o in outcomes],
            [int(o.seconds * 1000) for o in outcomes],
        )
    )


_facts = msgspec.msgpack.Decoder(LineFacts)


def unpack_facts(column: bytes) -> LineFacts:
    """The facts of a flush from its `lines` column."""
    return _facts.decode(column)


def pack_block(results: Sequence[bytes]) -> bytes:
    """The attachment body of the result lines, in ascending line order.

    The compressor lives for one call: a zstd object serves one thread at a time.
    """
    return zstandard.ZstdCompressor(level=COMPRESSION_LEVEL, write_checksum=False).compress(b"".join(results))


def unpack_block(body: bytes, limit: int = 1 << 30) -> bytes:
    """The uncompressed attachment. Raises `zstandard.ZstdError` for one that is damaged or of more than
    `limit` bytes."""
    size = zstandard.frame_content_size(body)
    if size > limit:
        raise zstandard.ZstdError(f"an attachment says it holds {size} bytes, over the limit of {limit}")
    return zstandard.ZstdDecompressor().decompress(body, max_output_size=limit)


def result_digest(salt: bytes, line: int, result: bytes | memoryview) -> bytes:
    """The salted digest of a result line: SHA-256(salt, line as 8 bytes, text)."""
    digest = hashlib.sha256(salt + struct.pack(">q", line))
    digest.update(result)
    return digest.digest()


def root_digest(lines: Sequence[int], results: Sequence[bytes | memoryview], salt: bytes) -> str:
    """The hex SHA-256 over the salted digest of each result line."""
    whole = hashlib.sha256()
    for line, result in zip(lines, results, strict=True):
        whole.update(result_digest(salt, line, result))
    return whole.hexdigest()
