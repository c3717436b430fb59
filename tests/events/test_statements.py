"""SQL in files of its own: every statement has a name and a description, and is used."""

from importlib import resources
from pathlib import Path

import pytest

from events.statements import load_statements

FILES = sorted(file.name for file in resources.files("events").joinpath("sql").iterdir())
SOURCE = "\n".join(path.read_text() for path in Path("events").rglob("*.py"))


@pytest.mark.parametrize("file", FILES)
def test_every_statement_says_what_it_does(file: str) -> None:
    statements = load_statements("events", f"sql/{file}")
    assert statements
    for name, text in statements.items():
        description, _, sql = text.partition("\n")
        assert description.startswith("-- "), f"{file}: {name} has no description"
        assert sql.strip(), f"{file}: {name} is empty"
        assert not text.endswith(";")


@pytest.mark.parametrize("file", FILES)
def test_no_statement_is_left_over(file: str) -> None:
    for name in load_statements("events", f"sql/{file}"):
        assert f'"{name}"' in SOURCE, f"{file}: nobody runs {name}"
