"""What the examples speak of: one project with a batch of three lines, the second of which failed."""

from typing import Final

from msgspec import Raw
from msgspec.json import encode
from msgspec.structs import replace

from api.batches.events import BatchEventObject
from api.batches.failures import CauseObject
from api.batches.history import HistoryEntryObject
from api.batches.line import InputObject, LineObject, OutcomeObject
from api.limits import LargestObject, LimitObject, LimitsObject, WaitingObject
from api.model_source import ModelObject
from api.models import ModelsObject
from api.uploads.wire import PartObject, UploadObject
from api.webhooks.wire import DeliveryObject, EndpointLive, EndpointObject, EndpointWithSecret
from api.wire import (
    BatchObject,
    ErrorEntry,
    ErrorList,
    FileObject,
    InputTokensDetails,
    Live,
    OutputTokensDetails,
    RequestCounts,
    UsageObject,
    ValidationObject,
)
from events.batch import BatchStarted
from events.history import Name

ENDPOINT: Final = "/v1/chat/completions"
BATCH: Final = "batch_4e1c9b7d2f60485a93c8d0e5a7b61f24"
RUNNING: Final = "batch_0a3f5c8e7b2d4916a8c5e1f09d47b362"
RETRIED: Final = "batch_b86d02f4c1a94e7d85b3f6209ce7a415"
FILE: Final = "file-4Yd7cKq2WmZx9RtB1nVhLs"
DELETED_FILE: Final = "file-8Hs3vNp6JgXa5TkC0wQrEu"
ASSEMBLED_FILE: Final = "file-5Gt0hQk8PzXc3MvB7eJdAf"
RETRIED_FILE: Final = "file-2Bf9zMu4GyLe7SoD3iPjKx"
OUTPUT: Final = "file-6Wq1xRb8DtNc2FvG5kZmHy"
ERRORS: Final = "file-0Lp4sJe3UaVi6QwX9oTgCn"
UPLOAD: Final = "upload_7d3e9a5c1b8f42609e4d7c2a5b1f8036"
CANCELLED_UPLOAD: Final = "upload_2c8f1b6d9e3a47508d1c6f9b2e5a8047"
PART: Final = "part_5f2a8d1c7e4b49308c6f3a9d2e7b1058"
DELETED_HOOK: Final = "we_4c1f8b6e3d9a4075b2c1f8e6d3a94092"
HEARD_HOOK: Final = "we_8d3a6f1c9e4b4257a8d3f6c1e94b5103"
HOOK: Final = "we_9b4d7e2a1c6f48538a9d4e7b2c5f1069"
DELIVERY: Final = "wh_1e6a3c9f5b8d42749c1e6a3d8f5b2070"
CUSTOM_ID: Final = "b"
CAUSE: Final = "cause_9d1f5b7a3c8e2046f1a5d9c3"
MODEL: Final = "small"
KEY: Final = "key_3f7a1d9c5e8b42608d3f7a1c9e5b2081"

WHEN: Final = 1_790_000_000
DAY: Final = 86_400
LINES: Final = "".join(
    f'{{"custom_id":"{custom_id}","method":"POST","url":"{ENDPOINT}","body":'
    f'{{"model":"{MODEL}","messages":[{{"role":"user","content":"hi"}}]}}}}\n'
    for custom_id in "abc"
)
"""The input file."""
NAMELESS_LINE: Final = f'{{"method":"POST","url":"{ENDPOINT}","body":{{"model":"{MODEL}","messages":[]}}}}\n'

FILE_OBJECT: Final = FileObject(
    id=FILE,
    size=len(LINES),
    created_at=WHEN,
    expires_at=WHEN + 30 * DAY,
    filename="requests.jsonl",
    purpose="batch",
)

