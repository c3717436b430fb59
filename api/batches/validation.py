"""`POST /v1/batchmill/validate`: would a batch of this input start? Nothing is made, and nothing is run.

The input is a file that the project has, or the body itself, which is kept in a temporary file meanwhile:
repeated custom_ids are compared by reading them again.
"""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryFile
from typing import IO, Final

from litestar import post

from api.batches.batches import require_batch_purpose, visible_file
from api.body import announced_bytes, pieces_of, whole_body
from api.errors import invalid_value, missing_parameter, storage_full
from api.json_body import json_object, one_of, refuse_unknown, text
from api.model_source import ModelsUnavailable
from api.request import ApiRequest, services_of
from api.scopes import needs
from api.services import ApiServices
from api.space import require_spill_space
from api.wire import ValidationObject, validation_object
from events.inputs.dry_run import DryRun, dry_run
from events.inputs.planning import cannot_find
from events.inputs.validator import LineRules, supported_endpoints
from storage.store import ObjectMissing

_FIELDS: Final = frozenset({"input_file_id", "endpoint"})
_READ_TIMEOUT: Final = 60.0
"""Seconds for one small read of a stored input."""
_TURN: Final = 60.0
"""Seconds that a dry run waits for its turn."""
_PATIENCE: Final = 900.0
"""Seconds that it may take then, with the arrival of its body."""
_LATE: Final = "The input could not be checked in time."
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}


@post("/batchmill/validate", status_code=200, opt=needs("write"))
async def validate_input(request: ApiRequest) -> ValidationObject:
    """`POST /v1/batchmill/validate`: a JSON body names a file; any other is the input itself."""
    services, project_id = services_of(request), request.auth.project_id
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    asked = _endpoint(request)
    if kind == "application/json":
        fields = json_object(await whole_body(request))
        file_id = text(fields, "input_file_id")
        endpoint = one_of(fields, "endpoint", supported_endpoints())
        refuse_unknown(fields, _FIELDS)
        async with _turn(services, project_id):
            ran = await _of_file(services, file_id, project_id, endpoint)
        return validation_object(endpoint, ran)
    if asked is None:
        raise missing_parameter("endpoint")
    body = pieces_of(request, services.options.max_batch_file_bytes)
    async with _turn(services, project_id):
        await require_spill_space(services, announced_bytes(request) or 0)
        ran = await _of_body(services, body, asked, project_id)
    return validation_object(asked, ran)


@asynccontextmanager
async def _turn(services: ApiServices, project_id: str) -> AsyncIterator[None]:
    """One of the few dry runs at once. Raises `ApiError` where there is no time or no room for it."""
    try:
        async with services.dry_runs.one(project_id, _TURN, _LATE, work=_PATIENCE):
            yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise storage_full(
            "The server has no room left for temporary files. Ask its operator for room."
        ) from error


def _endpoint(request: ApiRequest) -> str | None:
    """What the query says. Raises `ApiError` for what is no endpoint."""
    endpoint: str | None = request.query_params.get("endpoint")
    if endpoint is not None and endpoint not in supported_endpoints():
        raise invalid_value("endpoint", endpoint, supported_endpoints())
    return endpoint


async def _of_file(services: ApiServices, file_id: str, project_id: str, endpoint: str) -> DryRun:
    file = await visible_file(services, file_id, project_id)
    unknown = DryRun(None, None, None, (cannot_find(file_id, project_id),))
    if file is None:
        return unknown
    require_batch_purpose(file)
    key = file.state.created.storage_key
    loop = asyncio.get_running_loop()

    def read(start: int, end: int) -> bytes:
        reading = asyncio.run_coroutine_threadsafe(services.store.read(key, start, end), loop)
        try:
            return reading.result(_READ_TIMEOUT)
        finally:
            reading.cancel()

    options = services.options
    limits = options.limits.of(project_id)
    rules = await _rules(services, endpoint)
    pieces = services.store.get(key)
    try:
        return await dry_run(
            pieces, read, rules, options.spill_folder, options.max_batch_lines, limits, project_id
        )
    except ObjectMissing:  # deleted and erased in between
        return unknown


async def _of_body(
    services: ApiServices, body: AsyncIterator[bytes], endpoint: str, project_id: str
) -> DryRun:
    options = services.options
    rules = await _rules(services, endpoint)
    with TemporaryFile(dir=options.spill_folder) as kept:
        return await dry_run(
            _keeping(body, kept),
            lambda start, end: os.pread(kept.fileno(), end - start, start),
            rules,
            options.spill_folder,
            options.max_batch_lines,
            options.limits.of(project_id),
            project_id,
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
