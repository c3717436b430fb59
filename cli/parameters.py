"""The flags that several commands share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, Token

from cli.settings_values import parse_duration, show_duration


def _duration(_: type, tokens: Sequence[Token]) -> float:
    try:
        return parse_duration(tokens[0].value)
    except ValueError:
        raise ValueError(f"{tokens[0].value!r} is no duration such as 500ms or 5s.") from None


Url = Annotated[str | None, Parameter(help="The server, with its /v1; else BATCHMILL_URL.")]
Json = Annotated[bool, Parameter(negative="", show_default=False, help="Print JSON instead of text.")]
Interval = Annotated[
    float,
    Parameter(
        converter=_duration, help="Time between two looks, such as 500ms or 5s.", show_default=show_duration
    ),
]
Config = Annotated[Path | None, Parameter(help="TOML file of settings; else BATCHMILL_CONFIG.")]
