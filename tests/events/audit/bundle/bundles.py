"""Bundles that were made once and must check for ever, and the two programs that check them.

`python -m tests.events.audit.bundle.bundles` tells the parts of a file.
"""

import io
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from docs.verifier import check_bundle as single_file
from events.audit.bundle.check import Bundle, check_bundle
from events.audit.bundle.outcomes import Outcomes
from events.audit.bundle.parts import BundleFlaw, Part, PartReader
from events.audit.bundle.result_files import require_result_file
from events.audit.note import PrivateKey

KEY: Final = PrivateKey("mill", bytes(range(32)))
NEXT_KEY: Final = PrivateKey("mill", bytes(range(1, 33)))
"""Both have signed."""
STRANGER: Final = PrivateKey("mill", bytes(range(2, 34)))
GOLDEN: Final = Path(__file__).parent / "golden"
KINDS: Final = ("digests", "bodies")
ANY: Final = ("bundle", "checkpoint", "event", "hashes", "salt", "digests", "body", "erased", "rest")


class Found(msgspec.Struct, frozen=True):
    """What is wrong, and with which part."""

    part: str
    sentence: str


def by_us(bundle: bytes, *keys: PrivateKey) -> Found | None:
    """What `batchmill audit check` finds."""
    try:
        check_bundle(io.BytesIO(bundle), [key.public for key in keys or (KEY,)])
    except BundleFlaw as flaw:
        return Found(flaw.part, str(flaw))
    return None


def by_single_file(bundle: bytes, *keys: PrivateKey) -> Found | None:
    """What the verifier finds that trusts nothing of ours."""
    try:
        single_file.Bundle(io.BytesIO(bundle), [key.public.text for key in keys or (KEY,)])
    except single_file.Flaw as flaw:
        return Found(flaw.part, str(flaw))
    return None


PROGRAMS: Final[Mapping[str, Callable[..., Found | None]]] = {"ours": by_us, "single file": by_single_file}


def files_by_us(bundle: bytes, output: bytes, errors: bytes) -> Bundle:
    """What `batchmill audit check` proves of a bundle with its files."""
    outcomes = Outcomes(io.BytesIO())
    proven = check_bundle(io.BytesIO(bundle), [KEY.public], outcomes)
    require_result_file(io.BytesIO(output), "output", proven.output, outcomes, proven.status)
    require_result_file(io.BytesIO(errors), "errors", proven.errors, outcomes, proven.status)
    return proven


def files_by_single_file(bundle: bytes, output: bytes, errors: bytes) -> single_file.Bundle:
    """What the single file proves of them."""
    proven = single_file.Bundle(io.BytesIO(bundle), [KEY.public.text])
    proven.check_file("output", io.BytesIO(output))
    proven.check_file("errors", io.BytesIO(errors))
    return proven


def parts_of(bundle: bytes) -> list[tuple[int, Part]]:
    """Each part and where it begins."""
    source = io.BytesIO(bundle)
    reader = PartReader(source)
    found: list[tuple[int, Part]] = []
    while not found or found[-1][1].name != "rest":
        at = source.tell()
        found.append((at, reader.take(*ANY)))
    return found


def golden(name: str) -> bytes:
    """A file that was made once."""
    return (GOLDEN / name).read_bytes()


if __name__ == "__main__":
    for at, part in parts_of(Path(sys.argv[1]).read_bytes()):
        print(at, part.name, len(part.content))
