"""What an operator may set about the engine; see the settings reference for what each does."""

from pathlib import Path

import msgspec

from events.limits import ProjectLimits


class EngineOptions(msgspec.Struct, frozen=True):
    """Times in seconds, sizes in bytes. The defaults are the documented ones."""

    spill_folder: Path
    concurrency: int = 64
    line_timeout: float = 600.0
    attempts: int = 5
    retry_share: float = 0.2
    retry_floor: int = 10
    probe_interval: float = 5.0
    probe_interval_max: float = 60.0
    flush_lines: int = 256
    flush_bytes: int = 4 << 20
    flush_interval: float = 0.25
    answers_in_flight: int = 128 << 20
    drain: float = 30.0
    lease: float = 5.0
    beat: float = 1.0
    yield_after: float = 900.0
    cancel_grace: float = 30.0
    free_space_floor: int = 1 << 30
    max_batch_lines: int = 50_000
    max_line_bytes: int = 16 << 20
    chunk_lines: int = 256
    poll: float = 1.0
    result_files_expire: int = 30 * 86_400
    limits: ProjectLimits = ProjectLimits()
