"""The operations that are about no object of a project: models, dry runs, limits, and the server itself."""

from typing import Final

from api import health, limits, models
from api.batches import validation
from api.openapi import samples
from api.openapi.entry import BYTES, JSON, Answer, Body, Entry, Example, Parameter, Refused
from api.openapi.parts import TEXT, fields, one_of
from api.openapi.refusals import HEAD, IN_BODY, NO_OBJECT
from events.inputs.validator import supported_endpoints

_MODELS: Final = "Models"
_SERVER: Final = "Server"
_JSONL: Final = "application/jsonl"
_OK: Final = Answer(says="It is.", content={JSON: fields({"status": one_of("ok")}, {})})
_READY: Final = Answer(
    says="It can be. `unsealed_seconds` is for how long the oldest event has waited to be sealed, where the "
    "log is sealed.",
    content={JSON: fields({"status": one_of("ok")}, {"unsealed_seconds": {"type": "integer", "minimum": 0}})},
)


def entries() -> tuple[Entry, ...]:
    """Every operation of these."""
    return (
        Entry(
            handler=models.list_models,
            tag=_MODELS,
            summary="List models",
            says="What the upstreams serve.",
            examples={"all": Example(says="All of them.", answer=samples.MODELS)},
        ),
        Entry(
            handler=models.retrieve_model,
            tag=_MODELS,
            summary="Retrieve a model",
            refuses={404: Refused(codes=("model_not_found",))},
            examples={"one": Example(says="One that is served.", answer=samples.MODEL_OBJECT)},
        ),
        Entry(
            handler=validation.validate_input,
            tag="Batches",
            summary="Check an input",
            says="Batchmill's own. Would a batch of this input start? Nothing is made, and nothing is run. "
            "A JSON body names a file and the endpoint; any other body is the input itself, and `endpoint` "
            "stands in the query.",
            parameters=(
                Parameter(
                    name="endpoint",
                    schema=one_of(*supported_endpoints()),
                    says="What the lines ask for, where the body is the input: needed then.",
                ),
            ),
            body=Body(
                content={
                    JSON: fields({"input_file_id": TEXT, "endpoint": one_of(*supported_endpoints())}, {}),
                    _JSONL: {"contentMediaType": _JSONL},
                    BYTES: {"contentMediaType": BYTES},
                },
                required=False,
                says="None at all is an empty input.",
            ),
            refuses={
                400: Refused(
                    codes=(*IN_BODY, "invalid_value"),
                    otherwise=f"{NO_OBJECT} Or: the file's purpose is not `batch`. Or: {HEAD}",
                ),
                507: Refused(),
            },
            takes={"input_file_id": "{file_id}", "endpoint": samples.ENDPOINT},
            examples={
                "file": Example(
                    says="A file.",
                    body={"input_file_id": samples.FILE, "endpoint": samples.ENDPOINT},
                    answer=samples.VALID,
                ),
                "input": Example(
                    says="An input that is sent along.",
                    query={"endpoint": samples.ENDPOINT},
                    body=samples.NAMELESS_LINE.encode(),
                    sent_as=_JSONL,
                    answer=samples.INVALID,
                ),
            },
        ),
        Entry(
            handler=limits.retrieve_limits,
            tag=_SERVER,
            summary="What a project may have",
            says="Batchmill's own. What the key's project may have, has, and has left, to be read before an "
            "upload. Over a limit of the queue a batch waits, and says so.",
            examples={"project": Example(says="A project with a queue.", answer=samples.LIMITS)},
        ),
        Entry(
            handler=health.live,
            tag=_SERVER,
            summary="Whether the process answers",
            answers=(_OK,),
            examples={"ok": Example(says="It does.", answer={"status": "ok"})},
        ),
        Entry(
            handler=health.ready,
            tag=_SERVER,
            summary="Whether the database can be written",
            says="Else the answer is 503.",
            answers=(_READY,),
            examples={
                "ok": Example(
                    says="It can, and all is sealed.", answer={"status": "ok", "unsealed_seconds": 0}
                )
            },
        ),
    )
