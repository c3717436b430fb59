"""`/v1/webhook_endpoints`: create, list, retrieve, update, delete, rotate, test, and the types of events."""

from litestar import delete, post, route
from litestar.params import FromPath

from api.body import whole_body
from api.errors import NO_RETRY, SERVER, ApiError
from api.ids import looking_for
from api.paging import limit_of
from api.request import READ, ApiRequest, origin, services_of
from api.scopes import needs
from api.services import ApiServices
from api.webhooks.request import parse_endpoint, parse_rotation, parse_test, parse_update
from api.webhooks.wire import (
    EndpointDeleted,
    EndpointObject,
    EndpointTested,
    EndpointWithSecret,
    EventTypes,
    endpoint_object,
    endpoint_with_secret,
)
from api.wire import ListObject, list_object
from events.read_models import Seen
from events.webhooks.endpoint import DeleteWebhookEndpoint, EnableWebhookEndpoint, WebhookEndpoint
from events.webhooks.endpoints import TooManyEndpoints, WebhookEndpoints
from events.webhooks.event import WEBHOOK_TYPES
from events.webhooks.post import NotAnswered
from events.webhooks.sample import send_sample
from events.webhooks.secret import SecretUnavailable

_PER_PAGE = 20
_MOST = 100


@post("/webhook_endpoints", status_code=200, opt=needs("admin"))
async def create_endpoint(request: ApiRequest) -> EndpointWithSecret:
    """`POST /v1/webhook_endpoints`"""
    services = services_of(request)
    name, url, types = parse_endpoint(await whole_body(request), services.webhooks.rule)
    project_id = request.auth.project_id
    try:
        async with services.turns.at(f"{project_id} makes webhook endpoints"):
            seen, secret = await _endpoints(services).create(project_id, name, url, types, origin(request))
    except TooManyEndpoints as error:
        raise ApiError(400, str(error), code="too_many_webhook_endpoints") from error
    except SecretUnavailable as error:
        raise _no_key(error) from error
    return endpoint_with_secret(seen, secret)


@route("/webhook_endpoints", http_method=READ, status_code=200, opt=needs("read"))
async def list_endpoints(request: ApiRequest) -> ListObject[EndpointObject]:
    """`GET /v1/webhook_endpoints`, newest first"""
    query = request.query_params
    limit = limit_of(query, _PER_PAGE, _MOST)
    after: str | None = query.get("after") or None
    with looking_for(after, no_such_endpoint(after or "")):
        page = await services_of(request).journal.models.page(
            WebhookEndpoint, request.auth.project_id, after=after, limit=limit
        )
    return list_object([endpoint_object(seen) for seen in page.objects], has_more=page.has_more)


@route("/webhook_endpoints/{endpoint_id:str}", http_method=READ, status_code=200, opt=needs("read"))
async def retrieve_endpoint(request: ApiRequest, endpoint_id: FromPath[str]) -> EndpointObject:
    """`GET /v1/webhook_endpoints/{endpoint_id}`"""
    return endpoint_object(await endpoint_of(request, endpoint_id))


@post("/webhook_endpoints/{endpoint_id:str}", status_code=200, opt=needs("admin"))
async def update_endpoint(request: ApiRequest, endpoint_id: FromPath[str]) -> EndpointObject:
    """`POST /v1/webhook_endpoints/{endpoint_id}`"""
    services = services_of(request)
    await endpoint_of(request, endpoint_id)
    update = parse_update(await whole_body(request), services.webhooks.rule)
    with looking_for(endpoint_id, no_such_endpoint(endpoint_id)):
        seen = await _endpoints(services).change(
            request.auth.project_id, endpoint_id, update, origin(request)
        )
    return endpoint_object(seen)


@delete("/webhook_endpoints/{endpoint_id:str}", status_code=200, opt=needs("admin"))
async def delete_endpoint(request: ApiRequest, endpoint_id: FromPath[str]) -> EndpointDeleted:
    """`DELETE /v1/webhook_endpoints/{endpoint_id}`"""
    with looking_for(endpoint_id, no_such_endpoint(endpoint_id)):
        await _endpoints(services_of(request)).change(
            request.auth.project_id, endpoint_id, DeleteWebhookEndpoint(), origin(request)
        )
    return EndpointDeleted(endpoint_id)


