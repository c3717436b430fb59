"""A real `batchmill serve` that a test may kill, freeze, and start again on the same data folder."""

import asyncio
import io
import os
import re
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Final

import aiohttp
import msgspec

from cli.embedded.data_folder import running_database_url
from events.failpoint import ENVIRONMENT
from tests.tied import TIED

KEY: Final = "sk-chaos"
PROGRAM: Final = Path(sys.executable).with_name("batchmill")
READY_WITHIN: Final = 120.0
BOUND: Final = 120.0
"""Seconds after which a wait for anything is a failure of the test."""
PATIENCE: Final = 0.05
"""Seconds between two tries of a client."""
QUICK: Final = {
    "lease": "1s",
    "beat": "250ms",
    "flush_interval": "100ms",
    "drain": "5s",
    "cancel_grace": "2s",
    "probe_interval": "200ms",
    "probe_interval_max": "400ms",
    "free_space_floor": "0",
    "log_level": "info",
    "log_format": "json",
}
"""Settings that let minutes happen in seconds."""

Json = dict[str, Any]  # whatever the API answers


class Refused(Exception):
    """The API answered with an error."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status


class Mill:
    """One process group of `batchmill serve`, and a client of it that speaks raw HTTP."""

    COMMAND: ClassVar = "serve"
    READY: ClassVar = re.compile(r"ready at (?P<url>http://\S+)")
    """What it says when it has begun."""

    def __init__(self, folder: Path, upstream: str, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.url = ""
        self.said: list[str] = []
        self.starts = 0
        self.begun = False
        self._settings = QUICK | {"upstream_url": upstream} | dict(settings or {})
        self._process: Process | None = None
        self._listener: asyncio.Task[None] | None = None
        self._heard = asyncio.Event()
        self._session: aiohttp.ClientSession | None = None

    async def start(self, failpoints: str = "") -> None:
        """Starts it, armed with `failpoints`, and returns when it takes requests.

        A failpoint may end it before that; then this returns as well, and `running` says so.
        """
        await self.launch(failpoints)
        async with asyncio.timeout(READY_WITHIN):
            while not self.begun and self.running:
                await self._something()
        if not self.begun and not failpoints:
            raise AssertionError("it did not start:\n" + "\n".join(self.said[-20:]))

    async def launch(self, failpoints: str = "") -> None:
        """Starts it and returns at once; `begun` says when it takes requests."""
        self.url, self.begun = "", False
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("BATCHMILL_")},
            **{f"BATCHMILL_{name.upper()}": value for name, value in self._settings.items()},
            "BATCHMILL_API_KEY": KEY,
            "BATCHMILL_PORT": "0",
            "BATCHMILL_DATA_DIR": str(self.folder),
            ENVIRONMENT: failpoints,
        }
        self._process = await asyncio.create_subprocess_exec(
            *TIED,
            PROGRAM,
            self.COMMAND,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 20,
            start_new_session=True,
        )
        self.starts += 1
        self._listener = asyncio.create_task(self._listen(self._process))

    @property
    def pid(self) -> int:
        """Of the process that serves."""
        assert self._process is not None
        return self._process.pid

    @property
    def name(self) -> str:
        """What it is called: the last part of its folder."""
        return self.folder.name

    @property
    def files(self) -> Path:
        """The folder of the objects."""
        given = self._settings.get("storage_url")
        return self.folder / "files" if given is None else Path(given.removeprefix("file://"))

    @property
    def database(self) -> str:
        """A login of its database. Raises `ConnectionError` while the embedded one is down."""
        url = self._settings.get("database_url") or running_database_url(self.folder)
        if url is None:
            raise ConnectionError("the embedded database is down")
        return url

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._listener is not None and not self._listener.done()

    async def until_said(self, words: str) -> str:
        """Returns the line of its log that holds `words`, as soon as there is one."""
        async with asyncio.timeout(BOUND):
            while True:
                for line in self.said:
                    if words in line:
                        return line
                await self._something()

    async def ended(self) -> int:
        """Returns its exit status when it has ended by itself."""
        async with asyncio.timeout(BOUND):
            return await self._gone()

    async def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        self._signal(signal.SIGTERM)
        return await self.ended()

    async def kill(self) -> float:
        """`kill -9` of everything: the process group and the embedded database. Returns the moment, on the
        monotonic clock, at which all was dead."""
        self._signal(signal.SIGKILL)
        self.kill_database()
        await self._gone()
        return time.monotonic()

    def freeze(self) -> None:
        """Stops the process where it stands."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets it go on."""
        self._signal(signal.SIGCONT)

    def kill_database(self) -> None:
        """`kill -9` of the embedded database, where there is one."""
        with suppress(FileNotFoundError, ProcessLookupError, IndexError):
            pid = (self.folder / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0]
            os.kill(int(pid), signal.SIGKILL)

    @property
    def stopped(self) -> bool:
        """Whether it stands still: frozen, or at a failpoint that hangs."""
        assert self._process is not None
        options = os.WSTOPPED | os.WNOWAIT | os.WNOHANG
        try:
            return os.waitid(os.P_PID, self._process.pid, options) is not None
        except ChildProcessError:
            return False

    async def deaths(self) -> AsyncIterator[int]:
        """Its exit status whenever it has ended, until the caller leaves; the caller starts it again."""
        while True:
            yield await self._gone()

    async def upload(self, content: bytes) -> str:
        """Uploads an input file; returns its id."""
        form = aiohttp.FormData()
        form.add_field("purpose", "batch")
        form.add_field("file", io.BytesIO(content), filename="input.jsonl", content_type="application/jsonl")
        return str((await self._json("POST", "/files", data=form))["id"])

    async def submit(self, content: bytes, window: str = "24h") -> str:
        """Uploads an input and creates a batch of it; returns its id."""
        return await self.create(await self.upload(content), window)

    async def create(self, file_id: str, window: str = "24h") -> str:
        """Creates a batch of an uploaded file; returns its id."""
        wanted = {
            "input_file_id": file_id,
            "endpoint": "/v1/chat/completions",
            "completion_window": window,
        }
        return str((await self._json("POST", "/batches", json=wanted))["id"])

    async def get(self, batch_id: str) -> Json:
        """The batch as the API shows it now."""
        return await self._json("GET", f"/batches/{batch_id}")

    async def cancel(self, batch_id: str) -> Json:
        """Cancels the batch; returns it as it was answered."""
        return await self._json("POST", f"/batches/{batch_id}/cancel")

    async def batch_of_file(self, file_id: str) -> str:
        """The batch of an input file, created where there is none yet: what a client does who never saw
        the answer."""
        for batch in (await self._json("GET", "/batches?limit=100"))["data"]:
            if batch["input_file_id"] == file_id:
                return str(batch["id"])
        return await self.create(file_id)

    async def delete_file(self, file_id: str) -> Json:
        """Deletes a file."""
        return await self._json("DELETE", f"/files/{file_id}")

    async def content(self, file_id: str | None) -> bytes:
        """The content of a file; none where there is no file."""
        if file_id is None:
            return b""
        return await self._request("GET", f"/files/{file_id}/content")

    async def _json(self, method: str, path: str, **what: Any) -> Json:  # aiohttp's arguments
        return msgspec.json.decode(await self._request(method, path, **what), type=Json)

    async def _request(self, method: str, path: str, **what: Any) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers={"Authorization": f"Bearer {KEY}"}, timeout=aiohttp.ClientTimeout(20)
            )
        async with self._session.request(method, self.url + path, **what) as answer:
            body = await answer.read()
            if answer.status >= 400:
                raise Refused(answer.status, body.decode(errors="replace"))
            return body

    async def close(self) -> None:
        """Ends what still runs."""
        if self._session is not None:
            await self._session.close()
        if self.running:
            await self.kill()
        else:
            self.kill_database()
        if self._listener is not None:
            await self._listener

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.running:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    async def _gone(self) -> int:
        assert self._process is not None
        assert self._listener is not None
        await asyncio.shield(self._listener)
        return await self._process.wait()

    async def _something(self) -> None:
        await self._heard.wait()

    async def _listen(self, process: Process) -> None:
        assert process.stderr is not None
        try:
            while line := (await process.stderr.readline()).decode(errors="replace"):
                self.said.append(line.rstrip())
                if found := self.READY.search(line):
                    self.url, self.begun = found.groupdict().get("url", ""), True
                self._tell()
            await process.wait()
        finally:
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._heard.set()
        self._heard = asyncio.Event()


