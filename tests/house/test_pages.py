"""The pages lead where they say they do."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
QUOTED = re.compile(r"`(.*?)`")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")


def pages() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")])


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_of_a_page_leads_somewhere(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in target]
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing, f"{page.relative_to(ROOT)} leads to {', '.join(missing)}, which is not there"


def test_messages_are_what_the_page_on_many_processes_says_they_are() -> None:
    files = [file for room in ("api", "cli", "engine", "events") for file in ROOT.glob(f"{room}/**/*.py")]
    program = re.sub(r'"\s+f?"', "", "".join(file.read_text(encoding="utf-8") for file in files))
    page = (ROOT / "docs/how-to/run-many-processes.md").read_text(encoding="utf-8")
    said = [
        quoted for row in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for quoted in QUOTED.findall(row)
    ]
    assert len(said) > 10
    assert [words for words in said if words.strip(" …:") not in program] == []
