"""The shapes that rows of the read models are written with, so that programs side by side misread none.

    {"shape":[3,2],"created":{…},…}     written with shape 3; whoever knows shape 2 or later reads it rightly

A program that knows a later shape folds such a row again from the log. One that knows an earlier shape reads
it where it may, and folds the stream by itself where it may not; it leaves the row to the newer program
(why so: docs/decisions/0016-rows-say-their-shape.md).
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeVar

import msgspec

from events.audit.keys import AuditKeys
from events.batch import Batch
from events.catalog import State
from events.errors import UnknownEvent
from events.file import File
from events.key import Key
from events.upload import Upload
from events.webhooks.endpoint import WebhookEndpoint

S = TypeVar("S", bound=State)


class Shape(NamedTuple):
    """The number of a shape, and of the earliest shape whose programs read it rightly."""

    number: int
    readable_from: int


BEFORE: Final = Shape(0, 0)
"""Of rows that were written before rows said it."""

SHAPES: Final[Mapping[object, Shape]] = {
    Batch: Shape(1, 0),
    File: Shape(1, 0),
    Key: Shape(1, 0),
    Upload: Shape(1, 0),
    WebhookEndpoint: Shape(1, 0),
    AuditKeys: Shape(1, 0),
}
"""What this program writes. A state that gets a field or an event, or is folded otherwise than before, gets
the next number. Where a program that does not know of it would do what must not be done, `readable_from` is
that number, too."""

AGAIN: Final = 200
"""Most events of a stream that a look folds again because its row has an older shape; the row of a longer one
is taken as it is until the leader has lifted it."""
_WRITTEN: Final = re.compile(r'\{"shape":\[(\d{1,9}),(\d{1,9})\],')


def encode_state(state: State, shape: Shape | None = None) -> str:
    """The text of a row's state; `shape` is that of the row it was folded on, where that is an older one."""
    number, readable_from = shape or SHAPES[type(state)]
    return f'{{"shape":[{number},{readable_from}],{msgspec.json.encode(state).decode()[1:]}'


def shape_of(text: str) -> Shape:
    """The shape that a row's state was written with."""
    written = _WRITTEN.match(text)
    return BEFORE if written is None else Shape(int(written[1]), int(written[2]))


def decode_state(kind: type[S], text: str, id: str) -> S:
    """The state in the row of `id`. Raises `UnknownEvent` where this program would misread it."""
    own, written = SHAPES[kind], shape_of(text)
    try:
        if written.readable_from <= own.number:
            return msgspec.json.decode(text, type=kind)
        reason = f"its shape is {written.number}, which programs read that know {written.readable_from}"
    except msgspec.MsgspecError as error:
        reason = str(error)
    raise UnknownEvent(f"the row of {id} is of another program: upgrade, or `batchmill rebuild` ({reason})")