@asynccontextmanager
async def mill(folder: Path, upstream: str, failpoints: str = "", **settings: str) -> AsyncIterator[Mill]:
    """A running mill on a data folder."""
    serving = Mill(folder, upstream, settings)
    try:
        await serving.start(failpoints)
        yield serving
    finally:
        await serving.close()


class Polls:
    """Asks a batch for its status all the time, over restarts too, and keeps every answer."""

    EVERY: Final = 0.03

    def __init__(self, mills: Sequence[Mill], batch_id: str) -> None:
        self.seen: list[Json] = []
        self._mills = mills
        self._batch_id = batch_id
        self._moved = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def until(self, reached: Callable[[Json], bool], within: float = BOUND) -> Json:
        """Returns the first answer that `reached` holds for."""
        looked = 0
        try:
            async with asyncio.timeout(within):
                while True:
                    for poll in self.seen[looked:]:
                        if reached(poll):
                            return poll
                    looked = len(self.seen)
                    if self._task.done():
                        self._task.result()
                    await self._moved.wait()
        except TimeoutError:
            last = self.seen[-1] if self.seen else None
            raise AssertionError(f"not reached within {within:g} s; the last answer was {last}") from None

    async def until_done(self, lines: int) -> Json:
        """Returns when so many lines have an outcome."""
        return await self.until(lambda b: sum(_counts(b)) >= lines)

    async def until_ended(self, within: float = BOUND) -> Json:
        """Returns the batch when it has ended."""
        return await self.until(lambda b: b["status"] in ENDED, within)

    async def close(self) -> None:
        """Asks no more."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        turn = 0
        while True:
            turn += 1
            asked = self._mills[turn % len(self._mills)]
            if asked.running and asked.url:
                with suppress(aiohttp.ClientError, TimeoutError, ConnectionError):
                    await self._ask(asked)
            await asyncio.sleep(self.EVERY)

    async def _ask(self, asked: Mill) -> None:
        try:
            async with asyncio.timeout(2):
                self.seen.append(await asked.get(self._batch_id))
        except Refused as refused:
            if refused.status != 503:
                raise
        self._moved.set()
        self._moved = asyncio.Event()


ENDED: Final = frozenset({"completed", "failed", "cancelled", "expired"})


def _counts(batch: Json) -> tuple[int, int]:
    counts = batch["request_counts"]
    return counts["completed"], counts["failed"]


@asynccontextmanager
async def polling(mills: Mill | Sequence[Mill], batch_id: str) -> AsyncIterator[Polls]:
    """Polls a batch while the block runs, in turn at each of the mills."""
    polls = Polls([mills] if isinstance(mills, Mill) else mills, batch_id)
    try:
        yield polls
    finally:
        await polls.close()
