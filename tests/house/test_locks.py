"""The lock files hold names, versions and hashes, and nothing about where they came from."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN, DEVELOP = ROOT / "requirements.lock", ROOT / "requirements-dev.lock"
PINNED = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[\w.!+-]+)( ; [^\\]+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


def pins(lock: Path) -> set[tuple[str, str]]:
    """Every (name, version) of a lock file."""
    found = [PINNED.fullmatch(line) for line in lock.read_text(encoding="utf-8").splitlines()]
    return {(match["name"], match["version"]) for match in found if match}


def wanted_names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~ ;]", requirement, maxsplit=1)[0].lower() for requirement in requirements}


@pytest.mark.parametrize("lock", [RUN, DEVELOP], ids=lambda lock: lock.name)
def test_a_lock_file_has_only_pins_and_their_hashes(lock: Path) -> None:
    lines = lock.read_text(encoding="utf-8").splitlines()
    strange = [line for line in lines if not (PINNED.fullmatch(line) or HASH.fullmatch(line))]
    assert not strange


def test_what_runs_is_developed_against_in_the_same_versions() -> None:
    assert pins(RUN) <= pins(DEVELOP)


def test_whatever_the_project_names_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    run = wanted_names(project["project"]["dependencies"])
    develop = wanted_names(project["dependency-groups"]["dev"])
    demo = wanted_names(project["project"]["optional-dependencies"]["demo"])
    assert run <= {name for name, _ in pins(RUN)}
    assert develop | demo <= {name for name, _ in pins(DEVELOP)}
