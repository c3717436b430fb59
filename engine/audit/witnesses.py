"""Witnesses: places out of this installation's reach that are told of each checkpoint.

What a witness has kept, nobody can unsay: a log that was cut or changed afterwards does not fit it. A witness
that is slow or away delays nobody and misses only what a later checkpoint says as well.
"""

import asyncio
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import aiohttp
import structlog

from events.audit.checkpoint import Checkpoint
from events.audit.records import Signed
from events.errors import BatchmillError
from storage.store import StorageError, Store

_logger = structlog.get_logger()
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Seconds before a witness that failed is told again, doubling."""
WEBHOOK_PATIENCE: Final = 20.0


class WitnessFailed(BatchmillError):
    """A witness was not told."""


class Witness(Protocol):
    """`place` is what messages call it; it holds no secret."""

    place: str

    async def tell(self, signed: Signed) -> None:
        """Returns when the witness has it; to be told twice is harmless. Raises `WitnessFailed`."""
        ...


class FileWitness:
    """Appends each note to a file, with a blank line after it (`events.audit.note.parse_notes` reads it); on
    another machine's disk, or append-only."""

    def __init__(self, path: Path) -> None:
        self.place = str(path)
        self._path = path

    async def tell(self, signed: Signed) -> None:
        """See `Witness.tell`."""
        try:
            await asyncio.to_thread(self._append, signed.note.encode() + "\n")
        except OSError as error:
            raise WitnessFailed(f"{self.place} cannot be written: {error.strerror}") from error

    def _append(self, text: str) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            before, whole = os.fstat(descriptor).st_size, text.encode()
            if os.write(descriptor, whole) != len(whole):
                os.ftruncate(descriptor, before)  # or what comes later could not be told from what is cut
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class StoreWitness:
    """Keeps an object for each checkpoint, `checkpoints/<incarnation>/<size in 20 digits>`; best in a bucket
    with object lock, of another owner."""

    def __init__(self, store: Store, place: str) -> None:
        self.place = place
        self._store = store

    async def tell(self, signed: Signed) -> None:
        """See `Witness.tell`."""
        try:
            await self._store.keep(name_of(signed.checkpoint), signed.note.encode().encode())
        except StorageError as error:
            raise WitnessFailed(str(error)) from error


class HttpWitness:
    """POSTs each note to a URL, and has any 2xx for an answer."""

    def __init__(self, url: str, place: str, patience: float = WEBHOOK_PATIENCE) -> None:
        self.place = place
        self._url = url
        self._timeout = aiohttp.ClientTimeout(total=patience)

    async def tell(self, signed: Signed) -> None:
        """See `Witness.tell`."""
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        try:
            async with (
                aiohttp.ClientSession(timeout=self._timeout) as session,
                session.post(
                    self._url, data=signed.note.encode().encode(), headers=headers, allow_redirects=False
                ) as answer,
            ):
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise WitnessFailed(f"{self.place} did not answer: {type(error).__name__}") from error
        if not 200 <= status < 300:
            raise WitnessFailed(f"{self.place} answered {status}")


class Witnesses:
    """Tells each witness of the newest checkpoint, each at its own pace."""

    def __init__(self, witnesses: Sequence[Witness], first_pause: float = FIRST_PAUSE) -> None:
        self._boxes = [_Box(witness, first_pause) for witness in witnesses]

    def tell(self, signed: Signed) -> None:
        """There is a newer checkpoint. Returns at once."""
        for box in self._boxes:
            box.put(signed)

    async def run(self) -> None:
        """Tells them until cancelled."""
        async with asyncio.TaskGroup() as group:
            for box in self._boxes:
                group.create_task(box.run())


class _Box:
    """The newest checkpoint that a witness is to be told; a newer one takes the place of one that waits."""

    def __init__(self, witness: Witness, first_pause: float) -> None:
        self._witness = witness
        self._first_pause = first_pause
        self._newest: Signed | None = None
        self._filled = asyncio.Event()

    def put(self, signed: Signed) -> None:
        self._newest = signed
        self._filled.set()

    async def run(self) -> None:
        pause = self._first_pause
        while True:
            await self._filled.wait()
            self._filled.clear()
            signed = self._newest
            if signed is None:
                continue
            try:
                await self._witness.tell(signed)
            except WitnessFailed as error:
                _logger.warning(
                    "witness not told", size=signed.checkpoint.size, seconds=pause, reason=str(error)
                )
                self._filled.set()
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                pause = self._first_pause


def name_of(checkpoint: Checkpoint) -> str:
    """The name of an object that holds this checkpoint; such names sort by size."""
    return f"checkpoints/{checkpoint.origin.rpartition('/')[2]}/{checkpoint.size:020}"
