"""Files: upload in any form, the object, lists, deletion; and no bytes that no event names."""

import hashlib
import re
import time

import pytest

from events.file import File
from storage.store import StorageFull, StorageUnavailable
from tests.api.client import FORM, field, file, form
from tests.api.serving import MIB, OPTIONS, Project, Served

LINE = b'{"custom_id":"a"}\n'
DAY = 86_400


def test_an_uploaded_file_is_shown_with_every_key(project: Project) -> None:
    shown = project.client.upload(LINE, name="my requests.jsonl").json
    assert re.fullmatch(r"file-[0-9A-Za-z]{22}", shown["id"])
    assert abs(shown["created_at"] - time.time()) < 60
    assert shown == {
        "id": shown["id"],
        "object": "file",
        "bytes": len(LINE),
        "created_at": shown["created_at"],
        "expires_at": shown["created_at"] + 30 * DAY,
        "filename": "my requests.jsonl",
        "purpose": "batch",
        "status": "processed",
        "status_details": None,
    }
    assert project.client.get(f"/v1/files/{shown['id']}").json == shown


def test_its_event_says_what_was_stored_and_who_did_it(served: Served, project: Project) -> None:
    answer = project.client.upload(LINE)
    seen = served.run(served.journal.models.get(File, answer.json["id"]))
    assert seen.state.created.sha256 == hashlib.sha256(LINE).hexdigest()
    (event,) = served.run(served.journal.log.stream(seen.id))
    assert event.project_id == project.id
    assert event.metadata == (f'{{"actor":"{project.key_id}","request":"{answer.headers["x-request-id"]}"}}')


def test_the_file_may_come_before_its_purpose(project: Project) -> None:
    answer = project.client.ask("POST", "/v1/files", form(file(LINE), field("purpose", "batch")), FORM)
    assert answer.status == 200
    assert answer.json["purpose"] == "batch"


@pytest.mark.parametrize("name", ["upload", "x.csv", "große Datei.jsonl", "a;b=c.jsonl", "../../etc"])
def test_any_file_name_will_do(project: Project, name: str) -> None:
    assert project.client.upload(LINE, name=name).json["filename"] == name


def test_other_purposes_hold_anything_and_are_kept_for_ever(project: Project) -> None:
    shown = project.client.upload(b"\x00\xff", purpose="user_data", name="a.bin").json
    assert (shown["purpose"], shown["bytes"], shown["expires_at"]) == ("user_data", 2, None)


def test_an_expiry_can_be_asked_for(project: Project) -> None:
    parts = form(
        field("purpose", "batch"),
        field("expires_after[anchor]", "created_at"),
        field("expires_after[seconds]", "3600"),
        file(LINE),
    )
    shown = project.client.ask("POST", "/v1/files", parts, FORM).json
    assert shown["expires_at"] == shown["created_at"] + 3600


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("größe ✓.jsonl".encode(), "größe ✓.jsonl"),
        ("ą à".encode(), "ą à"),
        (b"caf\xe9.jsonl", "caf\ufffd.jsonl"),
        (b"a%22b", 'a"b'),
        (b"", "upload"),
    ],
)
def test_no_file_name_is_refused(project: Project, sent: bytes, shown: str) -> None:
    head = b'Content-Disposition: form-data; name="file"; filename="%s"' % sent
    answer = project.client.ask(
        "POST", "/v1/files", form(field("purpose", "batch"), head + b"\r\n\r\n" + LINE), FORM
    )
    assert (answer.status, answer.json["filename"]) == (200, shown)


@pytest.mark.parametrize(
    ("parts", "param", "code"),
    [
        ([file(LINE)], "purpose", "missing_required_parameter"),
        ([field("purpose", "batch")], "file", "missing_required_parameter"),
        ([], "file", "missing_required_parameter"),
        ([field("purpose", "other"), file(LINE)], "purpose", "invalid_value"),
        ([file(LINE), field("purpose", "other")], "purpose", "invalid_value"),
        ([file(LINE), file(LINE), field("purpose", "batch")], "file", None),
        ([field("purpose", "batch"), file(LINE), field("purpose", "vision")], "purpose", None),
        (
            [field("purpose", "batch"), file(LINE), field("expires_after[seconds]", "3600")],
            "expires_after.anchor",
            "missing_required_parameter",
        ),
        (
            [field("purpose", "batch"), file(LINE), field("expires_after[anchor]", "created_at")],
            "expires_after.seconds",
            "missing_required_parameter",
        ),
        (
            [
                field("purpose", "batch"),
                file(LINE),
                field("expires_after[anchor]", "last_active_at"),
                field("expires_after[seconds]", "3600"),
            ],
            "expires_after.anchor",
            "invalid_value",
        ),
        *(
            (
                [
                    field("purpose", "batch"),
                    file(LINE),
                    field("expires_after[anchor]", "created_at"),
                    field("expires_after[seconds]", seconds),
                ],
                "expires_after.seconds",
                code,
            )
            for seconds, code in [
                ("3599", "integer_below_min_value"),
                ("2592001", "integer_above_max_value"),
                ("9" * 400, "integer_above_max_value"),
                ("soon", "invalid_type"),
                ("", "invalid_type"),
            ]
        ),
    ],
)
def test_a_wrong_form_is_refused_and_leaves_nothing(
    served: Served, project: Project, parts: list[bytes], param: str, code: str | None
) -> None:
    before = served.stored()
    answer = project.client.ask("POST", "/v1/files", form(*parts), FORM)
    assert answer.status == 400
    assert (answer.error["param"], answer.error["code"]) == (param, code)
    assert param in (answer.error["message"] or "") or code == "invalid_value"
    assert served.stored() == before


