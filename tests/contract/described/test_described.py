"""schemathesis reads the description and makes up requests: examples, the edges of every schema, right and
wrong ones by chance, and chains of them along the links. No answer is a 5xx, and each is as it is described.

What it is told of this API, and which checks do not fit, stands in `schemathesis.toml` and `hooks.py`. A long
run prints its seed; `BATCHMILL_TEST_SEED` gives it. The short one is always the same.
"""

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from api.openapi.served import operations
from api.services import ApiOptions
from engine.webhooks.poster import WebhookPoster
from events.webhooks.post import PostAnswer
from tests.api.example_world import World
from tests.api.serving import MIB, Served, serving
from tests.postgres import Database, PostgresServer

ROOT: Final = Path(__file__).parents[3]
PROGRAM: Final = Path(sys.executable).with_name("schemathesis")
SETTINGS: Final = Path(__file__).with_name("schemathesis.toml")
SEED: Final = int(os.environ.get("BATCHMILL_TEST_SEED") or secrets.randbelow(1_000_000))
LEAST_CASES: Final = 5_000
OPTIONS: Final = ApiOptions(
    max_batch_file_bytes=4 * MIB,
    max_file_bytes=4 * MIB,
    max_upload_bytes=4 * MIB,
    max_part_bytes=MIB,
    free_space_floor=0,
)
CASES: Final = re.compile(r"^ *([\d,]+) generated", re.MULTILINE)


class Unsent(WebhookPoster):
    """Calls nobody: the addresses are made up, and some of them are somebody's."""

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> PostAnswer:
        return PostAnswer(204)


@pytest.fixture(scope="module")
def tried(
    postgres_server: PostgresServer, migrated_template: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """The API, to be asked for anything."""
    folder = tmp_path_factory.mktemp("files")
    with serving(postgres_server, migrated_template.name, folder, OPTIONS, Unsent) as running:
        yield running


def run(served: Served, folder: Path, seed: int, *arguments: str) -> int:
    """Has a project with some objects tried, and holds that nothing was found; how many cases there were."""
    project = served.project()
    World(served, project)
    ran = subprocess.run(
        [
            PROGRAM,
            f"--config-file={SETTINGS}",
            "run",
            f"http://127.0.0.1:{served.port}/openapi.json",
            f"--seed={seed}",
            "--generation-database=none",
            "--no-color",
            "--warnings=off",
            *arguments,
        ],
        cwd=folder,
        env={**os.environ, "BATCHMILL_KEY": project.key, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    told = ran.stdout + ran.stderr
    assert ran.returncode == 0, told
    cases = CASES.search(told)
    assert cases is not None, told
    return int(cases[1].replace(",", ""))


def test_a_few_requests_for_each_operation(tried: Served, tmp_path: Path) -> None:
    cases = run(tried, tmp_path, 1, "--phases=examples,stateful", "--max-examples=1")
    assert cases >= len(operations(ApiOptions()))


@pytest.mark.soak
def test_thousands_of_requests(tried: Served, tmp_path: Path) -> None:
    cases = run(tried, tmp_path, SEED, "--max-examples=150", "--continue-on-failure")
    print(f"{cases} cases, seed {SEED}")
    assert cases >= LEAST_CASES
