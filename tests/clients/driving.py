"""What the drivers written in Python have in common. They run in an environment that has the clients and
nothing of this project, so this needs the standard library alone.

A driver is given a `Task`, and says of each operation that its client offers how it went. What a client does
not offer, its driver leaves out.
"""

import hashlib
import inspect
import json
import sys
import time
import traceback
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PATIENCE: Final = 30.0
CHAT: Final = "/v1/chat/completions"
ENDED: Final = frozenset({"completed", "failed", "expired", "cancelled"})
OK: Final = "ok"
_FOLDER: Final = str(Path(__file__).parent)


@dataclass(frozen=True)
class Task:
    """Where the server is, with its /v1; a key of a project of the driver's own, and one that may only read;
    one of a project that may make no batch now; and a receiver of webhooks, which tells at `/heard` and a
    path what it last got there."""

    url: str
    key: str
    read_key: str
    limited_key: str
    receiver: str

    def delivered(self, path: str) -> tuple[dict[str, str], str]:
        """The headers and the body of what was sent to the receiver at a path, as soon as something was."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with urllib.request.urlopen(f"{self.receiver}/heard{path}", timeout=PATIENCE) as answer:
                if answer.status == 200:
                    heard = json.load(answer)
                    return heard["headers"], heard["body"]
            assert time.monotonic() < deadline, f"nothing was delivered to {path}"
            time.sleep(0.05)


async def drive(driver: object) -> None:
    """Tries each operation, which is a method of the driver, and prints a line for each: its name, a space,
    and `ok` or the failure."""
    for name in [name for name in vars(type(driver)) if not name.startswith("_")]:
        try:
            await getattr(driver, name)()
        except Exception as error:
            print(name, _told(error), flush=True)
        else:
            print(name, OK, flush=True)


def _told(error: Exception) -> str:
    """A failure with the line of the driver that it came from."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _FOLDER in frame.filename]
    said = " ".join(f"{type(error).__name__} {error}".split())
    return f"{said[:400]} at {Path(frames[-1].filename).name}:{frames[-1].lineno}"


async def now(value: Any) -> Any:
    """What a call of a client gives, be the client synchronous or not."""
    return await value if inspect.isawaitable(value) else value


def task() -> Task:
    """The task, given as JSON on standard input."""
    return Task(**json.load(sys.stdin))


def line(custom_id: str, text: str) -> bytes:
    """One request line. The upstream does what the text says: `line-1 400` is refused, `line-1` answered."""
    body = {"model": "practice", "messages": [{"role": "user", "content": text}]}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}).encode() + b"\n"


ANSWERED: Final = line("a", "line-a")
HALF_REFUSED: Final = line("a", "line-a") + line("b", "line-b 400")
SLOW: Final = line("a", "line-a slow 60")


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
