"""A file that is being written and that nobody can see yet.

    new ── write ──▶ open ── publish ──▶ published
     └───────────────┴──── discard ─────────┴──────▶ discarded

Publishing is: fsync of the file, folders made, rename into place, fsync of the folders. So the name appears
only with all of its bytes, and both outlive a power cut (the order LevelDB and SQLite follow for new files).
"""

import hashlib
import os
import threading
from pathlib import Path


class Draft:
    """Every step blocks and belongs into a thread; each holds the draft's lock.

    So `discard` waits for the step that a cancelled put left running in its thread, and a step that starts
    after it does nothing but raise: whatever the order, the file is gone in the end.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._published: Path | None = None
        self._discarded = False
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> bytes:
        """Of what was written so far."""
        return self._digest.digest()

    def write(self, piece: bytes) -> None:
        """Append `piece`. Raises `OSError`."""
        with self._lock:
            descriptor = self._open()
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            self._digest.update(piece)
            self.size += len(piece)

    def publish(self, root: Path, key: str) -> None:
        """Make it the file `key` below `root`, durably. Raises `OSError`."""
        with self._lock:
            descriptor = self._open()
            os.fsync(descriptor)
            self._close()
            destination = root / key
            destination.parent.mkdir(parents=True, exist_ok=True)
            self._published = destination
            os.rename(self._path, destination)
            # Also the folders that were there: another put may have made them and not have synced them yet.
            folder = destination.parent
            sync_folder(folder)
            while folder != root:
                folder = folder.parent
                sync_folder(folder)

    def discard(self) -> None:
        """Remove it, published or not. Raises `OSError` when that fails; may be called again."""
        with self._lock:
            self._discarded = True
            self._close()
            self._path.unlink(missing_ok=True)
            if self._published is not None:
                self._published.unlink(missing_ok=True)

    def _open(self) -> int:
        if self._discarded:
            raise OSError(f"{self._path} was discarded")
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        return self._descriptor

    def _close(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable. Raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
