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

    def __init__(self, path: Path, *, digests: bool) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._published: Path | None = None
        self._discarded = False
        self._digest = hashlib.sha256() if digests else None
        self.size = 0

    @property
    def sha256(self) -> bytes:
        """Of what was written so far; empty where nobody digests."""
        return b"" if self._digest is None else self._digest.digest()

    def write(self, piece: bytes) -> None:
        """Append `piece`. Raises `OSError`."""
        with self._lock:
            descriptor = self._open()
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            if self._digest is not None:
                self._digest.update(piece)
            self.size += len(piece)

    def publish(self, root: Path, key: str) -> None:
        """Make it the file `key` below `root`, durably. Raises `OSError`."""
        with self._lock:
            self._synced()
            self._published = _place(root, key)
            os.rename(self._path, self._published)
            _sync_folders(root, self._published.parent)

    def replace(self, root: Path, name: str) -> None:
        """Make it the file `name` below `root`, durably, in the place of one that is there; `discard` leaves
        that be. Raises `OSError`."""
        with self._lock:
            self._synced()
            destination = _place(root, name)
            os.rename(self._path, destination)
            _sync_folders(root, destination.parent)

    def keep(self, root: Path, name: str) -> bool:
        """The same where no file has that name; False, and nothing done, where one has. Raises `OSError`."""
        with self._lock:
            self._synced()
            destination = _place(root, name)
            try:
                os.link(self._path, destination)
            except FileExistsError:
                return False
            self._path.unlink()
            _sync_folders(root, destination.parent)
            return True

    def discard(self) -> None:
        """Remove it, published or not. Raises `OSError` when that fails; may be called again."""
        with self._lock:
            self._discarded = True
            self._close()
            self._path.unlink(missing_ok=True)
            if self._published is not None:
                self._published.unlink(missing_ok=True)

    def _synced(self) -> None:
        os.fsync(self._open())
        self._close()

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


def _place(root: Path, name: str) -> Path:
    """Where a file of this name goes; its folders are made."""
    destination = root / name
    destination.parent.mkdir(parents=True, exist_ok=True)
    return destination


def _sync_folders(root: Path, folder: Path) -> None:
    """Make the names from `root` down to `folder` durable, also those of folders that were there: another put
    may have made them and not have synced them yet."""
    sync_folder(folder)
    while folder != root:
        folder = folder.parent
        sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable. Raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
