"""The loop that speed is measured against: posts the bodies of request lines, reads the answers, keeps none.

    python -m bench.bare_loop URL INPUT.jsonl CONCURRENCY      prints the seconds it took, and the CPU's

As bare as a loop on aiohttp can be: no file is read meanwhile, no answer looked at, nothing stored.
"""

import asyncio
import sys
import time
from pathlib import Path

import aiohttp
import msgspec
import uvloop


class _Line(msgspec.Struct):
    url: str
    body: msgspec.Raw


async def post_all(url: str, lines: list[tuple[str, bytes]], concurrency: int) -> float:
    """Posts every (path, body), `concurrency` at a time; seconds."""
    left = iter(lines)

    async def post() -> None:
        for path, body in left:
            async with session.post(url + path.removeprefix("/v1"), data=body) as response:
                await response.read()
                response.raise_for_status()

    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(post())
        return time.perf_counter() - began


def main(url: str, path: str, concurrency: str) -> None:
    """Reads the input first, then runs."""
    decode = msgspec.json.Decoder(_Line).decode
    with Path(path).open("rb") as file:
        lines = [(line.url, bytes(line.body)) for line in map(decode, file)]
    began = time.process_time()
    seconds = uvloop.run(post_all(url, lines, int(concurrency)))
    print(seconds, time.process_time() - began)


if __name__ == "__main__":
    main(*sys.argv[1:])
