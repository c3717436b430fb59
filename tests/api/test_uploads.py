"""Uploads in parts: any order, any number at once, one end; and no bytes that nothing names."""

import hashlib
import re
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from io import StringIO
from itertools import chain
from pathlib import Path
from uuid import uuid4

import pytest
from openai import OpenAI

from api.uploads.uploads import cancellation, completion
from events.errors import DatabaseUnavailable
from events.file import File
from events.upload import CompleteUpload, Upload
from storage.store import StorageUnavailable, Stored
from tests.api.serving import OPTIONS, Project, Served
from tests.api.uploading import LINE, begun, complete, send, sent, state, wanted

DAY = 86_400
MD5_OF_LINE = hashlib.md5(LINE, usedforsecurity=False).hexdigest()
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "upload-in-parts.md"
EXAMPLE = re.compile(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_a_new_upload_is_shown_with_every_key(project: Project) -> None:
    shown = project.client.post_json("/v1/uploads", wanted(10)).json
    assert re.fullmatch(r"upload_[0-9a-f]{32}", shown["id"])
    assert shown == {
        "id": shown["id"],
        "object": "upload",
        "bytes": 10,
        "created_at": shown["created_at"],
        "expires_at": shown["created_at"] + 3600,
        "filename": "in.jsonl",
        "purpose": "batch",
        "status": "pending",
        "file": None,
    }


def test_parts_make_a_file_in_the_order_that_the_caller_says(project: Project) -> None:
    client = project.client
    upload_id = begun(client, 2 * len(LINE))
    answer = send(client, upload_id, LINE[7:] + LINE)
    part = answer.json
    assert part == {
        "id": part["id"],
        "object": "upload.part",
        "created_at": part["created_at"],
        "upload_id": upload_id,
    }
    assert re.fullmatch(r"part_[0-9a-f]{32}", part["id"])
    first = sent(client, upload_id, LINE[:7])
    md5 = hashlib.md5(2 * LINE, usedforsecurity=False).hexdigest()

    shown = complete(client, upload_id, first, part["id"], md5=md5.upper()).json

    assert shown["status"] == "completed"
    made = shown["file"]
    assert (made["filename"], made["purpose"], made["bytes"]) == ("in.jsonl", "batch", 2 * len(LINE))
    assert made["expires_at"] == made["created_at"] + 30 * DAY
    assert client.get(f"/v1/files/{made['id']}").json == made
    assert client.get(f"/v1/files/{made['id']}/content").body == 2 * LINE
    assert [listed["id"] for listed in client.get("/v1/files").json["data"]] == [made["id"]]


def test_the_file_and_the_end_of_its_upload_are_recorded_together(served: Served, project: Project) -> None:
    client = project.client
    upload_id = begun(client, len(LINE), expires_after={"anchor": "created_at", "seconds": 3600})
    part_id = sent(client, upload_id, LINE)
    answer = complete(client, upload_id, part_id)
    file_id = answer.json["file"]["id"]

    seen = served.run(served.journal.models.get(File, file_id, project.id))
    assert seen.state.created.sha256 == hashlib.sha256(LINE).hexdigest()
    assert seen.state.expires_at == seen.state.created_at + 3600
    (created,) = served.run(served.journal.log.stream(file_id))
    *_, ended = served.run(served.journal.log.stream(upload_id))
    assert (created.type, ended.type) == ("FileCreated", "UploadCompleted")
    assert ended.position == created.position + 1
    assert created.metadata == ended.metadata
    assert answer.headers["x-request-id"] in ended.metadata


def test_parts_come_side_by_side(served: Served, project: Project) -> None:
    pieces = [bytes([65 + n]) * 1000 for n in range(24)]
    upload_id = begun(project.client, 24_000, purpose="fine-tune")
    with ThreadPoolExecutor(24) as pool:
        part_ids = list(pool.map(lambda piece: sent(project.client, upload_id, piece), pieces))
    assert len(state(served, upload_id).parts) == 24
    shown = complete(project.client, upload_id, *part_ids).json
    assert project.client.get(f"/v1/files/{shown['file']['id']}/content").body == b"".join(pieces)


def test_a_part_may_be_sent_again_and_left_out(project: Project) -> None:
    upload_id = begun(project.client, len(LINE))
    lost, again = sent(project.client, upload_id, LINE), sent(project.client, upload_id, LINE)
    assert lost != again
    assert complete(project.client, upload_id, again).json["status"] == "completed"


def test_a_complete_whose_answer_was_lost_is_answered_again(served: Served, project: Project) -> None:
    upload_id = begun(project.client, len(LINE))
    part_id = sent(project.client, upload_id, LINE)
    answers = [complete(project.client, upload_id, part_id) for _ in range(2)]
    assert answers[0].json == answers[1].json
    stored = served.stored()
    served.run(served.store.delete(state(served, upload_id).parts[0].storage_key))  # as the engine does
    assert complete(project.client, upload_id, part_id).json == answers[0].json
    assert len(stored) == len(served.stored()) + 1


def test_a_complete_that_is_repeated_with_another_md5_is_refused(project: Project) -> None:
    upload_id = begun(project.client, len(LINE))
    part_id = sent(project.client, upload_id, LINE)
    done = complete(project.client, upload_id, part_id, md5=MD5_OF_LINE)
    other = complete(project.client, upload_id, part_id, md5="0" * 32)
    assert (other.status, other.error["param"]) == (400, "md5")
    for md5 in (MD5_OF_LINE.upper(), None):
        assert complete(project.client, upload_id, part_id, md5=md5).json == done.json


def test_twins_complete_once(served: Served, project: Project) -> None:
    upload_id = begun(project.client, len(LINE))
    part_id = sent(project.client, upload_id, LINE)
    before = served.stored()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: complete(project.client, upload_id, part_id).json, range(8)))
    assert {answer["file"]["id"] for answer in answers} == {answers[0]["file"]["id"]}
    assert len(served.stored() - before) == 1


