"""No source file is too long to be read in one sitting."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("api", "bench", "cli", "deploy", "engine", "events", "migrations", "storage", "tests")
SOURCE_SUFFIXES = {".py", ".sql"}
MOST_LINES = 400


def source_files() -> list[Path]:
    return sorted(
        path for room in ROOMS for path in (ROOT / room).rglob("*") if path.suffix in SOURCE_SUFFIXES
    )


@pytest.mark.parametrize("path", source_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_source_file_has_at_most_400_lines(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES, f"{path.relative_to(ROOT)} has {lines} lines: give each of its reasons a file"
