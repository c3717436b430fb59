"""Routes: which upstream serves which models, what is known of its models, and when it pauses.

                 a failure puts the route in doubt
      open ────────────────────────────────────────▶ doubted ──probe alive──▶ open
        │                                               │
        │ 20 lines in a row, of two batches,            │ probe dead
        │ fail alike                                    ▼
        └────────────────────────────────────────▶   paused   ──probe alive──▶ open
                                                     ▲      │
                                                     └──────┘ probe dead: the next after 5 s, 10 s, … 60 s

A paused route says why, sends nothing and burns no attempts. What a runner does when a try of a line failed:

    doubt = health.failed(now, batch_id, verdict)     # asks for a probe where the verdict's rule does
    … until health.standing(doubt) is not UNKNOWN …   # the line holds no slot meanwhile
    if tries.counts(health.standing(doubt)):          # the route lives: it was the line's own failure
        … next_try(verdict, tries.counted, …), or its end is the outcome …
    else:                                             # the route was down: the try never happened
        … wait until the route is open, send again …

A probe answers only for what failed before it started. One hostile line never stops a route, since its probe
is alive; a line that itself brings the upstream down is forgiven `FORGIVEN_AT_MOST` times, then its tries
count. All here is pure: times are the caller's, of one monotonic clock; `engine.route_watch` asks the probes.
"""

import enum
from collections.abc import Sequence
from typing import Final

import msgspec

from engine.retry import Verdict
from engine.upstream import ModelsAnswer, UpstreamFailure

FORGIVEN_AT_MOST: Final = 5
"""Tries of one line that do not count because the route was down when they failed."""

MODELS_FRESH: Final = 60.0
"""Seconds for which a list of models is believed."""


class PausePolicy(msgspec.Struct, frozen=True):
    """When a route pauses and how long. Times in seconds.

    `first_wait` doubles up to `longest_wait` with each probe that fails, and with each pause that follows
    another without a success between. `spacing` lies between the probes of an open route, however many lines
    fail. `alike` lines in a row, of at least two batches, failing alike pause a route whose probe is alive.
    """

    first_wait: float = 5.0
    longest_wait: float = 60.0
    spacing: float = 0.25
    alike: int = 20


class Route(msgspec.Struct, frozen=True):
    """One upstream and the models it serves; None: any model."""

    name: str
    url: str
    models: frozenset[str] | None = None


def route_of(routes: Sequence[Route], model: str) -> Route | None:
    """The first route that names the model, else the first that takes any."""
    named = (route for route in routes if route.models is not None and model in route.models)
    return next(named, next((route for route in routes if route.models is None), None))


def paused_everywhere(reasons: Sequence[str | None]) -> str | None:
    """Why a route is paused in every worker, if it is: one that is open can run its lines."""
    return reasons[0] if reasons and all(reason is not None for reason in reasons) else None


class ModelList:
    """The models an upstream listed, believed for a minute."""

    def __init__(self) -> None:
        self._models: frozenset[str] | None = None
        self._read_at = float("-inf")

    def read(self, now: float, models: frozenset[str] | None) -> None:
        """Takes what a probe saw. None, where it saw no list, leaves the last one to grow old.

        A list with a pattern in it ("openai/*", as LiteLLM shows) names no models; "m:latest" answers to "m"
        too, as in Ollama.
        """
        if models is None:
            return
        self._read_at = now
        known = not any("*" in model for model in models)
        short = (model.removesuffix(":latest") for model in models)
        self._models = models.union(short) if known else None

    def known(self, now: float) -> frozenset[str] | None:
        """All names the upstream answers to; None while that is not known for sure."""
        fresh = now - self._read_at <= MODELS_FRESH
        return self._models if fresh and self._models else None


class Probe(msgspec.Struct, frozen=True):
    """What `GET /models` says of a route: alive, or the reason why not."""

    dead: str | None = None
    models: frozenset[str] | None = None


def read_probe(result: ModelsAnswer | UpstreamFailure, url: str) -> Probe:
    """No connection, a time-out, 401, 403 and 5xx are dead; any other answer, 404 too, is alive."""
    if isinstance(result, UpstreamFailure):
        return Probe(dead=result.reason)
    if result.status in (401, 403):
        return Probe(dead=f"the upstream's key was refused with status {result.status} by {url}/models")
    if result.status >= 500:
        return Probe(dead=f"status {result.status} from {url}/models")
    return Probe(models=result.models)


