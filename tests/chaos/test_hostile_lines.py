"""Thousands of lines that are each hard in their own way, all mixed over one batch."""

import asyncio
import hashlib
import time
from collections import Counter
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.chaos.checker import Story, broken_promises, results_of
from tests.chaos.inputs import body, request
from tests.chaos.mill import Mill, mill, polling
from tests.chaos.telling import Tell
from tests.chaos.witness import story_of
from tests.upstream import (
    COMPLETION_TOKENS,
    PROMPT_TOKENS,
    LedgerUpstream,
    answer_to,
)


class Kind(NamedTuple):
    """A way to be hostile. `status` 0 stands for an error without an HTTP answer, of `code`."""

    directive: str = ""
    status: int = 200
    code: str = ""
    tries: int = 1
    more: bytes = b'"temperature":1'


KINDS: Final = (
    Kind(),
    Kind("503x2", tries=3),
    Kind("429 retry-after 1", tries=2),
    Kind("400", 400),
    Kind("403", 403),
    Kind("422", 422),
    Kind("slow 1.5"),
    Kind("dropx1", tries=2),
    Kind("drop-midway", 0, "connection_error", tries=5),
    Kind("htmlx1", tries=2),
    Kind("html", 0, "invalid_response", tries=5),
    Kind("big 200000"),
    Kind("u2028"),
    Kind("emoji-half"),
    Kind("dup-keys"),
    Kind("1e400"),
    Kind("deep 3000"),
    Kind("pretty"),
    Kind("redirect", 307),
    Kind("200", more=rb'"user":"half an emoji \ud83d, and no more"'),
    Kind("200", more='"user":"\u2028 and \U0001f600"'.encode()),
    Kind("200", more=b'"user":"a","user":"b"'),
    Kind("200", more=b'"huge":1e400'),
    Kind("200", more=b'"deep":' + b"[" * 3000 + b"]" * 3000),
)
RARE: Final = {"slow 1.5": 3, "drop-midway": 8, "html": 8, "big 200000": 3}
"""Kinds that cost seconds or megabytes come once in so many of their turns."""


def kinds(count: int) -> list[Kind]:
    """So many lines of all kinds, mixed."""
    turns: Counter[Kind] = Counter()
    mixed = []
    for n in range(count):
        kind = KINDS[n * 7 % len(KINDS)]
        turns[kind] += 1
        mixed.append(kind if turns[kind] % RARE.get(kind.directive, 1) == 0 else KINDS[0])
    return mixed


def input_of(lines: list[str], mixed: list[Kind]) -> bytes:
    return b"".join(
        request(line, kind.directive, kind.more) + b"\n" for line, kind in zip(lines, mixed, strict=True)
    )


def wrong_results(story: Story, mixed: list[Kind]) -> list[str]:
    """Lines that did not end as their kind says, or whose bytes changed on the way up or back."""
    wrong = []
    results = {result.line: result for result in results_of(story.output) + results_of(story.errors)}
    tries = Counter(visit.line for visit in story.visits)
    sent = {(visit.line, visit.body) for visit in story.visits}
    for line, kind in zip(story.lines, mixed, strict=True):
        result = results[line]
        if (result.status or 0, result.code or "") != (kind.status, kind.code):
            wrong.append(f"{line} {kind.directive!r} ended with {result.status} {result.code}")
        if kind.status == 200 and result.body != answer_to(line, kind.directive).replace(b"\n", b" "):
            wrong.append(f"{line} {kind.directive!r} has the answer {result.body[:200]!r}")
        if tries[line] != kind.tries:
            wrong.append(f"{line} {kind.directive!r} was tried {tries[line]} times")
        if (line, hashlib.sha256(body(line, kind.directive, kind.more)).hexdigest()) not in sent:
            wrong.append(f"{line} {kind.directive!r} was sent with another body")
    assert len(sent) == len(story.lines), "a line was sent with several bodies"
    return wrong


async def run(serving: Mill, ledger: Path, lines: list[str], mixed: list[Kind]) -> Story:
    batch_id = await serving.submit(input_of(lines, mixed))
    async with polling(serving, batch_id) as polls:
        story = await story_of(serving, polls, lines, ledger)
    return story


def paused(serving: Mill) -> list[str]:
    return [line for line in serving.said if "route paused" in line]


@pytest.mark.parametrize("count", [480, pytest.param(2000, marks=pytest.mark.soak)])
async def test_thousands_of_hostile_lines_in_one_batch(
    count: int, data_folder: Path, upstream: LedgerUpstream, ledger: Path, tell: Tell
) -> None:
    mixed = kinds(count)
    lines = [f"line-{n}" for n in range(len(mixed))]
    async with mill(data_folder, upstream.url) as serving:
        began = time.monotonic()
        story = await run(serving, ledger, lines, mixed)
        took = time.monotonic() - began

    assert broken_promises(story) == []
    assert wrong_results(story, mixed) == []
    assert paused(serving) == []
    succeeded = sum(kind.status == 200 for kind in mixed)
    batch = story.polls[-1]
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": count, "completed": succeeded, "failed": count - succeeded}
    assert batch["usage"]["input_tokens"] == succeeded * PROMPT_TOKENS
    assert batch["usage"]["output_tokens"] == succeeded * COMPLETION_TOKENS
    tell(f"{count:,} hostile lines: {len(story.visits)} tries in {took:.1f} s, route never paused")


@pytest.mark.soak
async def test_two_hostile_batches_at_once(data_folder: Path, upstream: LedgerUpstream, ledger: Path) -> None:
    mixed = kinds(480)
    first = [f"line-a{n}" for n in range(len(mixed))]
    second = [f"line-b{n}" for n in range(len(mixed))]
    async with mill(data_folder, upstream.url) as serving:
        stories = await asyncio.gather(
            run(serving, ledger, first, mixed), run(serving, ledger, second, mixed)
        )

    for story in stories:
        assert broken_promises(story) == []
        assert wrong_results(story, mixed) == []
    assert paused(serving) == []
