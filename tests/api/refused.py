"""Requests that the API refuses, each made as a client would make it."""

from collections.abc import Callable
from typing import Final

from events.batch import BatchFailed
from events.key import restriction
from events.webhooks import endpoints
from tests.api.client import FORM, Answer, Client, batch_body, field, file, form
from tests.api.serving import MIB, Project, Served
from tests.api.uploading import LINE, begun, cancel, complete, send, sent

Ask = Callable[[Served, Project], Answer]
HOOK: Final = {"name": "nightly", "url": "https://example.com/", "event_types": ["batch.completed"]}


def batch(**fields: object) -> Ask:
    """Asks for a batch of no file, with these fields; ... takes one away."""
    body = {name: value for name, value in (batch_body("file-none") | fields).items() if value is not ...}
    return posted("/v1/batches", body)


def batch_of_user_data(_: Served, project: Project) -> Answer:
    file_id = project.client.uploaded(b"{}", purpose="user_data")
    return project.client.create(file_id)


def a_failed_batch(served: Served, project: Project) -> str:
    batch_id = project.client.created()
    served.happen(batch_id, BatchFailed(()))
    return batch_id


def cancelled_failed_batch(served: Served, project: Project) -> Answer:
    return project.client.ask("POST", f"/v1/batches/{a_failed_batch(served, project)}/cancel")


def retried_failed_batch(served: Served, project: Project) -> Answer:
    return project.client.ask("POST", f"/v1/batches/{a_failed_batch(served, project)}/retry")


def posted(path: str, body: object) -> Ask:
    return lambda _, project: project.client.post_json(path, body)


def got(path: str) -> Ask:
    return lambda _, project: project.client.get(path)


def asked(method: str, path: str, body: bytes = b"", **headers: str) -> Ask:
    return lambda _, project: project.client.ask(method, path, body, headers)


def twice(ask: Ask) -> Ask:
    """Asks, and asks again."""

    def again(served: Served, project: Project) -> Answer:
        ask(served, project)
        return ask(served, project)

    return again


def with_key(key: str | None) -> Ask:
    return lambda served, _: Client(served.port, key).get("/v1/batches")


def uploaded(content: bytes, purpose: str = "batch", *more: bytes) -> Ask:
    parts = form(field("purpose", purpose), *more, file(content))
    return lambda _, project: project.client.ask("POST", "/v1/files", parts, FORM)


def downloaded_user_data(_: Served, project: Project) -> Answer:
    file_id = project.client.uploaded(b"{}", purpose="user_data")
    return project.client.get(f"/v1/files/{file_id}/content")


def ended_upload(_: Served, project: Project) -> Answer:
    upload_id = begun(project.client, 10)
    cancel(project.client, upload_id)
    return send(project.client, upload_id, LINE)


def large_part(_: Served, project: Project) -> Answer:
    upload_id = begun(project.client, 2 * MIB)
    return send(project.client, upload_id, b"x" * (MIB + 1))


def completed(*numbers: int, size: int = len(LINE), md5: str | None = None) -> Ask:
    """Completes an upload of one part, which has these places in it; -1 is a part that is not there."""

    def ask(_: Served, project: Project) -> Answer:
        upload_id = begun(project.client, size)
        ids = [sent(project.client, upload_id, LINE), "part_none"]
        more = {} if md5 is None else {"md5": md5}
        return complete(project.client, upload_id, *(ids[n] for n in numbers), **more)

    return ask


def conflicting(_: Served, project: Project) -> Answer:
    project.client.created(idempotency_key="key-1")
    return project.client.create("file-other", idempotency_key="key-1")


def reading_key_that_writes(served: Served, project: Project) -> Answer:
    return served.project(project.id, restriction(["read"])).client.create("file-none")


def hook(**fields: object) -> Ask:
    return posted("/v1/webhook_endpoints", HOOK | fields)


def one_hook_too_many(_: Served, project: Project) -> Answer:
    for _n in range(endpoints.MOST_ENDPOINTS):
        assert project.client.post_json("/v1/webhook_endpoints", HOOK).status == 200
    return project.client.post_json("/v1/webhook_endpoints", HOOK)


def hook_tried_in_vain(_: Served, project: Project) -> Answer:
    # Nobody listens at port 9.
    made = project.client.post_json("/v1/webhook_endpoints", HOOK | {"url": "http://127.0.0.1:9/"}).json
    path = f"/v1/webhook_endpoints/{made['id']}/test"
    return project.client.post_json(path, {"event_type": "batch.completed"})