NEW_BATCH: Final = BatchObject(
    id=BATCH,
    endpoint=ENDPOINT,
    model=None,
    errors=None,
    input_file_id=FILE,
    completion_window="24h",
    status="validating",
    output_file_id=None,
    error_file_id=None,
    created_at=WHEN,
    in_progress_at=None,
    expires_at=WHEN + DAY,
    finalizing_at=None,
    completed_at=None,
    failed_at=None,
    expired_at=None,
    cancelling_at=None,
    cancelled_at=None,
    request_counts=RequestCounts(0, 0, 0),
    usage=None,
    metadata={"team": "search"},
    batchmill=Live("waiting for validation", None, None, None),
)
DONE_BATCH: Final = replace(
    NEW_BATCH,
    model=MODEL,
    status="completed",
    output_file_id=OUTPUT,
    error_file_id=ERRORS,
    in_progress_at=WHEN + 1,
    finalizing_at=WHEN + 60,
    completed_at=WHEN + 61,
    request_counts=RequestCounts(3, 2, 1),
    usage=UsageObject(16, InputTokensDetails(0), 4, OutputTokensDetails(0), 20),
    batchmill=Live(None, None, None, None),
)
STARTED_BATCH: Final = replace(
    NEW_BATCH,
    model=MODEL,
    status="in_progress",
    in_progress_at=WHEN + 1,
    usage=UsageObject(0, InputTokensDetails(0), 0, OutputTokensDetails(0), 0),
    request_counts=RequestCounts(3, 0, 0),
    batchmill=Live(None, 3, None, None),
)
CANCELLING_BATCH: Final = replace(
    NEW_BATCH,
    id=RUNNING,
    model=MODEL,
    status="cancelling",
    in_progress_at=WHEN + 1,
    cancelling_at=WHEN + 30,
    request_counts=RequestCounts(3, 0, 0),
    usage=UsageObject(0, InputTokensDetails(0), 0, OutputTokensDetails(0), 0),
    batchmill=Live("waiting for the result files", 3, None, None),
)
RETRIED_BATCH: Final = replace(
    NEW_BATCH,
    id=RETRIED,
    input_file_id=RETRIED_FILE,
    batchmill=Live("waiting for validation", None, None, BATCH),
)

EVENTS: Final = (
    BatchEventObject(
        id="1",
        type="BatchCreated",
        created_at=WHEN,
        event_id="0d6cfc39-5d52-4a51-9be1-3a4f6a0c7d11",
        actor=KEY,
        data=Raw(
            f'{{"input_file_id":"{FILE}","endpoint":"{ENDPOINT}","completion_window":"24h",'
            '"window_seconds":86400,"metadata":{"team":"search"},"output_expires_after":null,'
            '"retry_of":null,"retry_group":null}'.encode()
        ),
    ),
    BatchEventObject(
        id="2",
        type="BatchStarted",
        created_at=WHEN + 1,
        event_id="5b8a7c1e-90f4-4d3b-8a26-c1e07f9d5322",
        actor=None,
        data=Raw(encode(BatchStarted(3, MODEL, estimated_tokens=99))),
    ),
)


def _entry(
    id: str,
    name: Name,
    began: float,
    seconds: float,
    text: str,
    actor: str | None = None,
    event: str | None = None,
    why: str | None = None,
) -> HistoryEntryObject:
    return HistoryEntryObject(
        id=id,
        name=name,
        began_at=WHEN + began,
        ended_at=WHEN + began + seconds,
        seconds=seconds,
        text=text,
        why=why,
        actors=() if actor is None else (actor,),
        first_event=event,
        last_event=event,
    )


_DONE: Final = "every line has an outcome"
HISTORY: Final = (
    _entry("1", "created", 0.125, 0.0, f"{ENDPOINT} of {FILE} within 24h", KEY, "1"),
    _entry("2", "planning", 0.125, 0.875, "its input is validated"),
    _entry("3", "validated", 1.0, 0.0, f"3 lines for model {MODEL}", "planner", "2"),
    _entry("4", "queued", 1.0, 0.25, "until the first line is sent"),
    _entry("5", "running", 1.25, 58.5, "2 lines succeeded, 1 failed, in 1 flush", "worker-1", "3"),
    _entry("6", "finalizing", 60.0, 0.0, "nothing more is recorded", "finalizer", "4", _DONE),
    _entry("7", "writing_files", 60.0, 1.0, "its result files are written"),
    _entry("8", "completed", 61.0, 0.0, f"output {OUTPUT}, errors {ERRORS}", "finalizer", "5"),
)

