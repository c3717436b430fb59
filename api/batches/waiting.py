"""Why a batch does not move, in the words that the API and the commands show."""

from typing import Final

from events.work import OpenBatch

VALIDATION: Final = "waiting for validation"


def why_waiting(batch: OpenBatch) -> str | None:
    """What the batch waits for; None while its lines run.

    What the dispatcher says (`route paused: connection refused by …`, `disk below floor`) comes first.
    """
    if batch.waiting is not None:
        return batch.waiting
    match batch.phase:
        case "planning":
            return VALIDATION
        case "running" if batch.held:
            return None
        case "running" if batch.lines_left:
            return "waiting for a worker"
        case "stopping" if batch.held:
            return "waiting for lines in flight to end"
        case _:
            return "waiting for the result files"
