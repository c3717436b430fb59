"""From the bytes of an input file to a plan, or to the errors that a client sees."""

import json
import tracemalloc
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.inputs.line_index import LINES_PER_BLOCK, decode_block, line_digest
from events.inputs.planning import BYTES_PER_TOKEN, InputChanged, Plan, Planning, fitting
from events.inputs.validator import LineError, LineRules
from events.limits import Limits

CHAT = "/v1/chat/completions"
RULES = LineRules(CHAT, max_line_bytes=1_000)
NOWHERE = Path("/nonexistent/never written")
BOM = b"\xef\xbb\xbf"


def request(custom_id: Any = "a", model: str = "m", **members: Any) -> bytes:
    line = {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": {"model": model, "messages": []}}
    return json.dumps(line | members).encode()


def plan(
    data: bytes, rules: LineRules = RULES, chunk: int = 1 << 20, **limits: int
) -> tuple[Plan | list[LineError], list[bytes]]:
    with Planning(rules, NOWHERE, **limits) as planning:
        blocks: list[bytes] = []
        for at in range(0, len(data), chunk):
            planning.feed(data[at : at + chunk])
            blocks += planning.take_blocks()
        result = planning.finish(lambda start, end: data[start:end])
        return result, blocks + planning.take_blocks()


def errors(data: bytes, rules: LineRules = RULES, **limits: int) -> list[LineError]:
    result, _ = plan(data, rules, 1 << 20, **limits)
    assert isinstance(result, list), result
    return result


def planned_lines(data: bytes, chunk: int = 1 << 20, **limits: int) -> list[tuple[bytes, int]]:
    """The bytes and the number of each line of the index, which must name every line of the plan."""
    result, blocks = plan(data, RULES, chunk, **limits)
    assert isinstance(result, Plan), result
    assert result.blocks == len(blocks)
    found: list[tuple[bytes, int]] = []
    for block in map(decode_block, blocks):
        assert block.lines.start == len(found)
        for line in block.lines:
            span = block.span(line)
            raw = data[span.start : span.end]
            assert span.digest == line_digest(raw)
            found.append((raw, span.number))
    assert result.total == len(found)
    return found


EMPTY = LineError(
    "empty_file",
    "The input file is empty. Please ensure that the batch contains at least one request.",
    None,
    None,
)
DUPLICATE = (
    "The custom_id 'a' for this request is a duplicate of another request. "
    "The custom_id parameter must be unique for each request in a batch."
)
MISMATCH = (
    "The model 'other' for this request does not match the rest of the batch. "
    "Each batch must contain requests for a single model."
)
NOT_JSON = "This line is not parseable as valid JSON."


def lines(*raw: bytes) -> bytes:
    return b"\n".join(raw) + b"\n"


def tokens_in(data: bytes) -> int:
    return sum(-(-len(line) // BYTES_PER_TOKEN) for line in data.splitlines())


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", EMPTY),
        (b"\n\r\n  \t\n", EMPTY),
        (BOM, EMPTY),
        (b"no JSONL at all", LineError("invalid_json_line", NOT_JSON, None, 1)),
        (b"\x00" * 100, LineError("invalid_json_line", NOT_JSON, None, 1)),
        (lines(request("a"), b"\xff\xfe"), LineError("invalid_json_line", NOT_JSON, None, 2)),
        (lines(request("a"), BOM + request("b")), LineError("invalid_json_line", NOT_JSON, None, 2)),
        (lines(request("a"), b"", b"[]"), LineError("invalid_json_line", NOT_JSON, None, 3)),
        (
            lines(request(7)),
            LineError(
                "invalid_type",
                "Invalid type for 'custom_id': expected a string, but got an integer instead.",
                "custom_id",
                1,
            ),
        ),
        (
            lines(request("a"), b"{}"),
            LineError(
                "missing_required_parameter", "Missing required parameter: 'custom_id'.", "custom_id", 2
            ),
        ),
        (
            lines(request("a", method="GET")),
            LineError("invalid_value", "Invalid value: 'GET'. Supported values are: 'POST'.", "method", 1),
        ),
        (
            lines(request("a", url="/v1/x")),
            LineError(
                "invalid_url",
                "The URL provided for this request does not match the batch endpoint.",
                "url",
                1,
            ),
        ),
        (
            lines(request("a", body={"model": "m", "messages": [], "stream": True})),
            LineError(
                "streaming_unsupported",
                "Chat Completions: Streaming is not supported in the Batch API.",
                "body.stream",
                1,
            ),
        ),
        (
            lines(request("a", body={"messages": []})),
            LineError("invalid_request", "Model parameter is required.", "body.model", 1),
        ),
        (
            lines(request("a", body={"model": "m"})),
            LineError(
                "missing_required_parameter", "Missing required parameter: 'messages'.", "body.messages", 1
            ),
        ),
        (lines(request("a"), b"", request("a")), LineError("duplicate_custom_id", DUPLICATE, "custom_id", 3)),
        (
            lines(request("a"), request("b", "other"), request("c")),
            LineError("mismatched_model", MISMATCH, "body.model", 2),
        ),
        (
            lines(request("a"), request("b" * 5_000)),
            LineError(
                "invalid_value", "Invalid line: 5,106 bytes long, over the maximum of 1,000 bytes.", None, 2
            ),
        ),
    ],
)
def test_one_error_is_told_with_its_code_message_param_and_line(data: bytes, expected: LineError) -> None:
    assert errors(data) == [expected]


def test_a_model_that_no_upstream_has() -> None:
    rules = LineRules(CHAT, known_models=frozenset({"other"}))
    message = "The provided model 'm' is not supported by the Batch API."
    assert errors(request(), rules) == [LineError("model_not_found", message, "body.model", 1)]


def test_too_many_lines() -> None:
    data = lines(*(request(str(at)) for at in range(5)))
    message = "The number of requests in the input file exceeds the maximum allowed value of 4."
    assert errors(data, max_lines=4) == [LineError("too_many_tasks", message, None, None)]
    assert len(planned_lines(data, max_lines=5)) == 5


def test_the_limit_in_a_message_is_written_with_thousands() -> None:
    data = lines(*(request(str(at)) for at in range(1_001)))
    assert errors(data, max_lines=1_000)[0].message.endswith("the maximum allowed value of 1,000.")


def test_too_many_embedding_inputs_in_all_lines_together() -> None:
    def embeddings(custom_id: str, texts: int) -> bytes:
        body = {"model": "m", "input": ["x"] * texts}
        return request(custom_id, url="/v1/embeddings", body=body)

    rules = LineRules("/v1/embeddings", max_line_bytes=1 << 20)
    data = lines(embeddings("a", 30_000), embeddings("b", 20_000))
    assert plan(data, rules)[0] == Plan(2, "m", 1, tokens_in(data))
    message = "The number of embedding inputs in the input file exceeds the maximum allowed value of 50,000."
    assert errors(data + embeddings("c", 1), rules) == [LineError("too_many_tasks", message, None, None)]


def test_errors_of_the_file_come_first_then_one_for_each_bad_line_in_order() -> None:
    data = lines(
        request("a"),
        request("a"),  # a twin
        b"bad",
        request("a", "other"),  # a twin, too, but its model was seen first
        request("b"),
        request("b"),  # a twin
        request("c"),
    )
    found = [(error.line, error.code) for error in errors(data, max_lines=6)]
    assert found == [
        (None, "too_many_tasks"),
        (2, "duplicate_custom_id"),
        (3, "invalid_json_line"),
        (4, "mismatched_model"),
        (6, "duplicate_custom_id"),
    ]


def test_the_first_hundred_errors_are_told_and_the_rest_of_the_file_is_not_read() -> None:
    decided = []
    with Planning(RULES, NOWHERE) as planning:
        for chunk in (lines(request("a"), request("a")) + b"bad\n" * 99, b"bad\n", b"bad\n" * 1000):
            planning.feed(chunk)
            decided.append(planning.decided)
        result = planning.finish(lambda start, end: request("a"))
    assert decided == [False, True, True]
    assert isinstance(result, list)
    assert [error.line for error in result] == list(range(2, 102))


@pytest.mark.parametrize(
    ("data", "numbers"),
    [
        (request(), [1]),
        (BOM + request() + b"\r\n" + request("b"), [1, 2]),
        (b"\n\r\n" + request() + b"\n \t\n" + request("b") + b"\r", [3, 5]),
        (BOM + b"\n" + request() + b"\n\n", [2]),
    ],
    ids=["no last newline", "BOM and CRLF", "blank lines", "BOM on a line of its own"],
)
def test_how_lines_may_end(data: bytes, numbers: list[int]) -> None:
    assert [number for _, number in planned_lines(data)] == numbers
    assert all(raw == raw.strip() for raw, _ in planned_lines(data))


def test_a_file_of_several_blocks_is_indexed_whole() -> None:
    data = lines(*(request(str(at)) for at in range(2 * LINES_PER_BLOCK + 1)))
    found = planned_lines(data, chunk=100_000)
    assert [json.loads(raw)["custom_id"] for raw, _ in found] == [str(at) for at in range(len(found))]
    assert [number for _, number in found] == list(range(1, len(found) + 1))


pieces = st.sampled_from(
    [
        b"",
        b" ",
        b"\r",
        BOM,
        b"bad",
        request("a"),
        request("b"),
        request("c", "other"),
        request("d" * 2_000),
        b"y" * 1_500,
    ]
) | st.integers(0, 9).map(lambda at: request(str(at)))


@given(
    st.lists(st.tuples(pieces, st.sampled_from([b"\n", b"\r\n"])), max_size=12),
    st.booleans(),
    st.sampled_from([1, 2, 3, 7, 64, 1_003]),
)
def test_the_size_of_the_chunks_means_nothing(
    parts: list[tuple[bytes, bytes]], ends: bool, chunk: int
) -> None:
    data = b"".join(line + newline for line, newline in parts)
    data = data if ends else data.rstrip(b"\r\n")
    assert plan(data, chunk=chunk) == plan(data)


@given(st.lists(pieces, max_size=12))
def test_it_agrees_with_reading_the_file_line_by_line(parts: list[bytes]) -> None:
    data = b"\n".join(parts)
    result, _ = plan(data)
    if isinstance(result, Plan):
        wanted = [
            (raw, number)
            for number, raw in enumerate(data.removeprefix(BOM).split(b"\n"), start=1)
            if raw.strip()
        ]
        assert planned_lines(data) == wanted
        assert len({json.loads(raw)["custom_id"] for raw, _ in wanted}) == result.total
        assert {json.loads(raw)["body"]["model"] for raw, _ in wanted} == {result.model}
    else:
        numbers = [error.line or 0 for error in result]
        assert numbers == sorted(set(numbers))
        assert numbers


def test_a_line_of_ten_megabytes_is_planned() -> None:
    line = request(body={"model": "m", "messages": ["x" * 10_000_000]})
    rules = LineRules(CHAT)
    data = lines(line, request("b"))
    assert plan(data, rules, chunk=1 << 20)[0] == Plan(2, "m", 1, tokens_in(data))


def test_a_line_over_the_limit_is_measured_without_being_held() -> None:
    piece = b"x" * 100_000
    tracemalloc.start()
    try:
        with Planning(RULES, NOWHERE) as planning:
            for _ in range(200):
                planning.feed(piece)
            peak = tracemalloc.get_traced_memory()[1]
            result = planning.finish(lambda start, end: b"")
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000
    message = "Invalid line: 20,000,000 bytes long, over the maximum of 1,000 bytes."
    assert result == [LineError("invalid_value", message, None, 1)]


def test_a_custom_id_with_a_lone_surrogate_has_twins_too() -> None:
    odd, plain = request("\ud83d"), request("\ud83d").replace(b"ud83d", b"uD83D")
    [error] = errors(lines(odd, plain))
    assert (error.code, error.line) == ("duplicate_custom_id", 2)
    assert error.message.startswith("The custom_id '\\ud83d' for this request is a duplicate")


def test_a_file_that_changes_while_it_is_read_is_noticed() -> None:
    with Planning(RULES, NOWHERE) as planning:
        planning.feed(lines(request("a"), request("a")))
        with pytest.raises(InputChanged, match=r"line 2 .* \(invalid_json_line\)"):
            planning.finish(lambda start, end: b"gone")


def test_a_plan_of_more_tokens_than_may_be_queued_is_refused_whole() -> None:
    data = lines(request("a"), request("b"))
    planned, tokens = plan(data)[0], tokens_in(data)
    assert fitting(planned, Limits(queued_tokens=tokens), "search") == planned
    [error] = cast(list[LineError], fitting(planned, Limits(queued_tokens=tokens - 1), "search"))
    assert (error.code, error.param, error.line) == ("token_limit_exceeded", None, None)
    assert error.message == (
        f"Enqueued token limit reached for m in organization search. Limit: {tokens - 1:,} enqueued tokens. "
        "Please try again once some in_progress batches have been completed. "
        f"This batch alone has an estimated {tokens:,}: split its input file."
    )


def test_what_is_wrong_with_an_input_is_said_before_its_size() -> None:
    wrong = [LineError("empty_file", "The input file is empty.")]
    assert fitting(wrong, Limits(queued_tokens=1), "search") == wrong
