"""`batchmill config`: what is in force, and where each value came from."""

import os

import msgspec

from cli.parameters import Config, Json
from cli.remote.client import json_text
from cli.settings import describe
from cli.settings_sources import Loaded, load
from cli.tables import print_table


def config(*, config: Config = None, json: Json = False) -> None:
    """Show every setting in force and where its value came from; secrets are masked.

    $ batchmill config
    $ BATCHMILL_LINE_TIMEOUT=20m batchmill config --config mill.toml
    $ batchmill config --json | jq .port.value
    """
    loaded = load(environ=os.environ, config=config)
    if json:
        table = {name: {"value": value, "from": origin} for name, value, _, origin in _in_force(loaded)}
        print(json_text(msgspec.json.encode(table)))
        return
    print_table(
        ("setting", "value", "from"),
        [
            (name, value if value is not None else f"({otherwise or 'none'})", origin)
            for name, value, otherwise, origin in _in_force(loaded)
        ],
    )


def _in_force(loaded: Loaded) -> list[tuple[str, str | None, str, str]]:
    """Of every setting: name, value as it would be written, what holds where there is none, and origin."""
    rows = []
    for setting in describe():
        value = getattr(loaded.settings, setting.name)
        shown = None if value is None else setting.kind.show(value)
        rows.append((setting.name, shown, setting.default, loaded.origins[setting.name]))
    return rows
