"""Proofs over the wire: whole, for the caller's own project alone, and refused when asked for too early."""

import io
from typing import Any

import pytest

from events.audit.bundle.check import check_bundle
from events.audit.bundle.outcomes import Outcomes
from events.audit.bundle.parts import BundleFlaw
from events.audit.bundle.result_files import require_result_file
from events.audit.leaf import event_leaf
from events.audit.records import Signed, parse_signed
from events.audit.tree import extends, includes
from events.batch import BatchCompleted, BatchFinalizing
from events.catalog import new_event
from events.file import FileCreated
from events.journal import Decision
from events.log import Row
from tests.api.serving import Project, Served
from tests.api.test_how_to import outcome, request_line
from tests.events.audit.bundle.bundles import KEY, by_single_file

CHECKPOINT, PROOF, CONSISTENCY = (
    f"/v1/batchmill/audit/{name}" for name in ("checkpoint", "proof", "consistency")
)


def ended(served: Served, project: Project) -> tuple[str, bytes, bytes]:
    """A batch of three lines, the second of which failed, and its result files."""
    content = b"".join(map(request_line, "abc"))
    batch = project.client.created(project.client.uploaded(content))
    served.start(batch, content)
    outcomes = [outcome(line, custom_id) for line, custom_id in enumerate("abc")]
    served.record(batch, *outcomes)
    files = [b"".join(o.result for o in outcomes if o.succeeded == kind) for kind in (True, False)]
    output, errors = (served.run(result_file(served, project, batch, file)) for file in files)
    served.happen(batch, BatchFinalizing("done"), BatchCompleted(output, errors))
    return batch, files[0], files[1]


async def result_file(served: Served, project: Project, batch: str, content: bytes) -> str:
    async def pieces() -> Any:
        yield content

    stored = await served.store.real.put(pieces(), prefix="results", project="p")
    file = f"file-{stored.key.rpartition('/')[2]}"
    created = FileCreated("x", "batch_output", stored.size, stored.sha256.hex(), stored.key, batch_id=batch)
    row = Row("file", file, project.id, label="batch_output", stored=stored.key)
    await served.journal.record(Decision([new_event(file, project.id, created)], [row], expect={file: 0}))
    return file


def checked(note: str) -> Signed:
    signed = parse_signed(note)
    assert signed.note.signers([KEY.public])
    return signed


def test_evidence_of_a_batch_is_whole(served: Served, project: Project) -> None:
    batch, output, errors = ended(served, project)
    path = f"/v1/batches/{batch}/evidence"
    soon = project.client.get(path)
    assert (soon.status, soon.headers["retry-after"]) == (409, "1")
    assert (
        soon.error["message"] == f"The end of batch '{batch}' is not sealed yet: ask again in a few seconds."
    )
    served.seal()
    sizes = []
    for query in ("", "?bodies=true"):
        answer = project.client.get(path + query)
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/octet-stream"
        assert f'filename="{batch}.evidence"' in answer.headers["content-disposition"]
        outcomes = Outcomes(io.BytesIO())
        proven = check_bundle(io.BytesIO(answer.body), [KEY.public], outcomes)
        require_result_file(io.BytesIO(output), "output", proven.output, outcomes, proven.status)
        require_result_file(io.BytesIO(errors), "errors", proven.errors, outcomes, proven.status)
        assert by_single_file(answer.body) is None
        assert (proven.batch_id, proven.project_id) == (batch, project.id)
        sizes.append(len(answer.body))
    assert sizes[0] < sizes[1]
    head = project.client.ask("HEAD", path)
    assert (head.status, head.body) == (200, b"")


def test_evidence_is_of_batches_that_have_ended(served: Served, project: Project) -> None:
    batch = project.client.created()
    path = f"/v1/batches/{batch}/evidence"
    running = project.client.get(path)
    assert (running.status, running.headers["x-should-retry"]) == (409, "false")
    assert running.error["message"] == f"Batch '{batch}' has not ended yet."
    wrong = project.client.get(f"{path}?bodies=1")
    assert (wrong.status, wrong.error["code"]) == (400, "invalid_value")


