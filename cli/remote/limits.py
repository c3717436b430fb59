"""`batchmill limits`: what the key's project may have on a running server, has, and has left."""

from typing import Final

import msgspec

from cli.parameters import Json, Url
from cli.remote.client import connect, decode, json_text
from cli.tables import print_fields, print_table


class LimitView(msgspec.Struct, frozen=True):
    """None: any number; of a rate nobody counts then."""

    limit: int | None = None
    used: int | None = None
    left: int | None = None


class WaitingView(msgspec.Struct, frozen=True):
    """What waits for room."""

    batches: int = 0
    lines: int = 0
    tokens: int = 0


class LimitsView(msgspec.Struct, frozen=True):
    """The answer of the server, as far as it is shown."""

    project: str
    queued_lines: LimitView = LimitView()
    queued_tokens: LimitView = LimitView()
    running_batches: LimitView = LimitView()
    stored_bytes: LimitView = LimitView()
    batches_per_hour: LimitView = LimitView()
    requests_per_minute: LimitView = LimitView()
    waiting: WaitingView = WaitingView()


_SHOWN: Final = tuple(name for name in LimitsView.__struct_fields__ if name not in ("project", "waiting"))


def limits(*, url: Url = None, json: Json = False) -> None:
    """Show what the key's project may have on a running server, has, and has left.

    $ batchmill limits
    $ batchmill limits --json | jq .queued_lines.left
    """
    content = connect(url).get("batchmill", "limits")
    if json:
        print(json_text(content))
        return
    found = decode(content, LimitsView)
    shown: list[tuple[str, LimitView]] = [(name, getattr(found, name)) for name in _SHOWN]
    print_table(
        ("limit of " + found.project, "at most", "used", "left"),
        [(name, _number(of.limit, "any"), _number(of.used, ""), _number(of.left, "")) for name, of in shown],
    )
    if waiting := found.waiting.batches:
        print_fields(
            [
                (
                    "waiting",
                    f"{waiting:,} batches, {found.waiting.lines:,} lines, {found.waiting.tokens:,} tokens",
                )
            ]
        )


def _number(number: int | None, otherwise: str) -> str:
    return otherwise if number is None else f"{number:,}"