@pytest.mark.parametrize(
    "content", [b"", b"no json\n", b"\n  \n{broken\n", b"\x00\x01", b"%PDF-1.7", b"{}{}\n", b"{'a':1}\n"]
)
def test_what_is_no_jsonl_is_no_batch_file(served: Served, project: Project, content: bytes) -> None:
    before = served.stored()
    answer = project.client.upload(content)
    assert answer.status == 400
    assert answer.error == {
        "message": "Invalid file format for Batch API. Must be .jsonl",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    assert served.stored() == before


@pytest.mark.parametrize(
    "content",
    [
        b"\n\r\n  \n",
        b"\xef\xbb\xbf" + LINE,
        b"{}",
        b"\n\n{}\r\nbroken",
        b'{"custom_id":"\xff"}\n',
        b'{"a":"' + b"x" * MIB + b'"}\n',
        b"[" * 5000 + b"]" * 5000,
    ],
    ids=["blank lines", "BOM", "no newline", "a bad second line", "bad UTF-8", "a long line", "deep"],
)
def test_what_only_validation_can_judge_is_taken(project: Project, content: bytes) -> None:
    assert project.client.upload(content).json["bytes"] == len(content)


def test_an_over_large_batch_file_is_refused(served: Served, project: Project) -> None:
    before = served.stored()
    content = LINE + b" " * OPTIONS.max_batch_file_bytes
    for parts in ([field("purpose", "batch"), file(content)], [file(content), field("purpose", "batch")]):
        answer = project.client.ask("POST", "/v1/files", form(*parts), FORM)
        assert answer.status == 400
        assert answer.error == {
            "message": "File is too large.",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
    assert served.stored() == before


def test_the_largest_batch_file_is_taken(project: Project) -> None:
    content = LINE + b" " * (OPTIONS.max_batch_file_bytes - len(LINE))
    assert project.client.upload(content).json["bytes"] == OPTIONS.max_batch_file_bytes


def test_a_body_over_the_cap_is_refused_with_413(served: Served, project: Project) -> None:
    before = served.stored()
    content = b"x" * (OPTIONS.max_form_bytes + 1)
    announced = project.client.upload(content, purpose="user_data")
    chunked = project.client.ask(
        "POST",
        "/v1/files",
        (piece for piece in [form(field("purpose", "user_data"), file(content))]),
        FORM,
    )
    over_the_file_limit = project.client.upload(b"x" * (OPTIONS.max_file_bytes + 1), purpose="user_data")
    for answer in (announced, chunked, over_the_file_limit):
        assert answer.status == 413
        assert answer.error["type"] == "server_error"
        assert re.fullmatch(
            r"Maximum content size limit \(\d+\) exceeded \(\d+ bytes read\)", answer.error["message"] or ""
        )
    assert served.stored() == before


def test_below_the_floor_of_free_space_no_upload_is_taken(served: Served, project: Project) -> None:
    served.store.free = OPTIONS.free_space_floor
    try:
        answer = project.client.upload(LINE)
    finally:
        served.store.free = None
    assert answer.status == 507
    assert answer.error["type"] == "server_error"
    assert str(OPTIONS.free_space_floor) in (answer.error["message"] or "")
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("failure", "status"), [(StorageFull("/secret/path is full"), 507), (StorageUnavailable("s3"), 503)]
)
def test_a_store_that_fails_is_said_without_its_inside(
    served: Served, project: Project, failure: Exception, status: int
) -> None:
    served.store.failure = failure
    try:
        answer = project.client.upload(LINE)
    finally:
        served.store.failure = None
    assert answer.status == status
    assert "secret" not in (answer.error["message"] or "")
    assert answer.headers.get("retry-after") == ("1" if status == 503 else None)


def test_a_deleted_file_is_gone_at_once_and_its_bytes_are_left_to_the_engine(
    served: Served, project: Project
) -> None:
    file_id = project.client.uploaded()
    stored = served.stored()
    answer = project.client.ask("DELETE", f"/v1/files/{file_id}")
    assert answer.json == {"id": file_id, "object": "file", "deleted": True}
    for method, path in [("GET", ""), ("GET", "/content"), ("HEAD", "/content"), ("DELETE", "")]:
        assert project.client.ask(method, f"/v1/files/{file_id}{path}").status == 404
    assert project.client.get("/v1/files").json["data"] == []
    assert served.stored() == stored


def test_files_are_listed_by_purpose_and_order(project: Project) -> None:
    ids = [project.client.uploaded(purpose=p) for p in ("batch", "user_data", "batch")]

    def listed(query: str) -> list[str]:
        return [shown["id"] for shown in project.client.get(f"/v1/files{query}").json["data"]]

    assert listed("") == ids[::-1]
    assert listed("?order=asc") == ids
    assert listed("?purpose=batch") == [ids[2], ids[0]]
    assert listed("?purpose=evals") == []
    assert listed("?purpose=%00") == []
    assert listed("?order=asc&limit=1&unknown=1") == ids[:1]
