"""What an audit finds wrong: one defect for each thing that somebody did, named once."""

from typing import Final, Literal

import msgspec

Kind = Literal[
    "event_changed",
    "event_deleted",
    "event_inserted",
    "events_reordered",
    "tail_cut",
    "history_rewritten",
    "attachment_changed",
    "attachment_deleted",
    "attachment_inserted",
    "attachment_swapped",
    "file_changed",
    "file_deleted",
    "file_swapped",
    "results_differ",
    "checkpoint_replaced",
    "incarnation_changed",
    "segment_changed",
    "segment_deleted",
    "segment_swapped",
    "tile_changed",
    "tile_missing",
    "read_model_edited",
    "read_model_deleted",
    "read_model_inserted",
]

MOST: Final = 10_000
"""Most defects that are told one by one: whoever has more has another log."""


class Defect(msgspec.Struct, frozen=True, omit_defaults=True):
    """One defect. `told` says it in a sentence; the rest is for programs.

    `position` to `upto` are places in the log, `stream` and `version` the event's, `key` what else names the
    thing: a file, an attachment (`event id/number`), a tile, a row. `after` and `before` are the sizes of
    the signed checkpoints around `position`: it was otherwise when `before` was signed. `expected` and
    `found` are digests in hex, or the values of a row.
    """

    kind: Kind
    told: str
    position: int | None = None
    upto: int | None = None
    stream: str | None = None
    version: int | None = None
    key: str | None = None
    expected: str | None = None
    found: str | None = None
    after: int | None = None
    before: int | None = None