async def complete_elsewhere(
    served: Served, upload_id: str, file_id: str, part_ids: Sequence[str], erased: bool
) -> None:
    """What another process records, and its engine does then."""
    seen = await served.journal.models.get(Upload, upload_id)
    command = CompleteUpload(file_id, tuple(part_ids))
    stored = Stored("files/" + "0" * 32, seen.state.created.size, bytes(32))
    done = completion(seen, command, stored, (uuid4(), uuid4()), "{}")
    await served.journal.log.append(done.events, rows=done.rows)
    for part in seen.state.parts if erased else ():
        await served.store.delete(part.storage_key)


@pytest.mark.parametrize("erased", [False, True])
def test_a_twin_in_another_process_that_was_faster_gives_the_answer(
    served: Served, project: Project, monkeypatch: pytest.MonkeyPatch, erased: bool
) -> None:
    upload_id = begun(project.client, 2 * len(LINE))
    part_ids = [sent(project.client, upload_id, LINE) for _ in range(2)]
    file_id = f"file-{uuid4().hex[:22]}"
    get = served.store.get

    async def after_the_other(key: str) -> AsyncIterator[bytes]:
        if unread.pop(key, None):
            await complete_elsewhere(served, upload_id, file_id, part_ids, erased)
        async for piece in get(key):
            yield piece

    unread = {state(served, upload_id).parts[0].storage_key: True}
    monkeypatch.setattr(served.store, "get", after_the_other, raising=False)
    before = served.stored()
    answer = complete(project.client, upload_id, *part_ids)
    assert (answer.status, answer.json["file"]["id"]) == (200, file_id)
    assert len(served.stored()) == len(before) - (2 if erased else 0)


def test_other_purposes_take_more_than_one_request_does(project: Project) -> None:
    shown = project.client.post_json("/v1/uploads", wanted(8 << 30, purpose="user_data", filename="")).json
    assert (shown["bytes"], shown["filename"]) == (8 << 30, "upload")


