"""The reference pages are those that the code makes now."""

from pathlib import Path

import pytest

from cli.reference import pages


@pytest.mark.parametrize(("path", "text"), pages().items(), ids=lambda value: getattr(value, "name", ""))
def test_a_reference_page_says_what_the_code_says(path: Path, text: str) -> None:
    assert path.read_text(encoding="utf-8") == text, f"{path.name} is older than the code: run `make docs`"
