"""No event is recorded without saying who caused it."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("api", "cli", "engine", "events", "storage")
CATALOG = "events/catalog.py"
"""Where `NewEvent`s are made of events, and nowhere else."""


def calls(name: str) -> Iterator[tuple[str, ast.Call]]:
    """Every call of a function of that name in the program, and where it stands."""
    for path in sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if f"{name}(" in text else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def test_whoever_makes_an_event_says_its_origin() -> None:
    made = dict(calls("new_event"))
    assert len(made) > 20
    for place, call in made.items():
        said = next((keyword.value for keyword in call.keywords if keyword.arg == "metadata"), None)
        assert said is not None, f"{place} makes an event without `metadata`"
        assert not isinstance(said, ast.Constant), f"{place} writes its `metadata` by hand: make an Origin"


def test_events_are_made_in_one_place() -> None:
    assert {place.partition(":")[0] for place, _ in calls("NewEvent")} == {CATALOG}
