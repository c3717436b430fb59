"""Decisions that another one gets in the way of, and a log that does not answer."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from api.files.files import deletion
from events.batch import Batch
from events.errors import DatabaseUnavailable, LogBusy
from events.event import NewEvent
from events.file import File
from tests.api.serving import Project, Served


def test_a_file_deleted_while_a_batch_is_created_from_it_is_not_held(
    served: Served, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen, then deleted, then recorded: the record conflicts, and the second look finds no file."""
    file_id = project.client.uploaded()
    appended: list[NewEvent] = []
    append = served.journal.log.append

    async def after_a_deletion(events: list[NewEvent], **more: Any) -> list[int]:
        appended.extend(events)
        if len(appended) == 1:
            seen = await served.journal.models.get(File, file_id)
            gone = deletion(seen, uuid4(), "{}")
            await append(gone.events, expect={file_id: seen.version}, rows=gone.rows)
        return await append(events, **more)

    monkeypatch.setattr(served.journal.log, "append", after_a_deletion)
    batch_id = project.client.created(file_id)
    assert len(appended) == 2
    assert appended[0].event_id == appended[1].event_id
    assert served.run(served.journal.models.get(Batch, batch_id)).state.created.input is None
    assert not served.run(served.board.holds_input(file_id))


def test_cancels_at_the_same_time_are_one(served: Served, project: Project) -> None:
    batch_id = project.client.created(project.client.uploaded())
    path = f"/v1/batches/{batch_id}/cancel"
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: project.client.ask("POST", path), range(8)))
    assert {(answer.status, answer.json["status"]) for answer in answers} == {(200, "cancelled")}
    assert len(served.run(served.journal.log.stream(batch_id))) == 3


def test_of_deletions_at_the_same_time_one_is_recorded(served: Served, project: Project) -> None:
    file_id = project.client.uploaded()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: project.client.ask("DELETE", f"/v1/files/{file_id}"), range(8)))
    assert sorted(answer.status for answer in answers) == [200] + [404] * 7
    assert len(served.run(served.journal.log.stream(file_id))) == 2


@pytest.mark.parametrize("failure", [LogBusy("secret"), DatabaseUnavailable("secret")])
def test_a_log_that_does_not_answer_is_worth_another_try(
    served: Served, project: Project, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    async def busy(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(served.journal.log, "append", busy)
    stored = len(served.stored())
    with capture_logs() as logged:
        answers = (project.client.create("file-none"), project.client.upload(b"{}\n"))
    for answer in answers:
        assert answer.status == 503
        assert answer.error["type"] == "server_error"
        assert "secret" not in (answer.error["message"] or "")
        assert answer.headers["retry-after"] == "1"
    assert [(entry["log_level"], entry["reason"]) for entry in logged] == [("warning", "secret")] * 2
    # The append may have been recorded all the same: only the sweep may remove the bytes.
    assert len(served.stored()) == stored + 1