@post("/webhook_endpoints/{endpoint_id:str}/rotate_secret", status_code=200, opt=needs("admin"))
async def rotate_secret(request: ApiRequest, endpoint_id: FromPath[str]) -> EndpointWithSecret:
    """`POST /v1/webhook_endpoints/{endpoint_id}/rotate_secret`"""
    await endpoint_of(request, endpoint_id)
    keep_old = parse_rotation(await whole_body(request))
    try:
        with looking_for(endpoint_id, no_such_endpoint(endpoint_id)):
            seen, secret = await _endpoints(services_of(request)).rotate(
                request.auth.project_id, endpoint_id, keep_old=keep_old, metadata=origin(request)
            )
    except SecretUnavailable as error:
        raise _no_key(error) from error
    return endpoint_with_secret(seen, secret)


@post("/webhook_endpoints/{endpoint_id:str}/test", status_code=200, opt=needs("admin"))
async def test_endpoint(request: ApiRequest, endpoint_id: FromPath[str]) -> EndpointTested:
    """`POST /v1/webhook_endpoints/{endpoint_id}/test`

    Sends a sample, once, and tells what was answered. It names a batch that there is not. A project sends one
    at a time: this is no way to call others often, or to hold many connections open.
    """
    services = services_of(request)
    webhooks = services.webhooks
    await endpoint_of(request, endpoint_id)
    type_ = parse_test(await whole_body(request))
    try:
        async with services.turns.at(f"{request.auth.project_id} sends a sample"):
            seen = await endpoint_of(request, endpoint_id)
            status = await send_sample(webhooks.post, webhooks.key, seen, type_)
    except SecretUnavailable as error:
        raise _no_key(error) from error
    except NotAnswered as error:
        raise ApiError(
            400, f"The test message was not answered: {error}.", param="url", code="webhook_test_failed"
        ) from error
    return EndpointTested(event_type=type_, status_code=status, webhook_endpoint_id=endpoint_id)


@post("/batchmill/webhook_endpoints/{endpoint_id:str}/enable", status_code=200, opt=needs("admin"))
async def enable_endpoint(request: ApiRequest, endpoint_id: FromPath[str]) -> EndpointObject:
    """`POST /v1/batchmill/webhook_endpoints/{endpoint_id}/enable`

    What happens from now on is told to it again.
    """
    with looking_for(endpoint_id, no_such_endpoint(endpoint_id)):
        seen = await _endpoints(services_of(request)).change(
            request.auth.project_id, endpoint_id, EnableWebhookEndpoint(), origin(request)
        )
    return endpoint_object(seen)


@route("/webhook_event_types", http_method=READ, status_code=200, opt=needs("read"))
async def list_event_types() -> EventTypes:
    """`GET /v1/webhook_event_types`"""
    return EventTypes(WEBHOOK_TYPES)


async def endpoint_of(request: ApiRequest, endpoint_id: str) -> Seen[WebhookEndpoint]:
    """The endpoint, if it is the project's. Raises `ApiError`."""
    with looking_for(endpoint_id, no_such_endpoint(endpoint_id)):
        return await services_of(request).journal.models.get(
            WebhookEndpoint, endpoint_id, request.auth.project_id
        )


def no_such_endpoint(endpoint_id: str) -> ApiError:
    """No endpoint of that id is visible to the project."""
    return ApiError(404, f"No webhook endpoint found with id '{endpoint_id[:128]}'.")


def _endpoints(services: ApiServices) -> WebhookEndpoints:
    return WebhookEndpoints(services.journal, services.webhooks.key)


def _no_key(error: SecretUnavailable) -> ApiError:
    return ApiError(503, f"This server signs no webhooks now: {error}.", type=SERVER, headers=NO_RETRY)
