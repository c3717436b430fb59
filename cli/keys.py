"""`batchmill keys`: the keys of projects. These commands open the database; they need no server."""

import asyncio
import os
import re
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Final

import msgspec
from cyclopts import App, Parameter

from cli.parameters import Config, Json
from cli.settings_sources import load
from events.catalog import new_event
from events.errors import NotFound, SettingsError, VersionConflict
from events.journal import Decision, Journal
from events.key import CreateKey, Key, KeyCreated, RevokeKey, decide, describe_secret, fresh_secret
from events.log import Row
from events.read_models import Seen

DEFAULT_PROJECT: Final = "default"
_PROJECT: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_ACTOR: Final = '{"actor":"operator"}'

app = App(
    name="keys",
    help="""Make, list and revoke the keys of projects.

    $ batchmill keys create --project research
    $ batchmill keys list
    """,
    help_format="plaintext",
)


class ListedKey(msgspec.Struct, frozen=True):
    """A key as `keys list --json` shows it; times are Unix seconds."""

    id: str
    project: str
    name: str | None
    hint: str
    created_at: int
    revoked_at: int | None


@app.command
def create(
    *,
    project: Annotated[str, Parameter(help="The project whose objects the key opens.")] = DEFAULT_PROJECT,
    name: Annotated[str | None, Parameter(help="What the key is for, shown in lists.")] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Make a key and print it, this once.

    $ batchmill keys create
    $ batchmill keys create --project research --name nightly
    """
    if not _PROJECT.fullmatch(project):
        raise SettingsError(
            f"project {project!r} is no name: 1 to 63 lower-case letters, digits, - and _, not - or _ first"
        )
    secret = fresh_secret()

    async def make() -> str:
        async with _journal(config) as journal:
            return await create_key(journal, project, describe_secret(secret, name))

    key_id = asyncio.run(make())
    if json:
        print(msgspec.json.encode({"id": key_id, "project": project, "key": secret}).decode())
    else:
        print(secret)
        print(f"Key {key_id} of project {project}, shown this once.", file=sys.stderr)


@app.command(name="list")
def list_(*, config: Config = None, json: Json = False) -> None:
    """List the keys of every project; the keys themselves are not kept.

    $ batchmill keys list
    $ batchmill keys list --json | jq '.[].project'
    """
    from cli.remote.client import json_text
    from cli.tables import local_time, print_table

    async def read() -> list[ListedKey]:
        async with _journal(config) as journal:
            return [_listed(key) for key in await journal.models.keys()]

    keys = asyncio.run(read())
    if json:
        print(json_text(msgspec.json.encode(keys)))
        return
    print_table(
        ("id", "project", "name", "key", "created", "revoked"),
        [
            (
                k.id,
                k.project,
                k.name or "",
                k.hint,
                local_time(k.created_at),
                local_time(k.revoked_at),
            )
            for k in keys
        ],
    )


@app.command
def revoke(key_id: str, *, config: Config = None) -> None:
    """Take a key away: from now on it opens nothing.

    $ batchmill keys revoke key_0123456789abcdef01234567
    """

    async def take_away() -> None:
        async with _journal(config) as journal:
            try:
                await journal.carry_out(Key, key_id, _revocation)
            except NotFound:
                raise NotFound(f"there is no key {key_id}: `batchmill keys list` shows them") from None

    asyncio.run(take_away())
    print(f"Key {key_id} is revoked.", file=sys.stderr)


async def create_key(journal: Journal, project: str, created: KeyCreated, key_id: str | None = None) -> str:
    """Records a new key and returns its id. Raises `VersionConflict` where `key_id` is taken."""
    key_id = key_id or "key_" + secrets.token_hex(12)
    events = [
        new_event(key_id, project, event, metadata=_ACTOR) for event in decide(None, CreateKey(created))
    ]
    row = Row("key", key_id, project, label=created.sha256)
    await journal.record(Decision(events, rows=[row], expect={key_id: 0}))
    return key_id


async def first_key(journal: Journal, given: str | None, *, make: bool) -> str | None:
    """Sees to it that some key opens the API; returns the secret of one made here.

    A `given` secret becomes a key of the default project. Raises `SettingsError` where there is no key and
    none may be made.
    """
    if given is not None:
        created = describe_secret(given, "BATCHMILL_API_KEY")
        try:
            await create_key(journal, DEFAULT_PROJECT, created, "key_" + created.sha256[:24])
        except VersionConflict:
            await _require_not_revoked(journal, "key_" + created.sha256[:24])
        return None
    if any(key.state.revoked_at is None for key in await journal.models.keys()):
        return None
    if not make:
        raise SettingsError(
            "refusing to listen beyond this machine without a key: set BATCHMILL_API_KEY, or make a key "
            "with `batchmill keys create`"
        )
    secret = fresh_secret()
    await create_key(journal, DEFAULT_PROJECT, describe_secret(secret, "first"))
    return secret


async def _require_not_revoked(journal: Journal, key_id: str) -> None:
    if (await journal.models.get(Key, key_id)).state.revoked_at is not None:
        raise SettingsError(f"the key in BATCHMILL_API_KEY was revoked as {key_id}: give another")


def _revocation(seen: Seen[Key]) -> Decision:
    events = decide(seen.state, RevokeKey())
    return Decision([new_event(seen.id, seen.project_id, event, metadata=_ACTOR) for event in events])


def _listed(key: Seen[Key]) -> ListedKey:
    created = key.state.created
    return ListedKey(
        key.id, key.project_id, created.name, created.hint, key.state.created_at, key.state.revoked_at
    )


@asynccontextmanager
async def _journal(config: Config) -> AsyncIterator[Journal]:
    from cli.database import open_records

    async with open_records(load(environ=os.environ, config=config).settings) as (_, journal):
        yield journal
