"""Ends a batch: revokes its claims, makes the two result files from the log, and closes it.

    BatchFinalizing (all claims void) ─▶ result lines in line order ─▶ two objects under fresh keys
      ─▶ FileCreated, FileCreated and the closing event in one append

Nothing of it is kept in between: whoever finds a batch that has not ended begins again. Several processes
may do so at once, and make the same bytes; one append wins, and the others delete what they made. What a
crash leaves in storage is named by no event and is swept.
"""

from typing import Final

import structlog

from engine.lost_input import LostInputs
from engine.options import EngineOptions
from engine.origin import origin
from engine.result_files import ResultFiles, put_result_files, remove_result_files
from engine.result_lines import result_lines
from events.audit.note import MalformedNote
from events.audit.records import AuditRecords
from events.batch import Batch, CloseBatch, FinalizeBatch, LastCheckpoint, decide
from events.catalog import new_event
from events.errors import BatchmillError
from events.event import NewEvent
from events.file import FileCreated, fresh_file_id
from events.inputs.planning import InputChanged
from events.journal import Decision, Journal
from events.log import Board, Row
from events.outcomes.flush_body import ResultsDamaged
from events.read_models import Seen
from storage.store import StorageError, Store, Stored

_logger = structlog.get_logger()
PURPOSE: Final = "batch_output"
"""Of both files: the API has no other word for the error file."""
_ROLE: Final = "finalizer"


class ResultsNotWritten(BatchmillError):
    """Storage would not take the result files: finalizing again, once it does, is all it takes."""

    def __init__(self, batch_id: str, error: StorageError) -> None:
        super().__init__(
            f"the result files of batch {batch_id} cannot be written ({error}); nothing is lost: they are "
            "made from the log as soon as storage takes them"
        )


class Finalizer:
    """Finalizes batches, one call each; of `options` it uses `result_files_expire`."""

    def __init__(
        self,
        journal: Journal,
        store: Store,
        options: EngineOptions,
        audit: AuditRecords | None = None,
        lost: LostInputs | None = None,
    ) -> None:
        """`audit` knows the checkpoint that closing events name, `lost` when to do without the input."""
        self._lost = lost or LostInputs()
        self._journal = journal
        self._store = store
        self._options = options
        self._audit = audit

    async def finalize(self, batch_id: str) -> bool:
        """Ends a batch of which every line has an outcome, or that is stopping; says whether it has ended.

        Does nothing for one that still runs, and again for one that has ended. When to stop waiting for the
        lines in flight of a stopping batch is the caller's to know.

        Raises `ResultsNotWritten` where storage is full or away, and `InputChanged` where the input is gone,
        or is not what it was: call again later, until it is given up. Raises `ResultsDamaged` or `BadIndex`
        where the results cannot be told; no wrong file is made. Raises `NotFound`, and as `Log.append`.
        """
        while True:
            seen = await self._journal.carry_out(Batch, batch_id, _begin)
            if seen.state.ended or seen.state.finalizing is None:
                return seen.state.ended
            if await self._close(seen, await self._files(seen)):
                return True

    async def _files(self, seen: Seen[Batch]) -> ResultFiles:
        """Makes the files; without the input, where lines that never ran are in it and it was given up."""
        input_lost = False
        while True:
            lines = result_lines(self._journal.log, self._store, seen.id, seen.state, input_lost=input_lost)
            try:
                files = await put_result_files(self._store, lines, seen.project_id)
                break
            except StorageError as error:
                raise ResultsNotWritten(seen.id, error) from error
            except InputChanged as error:
                if input_lost or not self._lost.given_up(seen.id):
                    raise
                _logger.warning("input given up", batch=seen.id, reason=str(error))
                input_lost = True
        self._lost.found(seen.id)
        if (files.completed, files.failed) != (seen.state.completed, seen.state.failed):
            await self._forget(seen.id, files)
            raise ResultsDamaged(
                f"batch {seen.id} has {seen.state.completed} completed and {seen.state.failed} failed "
                f"lines, but the log holds results of {files.completed} and {files.failed}"
            )
        return files

    async def _close(self, made_for: Seen[Batch], files: ResultFiles) -> bool:
        """One append for the files and the closing event; of several finalizers the first one's counts. False
        where the batch is to end otherwise by now: then these files say the wrong thing of lines never
        run."""
        output_id = fresh_file_id() if files.output else None
        error_id = fresh_file_id() if files.errors else None
        checkpoint = await self._last_checkpoint()

        def close(seen: Seen[Batch]) -> Decision:
            closing = decide(seen.state, CloseBatch(output_id, error_id, checkpoint))
            if not closing or seen.state.finalizing != made_for.state.finalizing:
                return Decision([])
            created = [
                self._created(seen, file_id, stored, kind)
                for file_id, stored, kind in (
                    (output_id, files.output, "output"),
                    (error_id, files.errors, "error"),
                )
                if file_id is not None and stored is not None
            ]
            return Decision(
                events=[
                    *(event for event, _ in created),
                    *(
                        new_event(seen.id, seen.project_id, event, metadata=_origin(seen))
                        for event in closing
                    ),
                ],
                rows=[row for _, row in created],
                board=Board(seen.id, seen.project_id, phase=None, revoke=True),
                expect={row.id: 0 for _, row in created},
            )

        closed = (await self._journal.carry_out(Batch, made_for.id, close)).state
        if not closed.ended or (closed.output_file_id, closed.error_file_id) != (output_id, error_id):
            await self._forget(made_for.id, files)
            return closed.ended
        _logger.info(
            "batch ended",
            batch=made_for.id,
            status=closed.status,
            completed=files.completed,
            failed=files.failed,
            unrun=files.unrun,
        )
        return True

    async def _last_checkpoint(self) -> LastCheckpoint | None:
        if self._audit is None:
            return None
        try:
            last = await self._audit.last()
        except MalformedNote as error:  # which the audit is there to find; the batch ends all the same
            _logger.warning("no checkpoint is named at the end of a batch", reason=str(error))
            return None
        return None if last is None else LastCheckpoint(last.size, last.root.hex())

    async def _forget(self, batch_id: str, files: ResultFiles) -> None:
        """Deletes what another finalizer has made before; what cannot be deleted now is swept later."""
        try:
            await remove_result_files(self._store, files)
        except StorageError as error:
            _logger.warning("orphans left to the sweep", batch=batch_id, reason=str(error))

    def _created(self, seen: Seen[Batch], file_id: str, stored: Stored, kind: str) -> tuple[NewEvent, Row]:
        batch = seen.state
        asked = batch.created.output_expires_after
        created = FileCreated(
            filename=f"{seen.id}_{kind}.jsonl",
            purpose=PURPOSE,
            size=stored.size,
            sha256=stored.sha256.hex(),
            storage_key=stored.key,
            expires_after=self._options.result_files_expire if asked is None else asked,
            batch_id=seen.id,
        )
        row = Row("file", file_id, seen.project_id, label=PURPOSE, stored=stored.key)
        return new_event(file_id, seen.project_id, created, metadata=_origin(seen)), row


def _begin(seen: Seen[Batch]) -> Decision:
    """Revokes all claims, so that nothing can be recorded from here on."""
    batch = seen.state
    if not batch.stopping and batch.completed + batch.failed < batch.total:
        return Decision([])
    return Decision(
        [
            new_event(seen.id, seen.project_id, event, metadata=_origin(seen))
            for event in decide(batch, FinalizeBatch())
        ],
        board=Board(seen.id, seen.project_id, phase="finalizing", revoke=True),
    )


def _origin(seen: Seen[Batch]) -> str:
    return origin(_ROLE, seen.state.traceparent)
