"""Where the event stream of a batch goes on for who comes again, with the id of the last event heard.

An id is a version: `57`. Once the log has had another incarnation, it says which one: `57@…`. After a restore
that lost events, a stream then goes on behind the last event that both incarnations have, and says so.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from api.errors import invalid_type
from api.numbers import whole_number
from events.log import Log

HEADER: Final = "last-event-id"
MARK: Final = "@[0-9a-f-]{36}"
"""What follows the version in an id, as a pattern."""
_ID: Final = re.compile(f"(.*?)({MARK})?")


class Heard(msgspec.Struct, frozen=True):
    """The version of the last event heard, and the mark of the incarnation it was heard of: empty for the
    first."""

    version: int
    mark: str = ""


class GoesOn(msgspec.Struct, frozen=True):
    """A stream goes on after the version `after`; its ids get the `mark`. `forked`: the client has heard of
    events after that one which the log has not any more."""

    after: int
    mark: str
    forked: bool = False


def heard_of(headers: Mapping[str, str]) -> Heard | None:
    """What a request says it has heard. Raises `ApiError`."""
    text = headers.get(HEADER)
    if text is None:
        return None
    found = _ID.fullmatch(text)
    version = None if found is None else whole_number(found[1])
    if found is None or version is None or version < 0:
        raise invalid_type(HEADER, "the id of an event", text)
    return Heard(version, found[2] or "")


async def goes_on(log: Log, stream_id: str, heard: Heard | None, after: int) -> GoesOn:
    """Where the stream goes on for who has heard that; after the version `after` for who heard nothing."""
    lineage = await log.incarnations()
    marks = ["", *(f"@{one.id}" for one in lineage[1:])]
    if heard is None:
        return GoesOn(after, marks[-1])
    if heard.mark == marks[-1]:
        return GoesOn(heard.version, marks[-1])
    if heard.mark not in marks:
        return GoesOn(0, marks[-1], forked=heard.version > 0)
    taken_over = lineage[marks.index(heard.mark) + 1].position
    shared = await log.version_at(stream_id, taken_over)
    return GoesOn(min(heard.version, shared), marks[-1], forked=heard.version > shared)
