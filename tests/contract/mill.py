"""A whole Batchmill behind an SDK: `batchmill serve` with its engine running, and an upstream beside it."""

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from openai import OpenAI
from openai.types import Batch

from tests.serve_process import PROGRAM, ServeProcess, environment, serve_process

KEY: Final = "sk-of-the-sdk"
CHAT: Final = "/v1/chat/completions"
ENDED: Final = frozenset({"completed", "failed", "expired", "cancelled"})
SHORT: Final[dict[str, Any]] = {"completion_window": "2s"}
"""`extra_body` of a batch whose time is over soon: the SDK itself knows `24h` only."""
QUICK: Final = {
    "BATCHMILL_API_KEY": KEY,
    "BATCHMILL_COMPLETION_WINDOWS": "24h,2s",
    "BATCHMILL_CANCEL_GRACE": "300ms",
    "BATCHMILL_FREE_SPACE_FLOOR": "0",
}
PATIENCE: Final = 30.0


@contextmanager
def mill(folder: Path, *upstream: str, **settings: str) -> Iterator[ServeProcess]:
    """A server on `folder` whose upstream is that command, which prints its URL."""
    with subprocess.Popen(
        [sys.executable, "-m", *upstream], env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            url = next(word for word in process.stdout.readline().split() if word.startswith("http"))
            given = QUICK | {f"BATCHMILL_{name.upper()}": value for name, value in settings.items()}
            with serve_process("--data-dir", folder, "--upstream", url, settings=given) as served:
                assert served.url
                yield served
        finally:
            process.terminate()


def request(custom_id: str, body: Mapping[str, object], url: str = CHAT) -> bytes:
    """One request line."""
    line = {"custom_id": custom_id, "method": "POST", "url": url, "body": dict(body)}
    return json.dumps(line).encode()


def ask(text: str) -> dict[str, object]:
    """The body of a chat completion."""
    return {"model": "practice", "messages": [{"role": "user", "content": text}]}


def chat(*texts: str) -> bytes:
    """An input file that says these things to the upstream, as `line-0`, `line-1` and so on."""
    return joined(request(f"line-{n}", ask(text)) for n, text in enumerate(texts))


def joined(lines: Iterable[bytes]) -> bytes:
    """The lines as a file."""
    return b"".join(line + b"\n" for line in lines)


def submit(client: OpenAI, content: bytes, endpoint: Any = CHAT, **more: Any) -> Batch:
    """A new batch of an input file."""
    file = client.files.create(file=("upload", content), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **more)


def until_ended(client: OpenAI, batch: Batch) -> Batch:
    """The batch when it has ended."""
    deadline = time.monotonic() + PATIENCE
    while (seen := client.batches.retrieve(batch.id)).status not in ENDED:
        assert time.monotonic() < deadline, seen
        time.sleep(0.05)
    return seen


def results(client: OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    """The lines of a result file, each of which must end with a newline; of no file none."""
    if file_id is None:
        return []
    text = client.files.content(file_id).text
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def keys(*arguments: str, folder: Path) -> str:
    """What `batchmill keys` answers about the server on `folder`."""
    return subprocess.run(
        [*PROGRAM, "keys", *arguments],
        env=environment({"BATCHMILL_DATA_DIR": str(folder)}),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    ).stdout.strip()
