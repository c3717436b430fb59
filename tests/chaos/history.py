"""One client's random program over a few small batches: it makes them, cancels, lets them expire, deletes
their files, and retries what failed, while the server dies under it.

What is done, and when, hangs on a seed. A `History` says what was wrong; the checker reads its chapters, a
batch each, when the ledger is whole.
"""

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from time import monotonic
from typing import Final

from events.outcomes.cause import failure_of
from tests.chaos.checker import UNRUN, Story, results_of
from tests.chaos.inputs import request
from tests.chaos.legal import breaches
from tests.chaos.mill import Json
from tests.chaos.patient_client import Answered, PatientClient
from tests.chaos.watch import Watch
from tests.upstream import answer_to

ENDPOINT: Final = "/v1/chat/completions"
DEEPEST: Final = 3
"""Batches in a row, each a retry of the one before."""
LIKELY: Final[Mapping[str, float]] = {
    "": 50,
    "slow 0.1": 15,
    "slow 0.6": 6,
    "400": 8,
    "422": 4,
    "500": 4,
    "503x1": 6,
    "429 retry-after 0": 4,
    "dropx1": 4,
    "drop": 3,
    "htmlx1": 2,
    "html": 2,
    "drop-midway": 2,
    "big 20000": 3,
    "emoji-half": 2,
    "stall": 0.4,
}
"""What lines tell the upstream to do, and how often."""
ANSWERS: Final[Mapping[str, frozenset[int | str]]] = {
    "400": frozenset({400}),
    "422": frozenset({422}),
    "500": frozenset({500}),
    "503x1": frozenset({200, 503}),
    "429 retry-after 0": frozenset({200, 429}),
    "dropx1": frozenset({200, "connection_error"}),
    "drop": frozenset({"connection_error"}),
    "drop-midway": frozenset({"connection_error"}),
    "htmlx1": frozenset({200, "invalid_response"}),
    "html": frozenset({"invalid_response"}),
    "stall": frozenset(),
}
"""What may become of such a line, beside what may of any; of all others 200. One that would succeed at its
second try may have no time for it."""
OF_ANY: Final = UNRUN | {"request_timeout", "worker_lost"}


@dataclass
class Chapter:
    """A batch of a history, from when it was asked for until it had ended; `whole` as long as we have deleted
    none of its files."""

    batch_id: str
    lines: Sequence[str]
    since: float
    polls: Sequence[Json]
    output: bytes = b""
    errors: bytes = b""
    until: float = math.inf
    whole: bool = True

    @property
    def final(self) -> Json:
        """The batch as it ended."""
        return dict(self.polls[-1])

    @property
    def ran(self) -> bool:
        """Whether its input was found valid."""
        return self.final["in_progress_at"] is not None

    @property
    def story(self) -> Story:
        """What the checker reads, without what upstream and log have seen."""
        return Story(self.lines, self.polls, self.output, self.errors)


