"""Every refusal of the API in one table: what is asked, and the status, code, parameter and message of the
answer. A code that the API's description names and this table does not fails a test."""

from typing import Final, NamedTuple

import pytest

from api.openapi.refusals import CODES
from events.limits import Limits, ProjectLimits
from events.webhooks import endpoints
from tests.api.client import FORM, JSON, field, form
from tests.api.refused import (
    Ask,
    asked,
    batch,
    batch_of_user_data,
    cancelled_failed_batch,
    completed,
    conflicting,
    downloaded_user_data,
    ended_upload,
    got,
    hook,
    hook_tried_in_vain,
    large_part,
    one_hook_too_many,
    posted,
    reading_key_that_writes,
    retried_failed_batch,
    twice,
    uploaded,
    with_key,
)
from tests.api.serving import MIB, Project, Served
from tests.api.uploading import LINE

SECRET: Final = "sk-ab" + "c" * 40 + "yz"


class Refusal(NamedTuple):
    """`message` is how it begins; `again` is whether an SDK may ask again."""

    ask: Ask
    status: int
    code: str | None
    param: str | None
    message: str
    type: str = "invalid_request_error"
    again: bool = True


OUTPUT: Final = "output_expires_after"
REFUSALS: Final = {
    # Creating a batch
    "a field is missing": Refusal(
        batch(input_file_id=...),
        400,
        "missing_required_parameter",
        "input_file_id",
        "Missing required parameter: 'input_file_id'.",
    ),
    "an unknown endpoint": Refusal(
        batch(endpoint="/v1/x"),
        400,
        "invalid_value",
        "endpoint",
        "Invalid value: '/v1/x'. Supported values are: '/v1/",
    ),
    "an unknown window": Refusal(
        batch(completion_window="1h"),
        400,
        "invalid_value",
        "completion_window",
        "Invalid value: '1h'. Supported values are: '24h', ",
    ),
    "metadata of another type": Refusal(
        batch(metadata={"tags": []}),
        400,
        "invalid_type",
        "metadata.tags",
        "Invalid type for 'metadata.tags': expected a string, but got an array instead.",
    ),
    "17 pairs of metadata": Refusal(
        batch(metadata={str(n): "" for n in range(17)}),
        400,
        "object_above_max_properties",
        "metadata",
        "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, but got an "
        "object with 17 properties instead.",
    ),
    "a long value": Refusal(
        batch(metadata={"k": "x" * 600}),
        400,
        "string_above_max_length",
        "metadata.k",
        "Invalid 'metadata.k': string too long. Expected a string with maximum length 512, but got a string "
        "with length 600 instead.",
    ),
    "a long key": Refusal(
        batch(metadata={"k" * 65: ""}),
        400,
        "property_name_above_max_length",
        f"metadata.{'k' * 64}",
        f"Invalid 'metadata.{'k' * 64}': property name too long. Expected a property name with maximum "
        "length 64, but got a property name with length 65 instead.",
    ),
    "an unknown field": Refusal(batch(x=1), 400, "unknown_parameter", "x", "Unknown parameter: 'x'."),
    "results that expire too early": Refusal(
        batch(**{OUTPUT: {"anchor": "created_at", "seconds": 3599}}),
        400,
        "integer_below_min_value",
        f"{OUTPUT}.seconds",
        f"Invalid '{OUTPUT}.seconds': integer below minimum value. Expected a value >= 3600, but got 3599 "
        "instead.",
    ),
    "results that expire too late": Refusal(
        batch(**{OUTPUT: {"anchor": "created_at", "seconds": 2_592_001}}),
        400,
        "integer_above_max_value",
        f"{OUTPUT}.seconds",
        f"Invalid '{OUTPUT}.seconds': integer above maximum value. Expected a value <= 2592000, but got "
        "2592001 instead.",
    ),
    "a file for something else": Refusal(
        batch_of_user_data, 400, None, "input_file_id", "Invalid 'input_file_id': the purpose of file '"
    ),
    "an empty idempotency key": Refusal(
        batch(idempotency_key=""),
        400,
        "empty_string",
        "idempotency_key",
        "Invalid 'idempotency_key': empty string. Expected a string with minimum length 1, but got an empty "
        "string instead.",
    ),
    "a key used for something else": Refusal(
        conflicting,
        409,
        "idempotency_conflict",
        "idempotency_key",
        "Idempotency conflict: the key 'key-1' was used before to make batch_",
        again=False,
    ),
    # What has ended
    "cancelling a failed batch": Refusal(
        cancelled_failed_batch, 409, None, None, "Cannot cancel a batch with status 'failed'.", again=False
    ),
    "retrying a batch that never ran": Refusal(
        retried_failed_batch, 409, None, None, "Cannot retry a batch with status 'failed': ", again=False
    ),
    # Files
    "an empty input": Refusal(
        uploaded(b""), 400, None, None, "Invalid file format for Batch API. Must be .jsonl"
    ),
    "an input that is no JSON": Refusal(
        uploaded(b"nonsense\n"), 400, None, None, "Invalid file format for Batch API. Must be .jsonl"
    ),
    "an input that is too large": Refusal(
        uploaded(b"{}\n" + b" " * (2 * MIB)), 400, None, None, "File is too large."
    ),
    "an unknown purpose": Refusal(
        uploaded(b"{}", "x"), 400, "invalid_value", "purpose", "Invalid value: 'x'. Supported values are: '"
    ),
    "a form without a file": Refusal(
        asked("POST", "/v1/files", form(field("purpose", "batch")), **FORM),
        400,
        "missing_required_parameter",
        "file",
        "Missing required parameter: 'file'.",
    ),
    "contents that are not given out": Refusal(
        downloaded_user_data, 400, None, None, "Not allowed to download files of purpose: user_data"
    ),
    # Uploads in parts
    "a part of an upload that has ended": Refusal(
        ended_upload, 400, None, None, "Cannot add a part to an upload with status 'cancelled'."
    ),
    "a part that is too large": Refusal(
        large_part, 400, None, "data", f"Invalid 'data': a part has at most {MIB} bytes, but got "
    ),
    "an unknown part": Refusal(
        completed(1), 400, None, "part_ids", "Invalid 'part_ids': the upload has no part 'part_none'."
    ),
    "a part named twice": Refusal(
        completed(0, 0, size=2 * len(LINE)), 400, None, "part_ids", "Invalid 'part_ids': the part '"
    ),
    "another number of bytes": Refusal(
        completed(0, size=7),
        400,
        None,
        "part_ids",
        f"Invalid 'part_ids': these parts have {len(LINE)} bytes together, but the upload was created with "
        "'bytes' 7.",
    ),
    "another MD5": Refusal(
        completed(0, md5="0" * 32), 400, None, "md5", "Invalid 'md5': that of the parts is "
    ),
    # Nobody's
    "an unknown file": Refusal(got("/v1/files/file-x"), 404, None, "id", "No such File object: file-x"),
    "an unknown batch": Refusal(
        got("/v1/batches/batch_x"), 404, None, None, "No batch found with id 'batch_x'."
    ),
    "an unknown upload": Refusal(
        posted("/v1/uploads/upload_x/complete", {"part_ids": []}),
        404,
        None,
        "id",
        "No such Upload object: upload_x",
    ),
    "an unknown model": Refusal(
        got("/v1/models/x"), 404, "model_not_found", "model", "The model 'x' does not exist"
    ),
    "an unknown cursor of files": Refusal(
        got("/v1/files?after=file-x"), 404, None, "after", "Resource not found."
    ),
    "an unknown cursor of batches": Refusal(
        got("/v1/batches?after=batch_x"), 404, None, None, "No batch found with id 'batch_x'."
    ),
    "an unknown path": Refusal(posted("/v1/foo", {}), 404, None, None, "Invalid URL (POST /v1/foo)"),
    # Lists
    "a page of too many files": Refusal(
        got("/v1/files?limit=10001"), 400, None, None, "limit must be between 1 and 10000."
    ),
    "a page of too many batches": Refusal(
        got("/v1/batches?limit=101"),
        400,
        "integer_above_max_value",
        "limit",
        "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 101 instead.",
    ),
    "a page of no batches": Refusal(
        got("/v1/batches?limit=0"),
        400,
        "integer_below_min_value",
        "limit",
        "Invalid 'limit': integer below minimum value. Expected a value >= 1, but got 0 instead.",
    ),
    # Any request
    "a body that is no JSON": Refusal(
        asked("POST", "/v1/batches", b"{", **JSON),
        400,
        None,
        None,
        "We could not parse the JSON body of your request. (HINT: ",
    ),
    "another method": Refusal(
        posted("/v1/models", {}),
        405,
        None,
        None,
        "Not allowed to POST on /v1/models. (HINT: Perhaps you meant to use a different HTTP method?)",
    ),
    "a body over the cap": Refusal(
        asked("POST", "/v1/batches", b" " * (MIB + 1), **JSON),
        413,
        None,
        None,
        f"Maximum content size limit ({MIB}) exceeded ({MIB + 1} bytes read)",
        type="server_error",
    ),
    # Keys and limits
    "no key": Refusal(
        with_key(None),
        401,
        None,
        None,
        "You didn't provide an API key. You need to provide your API key in an Authorization header using "
        "Bearer auth (i.e. Authorization: Bearer YOUR_KEY)",
    ),
    "a wrong key": Refusal(
        with_key(SECRET), 401, "invalid_api_key", None, "Incorrect API key provided: sk-ab***yz. "
    ),
    "a key that may not": Refusal(
        reading_key_that_writes,
        403,
        "missing_scope",
        None,
        "You have insufficient permissions for this operation. Missing scopes: write. ",
    ),
    # Webhooks
    "no types of events": Refusal(hook(event_types=[]), 400, "empty_array", "event_types", ""),
    "no name": Refusal(
        hook(name=""), 400, "string_below_min_length", "name", "Invalid 'name': it must not be empty."
    ),
    "one endpoint too many": Refusal(
        one_hook_too_many,
        400,
        "too_many_webhook_endpoints",
        None,
        "A project has at most 2 webhook endpoints: delete one first.",
    ),
    "a test without an answer": Refusal(
        hook_tried_in_vain,
        400,
        "webhook_test_failed",
        "url",
        "The test message was not answered: the connection was refused.",
    ),
}
LIMITED: Final[dict[str, tuple[Limits, Ask, str, str]]] = {
    "too many requests": (
        Limits(requests_per_minute=1),
        twice(got("/v1/models")),
        "requests",
        "rate_limit_exceeded",
    ),
    "too many bytes": (
        Limits(stored_bytes=1),
        uploaded(LINE),
        "insufficient_quota",
        "insufficient_quota",
    ),
}
"""Over these limits the answer is 429, of that type and code."""


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_says_what_is_wrong(
    served: Served, project: Project, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setattr(endpoints, "MOST_ENDPOINTS", 2)
    refusal = REFUSALS[case]
    answer = refusal.ask(served, project)
    assert answer.status == refusal.status, answer.body
    error = answer.error
    assert (error["type"], error["code"], error["param"]) == (refusal.type, refusal.code, refusal.param)
    assert (error["message"] or "").startswith(refusal.message)
    assert answer.headers.get("x-should-retry") == (None if refusal.again else "false")
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("case", LIMITED)
def test_over_a_limit_the_answer_says_so(
    served: Served, project: Project, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    limits, ask, type_, code = LIMITED[case]
    monkeypatch.setattr(ProjectLimits, "of", lambda *_: limits)
    answer = ask(served, project)
    assert (answer.status, answer.error["type"], answer.error["code"]) == (429, type_, code)
    assert f"project {project.id}" in (answer.error["message"] or "")


def test_the_table_names_every_code_that_the_description_does() -> None:
    named = {refusal.code for refusal in REFUSALS.values()} | {code for *_, code in LIMITED.values()}
    assert named - {None} == CODES.keys()
