"""The port to whoever knows which models there are: a server asks its upstreams."""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from events.errors import BatchmillError


class ModelObject(msgspec.Struct, frozen=True, kw_only=True):
    """`model`; `created` is Unix seconds, 0 where nobody knows."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "upstream"
    shutdown_date: str | None = None


class ModelsUnavailable(BatchmillError):
    """The list of models cannot be had now; the message says why and may be shown to clients."""


class ModelSource(Protocol):
    """Whoever knows the models."""

    async def list(self) -> Sequence[ModelObject]:
        """All of them. Raises `ModelsUnavailable`."""
        ...
