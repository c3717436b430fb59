"""A bundle that was changed anywhere is found, in a sentence that names the part: by both programs."""

import io
from collections.abc import Iterator
from random import Random
from typing import Final

import pytest

from docs.verifier import check_bundle as single_file
from events.audit.bundle.check import check_bundle
from events.audit.bundle.outcomes import Outcomes
from events.audit.bundle.parts import BundleFlaw, Part, encode_part
from events.audit.bundle.result_files import require_result_file
from tests.events.audit.bundle.bundles import (
    KEY,
    KINDS,
    NEXT_KEY,
    PROGRAMS,
    STRANGER,
    files_by_single_file,
    files_by_us,
    golden,
    parts_of,
)

FLIPS: Final = 200
BUNDLES: Final = {kind: golden(f"{kind}.evidence") for kind in KINDS}
OUTPUT, ERRORS = golden("output.jsonl"), golden("errors.jsonl")
ALTERNATIVES: Final = {"event": {"event"}, "rest": {"event", "rest"}, "erased": {"salt", "erased"}}
"""What a part may be called whose own name cannot be read: the first that might have stood there."""

both = pytest.mark.parametrize("program", PROGRAMS)
each = pytest.mark.parametrize("kind", KINDS)


@both
@each
def test_what_was_made_once_checks_for_ever(kind: str, program: str) -> None:
    assert PROGRAMS[program](BUNDLES[kind]) is None


@each
def test_both_programs_prove_the_same(kind: str) -> None:
    ours = files_by_us(BUNDLES[kind], OUTPUT, ERRORS)
    single = files_by_single_file(BUNDLES[kind], OUTPUT, ERRORS)
    for name in ("status", "completed", "failed", "unrun", "events", "erased"):
        assert getattr(ours, name) == getattr(single, name)
    assert (ours.batch_id, ours.status, ours.completed, ours.failed) == (single.batch, "completed", 6, 2)


@both
@each
def test_every_one_bit_flip_is_found_in_its_part(kind: str, program: str) -> None:
    bundle, dice = BUNDLES[kind], Random(f"flips of {kind}")
    for bit in dice.sample(range(8 * len(bundle)), FLIPS):
        flipped = bytearray(bundle)
        flipped[bit // 8] ^= 1 << bit % 8
        found = PROGRAMS[program](bytes(flipped))
        assert found is not None, bit
        part = part_at(bundle, bit // 8)
        assert found.part in ALTERNATIVES.get(part.name, {part.name}), (bit, found)
        assert f"part {part.number}" in found.sentence
        assert found.part in found.sentence


@both
@each
def test_every_truncation_is_found(kind: str, program: str) -> None:
    bundle = BUNDLES[kind]
    ends = (
        {at for at, _ in parts_of(bundle)} | set(Random(1).sample(range(len(bundle)), 30)) | {len(bundle) - 1}
    )
    for end in sorted(ends):
        found = PROGRAMS[program](bundle[:end])
        assert found is not None, end
        assert found.part in found.sentence


@both
@each
@pytest.mark.parametrize("more", [b"\0", b"\n", encode_part("rest", b"")])
def test_what_follows_the_last_part_is_found(kind: str, more: bytes, program: str) -> None:
    found = PROGRAMS[program](BUNDLES[kind] + more)
    assert found is not None
    assert (found.part, "bytes follow it" in found.sentence) == ("rest", True)


@both
@each
def test_every_swap_of_neighbours_and_every_part_left_out_is_found(kind: str, program: str) -> None:
    parts = [part for _, part in parts_of(BUNDLES[kind])]
    for at in range(len(parts) - 1):
        swapped = [*parts[:at], parts[at + 1], parts[at], *parts[at + 2 :]]
        for changed in (swapped, parts[:at] + parts[at + 1 :]):
            found = PROGRAMS[program](joined(changed))
            assert found is not None, at
            assert found.part in found.sentence


@both
def test_a_key_that_has_not_signed_is_told(program: str) -> None:
    found = PROGRAMS[program](BUNDLES["digests"], STRANGER)
    assert found is not None
    assert found.part == "checkpoint"


@both
@each
def test_a_forged_part_is_found_although_its_checksum_is_right(kind: str, program: str) -> None:
    """All but salts where nothing else tells of the text: these show beside the result files. And signatures
    by keys that nobody asked for prove nothing, changed or not."""
    parts = [part for _, part in parts_of(BUNDLES[kind])]
    dice = Random(f"forgeries of {kind}")
    for at, part in enumerate(parts):
        if not part.content or (part.name == "salt" and kind == "digests"):
            continue
        for _ in range(4):
            content = bytearray(part.content)
            bit = dice.randrange(8 * len(content))
            content[bit // 8] ^= 1 << bit % 8
            forged = [*parts[:at], Part(part.number, part.name, bytes(content)), *parts[at + 1 :]]
            found = PROGRAMS[program](joined(forged), KEY, NEXT_KEY)
            assert found is not None, (part.number, part.name, bit)
            assert found.part in found.sentence


def test_a_forged_salt_shows_beside_the_result_files() -> None:
    parts = [part for _, part in parts_of(BUNDLES["digests"])]
    for at in (n for n, part in enumerate(parts) if part.name == "salt"):
        forged = joined([*parts[:at], Part(at, "salt", bytes(16)), *parts[at + 1 :]])
        with pytest.raises(BundleFlaw, match="is not what was recorded"):
            files_by_us(forged, OUTPUT, ERRORS)
        with pytest.raises(single_file.Flaw, match="is not what was recorded"):
            files_by_single_file(forged, OUTPUT, ERRORS)


def changed_files() -> Iterator[tuple[str, bytes, bytes]]:
    """A name of the file that was changed, and both files."""
    dice = Random(2)
    for name, file in (("output", OUTPUT), ("errors", ERRORS)):
        flipped = bytearray(file)
        flipped[dice.randrange(len(file))] ^= 1 << dice.randrange(8)
        lines = file.splitlines(keepends=True)
        swapped = b"".join([lines[1], lines[0], *lines[2:]])
        for changed in (
            bytes(flipped),
            file[:-1],
            b"".join(lines[:-1]),
            file + b"\n",
            swapped,
            b"",
        ):
            yield (name, changed, ERRORS) if name == "output" else (name, OUTPUT, changed)
    yield "output", ERRORS, OUTPUT


@pytest.mark.parametrize(
    ("name", "output", "errors"), list(changed_files()), ids=lambda value: str(value)[:6]
)
def test_a_changed_result_file_is_found(name: str, output: bytes, errors: bytes) -> None:
    with pytest.raises(BundleFlaw, match=f"the {name} file") as ours:
        files_by_us(BUNDLES["digests"], output, errors)
    assert ours.value.part == name
    with pytest.raises(single_file.Flaw, match=f"the {name} file") as single:
        files_by_single_file(BUNDLES["digests"], output, errors)
    assert single.value.part == name


def test_a_file_that_the_batch_does_not_have_is_refused() -> None:
    outcomes = Outcomes(io.BytesIO())
    proven = check_bundle(io.BytesIO(BUNDLES["digests"]), [KEY.public], outcomes)
    with pytest.raises(BundleFlaw, match="the batch has no errors file, and this is one"):
        require_result_file(io.BytesIO(ERRORS), "errors", None, outcomes, proven.status)


def part_at(bundle: bytes, at: int) -> Part:
    """The part that a byte belongs to."""
    return [part for start, part in parts_of(bundle) if start <= at][-1]


def joined(parts: list[Part]) -> bytes:
    return b"".join(encode_part(part.name, part.content) for part in parts)
