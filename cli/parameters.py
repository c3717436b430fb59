"""The flags that several commands share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, Token
from cyclopts.validators import Number

from cli.settings_values import parse_duration, show_duration


def duration(_: type, tokens: Sequence[Token]) -> float:
    """Seconds of a flag such as `500ms` or `5s`."""
    try:
        return parse_duration(tokens[0].value)
    except ValueError:
        raise ValueError(f"{tokens[0].value!r} is no duration such as 500ms or 5s.") from None


def _lasting(_: type, seconds: float) -> None:
    if seconds <= 0:
        raise ValueError("it must be longer than nothing.")


def _named(_: type, value: str) -> None:
    if not value.strip():
        raise ValueError("it is empty.")


Url = Annotated[str | None, Parameter(help="The server, with its /v1; else BATCHMILL_URL.")]
Json = Annotated[bool, Parameter(negative="", show_default=False, help="Print JSON instead of text.")]
Interval = Annotated[
    float,
    Parameter(
        converter=duration,
        validator=_lasting,
        help="Time between two looks, such as 500ms or 5s.",
        show_default=show_duration,
    ),
]
Limit = Annotated[int, Parameter(validator=Number(gte=1), help="How many, at most.")]
BatchId = Annotated[str, Parameter(validator=_named, help="The batch, such as batch_0123456789abcdef.")]
FileId = Annotated[str, Parameter(validator=_named, help="The file, such as file-0123456789abcdef.")]
Output = Annotated[
    Path | None, Parameter(alias="-o", help="The file to write; standard output if not given, or `-`.")
]
Config = Annotated[Path | None, Parameter(help="TOML file of settings; else BATCHMILL_CONFIG.")]
