"""`batchmill validate`: a file of requests is checked as a batch of it would be, without a server."""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from api.wire import ValidationObject, validation_object
from cli.exit_codes import ExitCode
from cli.keys import DEFAULT_PROJECT
from cli.one_shot.input_file import endpoint_of, pieces
from cli.parameters import Config, Json
from cli.settings import Settings
from cli.settings_sources import load
from cli.tables import print_fields, print_table
from events.errors import NotFound, SettingsError
from events.inputs.dry_run import dry_run
from events.inputs.validator import LineRules, supported_endpoints


def validate(
    input_file: Annotated[Path, Parameter(name="FILE", help="The requests, one a line.")],
    /,
    *,
    endpoint: Annotated[
        str | None, Parameter(help="The endpoint of every line; else the url of the first line.")
    ] = None,
    config: Config = None,
    json: Json = False,
) -> ExitCode:
    """Check a file of requests as a batch of it would be checked.

    Nothing is sent, and models are not known; exits 0 only if the file is
    valid. Tokens are estimated: one for every four bytes of a line.

    $ batchmill validate requests.jsonl
    $ batchmill validate requests.jsonl --endpoint /v1/embeddings --json
    """
    if endpoint is not None and endpoint not in supported_endpoints():
        raise SettingsError(f"{endpoint} is no endpoint: give one of {', '.join(supported_endpoints())}")
    settings = load(environ=os.environ, config=config).settings
    asked = endpoint or endpoint_of(input_file, settings.max_line_bytes)
    found = asyncio.run(_checked(input_file, asked, settings))
    if json:
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        _print(found)
    return ExitCode.OK if found.valid else ExitCode.FAILED


async def _checked(path: Path, endpoint: str, settings: Settings) -> ValidationObject:
    """Raises `NotFound` where the file cannot be read."""
    rules = LineRules(endpoint, settings.max_line_bytes)
    spill = Path(tempfile.gettempdir())
    try:
        with path.open("rb") as again:
            run = await dry_run(
                pieces(path),
                lambda start, end: os.pread(again.fileno(), end - start, start),
                rules,
                spill,
                settings.max_batch_lines,
                settings.limits.of(DEFAULT_PROJECT),
                DEFAULT_PROJECT,
            )
    except OSError as error:
        raise NotFound(f"the input {path} cannot be read: {error.strerror}") from error
    return validation_object(endpoint, run)


def _print(found: ValidationObject) -> None:
    print_fields(
        [
            ("valid", "yes" if found.valid else "no"),
            ("endpoint", found.endpoint),
            ("model", found.model or ""),
            ("lines", "" if found.lines is None else f"{found.lines:,}"),
            (
                "tokens",
                "" if found.estimated_input_tokens is None else f"about {found.estimated_input_tokens:,}",
            ),
        ]
    )
    if found.errors is not None:
        print_table(
            ("line", "code", "where", "message"),
            [
                ("" if error.line is None else str(error.line), error.code, error.param or "", error.message)
                for error in found.errors.data
            ],
        )
