"""Did a batch keep its promises? A pure reading of everything that was seen of it.

Nothing here asks a server: a test gathers a `Story`, and `broken_promises` names what is wrong with it.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from events.audit.replay import Difference
from tests.upstream import Visit

ORDER: Final = ("validating", "in_progress", "finalizing", "cancelling", "ended")
ON_THE_WAY: Final = 0.25
"""Seconds that a request under way may take to reach the upstream."""
LAST_SENT: Final = 1.0
"""Seconds in which an upstream that is busy has seen all that a dead process sent; none is started again
sooner."""
UNRUN: Final = frozenset({"batch_cancelled", "batch_expired"})
"""Error codes of lines that were not run: they are in no count."""
TRIED_AGAIN: Final = frozenset({"408", "409", "425", "429", "500", "502", "503", "504", "dropped", "html"})
"""Ends of a try after which another one is right."""
_RESULT: Final = re.compile(
    rb'\{"id":"(?P<id>batch_req_[0-9a-f]{32})","custom_id":"(?P<line>[^"]*)","response":'
    rb'(?:null|\{"status_code":(?P<status>\d{3}),"request_id":"[^"]*","body":(?P<body>[^\n]*)\}),"error":'
    rb'(?:null|\{"code":"(?P<code>[a-z_]+)","message":"[^\n]*"\})\}'
)


@dataclass(frozen=True)
class Result:
    """One line of a result file."""

    line: str
    status: int | None
    code: str | None
    body: bytes


@dataclass
class Kill:
    """A moment, on the machine's monotonic clock, at which whoever ran lines was dead or frozen: all of them,
    or the one that signs with the name `who`.

    What was frozen in the middle of sending a line goes on sending it when it thaws, at `thawed`: no clock
    that it looks at before can prevent that.
    """

    at: float
    thawed: float | None = None
    who: str | None = None

    def struck(self, visit: Visit) -> bool:
        """Whether a try may have been under way when its sender died. What a dead process sent last reaches
        the upstream after its death."""
        if self.who is None:
            return visit.began <= self.at
        return visit.by == self.who and visit.began <= self.at + LAST_SENT

    def sent_on_thawing(self, visit: Visit) -> bool:
        """Whether a try may have been under way when its sender froze, though it began after the thaw."""
        if self.thawed is None or (self.who is not None and visit.by != self.who):
            return False
        return self.thawed <= visit.began <= self.thawed + ON_THE_WAY


@dataclass
class Trouble:
    """What a connection to the upstream met with: from `at` until `until`, on the machine's monotonic clock,
    nothing came through, or not everything. `port` is its near end as the upstream sees it; 0 while it has
    not got there."""

    at: float
    until: float = math.inf
    port: int = 0

    def lost_answer(self, before: Visit, after: Visit) -> bool:
        """Whether the answer to a try may not have arrived when the line was tried again."""
        of_this = self.port == before.port
        return of_this and before.began <= self.until + ON_THE_WAY and self.at <= after.began

    def held(self, visit: Visit) -> bool:
        """Whether a try may have been sent long before it reached the upstream."""
        return self.port == visit.port and self.at <= visit.began <= self.until + ON_THE_WAY


@dataclass(frozen=True)
class Story:
    """What was seen of a batch that has ended.

    `lines` are the custom_ids in input order; `polls` every answer of the API, the last one final;
    `recorded` says when each line's outcome was recorded, on the clock of the visits; `again` are lines of
    which the log holds another one. `differences` are those between the live read models and files, and what
    a replay of the whole log makes of them. `troubles` are what connections to the upstream met with.
    """

    lines: Sequence[str]
    polls: Sequence[Mapping[str, Any]]
    output: bytes
    errors: bytes
    visits: Sequence[Visit] = ()
    recorded: Mapping[str, float] = field(default_factory=dict)
    again: Sequence[str] = ()
    differences: Sequence[Difference] = ()
    kills: Sequence[Kill] = ()
    troubles: Sequence[Trouble] = ()


def broken_promises(story: Story) -> list[str]:
    """Each breach in a sentence; an empty list is what a test wants to see."""
    return [
        *_not_exactly_once(story),
        *_out_of_order(story),
        *_in_the_wrong_file(story),
        *_miscounted(story),
        *_stepped_back(story),
        *_ended_twice(story),
        *_run_after_recorded(story),
        *_run_again_without_cause(story),
        *_never_run(story),
        *_recorded_again(story),
        *_replayed_otherwise(story),
    ]


def results_of(content: bytes) -> list[Result]:
    """The lines of a result file. Raises `ValueError` for one that is none."""
    results = []
    for number, text in enumerate(content.split(b"\n")[:-1], 1):
        found = _RESULT.fullmatch(text)
        if found is None or (found["status"] is None) == (found["code"] is None):
            raise ValueError(f"line {number} of a result file is not one: {text[:200]!r}")
        status = None if found["status"] is None else int(found["status"])
        code = None if found["code"] is None else found["code"].decode()
        results.append(Result(found["line"].decode(), status, code, found["body"] or b""))
    if not content.endswith(b"\n") and content:
        raise ValueError("the last line of a result file has no end")
    return results


def repeats(story: Story) -> int:
    """How many tries were made of lines that had been under way when their worker died."""
    return sum(
        not _deserved(before) and _killed_between(story, before, after) for before, after in _retried(story)
    )


def lost_answers(story: Story) -> int:
    """How many tries were made again though nobody had died, as the network kept the answer."""
    return sum(
        not (_deserved(before) or _killed_between(story, before, after))
        and _lost_between(story, before, after)
        for before, after in _retried(story)
    )


def in_flight(story: Story, kill: Kill) -> int:
    """Lines begun by those who were killed and not recorded then: what may run again for it."""
    begun: dict[str, Visit] = {}
    for visit in story.visits:
        if visit.began <= kill.at or kill.struck(visit):
            begun[visit.line] = visit
    return sum(
        kill.struck(visit) and story.recorded.get(line, float("inf")) > kill.at
        for line, visit in begun.items()
    )


def _results(story: Story) -> list[Result]:
    return results_of(story.output) + results_of(story.errors)


def _not_exactly_once(story: Story) -> Iterator[str]:
    found: dict[str, int] = defaultdict(int)
    for result in _results(story):
        found[result.line] += 1
    for line in story.lines:
        if found[line] != 1:
            yield f"{line} has {found[line]} outcomes"
    for line in found.keys() - set(story.lines):
        yield f"{line} has an outcome and was never asked for"


def _out_of_order(story: Story) -> Iterator[str]:
    place = {line: n for n, line in enumerate(story.lines)}
    for name, content in (("output", story.output), ("error", story.errors)):
        for before, after in pairwise(results_of(content)):
            if place.get(before.line, 0) > place.get(after.line, 0):
                yield f"{after.line} comes after {before.line} in the {name} file"


def _in_the_wrong_file(story: Story) -> Iterator[str]:
    for name, content in (("output", story.output), ("error", story.errors)):
        for result in results_of(content):
            success = result.status is not None and 200 <= result.status < 300
            if success != (name == "output"):
                yield f"{result.line} ended with {result.status or result.code} and is in the {name} file"


def _miscounted(story: Story) -> Iterator[str]:
    counts = story.polls[-1]["request_counts"]
    succeeded = len(results_of(story.output))
    failed = sum(result.code not in UNRUN for result in results_of(story.errors))
    for name, counted, there in (
        ("total", counts["total"], len(story.lines)),
        ("completed", counts["completed"], succeeded),
        ("failed", counts["failed"], failed),
    ):
        if counted != there:
            yield f"{name} is {counted}, but there are {there}"


def _stepped_back(story: Story) -> Iterator[str]:
    for before, after in pairwise(story.polls):
        for name in ("total", "completed", "failed"):
            was, became = before["request_counts"][name], after["request_counts"][name]
            if became < was:
                yield f"{name} stepped back from {was} to {became}"
        if _stage(after) < _stage(before):
            yield f"status stepped back from {before['status']} to {after['status']}"


def _ended_twice(story: Story) -> Iterator[str]:
    ends = dict.fromkeys(poll["status"] for poll in story.polls if poll["status"] not in ORDER)
    if len(ends) > 1:
        yield f"it ended several times: {', '.join(ends)}"


def _stage(poll: Mapping[str, Any]) -> int:
    status = poll["status"]
    return ORDER.index(status) if status in ORDER else ORDER.index("ended")


def _run_after_recorded(story: Story) -> Iterator[str]:
    for visit in story.visits:
        recorded = story.recorded.get(visit.line)
        sent_before = any(kill.sent_on_thawing(visit) for kill in story.kills) or _held(story, visit)
        if recorded is not None and visit.began > recorded and not sent_before:
            late = visit.began - recorded
            yield f"{visit.line} was sent {late:.3f} s after its outcome was recorded"


def _run_again_without_cause(story: Story) -> Iterator[str]:
    for before, after in _retried(story):
        excused = _killed_between(story, before, after) or _lost_between(story, before, after)
        if not _deserved(before) and not excused:
            yield f"{after.line} was sent again after {before.outcome}, and nobody had died"


def _never_run(story: Story) -> Iterator[str]:
    visited = {visit.line for visit in story.visits}
    for result in _results(story) if story.visits else ():
        if result.line not in visited and result.code not in UNRUN:
            yield f"{result.line} has an outcome and was never sent"


def _recorded_again(story: Story) -> Iterator[str]:
    for line in story.again:
        yield f"{line} has another outcome in the log"


def _replayed_otherwise(story: Story) -> Iterator[str]:
    for it in story.differences:
        yield f"{it.field} of {it.object} is {it.live}, and {it.replayed} when the log is replayed"


def _retried(story: Story) -> Iterator[tuple[Visit, Visit]]:
    by_line: dict[str, list[Visit]] = defaultdict(list)
    for visit in story.visits:
        by_line[visit.line].append(visit)
    for tries in by_line.values():
        yield from pairwise(sorted(tries, key=lambda visit: visit.began))


def _deserved(visit: Visit) -> bool:
    return visit.outcome in TRIED_AGAIN


def _killed_between(story: Story, before: Visit, after: Visit) -> bool:
    return any(
        (kill.struck(before) and kill.at <= after.began)
        or kill.sent_on_thawing(before)
        or kill.sent_on_thawing(after)
        for kill in story.kills
    )


def _lost_between(story: Story, before: Visit, after: Visit) -> bool:
    lost = any(trouble.lost_answer(before, after) for trouble in story.troubles)
    return lost or _held(story, before) or _held(story, after)


def _held(story: Story, visit: Visit) -> bool:
    return any(trouble.held(visit) for trouble in story.troubles)
