"""Everything this project refuses or fails at, as one small hierarchy.

A message names the thing, the value and the remedy; it never carries a secret or a request body.
"""


class BatchmillError(Exception):
    """The root: whoever catches it has caught every failure this project foresees."""


class VersionConflict(BatchmillError):
    """A decision was made on an older version of a stream: read again, decide again."""

    def __init__(self, stream_id: str, expected: int, actual: int) -> None:
        super().__init__(
            f"stream {stream_id} is at version {actual}, expected {expected}: read it again and decide again"
        )
        self.stream_id = stream_id
        self.expected = expected
        self.actual = actual


class EventMismatch(BatchmillError):
    """An event id was used before for other content."""


class LeadershipLost(BatchmillError):
    """Another process leads now: whoever sees this stops leading at once."""


class LogBusy(BatchmillError):
    """An append waited longer than it may; nothing was appended by this call, or it is safe to repeat."""


class BusUnavailable(BatchmillError):
    """A message could not be placed on the bus in time; placing it again is harmless."""


class DatabaseUnavailable(BatchmillError):
    """The database cannot be reached or cannot write for the moment."""


class SchemaRefused(BatchmillError):
    """The database's schema and this program do not fit together."""


class UnknownEvent(BatchmillError):
    """An event of a type that this program does not know: its stream is parked, the others go on."""


class Refused(BatchmillError):
    """A command that the state of its object does not allow."""


class CannotCancel(Refused):
    """A batch that has already ended otherwise."""

    def __init__(self, status: str) -> None:
        super().__init__(f"Cannot cancel a batch with status '{status}'.")
        self.status = status


class UploadRefused(Refused):
    """What an upload in parts does not allow; `param` is what the client called it, if anything."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class KeyExpired(BatchmillError):
    """A key opens nothing since `at` (Unix seconds)."""

    def __init__(self, key_id: str, at: int) -> None:
        super().__init__(f"key {key_id} has expired: make another with `batchmill keys create`")
        self.at = at


class NotFound(BatchmillError):
    """No such object, or none that the asking project may know of."""


class SettingsError(BatchmillError):
    """A setting that is unknown, malformed, or does not go with another."""
