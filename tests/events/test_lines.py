"""What a flush says of its lines, and what it costs."""

import hashlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from events.batch import Usage
from events.outcomes.lines import LineOutcome, pack_block, pack_facts, root_digest, unpack_block, unpack_facts
from tests.events.stage import BEGAN_MS, outcome

tokens = st.integers(0, 1 << 31)
outcomes = st.lists(
    st.builds(
        LineOutcome,
        line=st.integers(0, 1 << 40),
        status=st.integers(-5, 599),
        attempts=st.integers(1, 9),
        usage=st.builds(Usage, tokens, tokens, tokens, tokens, tokens),
        started=st.floats(0, 4e9),
        seconds=st.floats(0, 1e5),
        result=st.binary(max_size=50).map(lambda text: text + b"\n"),
    ),
    max_size=20,
    unique_by=lambda o: o.line,
).map(lambda many: sorted(many, key=lambda o: o.line))


@given(outcomes)
def test_every_line_is_found_again_with_its_result(many: list[LineOutcome]) -> None:
    facts = unpack_facts(pack_facts(many, 0))
    block = unpack_block(pack_block([o.result for o in many]))
    assert list(facts.results(block)) == [(o.line, o.status, o.result) for o in many]
    assert facts.input_tokens == [o.usage.input_tokens for o in many]
    assert facts.took_ms == [int(o.seconds * 1000) for o in many]


def test_a_line_that_began_before_its_flush_says_began_with_it() -> None:
    assert unpack_facts(pack_facts([outcome(0)], BEGAN_MS + 60_000)).started_ms == [0]


def test_the_facts_of_a_line_take_about_25_bytes() -> None:
    column = pack_facts([outcome(line) for line in range(30_000, 30_256)], BEGAN_MS)
    assert len(column) / 256 < 32


def test_a_damaged_block_is_refused() -> None:
    with pytest.raises(zstandard.ZstdError):
        unpack_block(b"nothing of zstd's")


def test_a_block_that_would_grow_without_measure_is_refused() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 20))
    with pytest.raises(zstandard.ZstdError, match="over the limit"):
        unpack_block(bomb, limit=1 << 10)


@pytest.mark.parametrize(
    ("status", "good"), [(200, True), (299, True), (300, False), (199, False), (-1, False)]
)
def test_only_a_2xx_belongs_into_the_output_file(status: int, good: bool) -> None:
    assert outcome(1, status).succeeded == good


def test_the_root_of_a_flush_stands_for_each_line_its_place_and_the_salt() -> None:
    salt = bytes(16)
    leaf = hashlib.sha256(salt + (7).to_bytes(8, "big") + b"a\n").digest()
    assert root_digest([7], [b"a\n"], salt) == hashlib.sha256(leaf).hexdigest()
    roots = {
        root_digest([7], [b"a\n"], salt),
        root_digest([8], [b"a\n"], salt),
        root_digest([7], [b"b\n"], salt),
        root_digest([7], [b"a\n"], b"\x01" * 16),
        root_digest([7, 8], [b"a\n", b"a\n"], salt),
    }
    assert len(roots) == 5
