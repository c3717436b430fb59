"""`batchmill batches history`, and `show --at`: what became of a batch of a running server, when, and why."""

from datetime import datetime
from typing import Final

import msgspec

from cli.parameters import BatchId, Json, Url
from cli.progress import duration
from cli.remote.client import connect, decode, json_text
from cli.tables import print_table
from events.errors import SettingsError

_ACTORS: Final = 3
"""Most actors of an entry that a table names."""


class EntryView(msgspec.Struct, frozen=True, kw_only=True):
    """A moment, or a stretch: that lasts where `ended_at` is None."""

    name: str
    began_at: float
    ended_at: float | None = None
    seconds: float = 0.0
    text: str = ""
    why: str | None = None
    actors: tuple[str, ...] = ()

    @property
    def took(self) -> str:
        """Such as `1.250 s` or `2m 5s so far`; nothing for a moment."""
        if self.ended_at == self.began_at:
            return ""
        took = f"{self.seconds:.3f} s" if self.seconds < 60 else duration(self.seconds)
        return took if self.ended_at is not None else f"{took} so far"

    @property
    def who(self) -> str:
        """The actors, the first few of many."""
        more = f" and {len(self.actors) - _ACTORS:,} more" if len(self.actors) > _ACTORS else ""
        return ", ".join(self.actors[:_ACTORS]) + more

    @property
    def told(self) -> str:
        """What it was, and why."""
        return self.text if self.why in (None, self.text) else f"{self.text}: {self.why}"


class HistoryView(msgspec.Struct, frozen=True):
    """The time line of a batch."""

    data: tuple[EntryView, ...] = ()


def history(batch_id: BatchId, /, *, url: Url = None, json: Json = False) -> None:
    """Tell what became of a batch: who did what, when and why, and how long it waited for what.

    $ batchmill batches history batch_0123456789abcdef
    $ batchmill batches history batch_0123456789abcdef --json | jq '.data[] | select(.name == "waiting")'
    """
    content = connect(url).get("batches", batch_id, "history")
    if json:
        print(json_text(content))
        return
    print_table(
        ("time", "took", "what", "who", "told"),
        [
            (_local(entry.began_at), entry.took, entry.name.replace("_", " "), entry.who, entry.told)
            for entry in decode(content, HistoryView).data
        ],
    )


def moment(at: str) -> str:
    """What `--at` means, as the server understands it: a time without a zone is the reader's own."""
    if at.replace(".", "", 1).isdecimal():
        return at
    try:
        return datetime.fromisoformat(at).astimezone().isoformat()
    except ValueError:
        raise SettingsError(
            f"--at {at!r} is no time such as 2026-11-26T12:00, and no id of an event"
        ) from None


def _local(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).isoformat(" ", "milliseconds")
