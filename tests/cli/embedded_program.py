"""A program that does nothing but run the embedded database of a data folder, to be killed by the tests.

`python -m tests.cli.embedded_program FOLDER` prints the owner's URL and the server's pid once it is ready,
and stops the database when its standard input ends.
"""

import asyncio
import sys
from pathlib import Path

from cli.embedded.data_folder import DataFolder
from cli.embedded.postgres import EmbeddedPostgres


async def main(path: Path) -> None:
    with DataFolder.open(path) as folder:
        async with EmbeddedPostgres(folder) as urls:
            pid = (folder.postgres / "data" / "postmaster.pid").read_text().partition("\n")[0]
            print(urls.owner, pid, flush=True)
            await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
