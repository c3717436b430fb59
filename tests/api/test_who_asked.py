"""The event that a request causes says whose key it was, which request, from where, in which trace."""

from collections.abc import Iterator

import msgspec
import pytest

from events.batch import Batch
from events.origin import Origin
from tests.api.client import JSON, Answer, batch_body
from tests.api.serving import OPTIONS, Project, Served, serving
from tests.postgres import Database, PostgresServer

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def served(
    postgres_server: PostgresServer, migrated_template: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """An API that keeps addresses, behind a proxy on this machine."""
    options = msgspec.structs.replace(OPTIONS, record_source_address="full", trusted_proxies=("127.0.0.0/8",))
    folder = tmp_path_factory.mktemp("files")
    with serving(postgres_server, migrated_template.name, folder, options) as running:
        yield running


def created(project: Project, **headers: str) -> Answer:
    """The answer to a request for a batch with these headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = msgspec.json.encode(batch_body("file-none"))
    return project.client.ask("POST", "/v1/batches", body, JSON | named)


def origin_of(served: Served, answer: Answer) -> Origin:
    """What the batch's first event says of its origin."""
    (event,) = served.run(served.journal.log.stream(answer.json["id"]))
    return Origin.of(event.metadata)


def test_all_that_a_request_says_of_itself_is_kept(served: Served, project: Project) -> None:
    answer = created(
        project,
        x_client_request_id="nightly-2026-11-26",
        x_forwarded_for="192.0.2.1, 198.51.100.7",
        traceparent=TRACEPARENT,
    )
    assert origin_of(served, answer) == Origin(
        project.key_id,
        request=answer.headers["x-request-id"],
        client_request="nightly-2026-11-26",
        address="198.51.100.7",
        traceparent=TRACEPARENT,
    )


def test_what_it_does_not_say_is_not_made_up(served: Served, project: Project) -> None:
    answer = created(project, x_client_request_id="", traceparent="00-from-nowhere-01")
    assert origin_of(served, answer) == Origin(
        project.key_id, request=answer.headers["x-request-id"], address="127.0.0.1"
    )


def test_a_client_request_id_of_512_characters_is_the_longest(served: Served, project: Project) -> None:
    assert origin_of(served, created(project, x_client_request_id="x" * 512)).client_request == "x" * 512
    refused = created(project, x_client_request_id="x" * 513)
    assert (refused.status, refused.error["param"]) == (400, "X-Client-Request-Id")


def test_a_batch_knows_the_trace_that_it_was_made_in_and_no_other(served: Served, project: Project) -> None:
    batch_id: str = created(project, traceparent=TRACEPARENT).json["id"]
    path = f"/v1/batches/{batch_id}/cancel"
    project.client.ask("POST", path, headers={"traceparent": TRACEPARENT.replace("4bf9", "ffff")})
    *_, cancelled = served.run(served.journal.log.stream(batch_id))
    assert Origin.of(cancelled.metadata).trace_id == "ffff2f3577b34da6a3ce929d0e0e4736"
    assert served.run(served.journal.models.get(Batch, batch_id)).state.traceparent == TRACEPARENT
