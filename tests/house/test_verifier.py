"""The verifier of bundles needs no trust in this project: one short file, of which nothing is ours."""

import ast
import sys
from pathlib import Path

VERIFIER = Path(__file__).parents[2] / "docs" / "verifier" / "check_bundle.py"


def test_it_is_short_enough_to_be_read() -> None:
    assert len(VERIFIER.read_text(encoding="utf-8").splitlines()) < 400


def test_it_needs_the_standard_library_and_one_for_ed25519() -> None:
    needed = set()
    for node in ast.walk(ast.parse(VERIFIER.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            needed |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            needed.add((node.module or "").partition(".")[0])
    assert needed - sys.stdlib_module_names == {"cryptography"}