def test_a_part_that_comes_too_late_is_not_kept(
    served: Served, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_id = begun(project.client, 100)
    put = served.store.put

    async def while_it_is_cancelled(body: AsyncIterator[bytes], *, prefix: str, project: str) -> Stored:
        stored: Stored = await put(body, prefix=prefix, project=project)
        seen = await served.journal.models.get(Upload, upload_id)
        await served.journal.record(cancellation(seen, uuid4(), "{}"))
        return stored

    monkeypatch.setattr(served.store, "put", while_it_is_cancelled, raising=False)
    before = served.stored()
    answer = send(project.client, upload_id, LINE)
    assert (answer.status, answer.error["message"]) == (
        400,
        "Cannot add a part to an upload with status 'cancelled'.",
    )
    assert served.stored() == before


def test_without_room_nothing_is_taken(served: Served, project: Project) -> None:
    upload_id = begun(project.client, len(LINE))
    part_id = sent(project.client, upload_id, LINE)
    served.store.free = OPTIONS.free_space_floor
    try:
        answers = (
            project.client.post_json("/v1/uploads", wanted(10)),
            send(project.client, upload_id, LINE),
            complete(project.client, upload_id, part_id),
        )
    finally:
        served.store.free = None
    assert [answer.status for answer in answers] == [507] * 3
    assert complete(project.client, upload_id, part_id).status == 200


def test_storage_or_a_log_that_is_away_leaves_the_upload_as_it_was(
    served: Served, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_id = begun(project.client, len(LINE))
    part_id = sent(project.client, upload_id, LINE)
    served.store.failure = StorageUnavailable("secret")
    try:
        away = [send(project.client, upload_id, LINE), complete(project.client, upload_id, part_id)]
    finally:
        served.store.failure = None

    async def unavailable(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("secret")

    with monkeypatch.context() as outage:
        outage.setattr(served.journal.log, "append", unavailable)
        away += [send(project.client, upload_id, LINE), complete(project.client, upload_id, part_id)]
    assert [answer.status for answer in away] == [503] * 4
    assert len(state(served, upload_id).parts) == 1
    assert complete(project.client, upload_id, part_id).status == 200


@pytest.mark.parametrize(("md5", "status"), [(None, 500), (MD5_OF_LINE, 400)])
def test_a_part_that_was_changed_in_storage_makes_no_file(
    served: Served, project: Project, md5: str | None, status: int
) -> None:
    upload_id = begun(project.client, len(LINE))
    part_id = sent(project.client, upload_id, LINE)
    stored = served.stored()
    (served.folder / state(served, upload_id).parts[0].storage_key).write_bytes(LINE.replace(b"a", b"b"))
    assert complete(project.client, upload_id, part_id, md5=md5).status == status
    assert served.stored() == stored
    assert complete(project.client, upload_id, sent(project.client, upload_id, LINE), md5=md5).status == 200


def test_the_sdk_sends_a_file_in_parts(served: Served, project: Project, tmp_path: Path) -> None:
    content = b"".join(chain.from_iterable((LINE, b'{"custom_id":"b%d"}\n' % n) for n in range(100)))
    path = tmp_path / "in.jsonl"
    path.write_bytes(content)
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    with OpenAI(base_url=f"http://127.0.0.1:{served.port}/v1", api_key=project.key) as client:
        for source in ({"file": path}, {"file": content, "filename": "in.jsonl", "bytes": len(content)}):
            upload = client.uploads.upload_file_chunked(
                mime_type="application/jsonl", purpose="batch", part_size=1000, md5=md5, **source
            )
            assert upload.status == "completed"
            assert upload.file is not None
            assert client.files.content(upload.file.id).read() == content
        parts = state(served, upload.id).parts
        assert [part.size for part in parts] == [1000] * (len(content) // 1000) + [len(content) % 1000]
        other = client.uploads.create(bytes=1, filename="x", mime_type="text/plain", purpose="vision")
        assert client.uploads.cancel(other.id).status == "cancelled"


@pytest.mark.parametrize("number", [0, 1])
def test_an_example_of_the_documentation_prints_what_it_says(
    served: Served, project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int
) -> None:
    example, printed = EXAMPLE.findall(PAGE.read_text(encoding="utf-8"))[number]
    (tmp_path / "requests.jsonl").write_bytes(3 * LINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{served.port}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", project.key)
    output = StringIO()
    with redirect_stdout(output):
        exec(example, {})
    assert output.getvalue() == printed
