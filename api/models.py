"""`/v1/models`: what the upstream serves."""

from collections.abc import Sequence
from typing import Literal

import msgspec
from litestar import route
from litestar.params import FromPath

from api.errors import ApiError, unavailable
from api.model_source import ModelObject, ModelsUnavailable
from api.request import READ, ApiRequest, services_of
from api.scopes import needs


class ModelsObject(msgspec.Struct, frozen=True):
    """All models, without pages."""

    data: Sequence[ModelObject]
    object: Literal["list"] = "list"


@route("/models", http_method=READ, status_code=200, opt=needs("read"))
async def list_models(request: ApiRequest) -> ModelsObject:
    """`GET /v1/models`"""
    return ModelsObject(await _models(request))


@route("/models/{model:path}", http_method=READ, status_code=200, opt=needs("read"))
async def retrieve_model(request: ApiRequest, model: FromPath[str]) -> ModelObject:
    """`GET /v1/models/{model}`; an id may hold slashes."""
    wanted = model.removeprefix("/")
    for known in await _models(request):
        if known.id == wanted:
            return known
    raise ApiError(404, f"The model '{wanted[:128]}' does not exist", param="model", code="model_not_found")


async def _models(request: ApiRequest) -> Sequence[ModelObject]:
    try:
        return await services_of(request).models.list()
    except ModelsUnavailable as error:
        raise unavailable(str(error)) from error
