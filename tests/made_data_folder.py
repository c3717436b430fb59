"""Data folders whose embedded database was made and migrated beforehand: that takes a processor a second or
two, and most tests of `serve` are about what comes after."""

import subprocess
from pathlib import Path

from cli.embedded.data_folder import DataFolder
from cli.embedded.postgres import LOGIN, EmbeddedPostgres
from events.migrate import migrate


async def make_data_folder(path: Path) -> None:
    """One as a first start leaves it, but for a key."""
    with DataFolder.open(path) as folder:
        async with EmbeddedPostgres(folder) as urls:
            await migrate(urls.owner, LOGIN)


def copy_data_folder(source: Path, path: Path) -> None:
    """A copy, with the owners of all files."""
    subprocess.run(["cp", "-a", source, path], check=True)
