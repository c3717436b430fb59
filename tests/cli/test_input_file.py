"""The input of a run: known again by its bytes, and asked for its endpoint."""

import hashlib
from pathlib import Path

import pytest

from cli.one_shot.input_file import DEFAULT_ENDPOINT, PIECE, endpoint_of, is_what_was, pieces
from events.batch import InputFile
from events.errors import NotFound

EMBEDDINGS = '{"custom_id":"a","url":"/v1/embeddings"}'


@pytest.mark.parametrize(
    ("content", "endpoint"),
    [
        (EMBEDDINGS, "/v1/embeddings"),
        (f"\ufeff\n \r\n{EMBEDDINGS}\n", "/v1/embeddings"),
        (f"\ufeff{EMBEDDINGS}\nnot json", "/v1/embeddings"),
        ("not json\n" + EMBEDDINGS, DEFAULT_ENDPOINT),
        ('{"url":"/v1/elsewhere"}', DEFAULT_ENDPOINT),
        ('{"url":7}', DEFAULT_ENDPOINT),
        ("", DEFAULT_ENDPOINT),
        ("\n\n", DEFAULT_ENDPOINT),
        (" " * 600 + EMBEDDINGS, "/v1/embeddings"),
        (EMBEDDINGS[:-1] + " " * 600 + "}", DEFAULT_ENDPOINT),
    ],
)
def test_the_endpoint_is_that_of_the_first_line(content: str, endpoint: str, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(content)
    assert endpoint_of(source, longest=500) == endpoint


async def test_only_the_same_bytes_are_the_same_input(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    content = b"x" * (2 * PIECE + 1)
    source.write_bytes(content)
    before = InputFile("key", len(content), hashlib.sha256(content).hexdigest())
    assert await is_what_was(source, before)
    source.write_bytes(b"y" + content[1:])
    assert not await is_what_was(source, before)
    source.write_bytes(content[1:])
    assert not await is_what_was(source, before)


async def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "none.jsonl"
    with pytest.raises(NotFound, match=r"none\.jsonl cannot be read: No such file"):
        endpoint_of(missing, longest=500)
    with pytest.raises(NotFound, match=r"none\.jsonl cannot be read: No such file"):
        _ = [piece async for piece in pieces(missing)]
