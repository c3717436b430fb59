"""The API reads no object without saying whose it must be: the database looks for it within the project."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT = Path(__file__).parents[2]
PROJECT_AT: Final = {
    "get": 2,
    "find": 2,
    "page": 1,
    "count": 1,
    "carry_out": 3,
    "kept": 0,
    "open_batches_of": 0,
}
"""Methods that read objects, and which argument says the project, unless a keyword does."""
OF_NO_PROJECT: Final = {"key_of", "opens", "now", "advance"}
"""What else is asked of the read models: whose a key is, and nothing of any project."""


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Every call of a method of the read models, the journal or the board: where, which, itself."""
    for path in sorted((ROOT / "api").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = ast.unparse(node.func.value).rpartition(".")[2]
                if owner in ("models", "journal", "board"):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node.func.attr, node


def test_every_object_is_looked_for_within_a_project() -> None:
    found = [(place, method, call) for place, method, call in calls() if method in PROJECT_AT]
    assert len(found) > 20
    for place, method, call in found:
        at = PROJECT_AT[method]
        said = [k.value for k in call.keywords if k.arg == "project_id"] or call.args[at : at + 1]
        assert said, f"{place} reads an object of any project"
        whose = ast.unparse(said[0]).rpartition(".")[2].lstrip("_")
        assert whose == "project_id", f"{place} reads an object of {ast.unparse(said[0])}"


def test_nothing_else_is_asked_that_could_be_of_another_project() -> None:
    """`record` writes what was decided on such objects; `open_batches` and `waits` are told the ids of those
    that were found; `list` is of the upstream's models."""
    others = {method for _, method, _ in calls()} - PROJECT_AT.keys()
    assert others <= OF_NO_PROJECT | {"record", "open_batches", "waits", "list"}
