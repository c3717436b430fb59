"""The content of a file: whole, in ranges, and never a part taken for the whole."""

import asyncio
import hashlib
import http.client
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from api.files.download import Content, download
from events.catalog import new_event
from events.file import File, FileCreated
from events.journal import Decision
from events.log import Row
from tests.api.serving import MIB, Project, Served

CONTENT = b'{"n":"' + bytes(range(48, 58)) * 10 + b'"}\n'
SIZE = len(CONTENT)
ETAG = f'"{hashlib.sha256(CONTENT).hexdigest()}"'


def test_a_file_comes_back_byte_for_byte(project: Project) -> None:
    file_id = project.client.uploaded(CONTENT, name="in.jsonl")
    answer = project.client.get(f"/v1/files/{file_id}/content", accept="application/binary")
    assert answer.status == 200
    assert answer.body == CONTENT
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-length"] == str(SIZE)
    assert answer.headers["etag"] == ETAG
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-disposition"] == 'attachment; filename="in.jsonl"'


def test_a_large_file_comes_back_byte_for_byte(project: Project) -> None:
    content = b"".join(b'{"line":%d}\n' % n for n in range(100_000))
    assert MIB < len(content) < 2 * MIB
    file_id = project.client.uploaded(content)
    assert project.client.get(f"/v1/files/{file_id}/content").body == content
    part = project.client.get(f"/v1/files/{file_id}/content", range=f"bytes={MIB - 5}-{MIB + 4}")
    assert part.body == content[MIB - 5 : MIB + 5]


def test_the_head_tells_everything_but_the_content(project: Project) -> None:
    file_id = project.client.uploaded(CONTENT)
    whole = project.client.get(f"/v1/files/{file_id}/content")
    head = project.client.ask("HEAD", f"/v1/files/{file_id}/content", headers={"range": "bytes=0-1"})
    varying = {"x-request-id", "openai-processing-ms", "date"}
    assert (head.status, head.body) == (200, b"")
    assert {k: v for k, v in head.headers.items() if k not in varying} == {
        k: v for k, v in whole.headers.items() if k not in varying
    }


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-9", 0, 10),
        ("bytes=5-", 5, SIZE),
        (f"bytes=5-{'9' * 400}", 5, SIZE),
        ("bytes=-7", SIZE - 7, SIZE),
        (f"bytes=-{SIZE + 9}", 0, SIZE),
        (f"bytes={SIZE - 1}-{SIZE + 99}", SIZE - 1, SIZE),
        ("Bytes= 1 - 2 ", 1, 3),
    ],
)
def test_one_range(project: Project, asked: str, start: int, end: int) -> None:
    answer = project.client.get(f"/v1/files/{project.client.uploaded(CONTENT)}/content", range=asked)
    assert answer.status == 206
    assert answer.body == CONTENT[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert answer.headers["etag"] == ETAG


@pytest.mark.parametrize(
    "asked", ["bytes=1-2,4-5", "lines=1-2", "bytes=", "bytes=-", "bytes=5-2", "x", "bytes=a-b"]
)
def test_a_range_that_is_none_is_ignored(project: Project, asked: str) -> None:
    answer = project.client.get(f"/v1/files/{project.client.uploaded(CONTENT)}/content", range=asked)
    assert (answer.status, answer.body) == (200, CONTENT)
    assert "content-range" not in answer.headers


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", "bytes=999-1000", "bytes=-0"])
def test_a_range_past_the_end_cannot_be_had(project: Project, asked: str) -> None:
    answer = project.client.get(f"/v1/files/{project.client.uploaded(CONTENT)}/content", range=asked)
    assert answer.status == 416
    assert answer.headers["content-range"] == f"bytes */{SIZE}"
    assert answer.error["param"] == "Range"


def test_a_range_can_depend_on_the_version(project: Project) -> None:
    path = f"/v1/files/{project.client.uploaded(CONTENT)}/content"
    assert project.client.get(path, range="bytes=0-0", if_range=ETAG).status == 206
    for other in ('"another"', f"W/{ETAG}", "Tue, 24 Nov 2026 00:00:00 GMT"):
        answer = project.client.get(path, range="bytes=0-0", if_range=other)
        assert (answer.status, answer.body) == (200, CONTENT)


@pytest.mark.parametrize("purpose", ["user_data", "assistants", "vision"])
def test_some_purposes_are_not_for_download(project: Project, purpose: str) -> None:
    answer = project.client.get(f"/v1/files/{project.client.uploaded(purpose=purpose)}/content")
    assert answer.status == 400
    assert answer.error == {
        "message": f"Not allowed to download files of purpose: {purpose}",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


def test_any_name_is_told(project: Project) -> None:
    file_id = project.client.uploaded(CONTENT, name="große 文.jsonl")
    disposition = project.client.get(f"/v1/files/{file_id}/content").headers["content-disposition"]
    assert disposition == (
        "attachment; filename=\"gro_e _.jsonl\"; filename*=UTF-8''gro%C3%9Fe%20%E6%96%87.jsonl"
    )


def test_an_unknown_file_is_not_found(project: Project) -> None:
    for file_id in ("file-unknown", "%00", "x" * 300):
        for method, path in [("GET", ""), ("GET", "/content"), ("DELETE", "")]:
            answer = project.client.ask(method, f"/v1/files/{file_id}{path}")
            assert answer.status == 404
            error = answer.error
            assert (error["message"] or "").startswith("No such File object: ")
            assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", "id", None)


def test_an_empty_result_file_is_empty(served: Served, project: Project) -> None:
    async def empty() -> None:
        nothing = FileCreated("o.jsonl", "batch_output", 0, "0" * 64, "results/" + "0" * 32)
        await served.journal.record(
            Decision(
                [new_event("file-empty", project.id, nothing)], rows=[Row("file", "file-empty", project.id)]
            )
        )

    served.run(empty())
    (served.folder / "results").mkdir()
    (served.folder / "results" / ("0" * 32)).touch()
    answer = project.client.get("/v1/files/file-empty/content")
    assert (answer.status, answer.body) == (200, b"")
    assert project.client.get("/v1/files/file-empty/content", range="bytes=0-").status == 416


def test_lost_bytes_are_an_error_of_the_server(served: Served, project: Project) -> None:
    file_id = project.client.uploaded(CONTENT)
    key = served.run(served.journal.models.get(File, file_id)).state.created.storage_key
    (served.folder / key).unlink()
    answer = project.client.get(f"/v1/files/{file_id}/content")
    assert answer.status == 500
    assert key not in (answer.error["message"] or "")


def test_a_file_that_is_shorter_than_it_was_is_cut_and_not_passed_off_as_whole(
    served: Served, project: Project
) -> None:
    content = CONTENT * (2 * MIB // SIZE)
    file_id = project.client.uploaded(content)
    key = served.run(served.journal.models.get(File, file_id)).state.created.storage_key
    with (served.folder / key).open("r+b") as damaged:
        damaged.truncate(MIB)
    with pytest.raises(http.client.IncompleteRead):
        project.client.get(f"/v1/files/{file_id}/content")


async def test_who_has_left_is_sent_nothing_more() -> None:
    read: list[int] = []
    left = asyncio.Event()

    async def pieces() -> AsyncGenerator[bytes, None]:
        for n in range(1000):
            read.append(n)
            yield b"x"

    async def receive() -> Any:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            left.set()
        await asyncio.sleep(0)  # as a server's send, lets the receiving side run

    scope: Any = {"type": "http", "method": "GET"}
    await download(Content(pieces(), 1000, '"e"', "f"))(scope, receive, send)
    assert len(read) < 10
