"""The lock files hold names, versions and hashes, and nothing about where they came from."""

import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN, DEVELOP = ROOT / "requirements.lock", ROOT / "requirements-dev.lock"
CLIENTS = ROOT / "requirements-clients.lock"
NODE = ROOT / "tests" / "clients" / "node"
PINNED = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[\w.!+-]+)( ; [^\\]+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


def pins(lock: Path) -> set[tuple[str, str]]:
    """Every (name, version) of a lock file."""
    found = [PINNED.fullmatch(line) for line in lock.read_text(encoding="utf-8").splitlines()]
    return {(match["name"], match["version"]) for match in found if match}


def wanted_names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~ ;]", requirement, maxsplit=1)[0].lower() for requirement in requirements}


@pytest.mark.parametrize("lock", [RUN, DEVELOP, CLIENTS], ids=lambda lock: lock.name)
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
    assert wanted_names(project["dependency-groups"]["clients"]) <= {name for name, _ in pins(CLIENTS)}


def test_the_sdk_is_driven_in_the_version_that_is_developed_against() -> None:
    assert {pin for pin in pins(DEVELOP) if pin[0] == "openai"} <= pins(CLIENTS)


def test_the_lock_file_of_npm_has_hashes_and_no_address() -> None:
    locked = json.loads((NODE / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    wanted = json.loads((NODE / "package.json").read_text(encoding="utf-8"))["dependencies"]
    assert wanted == locked.pop("")["dependencies"]
    assert all(package["integrity"].startswith("sha512-") for package in locked.values())
    assert not [name for name, package in locked.items() if "resolved" in package]
