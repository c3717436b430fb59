"""Twins among custom_ids are found wherever they stand, and only where the texts are equal."""

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.inputs.custom_ids import CustomIds, Place, Twin

NOWHERE = Path("/nonexistent/never written")
RECORD = 32


def place(line: int) -> Place:
    return Place(line * 100, 99, line + 1)


def twins_of(
    texts: list[str], limit: int = 100, folder: Path = NOWHERE, memory_bytes: int = 1 << 20
) -> list[Twin]:
    with CustomIds(folder, memory_bytes) as custom_ids:
        for line, text in enumerate(texts):
            custom_ids.add(text, *place(line))
        return custom_ids.twins(limit, lambda place: texts[place.start // 100])


@given(
    st.lists(st.sampled_from(["a", "b", "A", "", "\ud800", "\ud801", "é", "e\u0301"]) | st.text(max_size=1))
)
def test_every_line_after_the_first_of_a_text_is_a_twin(texts: list[str]) -> None:
    expected = [Twin(place(at), text) for at, text in enumerate(texts) if text in texts[:at]]
    assert twins_of(texts) == expected


def test_twins_are_found_across_what_was_spilled(tmp_path: Path) -> None:
    texts = [f"id-{line}" for line in range(1000)]
    texts[999] = texts[3]
    texts[500] = texts[499]
    found = twins_of(texts, folder=tmp_path / "spill", memory_bytes=64 * RECORD)
    assert found == [Twin(place(500), "id-499"), Twin(place(999), "id-3")]


def test_only_the_first_twins_of_the_file_are_told() -> None:
    assert [twin.place.number for twin in twins_of(["same"] * 10_000, limit=3)] == [2, 3, 4]


def test_a_hash_alone_accuses_nobody() -> None:
    with CustomIds(NOWHERE) as custom_ids:
        custom_ids.add("same hash", *place(0))
        custom_ids.add("same hash", *place(1))
        assert custom_ids.twins(100, lambda place: f"text of line {place.number}") == []


def test_a_usual_batch_touches_no_disk() -> None:
    assert twins_of([f"id-{line}" for line in range(1000)]) == []


def test_nothing_is_left_in_the_folder(tmp_path: Path) -> None:
    with CustomIds(tmp_path, memory_bytes=RECORD) as custom_ids:
        custom_ids.add("a", *place(0))
        assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        CustomIds(tmp_path / "file", memory_bytes=RECORD) as custom_ids,
        pytest.raises(OSError, match="file"),
    ):
        custom_ids.add("a", *place(0))


def test_memory_does_not_grow_with_the_number_of_lines(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        with CustomIds(tmp_path, memory_bytes=256 << 10) as custom_ids:
            for line in range(60_000):
                custom_ids.add(f"id-{line}", *place(line))
            assert custom_ids.twins(100, lambda place: "") == []
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