class Standing(enum.Enum):
    """Whether a try failed because its route was down."""

    UNKNOWN = "unknown"
    ALIVE = "alive"
    DOWN = "down"


class Tries(msgspec.Struct):
    """The tries of one line that failed: those that count, and those its route's outages are blamed for."""

    counted: int = 0
    forgiven: int = 0

    def counts(self, standing: Standing) -> bool:
        """Takes one more; False when it does not count and the line goes again once the route is open."""
        if standing is Standing.DOWN and self.forgiven < FORGIVEN_AT_MOST:
            self.forgiven += 1
            return False
        self.counted += 1
        return True


class _Row(msgspec.Struct):
    """Lines that failed alike, one after the other."""

    kind: str = ""
    length: int = 0
    batch_id: str = ""
    several_batches: bool = False


class RouteHealth:
    """One route's place in the diagram above.

    Probes are numbered. A doubt is the number of the probe that will answer it: the next to start.
    """

    def __init__(self, url: str, policy: PausePolicy) -> None:
        self._url = url
        self._policy = policy
        self._reason: str | None = None
        self._row = _Row()
        self._paused_for: str | None = None  # the kind of a row that paused it
        self._asked = 0  # the last probe that somebody waits for
        self._started = 0
        self._ended = 0
        self._ended_at = float("-inf")
        self._dead = 0  # doubts up to this one met a route that was down
        self._fixed_by = 0  # the first probe that may end the pause
        self._probe_at = 0.0
        self._wait = policy.first_wait

    @property
    def reason(self) -> str | None:
        """Why the route is paused; None while it is not."""
        return self._reason

    def succeeded(self) -> None:
        """A line succeeded: a row of failures, if any, is over."""
        self._row.length = 0
        if self._reason is None:
            self._wait = self._policy.first_wait

    def failed(self, now: float, batch_id: str, verdict: Verdict) -> int:
        """A try of a line failed. Answers with the doubt to ask `standing` for."""
        self._lengthen_row(batch_id, verdict)
        if self._reason is not None:
            return self._dead if verdict.rule.probe or verdict.kind == self._paused_for else 0
        if self._row.length >= self._policy.alike and self._row.several_batches:
            self._paused_for = verdict.kind
            self._pause(now, f"{self._row.length} lines in a row failed alike: {self._named(verdict.kind)}")
            return self._dead
        if not verdict.rule.probe:
            return 0
        self._asked = self._started + 1
        return self._asked

    def standing(self, doubt: int) -> Standing:
        """Whether the route was down when a try failed; unknown until its probe has ended."""
        if 0 < doubt <= self._dead:
            return Standing.DOWN
        return Standing.ALIVE if doubt <= self._ended else Standing.UNKNOWN

    def probe_at(self) -> float | None:
        """When the next probe is due, perhaps in the past; None while none is wanted or one is under way."""
        if self._started > self._ended:
            return None
        if self._reason is not None:
            return self._probe_at
        return self._ended_at + self._policy.spacing if self._asked > self._ended else None

    def probe_started(self) -> None:
        """A probe is under way; what fails from now on needs another."""
        self._started += 1

    def probe_ended(self, now: float, probe: Probe) -> None:
        """The probe under way ended."""
        self._ended = self._started
        self._ended_at = now
        if self._reason is not None and self._ended < self._fixed_by:
            return
        if probe.dead is not None:
            self._pause(now, probe.dead)
        elif self._reason is not None:
            self._reason = self._paused_for = None
            self._row.length = 0

    def _pause(self, now: float, reason: str) -> None:
        self._reason = f"route paused: {reason}"
        # The next probe answers doubts from before this moment only, and these are now answered.
        self._dead = self._fixed_by = self._started + 1
        self._probe_at = now + self._wait
        self._wait = min(self._policy.longest_wait, 2 * self._wait)

    def _lengthen_row(self, batch_id: str, verdict: Verdict) -> None:
        row = self._row
        if not verdict.rule.alike:
            row.length = 0
        elif row.length == 0 or row.kind != verdict.kind:
            self._row = _Row(verdict.kind, 1, batch_id)
        else:
            row.length += 1
            row.several_batches = row.several_batches or row.batch_id != batch_id

    def _named(self, kind: str) -> str:
        return f"status {kind} from {self._url}" if kind.isdigit() else kind
