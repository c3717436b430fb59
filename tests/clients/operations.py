"""What a client can ask for: the rows of the table, in its order."""

from typing import Final, NamedTuple


class Operation(NamedTuple):
    """`name` is what the drivers call it, `route` the method and path of the API (None: nothing of its own is
    asked), and `with_` what is tried beside it."""

    name: str
    route: str | None
    with_: str = ""


class Group(NamedTuple):
    """Operations under one heading."""

    title: str
    operations: tuple[Operation, ...]


_ENDPOINT: Final = "/v1/webhook_endpoints/{endpoint_id}"
_EXTRA_ENDPOINT: Final = "/v1/batchmill/webhook_endpoints/{endpoint_id}"

GROUPS: Final = (
    Group(
        "Files",
        (
            Operation("files_create", "POST /v1/files", "a name without ending, `expires_after`"),
            Operation("files_list", "GET /v1/files", "`purpose`, `order`, from page to page"),
            Operation("files_retrieve", "GET /v1/files/{file_id}"),
            Operation("files_wait", "GET /v1/files/{file_id}", "the client's `wait_for_processing`"),
            Operation("files_content", "GET /v1/files/{file_id}/content", "as a whole and as a stream"),
            Operation("files_delete", "DELETE /v1/files/{file_id}"),
        ),
    ),
    Group(
        "Uploads",
        (
            Operation("uploads_create", "POST /v1/uploads"),
            Operation("uploads_parts", "POST /v1/uploads/{upload_id}/parts", "four side by side"),
            Operation("uploads_complete", "POST /v1/uploads/{upload_id}/complete", "`md5`"),
            Operation("uploads_cancel", "POST /v1/uploads/{upload_id}/cancel"),
            Operation("uploads_chunked", "POST /v1/uploads", "the client's `upload_file_chunked`"),
        ),
    ),
    Group(
        "Batches",
        (
            Operation("batches_create", "POST /v1/batches", "`metadata`, `output_expires_after`"),
            Operation("batches_create_again", "POST /v1/batches", "the same `Idempotency-Key` twice"),
            Operation("batches_retrieve", "GET /v1/batches/{batch_id}", "until it is completed; its results"),
            Operation("batches_list", "GET /v1/batches", "from page to page"),
            Operation("batches_cancel", "POST /v1/batches/{batch_id}/cancel"),
        ),
    ),
    Group(
        "Models",
        (
            Operation("models_list", "GET /v1/models"),
            Operation("models_retrieve", "GET /v1/models/{model}"),
        ),
    ),
    Group(
        "Webhooks",
        (
            Operation("webhooks_create", "POST /v1/webhook_endpoints"),
            Operation("webhooks_list", "GET /v1/webhook_endpoints", "from page to page"),
            Operation("webhooks_retrieve", f"GET {_ENDPOINT}"),
            Operation("webhooks_update", f"POST {_ENDPOINT}"),
            Operation("webhooks_delete", f"DELETE {_ENDPOINT}"),
            Operation(
                "webhooks_rotate", f"POST {_ENDPOINT}/rotate_secret", "`keep_old_secret_active_for_24_hours`"
            ),
            Operation("webhooks_test", f"POST {_ENDPOINT}/test"),
            Operation("webhooks_event_types", "GET /v1/webhook_event_types"),
            Operation("webhooks_unwrap", None, "the client checks the signature of a delivery"),
        ),
    ),
    Group(
        "Errors, each as the client's own exception for it",
        (
            Operation("error_400", None, "400, with `message`, `param` and `code`"),
            Operation("error_401", None, "401, a wrong key"),
            Operation("error_403", None, "403, a key that may only read"),
            Operation("error_404", None, "404, an unknown id"),
            Operation("error_409", None, "409, cancelling what has ended; asked once"),
            Operation("error_429", None, "429, over a limit; with `Retry-After`"),
        ),
    ),
    Group(
        "Beyond OpenAI's API",
        (
            Operation("extra_events", "GET /v1/batches/{batch_id}/events", "pages, and server-sent events"),
            Operation("extra_history", "GET /v1/batches/{batch_id}/history"),
            Operation("extra_results", "GET /v1/batches/{batch_id}/results", "`offset`, `limit`"),
            Operation("extra_errors", "GET /v1/batches/{batch_id}/errors"),
            Operation("extra_line", "GET /v1/batches/{batch_id}/lines/{custom_id}"),
            Operation("extra_retry", "POST /v1/batches/{batch_id}/retry"),
            Operation("extra_validate", "POST /v1/batchmill/validate", "a file by its id"),
            Operation("extra_evidence", "GET /v1/batches/{batch_id}/evidence"),
            Operation("extra_checkpoint", "GET /v1/batchmill/audit/checkpoint"),
            Operation("extra_proof", "GET /v1/batchmill/audit/proof", "of a batch"),
            Operation("extra_consistency", "GET /v1/batchmill/audit/consistency"),
            Operation("extra_limits", "GET /v1/batchmill/limits"),
            Operation("extra_enable", f"POST {_EXTRA_ENDPOINT}/enable"),
            Operation("extra_deliveries", f"GET {_EXTRA_ENDPOINT}/deliveries"),
            Operation("extra_redeliver", f"POST {_EXTRA_ENDPOINT}/deliveries/{{delivery_id}}/redeliver"),
        ),
    ),
)

OPERATIONS: Final = tuple(operation for group in GROUPS for operation in group.operations)
