"""The operations on batches, and what can be asked of one."""

from typing import Final

from api.batches import batches, events, failures, history, line, results, retry
from api.batches.cursor import MARK
from api.batches.events import EVENTS_PER_PAGE, MOST_EVENTS, BatchEventObject
from api.batches.past import AT_PATTERN
from api.openapi import samples
from api.openapi.entry import JSON, Answer, Body, Entry, Example, Parameter, Refused, Schema
from api.openapi.parts import (
    IDEMPOTENCY_KEY,
    KEY_TEXT,
    METADATA,
    TEXT,
    completion_window,
    expiry,
    fields,
    number,
    one_of,
    or_null,
    page,
)
from api.openapi.refusals import HEAD, IN_BODY, IN_EXPIRY, IN_KEY, IN_PAGE, NO_OBJECT
from api.paging import BATCHES_PER_PAGE, MOST_BATCHES
from api.services import ApiOptions
from api.wire import ListObject, list_object
from events.inputs.validator import supported_endpoints

_TAG: Final = "Batches"
_SSE: Final = "text/event-stream"
_NDJSON: Final = "application/x-ndjson"
_METADATA_CODES: Final = ("object_above_max_properties", "property_name_above_max_length")
_CREATION: Final = {
    "input_file_id": samples.FILE,
    "endpoint": samples.ENDPOINT,
    "completion_window": "24h",
    "metadata": {"team": "search"},
}
_STREAMED: Final = (
    "id: 1\nevent: BatchCreated\ndata: {…}\n\nid: 2\nevent: BatchStarted\ndata: {…}\n\n"
    "id: 3\nevent: LinesCompleted\ndata: {…}\n\nid: 4\nevent: BatchFinalizing\ndata: {…}\n\n"
    "id: 5\nevent: BatchCompleted\ndata: {…}\n\n"
)


