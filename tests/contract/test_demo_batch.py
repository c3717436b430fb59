"""The batch of `batchmill demo`, by its own client: the same results from one process and from several."""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cli.demo.client import DemoFiles, run_batch
from cli.demo.requests import ENDPOINT, request_lines
from cli.practice.answers import Refusal, answer
from tests.contract.mill import KEY, Embedded, Mill, Pods

LINES = 2_000
OWN = re.compile(rb'"(id":"batch_req_|request_id":")[^"]+')
"""What each batch makes anew: the ids of its lines and of its requests."""


@pytest.fixture(scope="module")
def served(place: Embedded | Pods) -> Iterator[Mill]:
    """A mill with an upstream that now and then fails."""
    moody = ("--latency", "3ms", "--error-rate", "0.01")
    with place.mill("cli.main", "practice-upstream", "--port", "0", *moody) as served:
        yield served


def expected() -> tuple[bytes, bytes]:
    """Both result files, without what each batch makes anew: answers are a function of their requests."""
    output, errors = list[bytes](), list[bytes]()
    for line in request_lines(LINES):
        request = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        try:
            status, body = 200, answer(ENDPOINT, bytes(request["body"]))
        except Refusal as refusal:
            error = {"message": str(refusal), "type": "invalid_request_error", "param": refusal.param}
            status, body = refusal.status, {"error": {**error, "code": refusal.code}}
        response = {"status_code": status, "request_id": "", "body": body}
        result = {"id": "batch_req_", "custom_id": request["custom_id"], "response": response, "error": None}
        (output if status == 200 else errors).append(msgspec.json.encode(result) + b"\n")
    return b"".join(output), b"".join(errors)


@pytest.mark.parametrize(
    "place", ["pods", pytest.param("embedded", marks=pytest.mark.soak)], indirect=True, scope="module"
)
def test_its_results_are_the_same_byte_for_byte(served: Mill, tmp_path: Path) -> None:
    files = DemoFiles.within(tmp_path)
    files.requests.write_bytes(b"".join(request_lines(LINES)))
    batch = run_batch(served.url, KEY, files, lambda _: None, lambda _: None, lambda: False)
    assert batch is not None
    assert batch.status == "completed"
    assert (batch.counts.total, batch.counts.failed) == (LINES, LINES // 250)
    found = [OWN.sub(rb'"\1', path.read_bytes()) for path in (files.output, files.errors)]
    assert found == list(expected())
