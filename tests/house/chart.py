"""Renders the Helm chart with the library that `helm` is made of.

Each rendering is a process of its own (`python -m tests.house.chart`, the values on standard input): the
library brings the Go runtime, with its threads and signal handlers, which must not stay in the process of the
tests.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # it ships no types

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "batchmill"
Manifest = dict[str, Any]


class RenderError(Exception):
    """The chart refuses these values; says why."""


def render(values: Manifest) -> list[Manifest]:
    """What the chart makes of these values over its own, hooks among it."""
    documents = yaml.safe_load_all("\n---\n".join(_ask("render", values)))
    return [document for document in documents if document]


def lint(values: Manifest) -> list[str]:
    """What `helm lint --strict` has to say, but for advice."""
    return _ask("lint", values)


def _ask(what: str, values: Manifest) -> list[str]:
    asked = subprocess.run(
        [sys.executable, "-m", "tests.house.chart", what],
        cwd=ROOT,
        input=json.dumps(values),
        capture_output=True,
        text=True,
        timeout=120,
    )
    if asked.returncode:
        raise RenderError(asked.stderr.strip().splitlines()[-1])
    answer: list[str] = json.loads(asked.stdout)
    return answer


def _answer(what: str, values: Manifest) -> list[str]:
    import helm_python

    if what == "lint":
        report = helm_python.lint(CHART, values, strict=True)
        found = [f"{said['path']}: {said['error']}" for said in report["messages"] if said["severity"] > 1]
        return [*found, *report["errors"]]
    with helm_python.Chart.load(CHART) as chart:
        files = chart.render(values, name="batchmill", namespace="inference")
    return [text for name, text in files.items() if name.endswith(".yaml")]


if __name__ == "__main__":
    json.dump(_answer(sys.argv[1], json.load(sys.stdin)), sys.stdout)
