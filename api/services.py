"""What the API is given to work with, and the limits it keeps."""

import tempfile
from collections import Counter
from pathlib import Path

import msgspec

from api.audit.services import AuditServices
from api.model_source import ModelSource
from api.open_streams import OpenStreams
from api.rates import Limit, Rates
from api.slots import Slots
from api.source_address import Kept
from api.token_room import TokenRoom
from api.turns import Turns
from api.webhooks.services import WebhookServices
from events.journal import Journal
from events.limits import ProjectLimits
from events.work import WorkBoard
from storage.store import Store

MIB = 1 << 20
SEARCHES = 2
"""Inputs searched for a line at once."""
DRY_RUNS = 4
"""Inputs that are checked at once, each of which may lie in the spill folder meanwhile."""
FAILURE_READS = 2
"""Batches whose failures are read at once."""
HISTORY_READS = 4
"""Batches whose events are read from the first on at once."""
ARRIVALS = 32
"""Files and parts that come in at once; each holds a MiB or two."""
ARRIVALS_EACH = 16
"""Of one project."""


class ApiOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes are bytes, times are seconds.

    `max_upload_bytes` is of a file that comes in parts, each at most `max_part_bytes`.
    `completion_windows` are offers, see `api/batches/windows.py`. `limits` are those of projects.
    Below `free_space_floor` bytes of free storage no upload is taken. `cancel_grace` is what the lines in
    flight of a cancelled batch have to end. `max_line_bytes` and `max_batch_lines` are of a batch's input;
    what does not fit in memory meanwhile goes to `spill_folder`. Of where a request came from the events it
    causes keep `record_source_address`; what `trusted_proxies`, networks, say of it is believed. With
    `audit_reads`, reads of contents are events, too.
    """

    max_batch_file_bytes: int = 200 * MIB
    max_file_bytes: int = 512 * MIB
    max_upload_bytes: int = 8192 * MIB
    max_part_bytes: int = 64 * MIB
    completion_windows: tuple[str, ...] = ("24h",)
    limits: ProjectLimits = ProjectLimits()
    free_space_floor: int = 1024 * MIB
    cancel_grace: float = 30.0
    max_line_bytes: int = 16 * MIB
    max_batch_lines: int = 50_000
    spill_folder: Path = Path(tempfile.gettempdir())
    record_source_address: Kept = "off"
    trusted_proxies: tuple[str, ...] = ()
    audit_reads: bool = False

    def request_limit(self, project_id: str) -> Limit:
        """How many requests of any kind a project may send."""
        return Limit("requests", "min", 60.0, self.limits.of(project_id).requests_per_minute)

    def batch_limit(self, project_id: str) -> Limit:
        """How many batches a project may make."""
        return Limit("batches", "hour", 3600.0, self.limits.of(project_id).batches_per_hour)

    @property
    def max_form_bytes(self) -> int:
        """The most bytes of a form with a file that are read: the largest file and some room for the rest."""
        return max(self.max_batch_file_bytes, self.max_file_bytes) + MIB


class ApiServices(msgspec.Struct, frozen=True):
    """The long-lived collaborators of every request. `coming` are bytes of uploads under way, by project."""

    journal: Journal
    board: WorkBoard
    store: Store
    models: ModelSource
    webhooks: WebhookServices
    audit: AuditServices
    options: ApiOptions = ApiOptions()
    streams: OpenStreams = msgspec.field(default_factory=OpenStreams)
    searches: Slots = msgspec.field(default_factory=lambda: Slots(SEARCHES))
    dry_runs: Slots = msgspec.field(default_factory=lambda: Slots(DRY_RUNS))
    failure_reads: Slots = msgspec.field(default_factory=lambda: Slots(FAILURE_READS))
    history_reads: Slots = msgspec.field(default_factory=lambda: Slots(HISTORY_READS))
    arrivals: Slots = msgspec.field(default_factory=lambda: Slots(ARRIVALS, ARRIVALS_EACH))
    turns: Turns = msgspec.field(default_factory=Turns)
    rates: Rates = msgspec.field(default_factory=Rates)
    token_room: TokenRoom = msgspec.field(default_factory=TokenRoom)
    coming: Counter[str] = msgspec.field(default_factory=Counter)
