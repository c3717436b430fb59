"""A log that lost events in a restore, and was forked: who had heard of them is told."""

import asyncio
import json
from pathlib import Path
from uuid import uuid4

from events.batch import BatchCompleted, BatchFinalizing, BatchStarted, LinesCompleted, Usage
from events.incarnation import begin_incarnation
from tests.api.serving import OPTIONS, Project, Served, listening
from tests.api.test_batch_events import listening_to
from tests.postgres import Database


async def test_a_stream_goes_on_behind_what_both_incarnations_have(
    database: Database, tmp_path: Path
) -> None:
    async with listening(database.app_url, tmp_path / "files", OPTIONS) as served:
        await asyncio.to_thread(the_log_is_forked_under_a_batch, served, database)


def the_log_is_forked_under_a_batch(served: Served, database: Database) -> None:
    project = served.project()
    batch_id = project.client.created(project.client.uploaded())
    served.happen(
        batch_id, BatchStarted(2, "m"), LinesCompleted("token", "w", 1, 1, Usage(1, 2, 0, 0, 3), 0, "00")
    )
    begun = asyncio.run(begin_incarnation(database.owner_url, "restored"))
    served.happen(batch_id, BatchFinalizing("done"), BatchCompleted("file-o", "file-e"))
    mark = f"@{begun.id}"

    since = [(f"4{mark}", "BatchFinalizing"), (f"5{mark}", "BatchCompleted")]
    told = (f"3{mark}", "log.forked")
    assert heard(project, batch_id, "2") == [(f"3{mark}", "LinesCompleted"), *since]
    assert heard(project, batch_id, "3") == since
    assert heard(project, batch_id, "5") == [told, *since]  # in the first incarnation it ended otherwise
    assert heard(project, batch_id, "9") == [told, *since]
    assert heard(project, batch_id, f"4{mark}") == since[1:]
    assert heard(project, batch_id, f"5{mark}") == []
    nobody_knows = heard(project, batch_id, f"2@{uuid4()}")
    assert nobody_knows[0] == (f"0{mark}", "log.forked")
    assert len(nobody_knows) == 6
    with listening_to(project, batch_id, last_event_id="9") as stream:
        message = next(stream.messages())
        assert json.loads(message["data"]) == {"object": "log.forked", "after": "3"}
    for wrong in ("2@", f"@{begun.id}", f"2{mark}x", "x"):
        answer = project.client.get(f"/v1/batches/{batch_id}/events", last_event_id=wrong)
        assert (answer.status, answer.error["code"]) == (400, "invalid_type")


def heard(project: Project, batch_id: str, last_event_id: str) -> list[tuple[str, str]]:
    """The ids and types that a stream tells who has heard that."""
    with listening_to(project, batch_id, last_event_id=last_event_id) as stream:
        return [(message["id"], message["event"]) for message in stream.messages()]
