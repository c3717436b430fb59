"""`batchmill audit`: the keys that sign checkpoints of the log, and proofs from its tree."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import App, Parameter

from cli.audit.bundle import check, consistency, export
from cli.audit.reads import reads
from cli.audit.replay import replay
from cli.audit.verify import verify
from cli.key_file import read_keys, write_key
from cli.parameters import Config
from cli.settings_sources import load
from events.errors import NotFound, SettingsError

if TYPE_CHECKING:
    from events.audit.note import PublicKey
    from events.audit.proofs import Proofs
    from events.audit.records import AuditRecords

AT_ONCE = 500
"""Leaves of a batch read together."""

app = App(
    name="audit",
    help="""Prove what the log says: verification, keys, checkpoints, proofs.

    $ batchmill audit verify
    $ batchmill audit key show
    $ batchmill audit export --batch batch_0123456789abcdef -o evidence
    $ batchmill audit check evidence --key mill.pub
    """,
    help_format="plaintext",
)
key = App(
    name="key",
    help="""Make and show the keys that sign checkpoints.

    $ batchmill audit key new audit-key
    $ batchmill audit key show
    """,
    help_format="plaintext",
)
app.command(key)
for command in (verify, export, check, consistency, reads, replay):
    app.command(command)

Name = Annotated[str, Parameter(help="The name of the key, no spaces, no plus: a host name is a good one.")]


@key.command
def new(
    file: Annotated[Path, Parameter(help="The file to write, which only you may read.")],
    *,
    name: Name = "batchmill",
    rotate: Annotated[
        bool, Parameter(negative="", show_default=False, help="Put it above the keys that the file has.")
    ] = False,
) -> None:
    """Make a key and print its public half, which whoever checks needs.

    The file is what BATCHMILL_AUDIT_KEY_FILE names. While it has an old key
    below the new one, both sign, so that the old one vouches for the new one;
    take the old line out when nobody needs that any more.

    $ batchmill audit key new audit-key --name mill.example.com
    $ batchmill audit key new audit-key --rotate
    """
    from engine.audit.signer import parse_private_keys
    from events.audit.note import MalformedNote, PrivateKey

    try:
        made = PrivateKey.fresh(name)
    except MalformedNote as error:
        raise SettingsError(str(error)) from error
    before = read_keys(file) if rotate else None
    parse_private_keys(before or "")
    write_key(file, made.text, above=before)
    print(made.public.text)
    print(
        f"The private half is in {file}. Keep the public one where this machine cannot change it.",
        file=sys.stderr,
    )


@key.command
def show(
    file: Annotated[Path | None, Parameter(help="A file of keys; else those of the settings.")] = None,
    *,
    config: Config = None,
) -> None:
    """Print the public keys, the newest first: one line each.

    $ batchmill audit key show
    $ batchmill audit key show audit-key
    """
    keys = keys_of(file, config)
    if not keys:
        raise NotFound("no key signs checkpoints: `batchmill audit key new` makes one")
    for public in keys:
        print(public.text)


@app.command
def checkpoint(*, config: Config = None) -> None:
    """Print the newest signed checkpoint of the log, for you to keep.

    $ batchmill audit checkpoint > kept-2026-11-26
    """

    async def newest() -> str:
        async with proofs_of(config) as (_, proofs):
            return (await proofs.checkpoint()).note.encode()

    sys.stdout.write(asyncio.run(newest()))


@app.command
def proof(
    *,
    position: Annotated[int | None, Parameter(help="Of the event at this position.")] = None,
    batch: Annotated[str | None, Parameter(help="Of every event of this batch.")] = None,
    config: Config = None,
) -> None:
    """Print proofs that events are under signed checkpoints, as JSON, one a line.

    $ batchmill audit proof --position 42
    $ batchmill audit proof --batch batch_0123456789abcdef > proofs.jsonl
    """
    if (position is None) == (batch is None):
        raise SettingsError("give --position or --batch")
    asyncio.run(_print_proofs(position, batch, config))


async def _print_proofs(position: int | None, batch: str | None, config: Path | None) -> None:
    async with proofs_of(config) as (records, proofs):
        if position is not None:
            print(msgspec.json.encode(await proofs.inclusion(position)).decode())
            return
        assert batch is not None
        version = 0
        while leaves := await records.leaves_of(batch, after=version, limit=AT_ONCE):
            for leaf in leaves:
                print(msgspec.json.encode(await proofs.inclusion_of(leaf)).decode())
            version = leaves[-1].version
        if not version:
            raise NotFound(f"there is no batch {batch}")


def keys_of(file: Path | None, config: Path | None) -> "Sequence[PublicKey]":
    """The public halves of the keys in a file, or of those that sign by the settings; none where none do."""
    from cli.audit.parts import signer_of
    from cli.embedded.data_folder import audit_key_file
    from engine.audit.signer import parse_private_keys

    if file is None:
        settings = load(environ=os.environ, config=config).settings
        signer = signer_of(settings)
        if signer is not None:
            return signer.keys
        file = audit_key_file(settings.data_dir)
        if settings.database_url is not None or not file.exists():
            return []
    return [private.public for private in parse_private_keys(read_keys(file))]


def trusted_keys(given: Sequence[str], config: Path | None) -> "Sequence[PublicKey]":
    """The public keys that `--key` names, or else those of the settings. Raises `SettingsError` where there
    are none."""
    from cli.audit.parts import public_keys

    keys = public_keys(given) if given else keys_of(None, config)
    if not keys:
        raise SettingsError("give the public key that checkpoints are signed with: --key")
    return keys


@asynccontextmanager
async def proofs_of(config: Path | None) -> "AsyncIterator[tuple[AuditRecords, Proofs]]":
    """What makes proofs of the log that the settings name."""
    from cli.database import open_records
    from cli.storage import open_storage
    from events.audit.proofs import Proofs
    from events.audit.records import AuditRecords

    settings = load(environ=os.environ, config=config).settings
    async with open_storage(settings) as store, open_records(settings) as (database, _):
        records = AuditRecords(database, store)
        yield records, Proofs(records, store)
