"""Nothing of another project can be seen, guessed or timed: the description says which operations there are,
and each place in them that takes an id is asked with another project's, and with an id that nothing has.

Both are answered alike, byte for byte, but for the id itself, for what each request has of its own (its id
and time), and for the ids and times of what it made.
"""

import random
import secrets
import time
from contextlib import closing
from http.client import HTTPConnection
from statistics import median
from typing import Any

import msgspec
import pytest

from api.openapi import samples
from api.openapi.served import description
from tests.api.client import Answer
from tests.api.example_world import World
from tests.api.openapi_document import operations
from tests.api.probes import Probe, probes, told_in, unknown_like
from tests.api.serving import OPTIONS, Served

DOCUMENT: dict[str, Any] = msgspec.json.decode(description(OPTIONS))
BEHIND_KEY = [operation for operation in operations(DOCUMENT) if operation.behind_key]
PROBES = [probe for operation in BEHIND_KEY for probe in probes(operation)]
NO_OBJECTS = {"custom_id", "model"}
"""Path parameters that name nothing of a project by themselves: a line is found by its batch first."""
ROUNDS = 200
STRANGE = 5.0
"""Standard deviations that chance does not reach in any of so few comparisons."""


class Two:
    """Two projects, each with everything that the examples name."""

    def __init__(self, served: Served) -> None:
        self.owner = World(served, served.project())
        self.guesser = World(served, served.project())

    def foreign(self, probe: Probe) -> str:
        """What the owner has in a probe's place."""
        id: str = self.owner.ids[probe.told]
        return id

    def guessed(self, probe: Probe, id: str) -> Answer:
        """What is answered to the guesser for an id."""
        return self.guesser.client.ask(*probe.request(self.guesser, id))


@pytest.fixture(scope="module")
def two(served: Served) -> Two:
    return Two(served)


def test_every_place_that_takes_an_id_is_asked() -> None:
    asked = {(probe.operation.id, probe.place) for probe in PROBES}
    for operation in BEHIND_KEY:
        for name in set(operation.path_parameters) - NO_OBJECTS:
            assert (operation.id, f"path {name}") in asked
        for content in operation.told.get("requestBody", {}).get("content", {}).values():
            for field in content["schema"].get("properties", {}):
                if field.endswith(("_id", "_ids")):
                    assert (operation.id, f"body {field}") in asked
        for parameter in operation.told["parameters"]:
            if parameter.get("name") == "after" and parameter["schema"]["type"] == "string":
                assert any(id == operation.id and place.startswith("after") for id, place in asked)


@pytest.mark.parametrize("probe", PROBES, ids=str)
def test_a_foreign_id_is_answered_like_one_that_nothing_has(two: Two, probe: Probe) -> None:
    foreign, unknown = two.foreign(probe), unknown_like(two.foreign(probe))
    answers = [told_in(two.guessed(probe, id), id) for id in (foreign, unknown)]
    assert answers[0] == answers[1]
    if not probe.place.startswith("body"):
        assert answers[0][0] == 404


def test_guessing_changes_nothing_of_the_owners(two: Two) -> None:
    def seen() -> list[Any]:
        client = two.owner.client
        lists = ("/v1/batches", "/v1/files", "/v1/webhook_endpoints")
        return [client.get(path).json for path in lists] + [
            client.get(f"/v1/batches/{two.owner.ids[id]}/events").json
            for id in (samples.BATCH, samples.RUNNING)
        ]

    before = seen()
    for probe in PROBES:
        two.guessed(probe, two.foreign(probe))
    assert seen() == before


def test_the_idempotency_key_of_another_project_is_as_new(two: Two) -> None:
    taking = [op for op in BEHIND_KEY if "Idempotency-Key" in {p.get("name") for p in op.told["parameters"]}]
    assert {op.id for op in taking} >= {"createBatch", "uploadFile", "retryBatch"}
    for operation in taking:
        asked = operation.asked(next(iter(operation.examples())))
        used, fresh = f"key-{secrets.token_hex(8)}", f"key-{secrets.token_hex(8)}"
        made = two.owner.ask(operation, asked, key=used)
        assert made.status == 200
        mine = [two.guesser.ask(operation, asked, key=key) for key in (used, fresh)]
        assert {answer.status for answer in mine} == {200}
        assert len({answer.json["id"] for answer in [made, *mine]}) == 3


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_foreign_id_takes_as_long_as_one_that_nothing_has(two: Two) -> None:
    """In each round a probe is sent with a foreign id and with two that nothing has, in an order by chance:
    so what else the machine does strikes all three alike. Of each round it is asked only which took
    longer: the foreign one or the first unknown one, and, for the noise, the second or the first unknown one.
    If nothing can be told apart, both are like throws of a coin. What is printed are the ratio of the medians
    and how many standard deviations the throws are from one half. Where that is more than chance allows, the
    probe is measured anew: only what is strange twice in the same direction is an error.
    """
    told_apart = []
    for probe in PROBES:
        signs = [measured(two, probe)]
        if abs(signs[0]) > STRANGE:
            signs.append(measured(two, probe))
        if min(signs) > STRANGE or max(signs) < -STRANGE:
            told_apart.append(str(probe))
    assert not told_apart


def measured(two: Two, probe: Probe) -> float:
    """How many standard deviations a foreign id is slower than an unknown one, more often than not."""
    foreign = two.foreign(probe)
    took: dict[str, list[float]] = {"foreign": [], "unknown": [], "noise": []}
    authorization = {"authorization": f"Bearer {two.guesser.client.key}"}
    with closing(HTTPConnection("127.0.0.1", two.guesser.client.port, timeout=30)) as connection:
        # Each of them asked for as often: a path is found faster when it was asked for before.
        ids = {"foreign": foreign, "unknown": unknown_like(foreign), "noise": unknown_like(foreign)}
        for _ in range(ROUNDS):
            for name in random.sample(list(ids), len(ids)):
                method, path, body, headers = probe.request(two.guesser, ids[name])
                began = time.perf_counter()
                connection.request(method, path, body, headers | authorization)
                connection.getresponse().read()
                took[name].append(time.perf_counter() - began)
    ours, noise = deviation(took["foreign"], took["unknown"]), deviation(took["noise"], took["unknown"])
    ratio = median(took["foreign"]) / median(took["unknown"])
    print(f"{probe!s:44} foreign / unknown {ratio:.3f}  deviation {ours:+.1f}  noise {noise:+.1f}")
    return ours


def deviation(one: list[float], other: list[float]) -> float:
    """Of how often the first of a pair is the longer one, from one half, in standard deviations."""
    longer = sum(a > b for a, b in zip(one, other, strict=True))
    return float((longer - len(one) / 2) / (len(one) / 4) ** 0.5)
