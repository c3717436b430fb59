"""A batch as the commands show it: the wire's fields that people ask for, and their words.

Unknown fields of the wire are ignored; fields that a compatible server leaves out have defaults.
"""

import msgspec

from cli.tables import local_time

ENDED = frozenset({"completed", "failed", "expired", "cancelled"})


class Counts(msgspec.Struct, frozen=True):
    total: int = 0
    completed: int = 0
    failed: int = 0


class Usage(msgspec.Struct, frozen=True):
    input_tokens: int = 0
    output_tokens: int = 0


class LineError(msgspec.Struct, frozen=True):
    message: str | None = None
    code: str | None = None
    line: int | None = None


class LineErrors(msgspec.Struct, frozen=True):
    data: tuple[LineError, ...] = ()


class Live(msgspec.Struct, frozen=True):
    """What our own server adds: why the batch does not move."""

    waiting_for: str | None = None


class BatchView(msgspec.Struct, frozen=True, kw_only=True):
    """One batch. Times are Unix seconds."""

    id: str
    status: str
    endpoint: str = ""
    model: str | None = None
    input_file_id: str = ""
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: int | None = None
    expires_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelled_at: int | None = None
    request_counts: Counts | None = None
    usage: Usage | None = None
    errors: LineErrors | None = None
    metadata: dict[str, str] | None = None
    batchmill: Live | None = None

    @property
    def counts(self) -> Counts:
        return self.request_counts or Counts()

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def waiting_for(self) -> str:
        """Why the batch does not move, or nothing."""
        return (self.batchmill and self.batchmill.waiting_for) or ""

    @property
    def progress(self) -> str:
        """Such as `1,950 of 2,000, 3 failed`; nothing before the lines are known."""
        counts = self.counts
        failed = f", {counts.failed:,} failed" if counts.failed else ""
        done = counts.completed + counts.failed
        return f"{done:,} of {counts.total:,}{failed}" if counts.total else ""

    @property
    def tokens(self) -> str:
        """Such as `1,000 in, 2,000 out`; nothing while none are counted."""
        usage = self.usage or Usage()
        if not usage.input_tokens + usage.output_tokens:
            return ""
        return f"{usage.input_tokens:,} in, {usage.output_tokens:,} out"

    def sentence(self) -> str:
        """The batch in one line, such as `in_progress, 12 of 50; waiting for a worker`."""
        state = ", ".join(filter(None, (self.status, self.progress)))
        return f"{state}; {self.waiting_for}" if self.waiting_for else state

    def fields(self) -> list[tuple[str, str]]:
        """Every field with its name, empty text where there is nothing to tell."""
        ends = (self.completed_at, self.failed_at, self.expired_at, self.cancelled_at)
        return [
            ("id", self.id),
            ("status", self.status),
            ("waiting", self.waiting_for),
            ("lines", self.progress),
            ("tokens", self.tokens),
            ("model", self.model or ""),
            ("endpoint", self.endpoint),
            ("created", local_time(self.created_at)),
            ("deadline", local_time(self.expires_at)),
            ("ended", local_time(next((end for end in ends if end is not None), None))),
            ("input file", self.input_file_id),
            ("output file", self.output_file_id or ""),
            ("error file", self.error_file_id or ""),
            *((f"metadata {key}", value) for key, value in (self.metadata or {}).items()),
            *(("error", _told(error)) for error in (self.errors or LineErrors()).data),
        ]


def _told(error: LineError) -> str:
    place = f"line {error.line}: " if error.line is not None else ""
    code = f" ({error.code})" if error.code else ""
    return f"{place}{error.message or ''}{code}"
