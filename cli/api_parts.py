"""What the API is given by the program around it: its options, and the models of its upstreams."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from api.model_source import ModelObject, ModelsUnavailable
from api.services import ApiOptions
from cli.settings import Settings
from engine.route_watch import RouteWatch


class UpstreamModels:
    """The models that routes serve, watched by their names."""

    def __init__(self, watches: Mapping[str, RouteWatch]) -> None:
        self._watches = watches

    async def list(self) -> Sequence[ModelObject]:
        """See `api.model_source.ModelSource.list`."""
        known: set[str] = set()
        for name, watch in self._watches.items():
            models = await watch.known_models()
            if models is None:
                why = watch.reason or "it gives no list of them now"
                raise ModelsUnavailable(f"The models of upstream '{name}' are not known: {why}.")
            known |= models
        return [ModelObject(id=model) for model in sorted(known)]


def api_options(settings: Settings, spill_folder: Path) -> ApiOptions:
    """The API's part of the settings; `spill_folder` is for what does not fit in memory."""
    return ApiOptions(
        max_batch_file_bytes=settings.max_batch_file_bytes,
        max_file_bytes=settings.max_file_bytes,
        max_upload_bytes=settings.max_upload_bytes,
        completion_windows=tuple(settings.completion_windows),
        limits=settings.limits,
        free_space_floor=settings.free_space_floor,
        cancel_grace=settings.cancel_grace,
        max_line_bytes=settings.max_line_bytes,
        max_batch_lines=settings.max_batch_lines,
        spill_folder=spill_folder,
        record_source_address=settings.record_source_address,
        trusted_proxies=tuple(settings.trusted_proxies),
        audit_reads=settings.audit_reads,
    )
