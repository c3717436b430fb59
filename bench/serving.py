"""A real `batchmill serve` with everything embedded, and what a client does with it."""

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import asyncpg

from cli.embedded.data_folder import running_database_url

KEY = "sk-bench"
START_SECONDS = 120.0
POLL = 0.5
"""Seconds between two looks at a batch: what somebody who watches it costs is a part of the figures."""


@dataclass(frozen=True, slots=True)
class BatchTimes:
    """Unix seconds: the request that made the batch, and the log's own times of what became of it."""

    requested: float
    started: float
    finalizing: float
    ended: float
    output_file_id: str

    @property
    def whole(self) -> float:
        """Seconds from the POST to `completed`."""
        return self.ended - self.requested

    @property
    def running(self) -> float:
        """Seconds from `in_progress` to `finalizing`."""
        return self.finalizing - self.started


class Server:
    """A running `batchmill serve`."""

    def __init__(self, pid: int, url: str, data: Path, session: aiohttp.ClientSession) -> None:
        self.pid = pid
        self._url = url
        self._data = data
        self._session = session

    async def upload(self, path: Path) -> str:
        """Uploads an input file; its id."""
        form = aiohttp.FormData()
        form.add_field("purpose", "batch")
        with path.open("rb") as file:
            form.add_field("file", file, filename=path.name, content_type="application/jsonl")
            return str((await self._json("POST", "/files", data=form))["id"])

    async def run_batch(self, file_id: str, lines: int) -> BatchTimes:
        """Runs a batch to its end and checks that every line succeeded."""
        asked = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        requested = time.time()
        batch = await self._json("POST", "/batches", json=asked)
        while batch["status"] not in ("completed", "failed", "expired", "cancelled"):
            await asyncio.sleep(POLL)
            batch = await self._json("GET", f"/batches/{batch['id']}")
        if batch["status"] != "completed" or batch[
            "request_counts"
        ] != {  # a benchmark of errors tells nothing
            "total": lines,
            "completed": lines,
            "failed": 0,
        }:
            raise SystemExit(f"the batch ended as {batch}")
        return await self._times(str(batch["id"]), requested, str(batch["output_file_id"]))

    async def download(self, file_id: str) -> int:
        """Reads the contents of a file and keeps nothing of them; bytes."""
        size = 0
        async with self._session.get(f"{self._url}/files/{file_id}/content") as response:
            async for piece in response.content.iter_any():
                size += len(piece)
        return size

    async def _json(self, method: str, path: str, **sent: object) -> dict[str, object]:
        async with self._session.request(method, self._url + path, **sent) as response:  # type: ignore[arg-type] # passed on
            answer: dict[str, object] = await response.json()
            if response.status != 200:
                raise SystemExit(f"{method} {path} answered {response.status}: {answer}")
            return answer

    async def _times(self, batch_id: str, requested: float, output_file_id: str) -> BatchTimes:
        connection = await asyncpg.connect(running_database_url(self._data))
        try:
            rows = await connection.fetch(
                "SELECT type, extract(epoch FROM recorded_at)::float8 AS at FROM events "
                "WHERE stream_id = $1 AND type <> 'LinesCompleted'",
                batch_id,
            )
        finally:
            await connection.close()
        at = {row["type"]: row["at"] for row in rows}
        return BatchTimes(
            requested, at["BatchStarted"], at["BatchFinalizing"], at["BatchCompleted"], output_file_id
        )


@asynccontextmanager
async def serving(data: Path, upstream: str, **settings: object) -> AsyncIterator[Server]:
    """Runs it on a data folder until the block ends; `settings` as their names are in a TOML file."""
    given = {f"BATCHMILL_{name.upper()}": str(value) for name, value in settings.items()}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BATCHMILL_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "serve", "--port", "0", "--data-dir", str(data)),
        *("--upstream", upstream),
        env=kept | {"BATCHMILL_API_KEY": KEY, "BATCHMILL_LOG_LEVEL": "warning"} | given,
        stderr=asyncio.subprocess.PIPE,
    )
    said = _Said(process.stderr)
    listening = asyncio.create_task(said.listen())
    try:
        async with asyncio.timeout(START_SECONDS):
            url = await said.url()
        headers = {"Authorization": f"Bearer {KEY}"}
        timeout = aiohttp.ClientTimeout(total=3600)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            yield Server(process.pid, url, data, session)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()
        await listening


class _Said:
    """What a server says on its standard error: passed on, but for the line that names its URL."""

    def __init__(self, stream: asyncio.StreamReader | None) -> None:
        assert stream is not None
        self._stream = stream
        self._url: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def url(self) -> str:
        return await self._url

    async def listen(self) -> None:
        while line := (await self._stream.readline()).decode(errors="replace"):
            ready = re.search(r"ready at (http\S+)", line)
            if ready is None:
                sys.stderr.write(line)
            elif not self._url.done():
                url = ready[1].rstrip("/")
                self._url.set_result(url if url.endswith("/v1") else url + "/v1")
        if not self._url.done():
            self._url.set_exception(SystemExit("batchmill serve ended before it was ready"))
