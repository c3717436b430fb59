"""The folder that holds everything an embedded Batchmill knows, and the lock on it.

    <data folder>/           0700
        lock                 held with flock by the process that runs here; its pid inside
        database-url         where the running database answers, for the other commands
        webhook-key          what the signing secrets of webhooks are derived from
        audit-key            what signs checkpoints of the log
        postgres/            the embedded database
        files/               uploaded and produced files
        spill/               what a run puts aside while it works

A lock that the kernel releases when its holder dies, however it dies, is the one fact a pid file can
never give: after `kill -9` the next start goes on at once, and two starts never share a folder.
"""

import errno
import fcntl
import os
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from events.audit.note import PrivateKey
from events.errors import BatchmillError

SOCKET_NAME = ".s.PGSQL.5432"
"""How Postgres names its Unix socket: the port is part of the name, also where no port is listened on."""

AUDIT_KEY_NAME = "batchmill"
"""How a key is called unless somebody says otherwise."""

_PROBE_SECONDS = 2.0


class DataFolderError(BatchmillError):
    """The data folder cannot be used as it is."""


class DataFolderInUse(DataFolderError):
    """Another process runs on this data folder."""

    def __init__(self, path: Path, holder: int | None) -> None:
        by = f"process {holder}" if holder is not None else "another process"
        super().__init__(
            f"the data folder {path} is in use by {by}: stop it first, or choose another with --data-dir"
        )
        self.path = path
        self.holder = holder


class DataFolder:
    """A data folder that this process holds, until `close` or the process's death.

    Make one with `open`. It is a context manager that closes itself.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def open(cls, path: Path) -> Self:
        """Create the folder (0700) where it is missing and take the lock, without waiting.

        Raises DataFolderInUse when another process holds it, DataFolderError when it cannot be made or
        locked.
        """
        path = path.expanduser().absolute()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Never inherited: a child that outlives us must not go on holding the folder.
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unusable(path, error) from error
        folder = cls(path, lock)
        try:
            _take(lock, path)
            for part in (folder.postgres, folder.files, folder.spill):
                part.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            folder.close()
            raise _unusable(path, error) from error
        except BaseException:
            folder.close()
            raise
        return folder

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def files(self) -> Path:
        return self.path / "files"

    @property
    def spill(self) -> Path:
        return self.path / "spill"

    def publish_database_url(self, url: str) -> None:
        """Tell the other commands where the database of this folder answers."""
        draft = self.path / "database-url.new"
        draft.write_text(url + "\n")
        draft.replace(_database_url_file(self.path))

    def published_database_url(self) -> str | None:
        """What was published last and not withdrawn, also by a process that is dead by now."""
        return _read_database_url(self.path)

    def withdraw_database_url(self) -> None:
        _database_url_file(self.path).unlink(missing_ok=True)

    def close(self) -> None:
        """Let the folder go. Safe to call twice."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def running_database_url(path: Path) -> str | None:
    """The owner's URL of the database that runs on the data folder `path`, or None when none answers."""
    url = _read_database_url(path.expanduser().absolute())
    if url is None:
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, suppress(OSError):
        probe.settimeout(_PROBE_SECONDS)
        probe.connect(str(socket_folder_of(url) / SOCKET_NAME))
        return url
    return None


def kept_webhook_key(path: Path) -> str:
    """The webhook key of the data folder `path`; the first to ask makes it, at random, for good."""
    return _kept(path, "webhook-key", lambda: secrets.token_hex(32))


def audit_key_file(path: Path) -> Path:
    """Where the data folder `path` keeps the keys that sign checkpoints."""
    return path.expanduser().absolute() / "audit-key"


def kept_audit_key(path: Path) -> str:
    """The keys that sign checkpoints, of the data folder `path`; the first to ask makes one."""
    return _kept(path, audit_key_file(path).name, lambda: PrivateKey.fresh(AUDIT_KEY_NAME).text)


def _kept(path: Path, name: str, make: Callable[[], str]) -> str:
    """A secret of the data folder `path`, in a file that nobody else may read."""
    file = path.expanduser().absolute() / name
    if not file.exists():
        draft = file.with_name(f"{name}.{secrets.token_hex(8)}")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as new:
            new.write(make() + "\n")
            new.flush()
            os.fsync(new.fileno())
        try:
            with suppress(FileExistsError):
                os.link(draft, file)
        finally:
            draft.unlink()
    return file.read_text().strip()


def socket_folder_of(url: str) -> Path:
    """The folder of the Unix socket that a published URL names."""
    return Path(parse_qs(urlsplit(url).query)["host"][0])


def _unusable(path: Path, error: OSError) -> DataFolderError:
    return DataFolderError(
        f"the data folder {path} cannot be used: {error.strerror or error}; make it writable for this user, "
        "or choose another with --data-dir"
    )


def _take(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise DataFolderInUse(path, _holder(lock)) from None
        raise DataFolderError(
            f"the data folder {path} cannot be locked: {error.strerror or error}; it must be on a file "
            "system that knows flock, such as a local disk"
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _holder(lock: int) -> int | None:
    content = os.pread(lock, 32, 0).strip()
    return int(content) if content.isdigit() else None


def _database_url_file(path: Path) -> Path:
    return path / "database-url"


def _read_database_url(path: Path) -> str | None:
    try:
        return _database_url_file(path).read_text().strip() or None
    except (FileNotFoundError, PermissionError):
        return None
