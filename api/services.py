"""What the API is given to work with, and the limits it keeps."""

import msgspec

from api.model_source import ModelSource
from api.open_streams import OpenStreams
from events.journal import Journal
from events.work import WorkBoard
from storage.store import Store

MIB = 1 << 20


class ApiOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes are bytes, times are seconds.

    `completion_windows` are offers, see `api/windows.py`. Below `free_space_floor` bytes of free storage no upload is taken. `cancel_grace` is what the lines in
    flight of a cancelled batch have to end.
    """

    max_batch_file_bytes: int = 200 * MIB
    max_file_bytes: int = 512 * MIB
    completion_windows: tuple[str, ...] = ("24h",)
    free_space_floor: int = 1024 * MIB
    cancel_grace: float = 30.0

    @property
    def max_upload_bytes(self) -> int:
        """The most bytes of one upload's body that are read: its largest file and some room for the form."""
        return max(self.max_batch_file_bytes, self.max_file_bytes) + MIB


class ApiServices(msgspec.Struct, frozen=True):
    """The long-lived collaborators of every request."""

    journal: Journal
    board: WorkBoard
    store: Store
    models: ModelSource
    options: ApiOptions = ApiOptions()
    streams: OpenStreams = msgspec.field(default_factory=OpenStreams)
