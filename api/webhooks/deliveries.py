"""`/v1/batchmill/webhook_endpoints/{id}/deliveries`: what was sent to an endpoint, and sending it again."""

from litestar import post, route
from litestar.params import FromPath

from api.errors import ApiError
from api.ids import looking_for
from api.paging import limit_of
from api.request import READ, ApiRequest, services_of
from api.scopes import needs
from api.webhooks.endpoints import endpoint_of
from api.webhooks.wire import DeliveryObject, delivery_object
from api.wire import ListObject, list_object

_PATH = "/batchmill/webhook_endpoints/{endpoint_id:str}/deliveries"
_PER_PAGE = 20
_MOST = 100


@route(_PATH, http_method=READ, status_code=200, opt=needs("read"))
async def list_deliveries(request: ApiRequest, endpoint_id: FromPath[str]) -> ListObject[DeliveryObject]:
    """`GET /v1/batchmill/webhook_endpoints/{endpoint_id}/deliveries`, newest first"""
    query = request.query_params
    limit = limit_of(query, _PER_PAGE, _MOST)
    after: str | None = query.get("after") or None
    await endpoint_of(request, endpoint_id)
    with looking_for(after, _no_such_delivery(after or "")):
        found, has_more = await services_of(request).webhooks.deliveries.page(
            endpoint_id, after=after, limit=limit
        )
    return list_object([delivery_object(endpoint_id, one) for one in found], has_more=has_more)


@post(f"{_PATH}/{{delivery_id:str}}/redeliver", status_code=200, opt=needs("admin"))
async def redeliver(
    request: ApiRequest, endpoint_id: FromPath[str], delivery_id: FromPath[str]
) -> DeliveryObject:
    """`POST /v1/batchmill/webhook_endpoints/{endpoint_id}/deliveries/{delivery_id}/redeliver`

    Sends it again soon, whatever became of it; under the same `webhook-id`.
    """
    await endpoint_of(request, endpoint_id)
    with looking_for(delivery_id, _no_such_delivery(delivery_id)):
        found = await services_of(request).webhooks.deliveries.redeliver(endpoint_id, delivery_id)
    return delivery_object(endpoint_id, found)


def _no_such_delivery(delivery_id: str) -> ApiError:
    return ApiError(404, f"No delivery found with id '{delivery_id[:128]}'.")
