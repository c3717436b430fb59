"""`POST /v1/batchmill/validate`: would a batch of this input start? Nothing is made, and nothing is run.

The input is a file that the project has, or the body itself, which is kept in a temporary file meanwhile:
repeated custom_ids are compared by reading them again.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from tempfile import TemporaryFile
from typing import IO, Final

from litestar import post

from api.batches import require_batch_purpose, visible_file
from api.body import pieces_of, whole_body
from api.errors import invalid_value, missing_parameter
from api.json_body import json_object, one_of, refuse_unknown, text
from api.model_source import ModelsUnavailable
from api.request import ApiRequest, services_of
from api.services import ApiServices
from api.wire import ValidationObject, validation_object
from events.dry_run import DryRun, dry_run
from events.planning import cannot_find
from events.validator import LineRules, supported_endpoints

_FIELDS: Final = frozenset({"input_file_id", "endpoint"})
_READ_TIMEOUT: Final = 60.0
"""Seconds for one small read of a stored input."""


@post("/batchmill/validate", status_code=200)
async def validate_input(request: ApiRequest) -> ValidationObject:
    """`POST /v1/batchmill/validate`: a JSON body names a file; any other is the input itself."""
    services = services_of(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        fields = json_object(await whole_body(request))
        file_id = text(fields, "input_file_id")
        endpoint = one_of(fields, "endpoint", supported_endpoints())
        refuse_unknown(fields, _FIELDS)
        return validation_object(
            endpoint, await _of_file(services, file_id, request.auth.project_id, endpoint)
        )
    endpoint = _endpoint(request)
    body = pieces_of(request, services.options.max_batch_file_bytes)
    return validation_object(endpoint, await _of_body(services, body, endpoint))


def _endpoint(request: ApiRequest) -> str:
    endpoint: str | None = request.query_params.get("endpoint")
    if endpoint is None:
        raise missing_parameter("endpoint")
    if endpoint not in supported_endpoints():
        raise invalid_value("endpoint", endpoint, supported_endpoints())
    return endpoint


async def _of_file(services: ApiServices, file_id: str, project_id: str, endpoint: str) -> DryRun:
    file = await visible_file(services, file_id, project_id)
    if file is None:
        return DryRun(None, None, None, (cannot_find(file_id, project_id),))
    require_batch_purpose(file)
    key = file.state.created.storage_key
    loop = asyncio.get_running_loop()

    def read(start: int, end: int) -> bytes:
        reading = asyncio.run_coroutine_threadsafe(services.store.read(key, start, end), loop)
        return reading.result(_READ_TIMEOUT)

    options = services.options
    rules = await _rules(services, endpoint)
    return await dry_run(services.store.get(key), read, rules, options.spill_folder, options.max_batch_lines)


async def _of_body(services: ApiServices, body: AsyncIterator[bytes], endpoint: str) -> DryRun:
    options = services.options
    rules = await _rules(services, endpoint)
    with TemporaryFile(dir=options.spill_folder) as kept:
        return await dry_run(
            _keeping(body, kept),
            lambda start, end: os.pread(kept.fileno(), end - start, start),
            rules,
            options.spill_folder,
            options.max_batch_lines,
        )


async def _keeping(body: AsyncIterator[bytes], kept: IO[bytes]) -> AsyncIterator[bytes]:
    async for piece in body:
        await asyncio.to_thread(kept.write, piece)
        await asyncio.to_thread(kept.flush)
        yield piece


async def _rules(services: ApiServices, endpoint: str) -> LineRules:
    """The rules that a batch would be planned by; where an upstream does not name its models, any will do."""
    try:
        known = frozenset(model.id for model in await services.models.list()) or None
    except ModelsUnavailable:
        known = None
    return LineRules(endpoint, services.options.max_line_bytes, known)