@dataclass
class History:
    """`wrong` is each promise that was broken, in a sentence; `did` counts what happened."""

    seed: str
    client: PatientClient
    watch: Watch
    chapters: list[Chapter] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    did: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._dice = Random(self.seed)
        self._keys = 0
        self._told: dict[str, str] = {}
        self._raw: dict[str, bytes] = {}

    async def live(self) -> None:
        """From the first input to the last retry."""
        names = [f"line-{self.seed}-{n}" for n in range(self._dice.randint(1, 24))]
        directives = self._dice.choices(list(LIKELY), list(LIKELY.values()), k=len(names))
        self._told = dict(zip(names, directives, strict=True))
        self._raw = {line: request(line, told) for line, told in self._told.items()}
        damage = self._dice.choices([b"", b"nonsense\n"], [95, 5])[0]
        gap = self._dice.choice([b"\n", b"\n\n", b" \n"])
        content = gap.join([*self._raw.values(), damage])
        file_id = await self.client.upload(content, self._key())
        wanted = {"input_file_id": file_id, "endpoint": ENDPOINT, **self._window()}
        since = monotonic()
        batch = (await self._asked("/batches", wanted, {200})).json
        await self._go_on(batch, names, since, wanted["completion_window"], not damage, 1)

    async def _go_on(
        self, batch: Json, lines: Sequence[str], since: float, window: str, valid: bool, depth: int
    ) -> None:
        """A batch from when it was made, and those that are made of it."""
        chapter = Chapter(batch["id"], lines, since, self.watch.follow(batch["id"]))
        self.chapters.append(chapter)
        if self._chance(0.15):
            chapter.whole = False
            await self._delete(batch["input_file_id"], "input deleted at once")
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(self._maybe_cancel(chapter))
            partial_results = group.create_task(self._maybe_peek(chapter))
            await self.watch.until_ended(chapter.batch_id)
        cancelled = asked.result()
        chapter.output, chapter.errors = await self._files(chapter)
        chapter.until = monotonic()
        self._judge(chapter, window, cancelled=cancelled, valid=valid)
        there = {*chapter.output.splitlines(), *chapter.errors.splitlines()}
        self._require(there.issuperset(partial_results.result()), "a partial result is not in the files")
        await self._afterwards(chapter, window, depth)

    async def _maybe_cancel(self, chapter: Chapter) -> bool:
        """Whether the batch was cancelled by us, at whatever moment."""
        if self._chance(0.5):
            return False
        moment = self._dice.choices(["at once", "soon", "at a line", "late"], [2, 3, 4, 1])[0]
        match moment:
            case "soon":
                await asyncio.sleep(self._dice.uniform(0, 1.5))
            case "at a line":
                done = self._dice.randint(0, len(chapter.lines))
                await self.watch.until(chapter.batch_id, partial(_has_done, lines=done))
            case "late":
                await self.watch.until_ended(chapter.batch_id)
            case _:
                pass
        many = self._dice.choice([1, 1, 2])
        answers = await asyncio.gather(*(self._cancel(chapter) for _ in range(many)))
        taken = {answer.status == 200 for answer in answers}
        self._require(len(taken) == 1, f"two cancellations were answered with {answers}")
        for answer in answers:
            ended = "Cannot cancel a batch with status '"
            if answer.status == 200:
                fine = answer.json["status"] in ("cancelling", "cancelled")
            else:
                fine = answer.status == 409 and answer.message.startswith(ended)
            self._require(fine, f"a cancellation was answered with {answer}")
        self.did["cancellations taken" if taken == {True} else "cancellations too late"] += 1
        return taken == {True}

    async def _maybe_peek(self, chapter: Chapter) -> list[bytes]:
        """Results that were seen before the end."""
        if self._chance(0.7):
            return []
        done = self._dice.randint(0, len(chapter.lines))
        await self.watch.until(chapter.batch_id, partial(_has_done, lines=done))
        answer = await self.client.ask("GET", f"/batches/{chapter.batch_id}/results")
        self._require(answer.status == 200, f"partial results are answered with {answer}")
        self.did["partial results"] += 1
        return answer.body.splitlines()

    async def _cancel(self, chapter: Chapter) -> Answered:
        return await self.client.ask("POST", f"/batches/{chapter.batch_id}/cancel")

    async def _files(self, chapter: Chapter) -> tuple[bytes, bytes]:
        output, errors = [
            b"" if id is None else (await self.client.ask("GET", f"/files/{id}/content")).body
            for id in (chapter.final["output_file_id"], chapter.final["error_file_id"])
        ]
        return output, errors

    def _judge(self, chapter: Chapter, window: str, *, cancelled: bool, valid: bool) -> None:
        """What can be told of a batch without the ledger."""
        final, status = chapter.final, chapter.final["status"]
        self.did[status] += 1
        for poll in [*chapter.polls]:
            for breach in breaches(poll, _seconds(window)):
                self._require(False, f"{chapter.batch_id}: {breach}")
        if cancelled:
            due = {"cancelled"}
        elif valid:
            due = {"completed"} if window == "24h" else {"completed", "expired"}
        else:
            due = {"failed"}
        self._require(status in due, f"{chapter.batch_id} is {status}, not one of {due}")
        results = results_of(chapter.output) + results_of(chapter.errors)
        unrun = [result for result in results if result.code in UNRUN]
        counts = final["request_counts"]
        left = counts["total"] - counts["completed"] - counts["failed"]
        self.did["lines never run"] += len(unrun)
        self._require(left == len(unrun), f"{len(unrun)} lines were never run, and the counts are {counts}")
        if chapter.ran:
            self._require(counts["total"] == len(chapter.lines), f"{len(chapter.lines)} lines are {counts}")
        codes = {result.code for result in unrun}
        self._require(
            codes <= {f"batch_{status}"} or (status, codes) == ("cancelled", {"batch_expired"}),
            f"{chapter.batch_id} is {status} with {codes}",
        )
        for result in results:
            told = self._told.get(result.line, "nothing")
            may = ANSWERS.get(told, frozenset({200})) | OF_ANY
            came = result.status or result.code
            self._require(came in may, f"{result.line} was told {told!r} and came to {came}")
            if result.status == 200:
                self._require(result.body == answer_to(result.line, told), f"{result.line} has another body")

    async def _afterwards(self, chapter: Chapter, window: str, depth: int) -> None:
        """Deletes files and retries, or not."""
        for name in ("input_file_id", "output_file_id", "error_file_id"):
            if (file_id := chapter.final[name]) is not None and self._chance(0.08):
                chapter.whole = False
                await self._delete(file_id, f"{name.removesuffix('_file_id')} deleted after the end")
        groups = await self._groups(chapter)
        if depth == DEEPEST or self._chance(0.2):
            return
        turns: list[tuple[str | None, Collection[str]]] = [(None, set().union(*groups.values()))]
        if len(groups) > 1 and self._chance(0.4):
            turns = [turn for turn in groups.items() if self._chance(0.8)]
        async with asyncio.TaskGroup() as side_by_side:
            for group, lines in turns:
                again = [line for line in chapter.lines if line in lines]
                side_by_side.create_task(self._retry(chapter, group, again, window, depth))

    async def _groups(self, chapter: Chapter) -> Mapping[str, set[str]]:
        """The lines that failed alike, by the id of their cause, as the error file has them. The API must say
        so, unless what it reads was deleted."""
        found: dict[str, set[str]] = defaultdict(set)
        for result in chapter.errors.splitlines(keepends=True):
            failure = failure_of(result)
            found[failure.cause.id].add(failure.custom_id.strip(b'"').decode())
        answer = await self.client.ask("GET", f"/batches/{chapter.batch_id}/errors")
        self._require(answer.status == 200, f"/errors is answered with {answer}")
        if chapter.ran and chapter.whole:
            told = {group["id"]: group["count"] for group in answer.json["data"]}
            due = {id: len(lines) for id, lines in found.items()}
            self._require(told == due, f"/errors says {told}, and the error file {due}")
        return found

    async def _retry(
        self, chapter: Chapter, group: str | None, lines: Sequence[str], window: str, depth: int
    ) -> None:
        wanted = {**(self._window() if self._chance(0.4) else {}), **({"group": group} if group else {})}
        if not chapter.ran:
            due = {409}
        elif not lines:
            due = {400}
        else:
            # What it reads may be erased by now, or not yet.
            due = {200} if chapter.whole else {200, 400, 409}
        since = monotonic()
        answer = await self._asked(f"/batches/{chapter.batch_id}/retry", wanted, due)
        if answer.status != 200:
            self.did["retries refused"] += 1
            return
        batch = answer.json
        self.did["retries of a group" if group else "retries"] += 1
        self.did["lines retried"] += len(lines)
        self._require(batch["batchmill"]["retry_of"] == chapter.batch_id, f"{batch['id']} is not linked")
        content = (await self.client.ask("GET", f"/files/{batch['input_file_id']}/content")).body
        held = [line.rstrip() for line in content.splitlines()]
        self._require(held == [self._raw[line] for line in lines], f"{batch['id']} holds {held}, not {lines}")
        await self._go_on(batch, lines, since, wanted.get("completion_window", window), True, depth + 1)

    async def _asked(self, path: str, wanted: Mapping[str, object], due: Collection[int]) -> Answered:
        """The answer to who wants a batch, the same though it may be asked for twice at the same moment."""
        key, twins = self._key(), self._dice.choice([1, 1, 2, 3])
        answers = await asyncio.gather(*(self.client.post(path, wanted, key) for _ in range(twins)))
        alike = {(answer.status, answer.json.get("id")) for answer in answers}
        self._require(len(alike) == 1, f"{path}: twins became {alike}")
        first = answers[0]
        self._require(first.status in due, f"{path} is answered with {first}")
        self.did["twins"] += twins > 1
        if first.status == 200 and self._chance(0.1):
            other = await self.client.post(path, {**wanted, "metadata": {"other": "yes"}}, key)
            self._require(other.status == 409, f"a key used for something else is answered with {other}")
            self.did["keys used twice"] += 1
        return first

    async def _delete(self, file_id: str, what: str) -> None:
        answer = await self.client.ask("DELETE", f"/files/{file_id}")
        self._require(answer.status in (200, 404), f"a deletion is answered with {answer}")
        content = await self.client.ask("GET", f"/files/{file_id}/content")
        self._require(content.status == 404, f"the content of a deleted file is answered with {content}")
        self.did[what] += 1

    def _window(self) -> dict[str, str]:
        short = f"{self._dice.randint(1, 5)}s"
        return {"completion_window": self._dice.choices(["24h", short], [60, 40])[0]}

    def _key(self) -> str:
        self._keys += 1
        return f"{self.seed}.{self._keys}"

    def _chance(self, share: float) -> bool:
        return self._dice.random() < share

    def _require(self, fine: bool, otherwise: str) -> None:
        if not fine:
            self.wrong.append(otherwise)


def _has_done(batch: Json, lines: int) -> bool:
    counts = batch["request_counts"]
    return batch["status"] in ("completed", "failed", "expired", "cancelled") or (
        batch["in_progress_at"] is not None and counts["completed"] + counts["failed"] >= lines
    )


def _seconds(window: str) -> int:
    return int(window[:-1]) * {"h": 3600, "s": 1}[window[-1]]
