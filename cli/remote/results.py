"""The results of a batch, from the server into a file, while it runs and after.

They come in the order in which they were recorded, so to go on one needs only the number of lines one has.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from cli.exit_codes import ServerUnreachable
from cli.remote.client import AnswerRefused, Server
from cli.remote.watching import Patience
from cli.whole_file import not_written, output_of


class Fetched(NamedTuple):
    """How many results there are up to now, from the first on, and whether more can come."""

    lines: int
    more: bool


class WholeLines:
    """Passes lines on to a file and counts them; one that has no end yet waits for it."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self._begun: list[bytes] = []
        self.count = 0

    def write(self, piece: bytes, /) -> None:
        """The next bytes."""
        end = piece.rfind(b"\n") + 1
        if end:
            self._target.write(b"".join([*self._begun, piece[:end]]))
            self._begun.clear()
            self.count += piece.count(b"\n")
        self._begun.append(piece[end:])


@contextmanager
def results_file(path: Path | None, *, offset: int, follow: bool) -> Iterator[IO[bytes]]:
    """Where results go: what is all there is appears whole, what goes on is added to what is there. Raises
    `NotWritten`."""
    if path is None or path == Path("-") or not (offset or follow):
        with output_of(path) as target:
            yield target
        return
    try:
        with path.open("ab" if offset else "wb") as target:
            yield target
    except OSError as error:
        raise not_written(path, error) from error


def fetch_results(server: Server, batch_id: str, lines: WholeLines, *, offset: int) -> Fetched:
    """Writes what is recorded after the first `offset` results. Raises as `Server.download`."""
    headers = server.download(lines, "batches", batch_id, "results", offset=str(offset))
    try:
        return Fetched(int(headers["x-last-line"]), headers["x-incomplete"] == "true")
    except (TypeError, ValueError):
        raise AnswerRefused(f"{server.url} tells no results of batches while they run") from None


def follow_results(
    server: Server,
    batch_id: str,
    target: IO[bytes],
    *,
    offset: int,
    interval: float,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Writes results as they are recorded, none twice, until no more can come; returns how many there are.

    An outage of the server is borne as a watch does it. Raises as `fetch_results`.
    """
    bearing = Patience()
    while True:
        lines = WholeLines(target)
        try:
            fetched = fetch_results(server, batch_id, lines, offset=offset)
        except ServerUnreachable as error:
            offset += lines.count
            if lines.count:
                bearing.answered()
            bearing.bear(error)
        else:
            bearing.answered()
            offset += lines.count
            if not fetched.more:
                return offset
        finally:
            target.flush()
        sleep(interval)
