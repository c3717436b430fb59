"""A key does what its scopes allow and no more, until it expires."""

from typing import cast

import pytest
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from api.app import create_app
from api.scopes import scope_of
from api.services import ApiServices
from events.batch import BatchStarted
from events.catalog import new_event
from events.journal import Decision
from events.key import SCOPES, Key, KeyRestricted, RevokeKey, Scope, decide, restriction
from tests.api.serving import Project, Served
from tests.api.test_batch_events import listening_to

NEEDED: dict[str, Scope] = {
    "GET /v1/batches": "read",
    "POST /v1/batches": "write",
    "GET /v1/batches/{batch_id}": "read",
    "POST /v1/batches/{batch_id}/cancel": "write",
    "GET /v1/batches/{batch_id}/errors": "read",
    "GET /v1/batches/{batch_id}/events": "read",
    "GET /v1/batches/{batch_id}/evidence": "read",
    "GET /v1/batches/{batch_id}/history": "read",
    "GET /v1/batches/{batch_id}/lines/{custom_id}": "read",
    "GET /v1/batches/{batch_id}/results": "read",
    "POST /v1/batches/{batch_id}/retry": "write",
    "GET /v1/batchmill/audit/checkpoint": "read",
    "GET /v1/batchmill/audit/consistency": "read",
    "GET /v1/batchmill/audit/proof": "read",
    "POST /v1/batchmill/validate": "write",
    "GET /v1/batchmill/limits": "read",
    "POST /v1/batchmill/webhook_endpoints/{endpoint_id}/enable": "admin",
    "GET /v1/batchmill/webhook_endpoints/{endpoint_id}/deliveries": "read",
    "POST /v1/batchmill/webhook_endpoints/{endpoint_id}/deliveries/{delivery_id}/redeliver": "admin",
    "GET /v1/files": "read",
    "POST /v1/files": "write",
    "GET /v1/files/{file_id}": "read",
    "DELETE /v1/files/{file_id}": "write",
    "GET /v1/files/{file_id}/content": "read",
    "GET /v1/models": "read",
    "GET /v1/models/{model}": "read",
    "POST /v1/uploads": "write",
    "POST /v1/uploads/{upload_id}/cancel": "write",
    "POST /v1/uploads/{upload_id}/complete": "write",
    "POST /v1/uploads/{upload_id}/parts": "write",
    "GET /v1/webhook_endpoints": "read",
    "POST /v1/webhook_endpoints": "admin",
    "GET /v1/webhook_endpoints/{endpoint_id}": "read",
    "POST /v1/webhook_endpoints/{endpoint_id}": "admin",
    "DELETE /v1/webhook_endpoints/{endpoint_id}": "admin",
    "POST /v1/webhook_endpoints/{endpoint_id}/rotate_secret": "admin",
    "POST /v1/webhook_endpoints/{endpoint_id}/test": "admin",
    "GET /v1/webhook_event_types": "read",
}
"""What each route needs. A new route is added here on purpose, or the test fails."""
OPEN = {"GET /livez", "GET /readyz", "GET /openapi.json"}
"""What is asked without a key."""


def routes() -> dict[str, HTTPRouteHandler]:
    """Every route of the application by what a client calls it."""
    app = create_app(cast(ApiServices, None))
    return {
        f"{method} {route.path_format}": handler
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in handler.http_methods - {"HEAD", "OPTIONS"}
    }


def test_every_route_says_what_it_needs() -> None:
    said = {name: scope_of(handler) for name, handler in routes().items()}
    assert said == {**NEEDED, **dict.fromkeys(OPEN)}


@pytest.mark.parametrize("held", [(), *((scope,) for scope in SCOPES)])
def test_a_key_opens_the_routes_of_its_scopes_and_no_others(served: Served, held: tuple[Scope, ...]) -> None:
    restricted = restriction(held)
    allowed = SCOPES if restricted is None else restricted.scopes
    client = served.project(restricted=restricted).client
    for name, needed in NEEDED.items():
        method, _, path = name.partition(" ")
        answer = client.ask(method, path.replace("{", "").replace("}", ""))
        assert (answer.status == 403) == (needed not in allowed), name
        assert answer.status < 500, name


def test_too_narrow_a_key_is_told_what_it_lacks_and_what_it_has(served: Served) -> None:
    client = served.project(restricted=restriction(["write"])).client
    assert client.get("/v1/webhook_endpoints").status == 200
    refused = client.post_json("/v1/webhook_endpoints", {"name": "n"})
    assert refused.status == 403
    assert (refused.error["type"], refused.error["code"]) == ("invalid_request_error", "missing_scope")
    message = refused.error["message"] or ""
    assert "Missing scopes: admin. The scopes of this key are: read, write." in message


def test_a_narrow_key_may_ask_which_methods_there_are(served: Served) -> None:
    answer = served.project(restricted=restriction(["read"])).client.ask("OPTIONS", "/v1/batches")
    assert answer.status == 204


def test_an_expired_key_is_told_so_and_opens_nothing(served: Served, project: Project) -> None:
    expired = served.project(project.id, KeyRestricted(SCOPES, 0))
    answer = expired.client.get("/v1/batches")
    assert answer.status == 401
    assert (answer.error["type"], answer.error["code"]) == ("invalid_request_error", "invalid_api_key")
    message = answer.error["message"] or ""
    assert message.startswith("The API key provided has expired: sk-bm***")
    assert expired.key not in message
    almost = Project(expired.id, expired.key_id, expired.key[:-1], served.port).client.get("/v1/batches")
    assert "expired" not in (almost.error["message"] or "")
    assert served.project(project.id, KeyRestricted(SCOPES, 3600)).client.get("/v1/batches").status == 200


def test_a_stream_ends_with_the_right_of_its_key(
    served: Served, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.batches.events.SILENCE", 0.0)
    batch_id = project.client.created(project.client.uploaded())
    with listening_to(project, batch_id) as listening:
        messages = listening.messages()
        assert next(messages)["event"] == "BatchCreated"
        served.run(
            served.journal.carry_out(
                Key,
                project.key_id,
                lambda seen: Decision(
                    [new_event(seen.id, seen.project_id, event) for event in decide(seen.state, RevokeKey())]
                ),
            )
        )
        served.happen(batch_id, BatchStarted(1, "m"))
        assert [message for message in messages if "event" in message] == []
