"""A file that appears only when it is whole, in place of what had its name before."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from events.errors import BatchmillError

BUFFER = 1 << 20


class NotWritten(BatchmillError):
    """A file could not be written; what had its name before is untouched."""


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """What is written goes to a hidden file beside `path` and takes its name at the end, durably.

    A symbolic link stays and what it points at is replaced; a pipe or a device is written as it is. One
    writer at a time: the hidden name is always the same, so that a crash leaves one at most. Raises
    `NotWritten`.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        try:
            with path.open("wb", BUFFER) as target:
                yield target
        except OSError as error:
            raise not_written(path, error) from error
        return
    draft = path.with_name(f".{path.name}.part")
    try:
        try:
            with draft.open("wb", BUFFER) as target:
                yield target
                target.flush()
                os.fsync(target.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        _sync(path.parent)
    except OSError as error:
        raise not_written(path, error) from error


@contextmanager
def output_of(path: Path | None) -> Iterator[IO[bytes]]:
    """Where a command writes what it was asked for: a whole file, or standard output for None and `-`."""
    if path is not None and path != Path("-"):
        with whole_file(path) as target:
            yield target
        return
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()


def not_written(path: Path, error: OSError) -> NotWritten:
    """The error of a path that the system refused."""
    return NotWritten(f"{path} cannot be written: {error.strerror or error}")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