def test_a_download_that_breaks_off_does_not_pass_for_a_bundle(served: Served, project: Project) -> None:
    batch, *_ = ended(served, project)
    served.seal()
    whole = project.client.get(f"/v1/batches/{batch}/evidence").body
    with pytest.raises(BundleFlaw, match="part"):
        check_bundle(io.BytesIO(whole[: len(whole) // 2]), [KEY.public])


def test_an_event_is_proven_to_its_project_alone(served: Served, project: Project) -> None:
    batch = project.client.created()
    served.seal()
    [proof] = project.client.get(f"{PROOF}?batch_id={batch}").json["data"]
    checkpoint = checked(proof["checkpoint"]).checkpoint
    leaf = event_leaf(bytes.fromhex(proof["digest"]), proof["stream_id"], proof["version"])
    path = [bytes.fromhex(hash_) for hash_ in proof["proof"]]
    assert includes(checkpoint.root, checkpoint.size, proof["position"] - 1, leaf, path)
    mine = f"{PROOF}?position={proof['position']}"
    assert project.client.get(mine).json["data"] == [proof]
    stranger = served.project().client
    foreign, unknown = stranger.get(mine), stranger.get(f"{PROOF}?position={10**9}")
    assert (foreign.status, unknown.status) == (404, 404)
    said = str(foreign.error).replace(f"position {proof['position']}", f"position {10**9}")
    assert said == str(unknown.error)
    assert stranger.get(f"{PROOF}?batch_id={batch}").status == 404


def test_the_events_of_a_batch_are_proven_in_pages(served: Served, project: Project) -> None:
    batch, *_ = ended(served, project)
    assert project.client.get(f"{PROOF}?batch_id={batch}").status == 409, "not sealed yet"
    served.seal()
    first = project.client.get(f"{PROOF}?batch_id={batch}&limit=3").json
    assert ([proof["version"] for proof in first["data"]], first["has_more"]) == ([1, 2, 3], True)
    rest = project.client.get(f"{PROOF}?batch_id={batch}&after=3").json
    assert ([proof["type"] for proof in rest["data"]], rest["has_more"]) == (
        ["BatchFinalizing", "BatchCompleted"],
        False,
    )


def test_checkpoints_are_of_one_history(served: Served, project: Project) -> None:
    project.client.created()
    served.seal()
    old = project.client.get(CHECKPOINT).json
    assert checked(old["note"]).checkpoint.size == old["size"]
    project.client.created()
    served.seal()
    new = project.client.get(CHECKPOINT).json
    made = project.client.get(f"{CONSISTENCY}?from={old['size']}&to={new['size']}").json
    assert (made["old_size"], made["size"], made["checkpoint"]) == (old["size"], new["size"], new["note"])
    path = [bytes.fromhex(hash_) for hash_ in made["proof"]]
    assert extends(bytes.fromhex(old["root"]), old["size"], bytes.fromhex(new["root"]), new["size"], path)
    assert project.client.get(f"{CONSISTENCY}?from={old['size']}").json == made


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (PROOF, 400, "missing_required_parameter"),
        (f"{PROOF}?position=1&batch_id=b", 400, None),
        (f"{PROOF}?position=0", 400, "integer_below_min_value"),
        (f"{PROOF}?position=one", 400, "invalid_type"),
        (f"{PROOF}?position={1 << 70}", 404, None),
        (f"{PROOF}?batch_id=batch_none", 404, None),
        (f"{PROOF}?batch_id=%00", 404, None),
        (CONSISTENCY, 400, "missing_required_parameter"),
        (f"{CONSISTENCY}?from={10**9}", 404, None),
        (f"{CONSISTENCY}?from=1&to={1 << 70}", 404, None),
        ("/v1/batches/batch_none/evidence", 404, None),
    ],
)
def test_what_cannot_be_proven_is_told(project: Project, path: str, status: int, code: str | None) -> None:
    answer = project.client.get(path)
    assert (answer.status, answer.error["code"]) == (status, code)