def entries(options: ApiOptions) -> tuple[Entry, ...]:
    """Every operation under `/v1/batches`, of a server with these options."""
    return (
        Entry(
            handler=batches.create_batch,
            tag=_TAG,
            summary="Create a batch",
            says="Its lines run as soon as the input was found to be valid. A file that the project cannot "
            "see, and lines that are not as they should be, are no error here: the batch becomes `failed`, "
            "and its `errors` say why.",
            parameters=(IDEMPOTENCY_KEY,),
            body=Body(content={JSON: _creation(options)}),
            refuses={
                400: Refused(
                    codes=(*IN_BODY, *IN_EXPIRY, *_METADATA_CODES, *IN_KEY),
                    otherwise=f"{NO_OBJECT} Or: the file's purpose is not `batch`. Or: the header and the "
                    f"body name two idempotency keys. Or: {HEAD}",
                ),
                409: Refused(codes=("idempotency_conflict",)),
            },
            gives={"batch_id": "/id"},
            takes={**_CREATION, "input_file_id": "{file_id}"},
            examples={
                "created": Example(says="A batch of a file.", body=_CREATION, answer=samples.NEW_BATCH)
            },
        ),
        Entry(
            handler=batches.list_batches,
            tag=_TAG,
            summary="List batches",
            says="The newest first.",
            parameters=page(MOST_BATCHES, BATCHES_PER_PAGE),
            refuses={
                400: Refused(codes=IN_PAGE, otherwise=HEAD),
                404: Refused(otherwise="There is no batch with the id `after`."),
            },
            gives={"batch_id": "/data/0/id"},
            examples={
                "next_page": Example(
                    says="The batch that was made before another one.",
                    query={"after": samples.RUNNING, "limit": 1},
                    answer=list_object([samples.DONE_BATCH], has_more=False),
                )
            },
        ),
        Entry(
            handler=batches.retrieve_batch,
            tag=_TAG,
            summary="Retrieve a batch",
            says="With `at`, which is batchmill's own, as it was at a moment.",
            parameters=(
                Parameter(
                    name="at",
                    schema={"type": "string", "pattern": AT_PATTERN},
                    says="A time, as Unix seconds or in ISO 8601 (of UTC, unless it says otherwise); or the "
                    "`id` of an event of the batch: as it was after that. Default: now.",
                ),
            ),
            refuses={
                400: Refused(codes=("invalid_type",), otherwise=HEAD),
                404: Refused(otherwise="There is no such batch, or it had not been created then."),
            },
            gives={"file_id": "/output_file_id"},
            examples={
                "done": Example(says="A batch that has ended.", answer=samples.DONE_BATCH),
                "past": Example(
                    says="As it was after its second event.", query={"at": "2"}, answer=samples.STARTED_BATCH
                ),
            },
        ),
        Entry(
            handler=batches.cancel_batch,
            tag=_TAG,
            summary="Cancel a batch",
            says="What was recorded is kept, and lines that never ran end as errors with the code "
            "`batch_cancelled`. A batch that is cancelled already is answered as it is.",
            refuses={409: Refused(otherwise="The batch has ended otherwise. Not to be retried.")},
            examples={
                "running": Example(
                    says="A batch that runs.",
                    path={"batch_id": samples.RUNNING},
                    answer=samples.CANCELLING_BATCH,
                )
            },
        ),
        Entry(
            handler=events.list_events,
            tag=_TAG,
            summary="What happened to a batch",
            says="Batchmill's own. In pages, or with `Accept: text/event-stream` as it happens, until the "
            "batch has ended. A stream that was cut is taken up again with `Last-Event-ID`; where nothing "
            "more can come it is answered 204. The schema of `data` is that of the event's type.",
            parameters=(
                number("after", "The `id` of the last event that you have."),
                page(MOST_EVENTS, EVENTS_PER_PAGE)[1],
                Parameter(
                    name="Last-Event-ID",
                    place="header",
                    schema={"type": "string", "pattern": f"^[0-9]{{1,1000}}({MARK})?$"},
                    says="Of a stream: as `after`, which it goes before.",
                ),
            ),
            answers=(
                Answer(
                    says="A page, or a stream.",
                    content={JSON: ListObject[BatchEventObject], _SSE: TEXT},
                ),
                Answer(status=204, says="To a stream: the batch has ended, and you have all of its events."),
            ),
            refuses={400: Refused(codes=IN_PAGE, otherwise=HEAD)},
            examples={
                "page": Example(
                    says="The first two events.",
                    query={"limit": 2},
                    answer=list_object(samples.EVENTS, has_more=True),
                ),
                "stream": Example(says="All of them, as they happen.", media=_SSE, answer=_STREAMED),
            },
        ),
        Entry(
            handler=history.list_history,
            tag=_TAG,
            summary="The time line of a batch",
            says="Batchmill's own. What happened, who caused it and why, and how long the batch waited for "
            "what: moments, and stretches between them. For people; programs read the events.",
            examples={
                "done": Example(
                    says="A batch that has ended.", answer=list_object(samples.HISTORY, has_more=False)
                )
            },
        ),
        Entry(
            handler=results.stream_results,
            tag=_TAG,
            summary="Results so far",
            says="Batchmill's own. Result lines, while the batch runs and after, in the order in which they "
            "were recorded. Ask again with `offset` as `x-last-line` says, until `x-incomplete` is `false`.",
            parameters=(
                number("offset", "So many results you have already."),
                number("skip", "The same, as some clients call it."),
                number("limit", "At most so many results. Default: all there are.", least=1),
            ),
            answers=(
                Answer(
                    says="JSON Lines, each as it will stand in the output or error file.",
                    content={_NDJSON: TEXT},
                    headers={
                        "x-incomplete": (
                            one_of("true", "false"),
                            "Whether there is anything to ask for yet.",
                        ),
                        "x-last-line": ({"type": "integer", "minimum": 0}, "The offset to ask with next."),
                    },
                ),
            ),
            refuses={
                400: Refused(codes=IN_PAGE[:2], otherwise=HEAD),
                404: Refused(otherwise="The results were erased with the output file."),
            },
            examples={
                "two": Example(
                    says="The first two results.", query={"limit": 2}, media=_NDJSON, answer=samples.RESULTS
                )
            },
        ),
        Entry(
            handler=failures.list_errors,
            tag=_TAG,
            summary="Why lines failed",
            says="Batchmill's own. Those that failed for the same cause together, the largest group first.",
            examples={
                "grouped": Example(
                    says="One line failed.", answer=list_object([samples.CAUSE_OBJECT], has_more=False)
                )
            },
        ),
        Entry(
            handler=line.retrieve_line,
            tag=_TAG,
            summary="What is known of one line",
            says="Batchmill's own. Where it stands in the input, and how it went.",
            refuses={
                400: Refused(otherwise=f"The input is too large to be searched. Or: {HEAD}"),
                404: Refused(otherwise="The batch has no line with this custom_id, or its input is gone."),
            },
            examples={"failed": Example(says="A line that failed.", answer=samples.LINE)},
        ),
        Entry(
            handler=retry.retry_batch,
            tag=_TAG,
            summary="Run again what failed",
            says="Batchmill's own. A new batch of the lines that failed, expired or were cancelled, or of "
            "one group of them; its `batchmill.retry_of` names this one.",
            parameters=(IDEMPOTENCY_KEY,),
            body=Body(content={JSON: _retry(options)}, required=False, says="Without one, all of them."),
            refuses={
                400: Refused(
                    codes=(*IN_BODY[1:], "invalid_value", *_METADATA_CODES, *IN_KEY),
                    otherwise=f"{NO_OBJECT} Or: there is nothing to run again. Or: the header and the body "
                    f"name two idempotency keys. Or: {HEAD}",
                ),
                409: Refused(
                    codes=("idempotency_conflict",),
                    otherwise="The batch has not ended, or has no lines to run again. Not to be retried.",
                ),
                429: Refused(codes=("insufficient_quota",)),
                507: Refused(),
            },
            gives={"batch_id": "/id"},
            examples={
                "all": Example(
                    says="All lines that failed.",
                    body={"metadata": {"team": "search"}},
                    answer=samples.RETRIED_BATCH,
                )
            },
        ),
    )


def _creation(options: ApiOptions) -> Schema:
    return fields(
        {
            "input_file_id": {
                "type": "string",
                "maxLength": 512,
                "description": "A file that was uploaded with the purpose `batch`.",
            },
            "endpoint": {
                **one_of(*supported_endpoints()),
                "description": "What every line of the input asks for.",
            },
            "completion_window": completion_window(options),
        },
        {
            "metadata": METADATA,
            "output_expires_after": expiry(
                "When the result files go, counted from when they are made. Default: after 30 days."
            ),
            "idempotency_key": or_null(KEY_TEXT),
        },
    )


def _retry(options: ApiOptions) -> Schema:
    return fields(
        {},
        {
            "group": or_null(
                {
                    "type": "string",
                    "pattern": "^cause_[0-9a-f]{24}$",
                    "description": "The `id` of one of the batch's errors: only these lines.",
                }
            ),
            "completion_window": or_null(completion_window(options)),
            "metadata": METADATA,
            "idempotency_key": or_null(KEY_TEXT),
        },
    )
