"""How many sends to one upstream may be under way: additive increase, multiplicative decrease.

Starts at the configured cap, halves when the upstream says that it is too much (429, 503, a time-out), grows
by one per clean round trip, never below one. A round trip begins with a change of the limit and ends with the
first answer to a request sent after it: only that answer can tell what the change did. So fifty requests that
fail together halve once, not fifty times. (The rule is TCP's, Jacobson 1988; once per round trip as in the
congestion limiters of Netflix and Envoy.)
"""


class ConcurrencyLimit:
    """One upstream's limit. Pure: times are the caller's, of one monotonic clock.

    The caller counts what is under way, sends while that is below `limit`, and reports every end with the
    time its request was sent at.
    """

    def __init__(self, cap: int) -> None:
        self._cap = max(1, cap)
        self._limit = self._cap
        self._halved_at = float("-inf")
        self._changed_at = float("-inf")

    @property
    def limit(self) -> int:
        """The most sends that may be under way now, from 1 to the cap."""
        return self._limit

    def ended(self, sent_at: float, now: float, *, congested: bool) -> None:
        """A request sent at `sent_at` ended; `congested` as its rule of `engine.retry` says.

        Growth does not begin a round trip for halving: else a slow failure, sent before many quick
        successes, would never be heard.
        """
        if congested and sent_at >= self._halved_at:
            self._limit = max(1, self._limit // 2)
            self._halved_at = self._changed_at = now
        elif not congested and sent_at >= self._changed_at and self._limit < self._cap:
            self._limit += 1
            self._changed_at = now
