"""`batchmill audit key`: the keys that sign checkpoints, and whose signatures a command trusts."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from cli.key_file import read_keys, write_key
from cli.parameters import Config
from cli.settings_sources import load
from events.errors import NotFound, SettingsError

if TYPE_CHECKING:
    from events.audit.note import PublicKey

app = App(
    name="key",
    help="""Make and show the keys that sign checkpoints.

    $ batchmill audit key new audit-key
    $ batchmill audit key show
    """,
    help_format="plaintext",
)

Name = Annotated[str, Parameter(help="The name of the key, no spaces, no plus: a host name is a good one.")]


@app.command
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


@app.command
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
