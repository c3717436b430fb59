"""Which lines of an ended batch are worth another try: those that failed, and those that were never run."""

from events.batch import Batch
from events.log import Log
from events.outcomes.cause import Cause, coarse_cause
from events.outcomes.failures import lines_with_outcome
from events.outcomes.flush_failures import flush_failures
from events.outcomes.line_set import LineSet
from events.outcomes.lines import UNRUN, is_success, unpack_facts
from events.read_models import Seen

PAGE = 100


async def lines_to_retry(log: Log, seen: Seen[Batch], cause_id: str | None = None) -> LineSet:
    """The lines of a batch that failed or were never run; with `cause_id` only those of that cause, or of
    that status where it is the cause of lines whose messages are not known. Then the answers of failed lines
    are read, a flush at a time. Raises `ResultsDamaged`."""
    batch = seen.state
    found = LineSet(batch.total)
    unrun = None if batch.finalizing is None else UNRUN.get(batch.finalizing)
    if unrun and (cause_id is None or cause_id == Cause(None, *unrun).id):
        found.update((await lines_with_outcome(log, seen.id, batch.total)).missing())
    after = 0
    while page := await log.facts(seen.id, after=after, limit=PAGE):
        for version, _, column in page:
            facts = unpack_facts(column)
            failed = {
                line: status
                for line, status in zip(facts.lines, facts.statuses, strict=True)
                if not is_success(status)
            }
            if failed:
                found.update(
                    failed if cause_id is None else await _of_cause(log, seen.id, version, failed, cause_id)
                )
        after = page[-1][0]
    return found


async def _of_cause(
    log: Log, batch_id: str, version: int, failed: dict[int, int], cause_id: str
) -> list[int]:
    """Those of the failed lines of a flush, each with its status, that failed for a cause."""
    alike = [line for line, status in failed.items() if coarse_cause(status).id == cause_id]
    recorded = await log.flushed(batch_id, version)
    if alike or recorded is None or recorded.attachment is None:
        return alike
    facts = unpack_facts(recorded.lines)
    failures = await flush_failures(recorded, facts)
    causes = {cause for cause in {failure.cause for _, failure in failures} if cause.id == cause_id}
    return [line for line, failure in failures if failure.cause in causes]
