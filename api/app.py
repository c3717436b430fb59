"""The application: every route, behind a key but for health and description, inside one exchange."""

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.routes import HTTPRoute

from api import health, limits, models
from api.audit import evidence, proofs
from api.auth import require_key
from api.azure_paths import AzurePaths
from api.batches import batches, retry, validation
from api.batches import events as batch_events
from api.batches import failures as batch_errors
from api.batches import history as batch_history
from api.batches import line as batch_line
from api.batches import results as batch_results
from api.errors import answer_error
from api.exchange import Exchange
from api.files import files
from api.openapi.served import describe_api
from api.services import ApiServices
from api.uploads import uploads
from api.webhooks import deliveries as webhook_deliveries
from api.webhooks import endpoints as webhook_endpoints


def create_app(services: ApiServices) -> Litestar:
    """The API over `services`, which the caller opens before and closes after it: an ASGI application.

    It reads bodies itself, so nothing of the framework limits or buffers them.
    """
    v1 = Router(
        "/v1",
        guards=[require_key],
        route_handlers=[
            batches.create_batch,
            batches.list_batches,
            batches.retrieve_batch,
            batches.cancel_batch,
            batch_events.list_events,
            batch_history.list_history,
            batch_results.stream_results,
            batch_errors.list_errors,
            batch_line.retrieve_line,
            validation.validate_input,
            retry.retry_batch,
            evidence.export_evidence,
            files.upload_file,
            files.list_files,
            files.retrieve_file,
            files.delete_file,
            files.download_file,
            uploads.create_upload,
            uploads.add_part,
            uploads.complete_upload,
            uploads.cancel_upload,
            proofs.newest_checkpoint,
            proofs.prove_events,
            proofs.prove_consistency,
            limits.retrieve_limits,
            models.list_models,
            models.retrieve_model,
            webhook_endpoints.create_endpoint,
            webhook_endpoints.list_endpoints,
            webhook_endpoints.retrieve_endpoint,
            webhook_endpoints.update_endpoint,
            webhook_endpoints.delete_endpoint,
            webhook_endpoints.rotate_secret,
            webhook_endpoints.test_endpoint,
            webhook_endpoints.enable_endpoint,
            webhook_endpoints.list_event_types,
            webhook_deliveries.list_deliveries,
            webhook_deliveries.redeliver,
        ],
    )
    for known in v1.routes:
        # The framework's answer to OPTIONS names what the first handler of a path takes, and is kept when
        # others join; without it, the application makes one that names all.
        if isinstance(known, HTTPRoute):
            known.route_handlers = [h for h in known.route_handlers if "OPTIONS" not in h.http_methods]
    app = Litestar(
        [v1, health.live, health.ready, describe_api],
        exception_handlers={Exception: answer_error},
        logging_config=None,
        openapi_config=None,
        request_max_body_size=None,
        state=State({"services": services}),
    )
    # Around the router, so that also what no route is found for goes through the exchange.
    app.asgi_handler = Exchange(AzurePaths(app.asgi_handler))
    return app
