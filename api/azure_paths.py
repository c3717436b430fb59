"""Azure's own paths: `/openai/batches` and `/openai/v1/batches` are `/v1/batches`, of any `api-version`.

So the SDK's `AzureOpenAI` works; its header, `api-key`, is as good as a Bearer one.
"""

from typing import Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

_AZURE: Final = "/openai/"
_VERSIONED: Final = "/openai/v1/"
_OURS: Final = "/v1/"


class AzurePaths:
    """Wraps the application, which hears of its own paths only. Errors name the path that was asked for."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == ScopeType.HTTP:
            path = scope["path"]
            for prefix in (_VERSIONED, _AZURE):
                if path.startswith(prefix):
                    scope["path"] = _OURS + path.removeprefix(prefix)
                    break
        await self._app(scope, receive, send)
