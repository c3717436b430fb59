"""`/v1/batchmill/limits`: what the project may have, has, and has left, to be read before an upload."""

from typing import Literal

import msgspec
from litestar import route

from api.rates import Limit
from api.request import READ, ApiRequest, services_of
from api.scopes import needs
from api.services import ApiServices
from events.limits import Limits
from events.room import Room, queue_of


class LimitObject(msgspec.Struct, frozen=True):
    """`limit` and `left` are null where any number is allowed; of a rate `used` is, too."""

    limit: int | None
    used: int | None
    left: int | None


class WaitingObject(msgspec.Struct, frozen=True):
    """The batches that wait for room in the queue, with their lines and the tokens of these."""

    batches: int
    lines: int
    tokens: int


class LargestObject(msgspec.Struct, frozen=True):
    """What no single input or file may exceed; `upload_bytes` is of a file that comes in parts."""

    batch_lines: int
    batch_file_bytes: int
    line_bytes: int
    file_bytes: int
    upload_bytes: int
    part_bytes: int


class LimitsObject(msgspec.Struct, frozen=True, kw_only=True):
    """`batchmill.limits`: the first two are rates, counted by the process that answers; the queue's are of
    batches that have begun or may begin now. Tokens are estimates, see `POST /v1/batchmill/validate`."""

    object: Literal["batchmill.limits"] = "batchmill.limits"
    project: str
    requests_per_minute: LimitObject
    batches_per_hour: LimitObject
    queued_lines: LimitObject
    queued_tokens: LimitObject
    running_batches: LimitObject
    stored_bytes: LimitObject
    waiting: WaitingObject
    largest: LargestObject


@route("/batchmill/limits", http_method=READ, status_code=200, opt=needs("read"))
async def retrieve_limits(request: ApiRequest) -> LimitsObject:
    """`GET /v1/batchmill/limits`"""
    services, project_id = services_of(request), request.auth.project_id
    options, limits = services.options, services.options.limits.of(project_id)
    queue = queue_of(project_id, await services.board.open_batches_of(project_id), limits)
    return LimitsObject(
        project=project_id,
        requests_per_minute=_rate(services, options.request_limit(project_id), project_id),
        batches_per_hour=_rate(services, options.batch_limit(project_id), project_id),
        queued_lines=_amount(limits.queued_lines, queue.used.lines),
        queued_tokens=_amount(limits.queued_tokens, queue.used.tokens),
        running_batches=_amount(limits.running_batches, queue.used.batches),
        stored_bytes=_amount(limits.stored_bytes, await services.journal.models.kept(project_id)),
        waiting=_waiting(queue.wanted),
        largest=_largest(services, limits),
    )


def _rate(services: ApiServices, limit: Limit, project_id: str) -> LimitObject:
    if not limit.most:
        return LimitObject(None, None, None)
    left = services.rates.left(limit, project_id)
    return LimitObject(limit.most, limit.most - left, left)


def _amount(most: int, used: int) -> LimitObject:
    return LimitObject(most, used, max(0, most - used)) if most else LimitObject(None, used, None)


def _waiting(room: Room) -> WaitingObject:
    return WaitingObject(batches=room.batches, lines=room.lines, tokens=room.tokens)


def _largest(services: ApiServices, limits: Limits) -> LargestObject:
    options = services.options
    return LargestObject(
        batch_lines=limits.most_lines(options.max_batch_lines),
        batch_file_bytes=options.max_batch_file_bytes,
        line_bytes=options.max_line_bytes,
        file_bytes=options.max_file_bytes,
        upload_bytes=options.max_upload_bytes,
        part_bytes=options.max_part_bytes,
    )
