"""The run: a stack is started, every client is driven through every operation, and the page is written.

It ends with 1 where an operation failed. `make clients` installs the clients before.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

from cli.database import open_records
from cli.keys import create_key
from cli.settings_sources import load
from events.key import SCOPES, Scope, describe_secret, fresh_secret, restriction
from tests.clients.clients import CLIENTS, ROOT, Client
from tests.clients.driving import OK, Task
from tests.clients.operations import OPERATIONS
from tests.clients.page import PAGE, page
from tests.contract.mill import Embedded, Mill
from tests.receiver import Heard, answer, receiver
from tests.serve_process import environment

LONGEST: Final = 300.0
"""Seconds that one client may take."""
EXHAUSTED: Final = "exhausted"
"""The project that may make one batch an hour, and has made it."""


async def main() -> int:
    with tempfile.TemporaryDirectory(prefix="batchmill-clients-") as folder:
        stack = Path(folder)
        upstream = ("tests.upstream", "--ledger", str(stack / "ledger"))
        with Embedded(stack / "data").mill(
            *upstream,
            webhook_networks="127.0.0.0/8",
            projects=json.dumps({EXHAUSTED: {"batches_per_hour": 1}}),
        ) as mill:
            async with inbox() as inbox_url:
                given = await _tasks(mill, inbox_url)
                async with asyncio.TaskGroup() as driving:
                    told = {
                        client.name: driving.create_task(_driven(client, given[client.name]))
                        for client in CLIENTS
                    }
    cells = {name: driven.result() for name, driven in told.items()}
    PAGE.write_text(page(cells), encoding="utf-8")
    said = [cell for answers in cells.values() for cell in answers.values()]
    print(f"{said.count(OK)} of {len(said)} cells are ok, in {PAGE.relative_to(ROOT)}")
    return 0 if set(said) == {OK} else 1


async def _tasks(mill: Mill, inbox_url: str) -> dict[str, Task]:
    """For each client, by its name, keys of a project of its own, and one of a project that all exhaust."""

    async def key(project: str, *scopes: Scope) -> str:
        secret = fresh_secret()
        await create_key(journal, project, describe_secret(secret), restricted=restriction(scopes))
        return secret

    settings = load(environ=environment(mill.settings)).settings
    async with open_records(settings) as (_, journal):
        limited = await key(EXHAUSTED, *SCOPES)
        tasks = {
            client.name: Task(
                url=mill.url,
                key=await key(f"project-{number}", *SCOPES),
                read_key=await key(f"project-{number}", "read"),
                limited_key=limited,
                receiver=inbox_url,
            )
            for number, client in enumerate(CLIENTS)
        }
    with mill.client(limited) as client:
        client.batches.create(input_file_id="file-none", endpoint="/v1/embeddings", completion_window="24h")
    return tasks


async def _driven(client: Client, task: Task) -> dict[str, str]:
    """How each operation went that the client offers, by its name."""
    cells: dict[str, str] = {}
    process = await asyncio.create_subprocess_exec(
        *client.command,
        cwd=ROOT,
        env=environment({"LITELLM_LOCAL_MODEL_COST_MAP": "True"}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(asdict(task)).encode())
        process.stdin.close()
        async with asyncio.timeout(LONGEST):
            async for line in process.stdout:
                name, _, cell = line.decode().strip().partition(" ")
                cells[name] = cell
                print(f"{client.name}, {name}: {cell}", flush=True)
            code = await process.wait()
    except TimeoutError:
        process.kill()
        code = await process.wait()
    unknown = cells.keys() - {operation.name for operation in OPERATIONS}
    if code or unknown:
        raise SystemExit(f"the driver of {client.name} ended with {code}; in no row: {unknown or 'none'}")
    return cells


@asynccontextmanager
async def inbox() -> AsyncIterator[str]:
    """The URL of a receiver that tells at `/heard/x` what was last sent to `/x`: 204 where nothing was."""
    last: dict[str, Heard] = {}

    def answering(heard: Heard) -> bytes:
        if not heard.path.startswith("/heard/"):
            last[heard.path] = heard
            return answer(204)
        found = last.get(heard.path.removeprefix("/heard"))
        if found is None:
            return answer(204, "connection: close")
        body = json.dumps({"headers": found.headers, "body": found.body.decode()}).encode()
        return answer(200, "content-type: application/json", "connection: close", body=body)

    async with receiver(answering) as opened:
        yield opened.url("")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
