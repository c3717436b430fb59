"""Uploads in parts, as raw requests."""

from events.upload import Upload
from tests.api.client import FORM, Answer, Client, file, form
from tests.api.serving import Served

LINE = b'{"custom_id":"a"}\n'


def wanted(size: int, **more: object) -> dict[str, object]:
    body = {"filename": "in.jsonl", "purpose": "batch", "bytes": size, "mime_type": "application/jsonl"}
    return body | more


def begun(client: Client, size: int, **more: object) -> str:
    """The id of a new upload."""
    answer = client.post_json("/v1/uploads", wanted(size, **more))
    assert answer.status == 200, answer.body
    return str(answer.json["id"])


def send(client: Client, upload_id: str, content: bytes) -> Answer:
    return client.ask("POST", f"/v1/uploads/{upload_id}/parts", form(file(content, "upload", "data")), FORM)


def sent(client: Client, upload_id: str, content: bytes) -> str:
    """The id of a new part."""
    answer = send(client, upload_id, content)
    assert answer.status == 200, answer.body
    return str(answer.json["id"])


def complete(client: Client, upload_id: str, *part_ids: str, **more: object) -> Answer:
    return client.post_json(f"/v1/uploads/{upload_id}/complete", {"part_ids": part_ids} | more)


def cancel(client: Client, upload_id: str) -> Answer:
    return client.ask("POST", f"/v1/uploads/{upload_id}/cancel", b"", {"content-type": "application/json"})


def state(served: Served, upload_id: str) -> Upload:
    return served.run(served.journal.models.get(Upload, upload_id, hidden=True)).state
