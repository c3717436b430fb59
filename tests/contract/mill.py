"""A whole Batchmill behind an SDK, in one process or in several, and an upstream beside it."""

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from openai import OpenAI
from openai.types import Batch

from cli.embedded.data_folder import running_database_url
from tests.postgres import Database
from tests.rabbit import Broker
from tests.serve_process import PROGRAM, environment, serve_process, started
from tests.tied import TIED

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
PATIENCE: Final = 120.0


@dataclass(frozen=True, slots=True)
class Mill:
    """A whole Batchmill that runs. `settings` are the environment of another command on it, `files` is the
    folder of its objects."""

    url: str
    settings: Mapping[str, str]
    files: Path

    def client(self, key: str = KEY) -> OpenAI:
        """An SDK that asks once: a test wants to see every refusal."""
        return OpenAI(base_url=self.url, api_key=key, max_retries=0, timeout=PATIENCE)

    @property
    def database(self) -> str:
        """A login of its database."""
        given = self.settings.get("BATCHMILL_DATABASE_URL")
        url = given or running_database_url(Path(self.settings["BATCHMILL_DATA_DIR"]))
        assert url is not None
        return url


@dataclass(frozen=True, slots=True)
class Embedded:
    """A place for one `batchmill serve` with everything in it."""

    folder: Path

    @contextmanager
    def mill(self, *upstream: str, **settings: str) -> Iterator[Mill]:
        """Runs it on an upstream that is that command, which prints its URL."""
        own = {"BATCHMILL_DATA_DIR": str(self.folder)}
        with (
            upstream_process(upstream) as url,
            serve_process("--upstream", url, settings=QUICK | own | environment_of(settings)) as served,
        ):
            yield Mill(served.url, own, self.folder / "files")


@dataclass(frozen=True, slots=True)
class Pods:
    """A place for `batchmill api` and two `batchmill worker`, of which one runs the lines, on a database and
    a broker."""

    folder: Path
    database: Database
    broker: Broker

    @contextmanager
    def mill(self, *upstream: str, **settings: str) -> Iterator[Mill]:
        """Runs them on an upstream that is that command, which prints its URL."""
        files = self.folder / "files"
        files.mkdir()
        own = {
            "BATCHMILL_DATABASE_URL": self.database.app_url,
            "BATCHMILL_DATABASE_OWNER_URL": self.database.owner_url,
            "BATCHMILL_STORAGE_URL": files.as_uri(),
        }
        broker = {
            "BATCHMILL_AMQP_URL": self.broker.url,
            "BATCHMILL_AMQP_PREFIX": self.broker.topology.prefix,
        }
        given = QUICK | own | broker | environment_of(settings)
        with upstream_process(upstream) as url, ExitStack() as closing:
            for roles in ("lead,plan", "plan,run"):
                worker = ("worker", "--upstream", url, "--roles", roles)
                closing.enter_context(started(*worker, settings=given)).until("working")
            api = ("api", "--port", "0", "--upstream", url)
            yield Mill(closing.enter_context(started(*api, settings=given)).url, own, files)


@contextmanager
def upstream_process(command: Sequence[str]) -> Iterator[str]:
    """The URL of an upstream that runs while the block does."""
    with subprocess.Popen(
        [*TIED, sys.executable, "-m", *command], env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield next(word for word in process.stdout.readline().split() if word.startswith("http"))
        finally:
            process.terminate()


def environment_of(settings: Mapping[str, str]) -> dict[str, str]:
    """Settings by their names in a TOML file, as environment variables."""
    return {f"BATCHMILL_{name.upper()}": value for name, value in settings.items()}


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


def keys(*arguments: str, of: Mill) -> str:
    """What `batchmill keys` answers about a mill."""
    return subprocess.run(
        [*PROGRAM, "keys", *arguments],
        env=environment(of.settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    ).stdout.strip()
