"""Input files at the edges of what a file can be, from upload to result."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.chaos.checker import broken_promises
from tests.chaos.inputs import batch_of, fresh_names, request
from tests.chaos.mill import Json, Mill, Refused, mill, polling
from tests.chaos.witness import story_of
from tests.upstream import LedgerUpstream

BOM: Final = b"\xef\xbb\xbf"
TEN_MEGABYTES: Final = b'"user":"' + b"x" * 10_000_000 + b'"'

RUNS: Final[Mapping[str, Callable[[list[str]], bytes]]] = {
    "a byte order mark": lambda lines: BOM + batch_of(lines),
    "carriage returns": lambda lines: batch_of(lines).replace(b"\n", b"\r\n"),
    "no newline at the end": lambda lines: batch_of(lines).removesuffix(b"\n"),
    "blank lines between": lambda lines: b"\n\n" + batch_of(lines).replace(b"\n", b"\n \t\r\n\n"),
    "a line of 10 MB": lambda lines: request(lines[0], more=TEN_MEGABYTES) + b"\n" + batch_of(lines[1:]),
}
NOT_JSONL: Final = {
    "0 bytes": b"",
    "no JSON": b"Dear batch,\nplease run.\n",
    "a page": b"<html></html>\n",
}
INVALID: Final = {
    "blank lines only": (b"\n \n\r\n", "empty_file", None),
    "no JSON on a later line": (batch_of(fresh_names(1)) + b"Dear batch,\n", "invalid_json_line", 2),
    "invalid UTF-8": (
        batch_of(fresh_names(1)) + request("line-x").replace(b"line-x", b"line-\xff") + b"\n",
        "invalid_json_line",
        2,
    ),
    "no object": (batch_of(fresh_names(1)) + b"[]\n", None, 2),
}


async def ended(serving: Mill, content: bytes) -> Json:
    batch_id = await serving.submit(content)
    async with polling(serving, batch_id) as polls:
        return await polls.until_ended()


@pytest.mark.soak  # the planner is tried with more of them
async def test_odd_but_valid_files_run(data_folder: Path, upstream: LedgerUpstream, ledger: Path) -> None:
    async with mill(data_folder, upstream.url) as serving:
        for oddity, content_of in RUNS.items():
            lines = fresh_names(5)
            batch_id = await serving.submit(content_of(lines))
            async with polling(serving, batch_id) as polls:
                story = await story_of(serving, polls, lines, ledger)
            assert broken_promises(story) == [], oddity
            assert story.polls[-1]["request_counts"]["completed"] == len(lines), oddity


@pytest.mark.soak  # tests/api and the planner's have each
async def test_files_that_are_no_batch_say_so_and_run_nothing(
    data_folder: Path, upstream: LedgerUpstream
) -> None:
    async with mill(data_folder, upstream.url) as serving:
        for content in NOT_JSONL.values():
            with pytest.raises(Refused, match=r"^400: .*Invalid file format for Batch API\. Must be \.jsonl"):
                await serving.upload(content)
        for oddity, (content, code, number) in INVALID.items():
            batch = await ended(serving, content)
            assert batch["status"] == "failed", oddity
            error = batch["errors"]["data"][0]
            assert error["line"] == number, oddity
            assert code is None or error["code"] == code, oddity
    assert upstream.tries == 0
