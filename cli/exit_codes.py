"""What the end of a command means to the shell. These numbers are part of the reference and do not change."""

from enum import IntEnum

from cli.embedded.data_folder import DataFolderInUse
from events.errors import (
    BatchmillError,
    BusUnavailable,
    DatabaseUnavailable,
    LogBusy,
    NotFound,
    Refused,
    SchemaRefused,
    SettingsError,
    VersionConflict,
)
from storage.store import StorageUnavailable


class ExitCode(IntEnum):
    """0 is success and nothing else is."""

    OK = 0
    """What was asked is done."""
    FAILED = 1
    """What was asked was tried and failed, such as a watched batch that ended without its results."""
    USAGE = 2
    """The command line or a setting is wrong; nothing was tried."""
    NOT_FOUND = 3
    """No such batch, file or key."""
    REFUSED = 4
    """Not allowed as things stand: a data folder in use, a batch that has ended, a key that is not valid."""
    UNREACHABLE = 5
    """The server or the database cannot be reached for now; the same command may succeed later."""
    DEFECTS = 6
    """What was verified is not what was recorded; the report names each defect."""
    INTERRUPTED = 130
    """Ctrl-C, as shells count it (128 and the signal)."""
    BROKEN_PIPE = 141
    """Whoever read the output has closed it, as shells count it."""


class ServerUnreachable(BatchmillError):
    """No answer from the server that a command asked, or one that says it cannot answer now."""


_CODES: tuple[tuple[ExitCode, tuple[type[Exception], ...]], ...] = (
    (ExitCode.USAGE, (SettingsError,)),
    (ExitCode.NOT_FOUND, (NotFound,)),
    (ExitCode.REFUSED, (Refused, SchemaRefused, VersionConflict, DataFolderInUse)),
    (
        ExitCode.UNREACHABLE,
        (ServerUnreachable, DatabaseUnavailable, BusUnavailable, LogBusy, StorageUnavailable),
    ),
)


def exit_code_of(error: Exception) -> ExitCode:
    """The code for a failure this project foresees; FAILED unless its kind says more."""
    return next((code for code, kinds in _CODES if isinstance(error, kinds)), ExitCode.FAILED)
