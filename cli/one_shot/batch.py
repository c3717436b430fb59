"""The one batch of a run: begun once, found again by the same command after a crash, written out at its end.

no batch in the state ──input copied, FileCreated and BatchCreated in one append──▶ the batch
the batch, same input ──────────────────────────────────────────────────────────▶ the batch
the batch, other input ─────────────────────────────────────────────────────────▶ refused
"""

import secrets
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from cli.batch_view import BatchView, Counts, LineError, LineErrors, Live, Usage
from cli.keys import DEFAULT_PROJECT
from cli.one_shot.input_file import is_what_was, pieces
from cli.stack import Stack
from cli.whole_file import whole_file
from engine.line_order import in_line_order
from engine.origin import origin
from events.batch import Batch, BatchCreated, CreateBatch, InputFile
from events.batch import decide as decide_batch
from events.catalog import new_event
from events.errors import Refused
from events.file import CreateFile, FileCreated, fresh_file_id
from events.file import decide as decide_file
from events.journal import Decision
from events.log import Board, Row
from events.read_models import Seen
from storage.store import Stored

WINDOW_DAYS: Final = 3650
"""A run has no deadline: whoever started it waits for it."""
_DAY: Final = 86_400
_ORIGIN: Final = origin("run")
_PURPOSE: Final = "batch"


class InputDiffers(Refused):
    """The state holds a batch that was begun with something else."""


async def begin_or_continue(stack: Stack, source: Path, endpoint: str, state: Path) -> Seen[Batch]:
    """The batch of this state, begun if there is none.

    Raises `InputDiffers` where it was begun with another input or endpoint, `NotFound` where the input cannot
    be read, `StorageError` where it cannot be copied.
    """
    found = (await stack.journal.models.page(Batch, DEFAULT_PROJECT, limit=1)).objects
    if not found:
        return await _begin(stack, source, endpoint)
    created = found[0].state.created
    remedy = f"give what it began with, or remove {state} to begin anew"
    if created.input is None or not await is_what_was(source, created.input):
        raise InputDiffers(f"{source} has changed since this run began: {remedy}")
    if created.endpoint != endpoint:
        raise InputDiffers(f"this run began with the endpoint {created.endpoint}, not {endpoint}: {remedy}")
    return found[0]


async def look(stack: Stack, batch_id: str) -> BatchView:
    """How the batch stands now."""
    seen = await stack.journal.models.get(Batch, batch_id)
    standing = [] if seen.state.ended else await stack.board.open_batches([batch_id])
    return _view(seen, standing[0].waiting if standing else None)


async def write_results(stack: Stack, batch_id: str, output: Path, errors: Path | None) -> None:
    """Writes the result lines in line order: all of them to `output`, or those that failed to `errors`.

    Each file appears when it is whole. Raises `NotWritten`, and `ResultsDamaged` where the log does not hold
    what was recorded.
    """
    with (
        nullcontext() if errors is None else whole_file(errors) as failed,
        whole_file(output) as target,
    ):
        async for stretch in in_line_order(stack.journal.log, batch_id):
            for succeeded, _, text in stretch.by_file():
                (target if failed is None or succeeded else failed).write(text)


async def _begin(stack: Stack, source: Path, endpoint: str) -> Seen[Batch]:
    stored = await stack.store.put(pieces(source), prefix="files", project=DEFAULT_PROJECT)
    file_id, batch_id = fresh_file_id(), "batch_" + secrets.token_hex(16)
    await stack.journal.record(creation(stored, source.name, endpoint, file_id, batch_id))
    return await stack.journal.models.get(Batch, batch_id)


def creation(stored: Stored, name: str, endpoint: str, file_id: str, batch_id: str) -> Decision:
    """What beginning a run records: the file and its batch, in one append."""
    sha256 = stored.sha256.hex()
    file = FileCreated(name, _PURPOSE, stored.size, sha256, stored.key)
    window = WINDOW_DAYS * _DAY
    batch = BatchCreated(
        input_file_id=file_id,
        endpoint=endpoint,
        completion_window=f"{WINDOW_DAYS}d",
        window_seconds=window,
        input=InputFile(stored.key, stored.size, sha256),
    )
    return Decision(
        [
            *(
                new_event(file_id, DEFAULT_PROJECT, e, metadata=_ORIGIN)
                for e in decide_file(None, CreateFile(file))
            ),
            *(
                new_event(batch_id, DEFAULT_PROJECT, e, metadata=_ORIGIN)
                for e in decide_batch(None, CreateBatch(batch))
            ),
        ],
        rows=[
            Row("file", file_id, DEFAULT_PROJECT, label=_PURPOSE, stored=stored.key),
            Row("batch", batch_id, DEFAULT_PROJECT),
        ],
        board=Board(
            batch_id,
            DEFAULT_PROJECT,
            phase="planning",
            input_file_id=file_id,
            expires_within=window,
        ),
        expect={file_id: 0, batch_id: 0},
    )


def _view(seen: Seen[Batch], waiting: str | None) -> BatchView:
    batch = seen.state
    return BatchView(
        id=seen.id,
        status=batch.status,
        endpoint=batch.created.endpoint,
        model=batch.model,
        request_counts=Counts(batch.total, batch.completed, batch.failed),
        usage=Usage(batch.usage.input_tokens, batch.usage.output_tokens),
        errors=LineErrors(tuple(LineError(e.message, e.code, e.line) for e in batch.errors)),
        batchmill=Live(waiting),
    )
