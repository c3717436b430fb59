"""The API as a process: prints its port, and serves until its standard input ends."""

import asyncio
import sys
from pathlib import Path

import uvloop

from api.services import ApiOptions
from tests.api.serving import listening


async def serve(database_url: str, folder: str) -> None:
    """Serves with the default limits."""
    async with listening(database_url, Path(folder), ApiOptions(free_space_floor=0)) as served:
        print(served.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:]))