MESSAGE: Final = "This model takes 4096 tokens at most; yours are 5120."
RESULTS: Final = (
    '{"id":"batch_req_0","custom_id":"a","response":{"status_code":200,"request_id":"req_0",'
    '"body":{"choices":[]}},"error":null}\n'
    '{"id":"batch_req_1","custom_id":"b","response":{"status_code":400,"request_id":"req_1",'
    f'"body":{{"error":{{"message":"{MESSAGE}","code":"too_long"}}}}}},"error":null}}\n'
)
CAUSE_OBJECT: Final = CauseObject(
    id=CAUSE,
    status_code=400,
    code="too_long",
    message="This model takes # tokens at most; yours are #.",
    count=1,
    custom_ids=[Raw(b'"b"')],
    lines=[],
)
LINE: Final = LineObject(
    batch_id=BATCH,
    custom_id=CUSTOM_ID,
    status="failed",
    input=InputObject(FILE, 2, len(LINES) // 3, len(LINES) // 3 - 1),
    outcome=OutcomeObject(
        status_code=400,
        code=None,
        attempts=1,
        started_at=WHEN + 1.0,
        seconds=0.25,
        worker="worker-1",
        usage=UsageObject(0, InputTokensDetails(0), 0, OutputTokensDetails(0), 0),
        recorded_at=WHEN + 2,
        event="3",
    ),
)

VALID: Final = ValidationObject(
    valid=True, endpoint=ENDPOINT, model=MODEL, lines=3, estimated_input_tokens=99, errors=None
)
INVALID: Final = ValidationObject(
    valid=False,
    endpoint=ENDPOINT,
    model=None,
    lines=1,
    estimated_input_tokens=22,
    errors=ErrorList(
        [ErrorEntry("missing_required_parameter", "Missing required parameter: 'custom_id'.", "custom_id", 1)]
    ),
)

UPLOAD_OBJECT: Final = UploadObject(
    id=UPLOAD,
    size=len(LINES),
    created_at=WHEN,
    expires_at=WHEN + 3600,
    filename="requests.jsonl",
    purpose="batch",
    status="pending",
    file=None,
)
COMPLETED_UPLOAD: Final = replace(
    UPLOAD_OBJECT, status="completed", file=replace(FILE_OBJECT, id=ASSEMBLED_FILE, created_at=WHEN + 2)
)
CANCELLED_UPLOAD_OBJECT: Final = replace(UPLOAD_OBJECT, id=CANCELLED_UPLOAD, status="cancelled")
PART_OBJECT: Final = PartObject(id=PART, created_at=WHEN + 1, upload_id=UPLOAD)

HOOK_OBJECT: Final = EndpointObject(
    id=HOOK,
    created_at=WHEN,
    updated_at=WHEN,
    event_types=["batch.completed", "batch.failed"],
    name="nightly",
    url="https://example.com/webhooks",
    signing_secret_hint="whsec_…3q9Z",
    batchmill=EndpointLive(None, None),
)
HOOK_WITH_SECRET: Final = EndpointWithSecret(
    **{name: getattr(HOOK_OBJECT, name) for name in HOOK_OBJECT.__struct_fields__},
    signing_secret="whsec_c2VjcmV0IG9mIHRoZSBleGFtcGxlcyBvbmx5ISEhISE=",
)
DELIVERY_OBJECT: Final = DeliveryObject(
    id=DELIVERY,
    webhook_endpoint_id=HOOK,
    event_id="evt_6c2f8a4e1b9d43758f2c6a9e4d1b7092",
    event_type="batch.completed",
    batch_id=BATCH,
    status="pending",
    attempts=0,
    status_code=None,
    error=None,
    created_at=WHEN + 61,
    last_attempt_at=None,
    next_attempt_at=WHEN + 61,
)
MODEL_OBJECT: Final = ModelObject(id=MODEL)
MODELS: Final = ModelsObject([MODEL_OBJECT, ModelObject(id="org/large")])

MIB: Final = 1 << 20
LIMITS: Final = LimitsObject(
    project="default",
    requests_per_minute=LimitObject(600, 12, 588),
    batches_per_hour=LimitObject(None, None, None),
    queued_lines=LimitObject(100_000, 3, 99_997),
    queued_tokens=LimitObject(None, 99, None),
    running_batches=LimitObject(None, 1, None),
    stored_bytes=LimitObject(None, 3 * len(LINES), None),
    waiting=WaitingObject(batches=0, lines=0, tokens=0),
    largest=LargestObject(
        batch_lines=50_000,
        batch_file_bytes=200 * MIB,
        line_bytes=16 * MIB,
        file_bytes=512 * MIB,
        upload_bytes=8192 * MIB,
        part_bytes=64 * MIB,
    ),
)
