"""`/v1/webhook_endpoints`, as the official SDK calls it."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from openai import BadRequestError, InvalidWebhookSignatureError, NotFoundError, OpenAI

from events.catalog import new_event
from events.event import NewEvent
from events.journal import Decision
from events.log import Leadership, Row
from events.read_models import Seen
from events.webhooks.deliveries import NewDelivery, Settled, WebhookDeliveries
from events.webhooks.endpoint import DisableWebhookEndpoint, WebhookEndpoint, decide, fresh_endpoint_id
from events.webhooks.event import Announcement, delivery_id
from tests.api.client import Answer
from tests.api.serving import OPTIONS, Project, Served, listening
from tests.postgres import Database

URL = "https://hooks.example.com/batches"
FIELDS = {
    "id",
    "object",
    "created_at",
    "updated_at",
    "event_types",
    "name",
    "url",
    "signing_secret_hint",
    "batchmill",
}


@pytest.fixture
def sdk(project: Project) -> OpenAI:
    return sdk_of(project)


def sdk_of(project: Project) -> OpenAI:
    base = f"http://127.0.0.1:{project.client.port}/v1"
    return OpenAI(api_key=project.key, base_url=base, max_retries=0, _strict_response_validation=True)


def endpoint(sdk: OpenAI, url: str = URL, name: str = "nightly") -> str:
    return sdk.webhooks.create(name=name, url=url, event_types=["batch.completed"]).id


@contextmanager
def hearing(
    status: int, meanwhile: Callable[[], None] = lambda: None
) -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """A receiver that answers with a status, after something: its URL, and what it has heard."""
    heard: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            heard.append(({name.lower(): value for name, value in self.headers.items()}, body))
            meanwhile()
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hook", heard
        finally:
            server.shutdown()
            thread.join()


def test_an_endpoint_is_made_shown_changed_and_deleted(sdk: OpenAI, project: Project) -> None:
    made = sdk.webhooks.create(name="nightly", url=URL, event_types=["batch.completed", "batch.failed"])
    assert made.signing_secret.startswith("whsec_")
    assert made.signing_secret_hint == "whsec_…" + made.signing_secret[-4:]
    assert (made.object, made.updated_at) == ("webhook_endpoint", made.created_at)
    shown = sdk.webhooks.retrieve(made.id)
    assert shown.model_dump() == {k: v for k, v in made.model_dump().items() if k != "signing_secret"}
    changed = sdk.webhooks.update(made.id, url="https://other.example.com/", event_types=["batch.expired"])
    assert (changed.name, changed.url) == ("nightly", "https://other.example.com/")
    assert changed.event_types == ["batch.expired"]
    assert sdk.webhooks.delete(made.id).model_dump() == {
        "id": made.id,
        "object": "webhook_endpoint.deleted",
        "deleted": True,
    }
    for ask in (sdk.webhooks.retrieve, sdk.webhooks.delete, sdk.webhooks.rotate_secret):
        with pytest.raises(NotFoundError):
            ask(made.id)
    assert sdk.webhooks.list().data == []
    raw = project.client.get(f"/v1/webhook_endpoints/{endpoint(sdk)}").json
    assert set(raw) == FIELDS
    assert raw["batchmill"] == {"disabled_at": None, "disabled_because": None}


def test_an_update_that_changes_nothing_leaves_the_time_of_the_last_one(sdk: OpenAI) -> None:
    id = endpoint(sdk)
    assert sdk.webhooks.update(id) == sdk.webhooks.update(id, name="nightly") == sdk.webhooks.retrieve(id)


def test_endpoints_are_listed_newest_first_and_page_by_page(sdk: OpenAI) -> None:
    made = [endpoint(sdk, name=f"n{n}") for n in range(5)]
    page = sdk.webhooks.list(limit=2)
    assert [one.id for one in page.data] == [made[4], made[3]]
    assert page.has_more
    assert [one.id for one in sdk.webhooks.list(limit=2)] == made[::-1]
    with pytest.raises(NotFoundError):
        sdk.webhooks.list(after="we_none")


def test_a_secret_is_rotated_with_an_overlap_or_without(sdk: OpenAI) -> None:
    with hearing(200) as (url, heard):
        made = sdk.webhooks.create(name="n", url=url, event_types=["batch.completed"])
        kept = sdk.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
        sdk.webhooks.test(made.id, event_type="batch.completed")
        ended = sdk.webhooks.rotate_secret(made.id)
        sdk.webhooks.test(made.id, event_type="batch.completed")
    (overlapping, body), (alone, later) = heard
    for secret in (made.signing_secret, kept.signing_secret):
        sdk.webhooks.verify_signature(body, overlapping, secret=secret)
        with pytest.raises(InvalidWebhookSignatureError):
            sdk.webhooks.verify_signature(later, alone, secret=secret)
    sdk.webhooks.verify_signature(later, alone, secret=ended.signing_secret)
    assert len({made.signing_secret, kept.signing_secret, ended.signing_secret}) == 3


@pytest.mark.parametrize("status", [200, 410, 500])
def test_a_sample_is_sent_once_and_its_answer_told(sdk: OpenAI, status: int) -> None:
    with hearing(status) as (url, heard):
        made = sdk.webhooks.create(name="n", url=url, event_types=["batch.completed"])
        result = sdk.webhooks.test(made.id, event_type="batch.failed")
    assert result.model_dump() == {
        "object": "webhook_endpoint.test",
        "event_type": "batch.failed",
        "status_code": status,
        "success": True,
        "webhook_endpoint_id": made.id,
    }
    [(headers, body)] = heard
    assert sdk.webhooks.unwrap(body, headers, secret=made.signing_secret).type == "batch.failed"
    assert sdk.webhooks.retrieve(made.id) == sdk.webhooks.update(made.id)


@pytest.mark.parametrize("projects", [1, 2])
def test_a_project_sends_one_sample_at_a_time_whatever_others_do(served: Served, projects: int) -> None:
    both, met = threading.Barrier(2), []

    def meet() -> None:
        with suppress(threading.BrokenBarrierError):
            both.wait(0.3 if projects == 1 else 20)
            met.append(True)

    clients = [sdk_of(served.project()) for _ in range(projects)] * (2 // projects)
    with hearing(200, meet) as (url, heard), ThreadPoolExecutor(2) as pool:
        asked = [
            pool.submit(sdk.webhooks.test, endpoint(sdk, url), event_type="batch.failed") for sdk in clients
        ]
        assert [one.result().status_code for one in asked] == [200, 200]
    assert len(heard) == 2
    assert bool(met) == (projects == 2)


def test_a_sample_that_is_not_answered_is_an_error_that_says_why(sdk: OpenAI) -> None:
    id = endpoint(sdk, url="https://no-such-name.invalid/")
    with pytest.raises(BadRequestError) as refused:
        sdk.webhooks.test(id, event_type="batch.completed")
    assert refused.value.code == "webhook_test_failed"
    assert "no address was found" in str(refused.value)


def test_the_types_of_events_are_those_of_batches(sdk: OpenAI) -> None:
    types = sdk.webhooks.event_types.list()
    assert types.object == "list"
    assert types.data == ["batch.completed", "batch.failed", "batch.expired", "batch.cancelled"]


GOOD = {"name": "n", "url": URL, "event_types": ["batch.completed"]}
REFUSED: list[tuple[dict[str, object], str, str | None]] = [
    ({"event_types": []}, "event_types", "empty_array"),
    ({"event_types": "batch.completed"}, "event_types", "invalid_type"),
    ({"event_types": ["batch.completed", "response.completed"]}, "event_types[1]", "invalid_value"),
    ({"event_types": [1]}, "event_types[0]", "invalid_type"),
    ({"name": " "}, "name", "string_below_min_length"),
    ({"name": "n" * 257}, "name", "string_above_max_length"),
    ({"name": None}, "name", "invalid_type"),
    ({"url": "ftp://hooks.example.com/"}, "url", "invalid_value"),
    ({"url": "hooks.example.com"}, "url", "invalid_value"),
    ({"url": "https://"}, "url", "invalid_value"),
    ({"url": "https://[::1"}, "url", "invalid_value"),
    ({"url": "https://example.com:99999/"}, "url", "invalid_value"),
    ({"url": "https://me:secret@example.com/"}, "url", "invalid_value"),
    ({"url": "https://example.com/#part"}, "url", "invalid_value"),
    ({"url": "https://example.com/a b"}, "url", "invalid_value"),
    ({"url": "https://exämple.com/"}, "url", "invalid_value"),
    ({"url": "https://example.com/" + "a" * 2048}, "url", "invalid_value"),
    ({"url": "https://10.0.0.1/"}, "url", "invalid_value"),
    ({"url": "https://169.254.169.254/latest"}, "url", "invalid_value"),
    ({"url": "https://[::1]/"}, "url", "invalid_value"),
    ({"url": "https://[::ffff:10.0.0.1]/"}, "url", "invalid_value"),
    ({"url": "http://1.1.1.1/"}, "url", "invalid_value"),
    ({"secret": "mine"}, "secret", "unknown_parameter"),
]


@pytest.mark.parametrize(("change", "param", "code"), REFUSED)
def test_what_cannot_be_an_endpoint_is_refused(
    project: Project, sdk: OpenAI, change: dict[str, object], param: str, code: str
) -> None:
    for path, body in (("", GOOD | change), (f"/{endpoint(sdk)}", change)):
        answer = project.client.post_json(f"/v1/webhook_endpoints{path}", body)
        assert answer.status == 400
        assert (answer.error["param"], answer.error["code"]) == (param, code)
        assert "secret@" not in (answer.error["message"] or "")


@pytest.mark.parametrize("missing", ["name", "url", "event_types"])
def test_what_an_endpoint_must_have(project: Project, missing: str) -> None:
    body = {name: value for name, value in GOOD.items() if name != missing}
    answer = project.client.post_json("/v1/webhook_endpoints", body)
    assert (answer.status, answer.error["param"]) == (400, missing)
    assert answer.error["code"] == "missing_required_parameter"


def test_a_project_has_so_many_endpoints(sdk: OpenAI) -> None:
    for _ in range(50):
        endpoint(sdk)
    with pytest.raises(BadRequestError, match="at most 50"):
        endpoint(sdk)
    sdk.webhooks.delete(sdk.webhooks.list().data[0].id)
    endpoint(sdk)


def test_a_project_has_no_more_endpoints_when_many_are_made_side_by_side(project: Project) -> None:
    with ThreadPoolExecutor(12) as pool:
        made = [pool.submit(project.client.post_json, "/v1/webhook_endpoints", GOOD) for _ in range(60)]
    assert sorted(one.result().status for one in made) == [200] * 50 + [400] * 10


def test_an_endpoint_that_only_a_newer_program_can_read_counts_like_any_other(
    served: Served, project: Project, sdk: OpenAI
) -> None:
    for _ in range(50):
        endpoint(sdk)
    id = fresh_endpoint_id()
    strange = NewEvent(uuid4(), id, project.id, "WebhookEndpointSublimated", "{}")
    served.run(served.journal.record(Decision([strange], rows=[Row("webhook_endpoint", id, project.id)])))
    with pytest.raises(BadRequestError, match="at most 50"):
        endpoint(sdk)


def test_an_endpoint_of_another_project_is_as_one_that_is_not(served: Served, sdk: OpenAI) -> None:
    other = served.project()
    id, none = endpoint(sdk), "we_" + "0" * 32

    def asked(id: str) -> list[Answer]:
        client, path = other.client, f"/v1/webhook_endpoints/{id}"
        ours = f"/v1/batchmill/webhook_endpoints/{id}"
        return [
            client.get(path),
            client.post_json(path, {"name": "stolen"}),
            client.ask("DELETE", path),
            client.post_json(f"{path}/rotate_secret", {}),
            client.post_json(f"{path}/test", {"event_type": "batch.completed"}),
            client.post_json(f"{ours}/enable", {}),
            client.get(f"{ours}/deliveries"),
            client.post_json(f"{ours}/deliveries/wh_1/redeliver", {}),
            client.get(f"/v1/webhook_endpoints?after={id}"),
        ]

    for theirs, nobodys in zip(asked(id), asked(none), strict=True):
        assert (theirs.status, theirs.body.replace(id.encode(), none.encode())) == (404, nobodys.body)
    assert other.client.get("/v1/webhook_endpoints").json["data"] == []
    assert sdk.webhooks.retrieve(id).name == "nightly"


class Deliveries:
    """What an engine would do of deliveries."""

    def __init__(self, served: Served, endpoint_id: str, project_id: str) -> None:
        self._served = served
        self._deliveries: WebhookDeliveries = served.deliveries
        self._endpoint_id = endpoint_id
        self._project_id = project_id

    def made(self) -> str:
        announced = Announcement(f"evt_{uuid4().hex}", "batch.completed", "batch_1", 4_000_000_000)
        id = delivery_id(announced.id, self._endpoint_id)
        new = NewDelivery(id, self._endpoint_id, self._project_id, announced)
        self._served.run(self._deliveries.add([new]))
        return id

    def settled(self, id: str, settled: Settled) -> None:
        async def settle() -> None:
            board = self._served.board
            lead = await board.take_leadership("lead", await board.observe("lead"))
            assert isinstance(lead, Leadership)
            for due in await self._deliveries.due([], 99):
                if due.id == id:
                    await self._deliveries.settle(lead, due, settled)

        self._served.run(settle())


def test_deliveries_are_seen_and_sent_again(served: Served, project: Project, sdk: OpenAI) -> None:
    id = endpoint(sdk)
    deliveries = Deliveries(served, id, project.id)
    first, second = deliveries.made(), deliveries.made()
    deliveries.settled(first, Settled("failed", status=500, error="the receiver answered 500"))
    path = f"/v1/batchmill/webhook_endpoints/{id}/deliveries"
    page = project.client.get(path + "?limit=1").json
    assert (page["data"][0]["id"], page["has_more"]) == (second, True)
    assert page["data"][0]["status"] == "pending"
    [failed] = project.client.get(f"{path}?after={second}").json["data"]
    assert failed.pop("event_id").startswith("evt_")
    assert failed.pop("created_at") <= failed.pop("last_attempt_at")
    assert failed == {
        "id": first,
        "object": "batchmill.webhook_delivery",
        "webhook_endpoint_id": id,
        "event_type": "batch.completed",
        "batch_id": "batch_1",
        "status": "failed",
        "attempts": 1,
        "status_code": 500,
        "error": "the receiver answered 500",
        "next_attempt_at": None,
    }
    again = project.client.post_json(f"{path}/{first}/redeliver", {})
    assert (again.status, again.json["status"], again.json["attempts"]) == (200, "pending", 1)
    assert again.json["next_attempt_at"] is not None


def test_a_delivery_is_that_of_one_endpoint(served: Served, project: Project, sdk: OpenAI) -> None:
    id, other = endpoint(sdk), endpoint(sdk)
    made = Deliveries(served, id, project.id).made()
    path = f"/v1/batchmill/webhook_endpoints/{other}/deliveries"
    for answer in (
        project.client.post_json(f"{path}/{made}/redeliver", {}),
        project.client.get(f"{path}?after={made}"),
    ):
        assert answer.status == 404
        assert answer.error["message"] == f"No delivery found with id '{made}'."


def test_a_disabled_endpoint_says_why_and_is_enabled(served: Served, project: Project, sdk: OpenAI) -> None:
    id = endpoint(sdk)

    def disabling(seen: Seen[WebhookEndpoint]) -> Decision:
        events = decide(seen.state, DisableWebhookEndpoint("the receiver answered 410"))
        return Decision([new_event(seen.id, seen.project_id, event) for event in events])

    served.run(served.journal.carry_out(WebhookEndpoint, id, disabling))
    shown = project.client.get(f"/v1/webhook_endpoints/{id}").json["batchmill"]
    assert shown["disabled_because"] == "the receiver answered 410"
    enabled = project.client.post_json(f"/v1/batchmill/webhook_endpoints/{id}/enable", {})
    assert enabled.json["batchmill"] == {"disabled_at": None, "disabled_because": None}


async def test_without_a_webhook_key_nothing_is_made_and_the_answer_says_so(
    database: Database, tmp_path: Path
) -> None:
    async with listening(database.app_url, tmp_path, OPTIONS, key=None) as served:
        project = await asyncio.to_thread(served.project)
        answer = await asyncio.to_thread(project.client.post_json, "/v1/webhook_endpoints", GOOD)
    assert answer.status == 503
    assert answer.headers["x-should-retry"] == "false"
    assert "BATCHMILL_WEBHOOK_KEY" in (answer.error["message"] or "")


def test_no_secret_is_kept(served: Served, sdk: OpenAI) -> None:
    made = sdk.webhooks.create(name="n", url=URL, event_types=["batch.completed"])
    events: Any = served.run(served.journal.log.stream(made.id))
    kept = json.dumps([event.data for event in events])
    assert made.signing_secret.removeprefix("whsec_")[:20] not in kept
