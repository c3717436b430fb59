"""`batchmill encryption`: the keys that wrap the data keys of projects."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from cli.key_file import read_keys, write_key
from cli.parameters import Config, Json
from cli.settings_sources import load
from cli.tables import print_table

app = App(
    name="encryption",
    help="""Look after the keys that wrap the data keys of projects.

    $ batchmill encryption new-key wrapping-key
    $ batchmill encryption show
    $ batchmill encryption rewrap
    """,
    help_format="plaintext",
)


class Wrapper(msgspec.Struct, frozen=True):
    """What wraps `data_keys` of projects: the id of a wrapping key, or "command". `given`: by the settings;
    `newest`: it wraps those that are made from now on."""

    wrapped_by: str
    data_keys: int
    given: bool
    newest: bool


class Shown(msgspec.Struct, frozen=True):
    """What `encryption show --json` prints."""

    encrypts: bool
    wrappers: list[Wrapper]


@app.command(name="new-key")
def new_key(
    file: Annotated[Path, Parameter(help="The file to write, which only you may read.")],
    *,
    rotate: Annotated[
        bool, Parameter(negative="", show_default=False, help="Put it above the keys that the file has.")
    ] = False,
) -> None:
    """Make a wrapping key and print its id.

    The file is what BATCHMILL_WRAPPING_KEY_FILE names. The first key in it wraps,
    all unwrap. Keep a copy apart from the database and its backups: without it
    nothing that was encrypted can be read.

    $ batchmill encryption new-key wrapping-key
    $ batchmill encryption new-key wrapping-key --rotate
    """
    from events.encryption.wrapping_key import WrappingKey, parse_wrapping_keys

    before = read_keys(file) if rotate else None
    parse_wrapping_keys(before or "")
    key = WrappingKey.fresh()
    write_key(file, key.text, above=before)
    print(key.id)
    print(f"The key is in {file}. Keep a copy where no copy of the database is.", file=sys.stderr)


@app.command
def show(*, config: Config = None, json: Json = False) -> None:
    """Show what wraps the data keys of projects.

    A wrapping key that wraps none may leave the key file, but for copies of the
    database that were made before: these need it.

    $ batchmill encryption show
    """
    shown = asyncio.run(_shown(config))
    if json:
        print(msgspec.json.encode(shown).decode())
        return
    print(f"Bodies that come now are {'encrypted' if shown.encrypts else 'not encrypted'}.")
    if shown.wrappers:
        rows = [
            (one.wrapped_by, f"{one.data_keys:,}", _yes(one.given), _yes(one.newest))
            for one in shown.wrappers
        ]
        print_table(("wrapped by", "data keys", "given", "wraps new ones"), rows)


@app.command
def rewrap(*, config: Config = None, json: Json = False) -> None:
    """Wrap all data keys with the newest wrapping key.

    What they have encrypted stays as it is. Safe beside running servers, and when
    it is broken off: run it again.

    $ batchmill encryption new-key wrapping-key --rotate
    $ batchmill encryption rewrap
    """
    rewrapped = asyncio.run(_rewrapped(config))
    if json:
        print(msgspec.json.encode({"rewrapped": rewrapped}).decode())
    else:
        print(f"Wrapped {rewrapped:,} data keys again.")


async def _shown(config: Path | None) -> Shown:
    from cli.database import open_records
    from cli.encryption_parts import data_keys_of, wrapping_of

    settings = load(environ=os.environ, config=config).settings
    wrapping = wrapping_of(settings)
    async with open_records(settings) as (database, _):
        counts = dict(await data_keys_of(settings, database).wrapped_by())
    newest = None if wrapping is None else wrapping.by
    wrappers = [
        Wrapper(by, counts.get(by, 0), wrapping is not None and wrapping.unwraps(by), by == newest)
        for by in dict.fromkeys((*([] if newest is None else [newest]), *counts))
    ]
    return Shown(settings.encrypt_bodies, wrappers)


async def _rewrapped(config: Path | None) -> int:
    from cli.database import open_records
    from cli.encryption_parts import data_keys_of

    settings = load(environ=os.environ, config=config).settings
    async with open_records(settings) as (database, _):
        return await data_keys_of(settings, database).rewrap()


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"
