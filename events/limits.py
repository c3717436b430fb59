"""What each project may have."""

from collections.abc import Mapping

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Of one project; 0: any number. `queued_tokens` are those that prompts are estimated to have;
    `stored_bytes` those of its files, result files and uploads under way included."""

    requests_per_minute: int = 0
    batches_per_hour: int = 0
    queued_lines: int = 0
    queued_tokens: int = 0
    running_batches: int = 0
    stored_bytes: int = 0

    @property
    def of_queue(self) -> bool:
        """Whether batches may have to wait."""
        return bool(self.queued_lines or self.queued_tokens or self.running_batches)

    def most_lines(self, most: int) -> int:
        """Lines that a batch may have where any may have `most`: one larger than the queue never fits."""
        return min(most, self.queued_lines or most)


class ProjectLimits(msgspec.Struct, frozen=True):
    """The limits of every project, and of those that have their own."""

    default: Limits = Limits()
    own: Mapping[str, Limits] = msgspec.field(default_factory=dict)

    def of(self, project_id: str) -> Limits:
        """The limits of a project."""
        return self.own.get(project_id, self.default)
