"""What makes a line good or bad, and that the fast path never says yes where the grammar says no."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from events.inputs import validator
from events.inputs.validator import LineError, LineRules, LineValidator, RequestLine, supported_endpoints

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"
RULES = LineRules(CHAT)
BODY: dict[str, Any] = {"model": "m", "messages": []}


def validate_line(raw: bytes, number: int, rules: LineRules) -> RequestLine | LineError:
    return LineValidator(rules).validate(raw, number)


def line(**changes: Any) -> bytes:
    """A good chat line with `changes`; a change to ... takes the member away."""
    members = {"custom_id": "a", "method": "POST", "url": CHAT, "body": BODY} | changes
    return json.dumps({name: value for name, value in members.items() if value is not ...}).encode()


def body(**changes: Any) -> bytes:
    return line(body={name: value for name, value in (BODY | changes).items() if value is not ...})


def raw_body(text: bytes, url: str = CHAT) -> bytes:
    return b'{"custom_id":"a","method":"POST","url":"%b","body":%b}' % (url.encode(), text)


def missing(name: str, param: str) -> tuple[str, str, str]:
    return "missing_required_parameter", param, f"Missing required parameter: '{name}'."


def wrong_type(param: str, expected: str, got: str) -> tuple[str, str, str]:
    return "invalid_type", param, f"Invalid type for '{param}': expected {expected}, but got {got} instead."


NOT_JSON = ("invalid_json_line", None, "This line is not parseable as valid JSON.")
NO_MODEL = ("invalid_request", "body.model", "Model parameter is required.")
WRONG_URL = ("invalid_url", "url", "The URL provided for this request does not match the batch endpoint.")
STREAMS = (
    "streaming_unsupported",
    "body.stream",
    "Chat Completions: Streaming is not supported in the Batch API.",
)
UNPRINTABLE = ("invalid_value", "body.model", "Invalid 'body.model': expected printable characters only.")


def repeated(name: str) -> tuple[str, str, str]:
    message = f"Invalid 'body.{name}': given more than once. Each request must name it at most once."
    return "invalid_request", f"body.{name}", message


def too_long(param: str, most: int, length: int) -> tuple[str, str, str]:
    message = (
        f"Invalid '{param}': string too long. "
        f"Expected a string with maximum length {most}, but got a string with length {length} instead."
    )
    return "string_above_max_length", param, message


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"not json", NOT_JSON),
        (b'{"custom_id":"a"', NOT_JSON),
        (b"[1]", NOT_JSON),
        (b'"text"', NOT_JSON),
        (line() + b"{}", NOT_JSON),
        (b"\xef\xbb\xbf" + line(), NOT_JSON),
        (raw_body(b'{"model":"m","messages":["\xff"]}'), NOT_JSON),
        (raw_body(b'{"model":"m","messages":[],"\xed\xa0\x80":1}'), NOT_JSON),
        (raw_body(b'{"model":"m","messages":[NaN]}'), NOT_JSON),
        (raw_body(b'{"model":"m","messages":["\t"]}'), NOT_JSON),
        (line(custom_id=...), missing("custom_id", "custom_id")),
        (line(custom_id=7), wrong_type("custom_id", "a string", "an integer")),
        (line(custom_id=-7.5), wrong_type("custom_id", "a string", "a decimal number")),
        (line(custom_id=None), wrong_type("custom_id", "a string", "null")),
        (line(custom_id=True), wrong_type("custom_id", "a string", "a boolean")),
        (line(custom_id=[]), wrong_type("custom_id", "a string", "an array")),
        (line(custom_id={}), wrong_type("custom_id", "a string", "an object")),
        (
            line(custom_id=""),
            (
                "empty_string",
                "custom_id",
                "Invalid 'custom_id': empty string. "
                "Expected a string with minimum length 1, but got an empty string instead.",
            ),
        ),
        (line(custom_id="x" * 513), too_long("custom_id", 512, 513)),
        (line(method=...), missing("method", "method")),
        (line(method=1), wrong_type("method", "a string", "an integer")),
        (
            line(method="GET"),
            ("invalid_value", "method", "Invalid value: 'GET'. Supported values are: 'POST'."),
        ),
        (line(url=...), missing("url", "url")),
        (line(url=None), wrong_type("url", "a string", "null")),
        (line(url="/chat/completions"), WRONG_URL),
        (line(url=EMBEDDINGS), WRONG_URL),
        (line(body=...), missing("body", "body")),
        (line(body=None), wrong_type("body", "an object", "null")),
        (line(body=[BODY]), wrong_type("body", "an object", "an array")),
        (line(body={}), NO_MODEL),
        (body(model=...), NO_MODEL),
        (body(model=""), NO_MODEL),
        (body(model=5), wrong_type("body.model", "a string", "an integer")),
        (body(model=None), wrong_type("body.model", "a string", "null")),
        (body(model="m" * 257), too_long("body.model", 256, 257)),
        (body(model="a\ud800"), UNPRINTABLE),
        (body(model="a\x00"), UNPRINTABLE),
        (body(stream=True), STREAMS),
        (body(stream="yes"), wrong_type("body.stream", "a boolean", "a string")),
        (body(messages=...), missing("messages", "body.messages")),
        (raw_body(b'{"model":"m","messages":[],"model":"m"}'), repeated("model")),
        (raw_body(b'{"model":"m","messages":[],"mod\\u0065l":"n"}'), repeated("model")),
        (
            raw_body(b'{"\\u006d\\u006F\\u0064\\u0065\\u006c":"m","messages":[],"model":"n"}'),
            repeated("model"),
        ),
        (raw_body(b'{"stream":false,"model":"m","messages":[],"stream":true}'), repeated("stream")),
        (raw_body(b'{"stream":false,"model":"m","messages":[],"\\u0073tream":null}'), repeated("stream")),
        (raw_body(b'{"stream":null,"model":"m","messages":[],"stream":null}'), repeated("stream")),
        (body(stream=0), wrong_type("body.stream", "a boolean", "an integer")),
    ],
)
def test_a_bad_line_has_one_error(raw: bytes, expected: tuple[str, str | None, str]) -> None:
    code, param, message = expected
    assert validate_line(raw, 12, RULES) == LineError(code, message, param, 12)


def test_the_first_error_of_a_line_is_the_one_reported() -> None:
    everything_wrong = b'{"custom_id":"","method":"GET","url":"/x","body":{"stream":true}}'
    assert getattr(validate_line(everything_wrong, 1, RULES), "param", None) == "custom_id"


def test_a_model_the_upstreams_do_not_have_is_named() -> None:
    rules = LineRules(CHAT, known_models=frozenset({"known"}))
    message = "The provided model 'm' is not supported by the Batch API."
    assert validate_line(line(), 3, rules) == LineError("model_not_found", message, "body.model", 3)
    assert isinstance(validate_line(body(model="known"), 3, rules), RequestLine)


def test_a_line_over_the_limit_is_refused_and_one_at_the_limit_is_not() -> None:
    raw = line()
    assert isinstance(validate_line(raw + b"\r", 1, LineRules(CHAT, max_line_bytes=len(raw))), RequestLine)
    message = "Invalid line: 16,000 bytes long, over the maximum of 1,000 bytes."
    refused = validate_line(b"x" * 16_000, 1, LineRules(CHAT, max_line_bytes=1_000))
    assert refused == LineError("invalid_value", message, None, 1)


@pytest.mark.parametrize(
    ("endpoint", "needs"),
    [
        ("/v1/chat/completions", "messages"),
        ("/v1/embeddings", "input"),
        ("/v1/completions", "prompt"),
        ("/v1/moderations", "input"),
        ("/v1/images/generations", "prompt"),
        ("/v1/images/edits", "prompt"),
        ("/v1/videos", "prompt"),
    ],
)
def test_each_endpoint_needs_the_field_it_works_on(endpoint: str, needs: str) -> None:
    rules = LineRules(endpoint)
    expected = LineError(
        "missing_required_parameter", f"Missing required parameter: '{needs}'.", f"body.{needs}", 1
    )
    assert validate_line(line(url=endpoint, body={"model": "m"}), 1, rules) == expected
    assert isinstance(
        validate_line(line(url=endpoint, body={"model": "m", needs: "x"}), 1, rules), RequestLine
    )


def test_a_responses_line_needs_a_model_only() -> None:
    raw = line(url="/v1/responses", body={"model": "m", "prompt": {"id": "pmpt_1"}})
    assert isinstance(validate_line(raw, 1, LineRules("/v1/responses")), RequestLine)


def test_the_prefix_of_a_streaming_error_names_the_api() -> None:
    raw = line(url="/v1/responses", body={"model": "m", "stream": True})
    error = validate_line(raw, 1, LineRules("/v1/responses"))
    assert isinstance(error, LineError)
    assert error.message == "Responses: Streaming is not supported in the Batch API."


def test_all_endpoints_of_the_api_may_be_named() -> None:
    assert supported_endpoints() == (
        "/v1/responses",
        "/v1/chat/completions",
        "/v1/embeddings",
        "/v1/completions",
        "/v1/moderations",
        "/v1/images/generations",
        "/v1/images/edits",
        "/v1/videos",
    )


@pytest.mark.parametrize(
    "raw",
    [
        line(),
        line() + b"\r",
        b"  " + line() + b" \t",
        line(custom_id="x" * 512),
        line(custom_id="a|b\x00\n\U0001f600"),
        line(unknown={"deep": [1]}),
        body(stream=False),
        body(stream=None),
        body(messages=None),
        body(tools=[{"model": "n", "stream": True}]),
        raw_body(b'{"model":"m","messages":["model","\\"model\\"","stream","stream"]}'),
        raw_body(b'{"\\u006d\\u006f\\u0064\\u0065\\u006c":"m","messages":[]}'),
        b'{"custom_id":1,"body":[],"method":"POST","url":"' + CHAT.encode() + b'",'
        b'"custom_id":"a","body":{"model":"m","messages":[]}}',
        b'{"custom_id":"a","body":{"model":"n","messages":[],"stream":true},"method":"POST","url":"'
        + CHAT.encode()
        + b'","body":{"model":"m","messages":[]}}',
    ],
)
def test_a_good_line_is_accepted(raw: bytes) -> None:
    accepted = validate_line(raw, 1, RULES)
    assert isinstance(accepted, RequestLine)
    assert accepted.model == "m"


@pytest.mark.parametrize(
    "value",
    [
        b'"\\ud83d"',
        b"1e400",
        b"[" * 3_000 + b"]" * 3_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"9" * 10_000,
        '"\u2028"'.encode(),
    ],
    ids=["lone surrogate", "1e400", "3,000 deep", "100,000 deep", "10,000 digits", "line separator"],
)
def test_what_a_parser_cannot_hold_is_accepted(value: bytes) -> None:
    text = b'{ "model":"m", "messages":[' + value + b"] }"
    assert validate_line(raw_body(text), 1, RULES) == RequestLine("a", "m", 0)


def test_a_custom_id_with_a_lone_surrogate_keeps_its_text() -> None:
    raw = line().replace(b'"a"', b'"\\uD83d\\u0061"')
    accepted = validate_line(raw, 1, RULES)
    assert isinstance(accepted, RequestLine)
    assert accepted.custom_id == "\ud83da"


@pytest.mark.parametrize("name", [b"model", b"stream", b"mod\\u0065l"])
def test_a_large_list_in_place_of_the_model_does_not_swell_in_memory(name: bytes) -> None:
    raw = raw_body(b'{"messages":[],"%b" : [%b{}]}' % (name, b"{}," * 700_000))
    tracemalloc.start()
    try:
        refused = validate_line(raw, 1, RULES)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(refused, LineError)
    assert peak < 8 * len(raw)


def test_a_large_line_takes_the_fast_path() -> None:
    raw = body(messages=["model", {"model": "x" * 1_000_000}])
    assert LineValidator(RULES)._accept(raw) == RequestLine("a", "m", 0)


def test_a_line_is_judged_alike_whatever_was_judged_before_it() -> None:
    validator = LineValidator(RULES)
    good, streams, twice = line(), body(stream=False), raw_body(b'{"model":"m","messages":[],"model":"m"}')
    for raw in (good, twice, good, b'{"body":{"model":"m","stream":true', streams, twice, streams, good):
        assert validator.validate(raw, 1) == validate_line(raw, 1, RULES)


@pytest.mark.parametrize(
    "raw",
    [
        line(),
        body(stream=False),
        body(stream=None),
        raw_body(
            b'{"model":"m","messages":["\\"model\\"","stream",{"model":"n","stream":true}],"x":"\\u0065"}'
        ),
    ],
)
def test_a_usual_line_takes_the_fast_path(raw: bytes) -> None:
    assert LineValidator(RULES)._accept(raw) == RequestLine("a", "m", 0)


def test_the_message_about_a_value_with_a_lone_surrogate_can_be_encoded() -> None:
    refused = validate_line(line(method="\ud83d" * 600), 1, RULES)
    assert isinstance(refused, LineError)
    assert refused.message.encode("utf-8").startswith(b"Invalid value: '\\ud83d\\ud83d")
    assert len(refused.message) < 1_000


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        (b'"one"', 1),
        (b"[]", 0),
        (b'["a", "b"]', 2),
        (b"[1, 2, 3]", 1),
        (b"[[1, 2], [3]]", 2),
        (b'["a", "\\ud83d"]', 2),
        (b"[" + b'"x",' * 999 + b'"x"]', 1000),
    ],
)
def test_embedding_inputs_are_counted(value: bytes, texts: int) -> None:
    accepted = validate_line(
        raw_body(b'{"model":"m","input":%b}' % value, EMBEDDINGS), 1, LineRules(EMBEDDINGS)
    )
    assert isinstance(accepted, RequestLine)
    assert accepted.embedding_inputs == texts


names = st.sampled_from(["custom_id", "method", "url", "body", "x"])
body_names = st.sampled_from(["model", "stream", "messages", "mod\\u0065l", "input", "x"])
tokens = st.sampled_from(
    ["null", "true", "false", "1", "1e400", "[]", "{}", '["a"]', '{"model":1}', "[" * 1500 + "]" * 1500]
) | st.sampled_from(
    ['""', '"m"', '"\\ud800"', '"\\u0000"', '"POST"', f'"{CHAT}"', '"model"', '"' + "y" * 513 + '"', '"é"']
)


def _members(pairs: list[tuple[str, str]]) -> str:
    return "{" + ",".join(f'"{name}": {value}' for name, value in pairs) + "}"


bodies = st.lists(st.tuples(body_names, tokens), max_size=2).map(
    lambda more: _members([("model", '"m"'), ("messages", "[]"), ("input", '["a"]'), *more])
)
good_pairs = bodies.map(
    lambda body: [("custom_id", '"a"'), ("method", '"POST"'), ("url", f'"{CHAT}"'), ("body", body)]
)


@st.composite
def nearly_good_lines(draw: st.DrawFn) -> bytes:
    pairs = draw(good_pairs)
    pairs[1:1] = draw(st.lists(st.tuples(names, tokens), max_size=1))
    raw = _members(draw(st.permutations(pairs))).encode()
    if draw(st.booleans()):
        at = draw(st.integers(0, len(raw)))
        raw = (
            raw[:at]
            + draw(st.sampled_from([b"", b" ", b"\xff", b"\\", b'"', b"\x00", b"}", b"0"]))
            + raw[at + 1 :]
        )
    return raw


@given(nearly_good_lines(), st.sampled_from([None, frozenset({"m"}), frozenset({"n"})]))
@example(b"", None)
def test_what_the_fast_path_accepts_the_grammar_accepts_alike(
    raw: bytes, known: frozenset[str] | None
) -> None:
    rules = LineRules(CHAT, known_models=known)
    accepted = LineValidator(rules)._accept(raw)
    if accepted is not None:
        assert validator._judge(raw, rules) == accepted


@given(good_pairs.flatmap(lambda pairs: st.permutations(pairs)))
def test_the_order_of_members_means_nothing(pairs: list[tuple[str, str]]) -> None:
    assert validate_line(_members(pairs).encode(), 1, RULES) == validate_line(
        _members(sorted(pairs)).encode(), 1, RULES
    )
