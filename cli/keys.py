"""`batchmill keys`: the keys of projects. These commands open the database; they need no server."""

import asyncio
import os
import re
import secrets
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Final, Literal

import msgspec
from cyclopts import App, Parameter, Token

from cli.parameters import Config, Json, duration
from cli.settings_sources import load
from events.catalog import new_event
from events.errors import NotFound, SettingsError, VersionConflict
from events.journal import Decision, Journal
from events.key import (
    SCOPES,
    CreateKey,
    Key,
    KeyCreated,
    KeyRestricted,
    RevokeKey,
    Scope,
    decide,
    describe_secret,
    fresh_secret,
    restriction,
)
from events.log import Row
from events.origin import OPERATOR
from events.read_models import ReadModels, Seen

DEFAULT_PROJECT: Final = "default"
_PROJECT: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
KeyState = Literal["active", "expired", "revoked"]

app = App(
    name="keys",
    help="""Make, list and revoke the keys of projects.

    $ batchmill keys create --project research --scopes read --expires-in 30d
    $ batchmill keys list
    """,
    help_format="plaintext",
)


class MadeKey(msgspec.Struct, frozen=True):
    """A key as `keys create --json` shows it, this once; times are Unix seconds."""

    id: str
    project: str
    key: str
    scopes: tuple[Scope, ...]
    expires_at: int | None


class ListedKey(msgspec.Struct, frozen=True):
    """A key as `keys list --json` shows it; times are Unix seconds."""

    id: str
    project: str
    name: str | None
    hint: str
    scopes: tuple[Scope, ...]
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    state: KeyState


def _scopes(_: type, tokens: Sequence[Token]) -> tuple[Scope, ...]:
    named = [part.strip() for token in tokens for part in token.value.split(",")]
    scopes = tuple(scope for scope in SCOPES if scope in named)
    if not scopes or not set(named) <= set(SCOPES):
        raise ValueError(f"{','.join(named)!r} are no scopes: give some of {', '.join(SCOPES)}.")
    return scopes


def _whole_seconds(_: type, seconds: float | None) -> None:
    if seconds is not None and seconds < 1:
        raise ValueError("a key lasts at least a second.")


@app.command
def create(
    *,
    project: Annotated[str, Parameter(help="The project whose objects the key opens.")] = DEFAULT_PROJECT,
    name: Annotated[str | None, Parameter(help="What the key is for, shown in lists.")] = None,
    scopes: Annotated[
        tuple[Scope, ...],
        Parameter(
            converter=_scopes,
            negative=(),
            n_tokens=1,
            show_choices=False,
            show_default=",".join,
            help="What the key may do: read, write, admin; each has those before it in it.",
        ),
    ] = SCOPES,
    expires_in: Annotated[
        float | None,
        Parameter(
            converter=duration,
            validator=_whole_seconds,
            help="Time after which the key opens nothing, such as 30d; for ever if not given.",
        ),
    ] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Make a key and print it, this once.

    $ batchmill keys create
    $ batchmill keys create --project research --name nightly
    $ batchmill keys create --scopes read,write --expires-in 30d
    """
    if not _PROJECT.fullmatch(project):
        raise SettingsError(
            f"project {project!r} is no name: 1 to 63 lower-case letters, digits, - and _, not - or _ first"
        )
    from cli.tables import local_time

    secret = fresh_secret()
    restricted = restriction(scopes, None if expires_in is None else int(expires_in))

    async def make() -> Seen[Key]:
        async with _journal(config) as journal:
            key_id = await create_key(journal, project, describe_secret(secret, name), restricted=restricted)
            return await journal.models.get(Key, key_id)

    made = asyncio.run(make())
    key = made.state
    if json:
        shown = MadeKey(made.id, project, secret, key.scopes, key.expires_at)
        print(msgspec.json.encode(shown).decode())
        return
    print(secret)
    limits = "" if key.scopes == SCOPES else f" for {' and '.join(key.scopes)}"
    if key.expires_at is not None:
        limits += f" until {local_time(key.expires_at)}"
    print(f"Key {made.id} of project {project}{limits}, shown this once.", file=sys.stderr)


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
            now = await journal.models.now()
            return [_listed(key, now) for key in await journal.models.keys()]

    keys = asyncio.run(read())
    if json:
        print(json_text(msgspec.json.encode(keys)))
        return
    print_table(
        ("id", "project", "name", "key", "scopes", "created", "expires", "state"),
        [
            (
                k.id,
                k.project,
                k.name or "",
                k.hint,
                ",".join(k.scopes),
                local_time(k.created_at),
                local_time(k.expires_at),
                k.state,
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


async def create_key(
    journal: Journal,
    project: str,
    created: KeyCreated,
    key_id: str | None = None,
    restricted: KeyRestricted | None = None,
) -> str:
    """Records a new key and returns its id. Raises `VersionConflict` where `key_id` is taken."""
    key_id = key_id or "key_" + secrets.token_hex(12)
    command = CreateKey(created, restricted)
    events = [new_event(key_id, project, event, metadata=OPERATOR) for event in decide(None, command)]
    row = Row("key", key_id, project, label=created.sha256)
    await journal.record(Decision(events, rows=[row], expect={key_id: 0}))
    return key_id


async def first_key(journal: Journal, given: str | None, *, make: bool) -> str | None:
    """Sees to it that some key opens the API; returns the secret of one made here.

    A `given` secret that no key has becomes a key of the default project. Raises `SettingsError` where there
    is no key and none may be made.
    """
    models = journal.models
    if given is not None:
        created = describe_secret(given, "BATCHMILL_API_KEY")
        if await models.key_ever_of(created.sha256) is None:
            # Another process may do the same at this moment.
            with suppress(VersionConflict):
                await create_key(journal, DEFAULT_PROJECT, created, "key_" + created.sha256[:24])
        await _require_open(models, created.sha256)
        return None
    now = await models.now()
    if any(_state(key.state, now) == "active" for key in await models.keys()):
        return None
    if not make:
        raise SettingsError(
            "refusing to listen beyond this machine without a key: set BATCHMILL_API_KEY, or make a key "
            "with `batchmill keys create`"
        )
    secret = fresh_secret()
    await create_key(journal, DEFAULT_PROJECT, describe_secret(secret, "first"))
    return secret


async def _require_open(models: ReadModels, secret_sha256: str) -> None:
    key = await models.key_ever_of(secret_sha256)
    state = None if key is None else _state(key.state, await models.now())
    if key is not None and state != "active":
        became = "was revoked" if state == "revoked" else "has expired"
        raise SettingsError(f"the key in BATCHMILL_API_KEY {became} as {key.id}: give another")


def _revocation(seen: Seen[Key]) -> Decision:
    events = decide(seen.state, RevokeKey())
    return Decision([new_event(seen.id, seen.project_id, event, metadata=OPERATOR) for event in events])


def _listed(key: Seen[Key], now: int) -> ListedKey:
    state = key.state
    return ListedKey(
        id=key.id,
        project=key.project_id,
        name=state.created.name,
        hint=state.created.hint,
        scopes=state.scopes,
        created_at=state.created_at,
        expires_at=state.expires_at,
        revoked_at=state.revoked_at,
        state=_state(state, now),
    )


def _state(key: Key, now: int) -> KeyState:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expired(now) else "active"


@asynccontextmanager
async def _journal(config: Config) -> AsyncIterator[Journal]:
    from cli.database import open_records

    async with open_records(load(environ=os.environ, config=config).settings) as (_, journal):
        yield journal
