"""Every code that a line can come to, of an input or of a result file, as the API promises it: its message,
parameter and line. A code that is not in these tables fails a test."""

import re
from pathlib import Path
from typing import Final

import pytest

import events.inputs
from engine.answer import InvalidResponse
from engine.retry import judge
from engine.upstream import AnswerTooLarge, ConnectFailed, TimedOut
from events.inputs.planning import Plan, Planning, cannot_find, fitting, input_lost
from events.inputs.validator import LineError, LineRules
from events.limits import Limits
from events.outcomes.lines import ERROR_CODES, UNRUN

CHAT: Final = "/v1/chat/completions"
EMBEDDINGS: Final = "/v1/embeddings"
NOWHERE: Final = Path("/nonexistent/never written")


def request(custom_id: str = '"custom_id":"a",', body: str = '"model":"m","messages":[]') -> str:
    return f'{{{custom_id}"method":"POST","url":"{CHAT}","body":{{{body}}}}}'


GOOD: Final = request()
OTHER: Final = request('"custom_id":"b",')

INPUTS: Final[dict[str, list[tuple[str, str | None, str]]]] = {
    "invalid_json_line": [("nonsense", None, "This line is not parseable as valid JSON.")],
    "missing_required_parameter": [
        (request(""), "custom_id", "Missing required parameter: 'custom_id'."),
        (OTHER.replace('"method":"POST",', ""), "method", "Missing required parameter: 'method'."),
        (OTHER.replace(f'"url":"{CHAT}",', ""), "url", "Missing required parameter: 'url'."),
        (
            OTHER.replace(',"body":{"model":"m","messages":[]}', ""),
            "body",
            "Missing required parameter: 'body'.",
        ),
        (
            request('"custom_id":"b",', '"model":"m"'),
            "body.messages",
            "Missing required parameter: 'messages'.",
        ),
    ],
    "duplicate_custom_id": [
        (
            GOOD,
            "custom_id",
            "The custom_id 'a' for this request is a duplicate of another request. "
            "The custom_id parameter must be unique for each request in a batch.",
        )
    ],
    "invalid_url": [
        (
            OTHER.replace(CHAT, EMBEDDINGS),
            "url",
            "The URL provided for this request does not match the batch endpoint.",
        )
    ],
    "model_not_found": [
        (
            OTHER.replace('"m"', '"x"'),
            "body.model",
            "The provided model 'x' is not supported by the Batch API.",
        )
    ],
    "mismatched_model": [
        (
            OTHER.replace('"m"', '"n"'),
            "body.model",
            "The model 'n' for this request does not match the rest of the batch. "
            "Each batch must contain requests for a single model.",
        )
    ],
    "streaming_unsupported": [
        (
            OTHER.replace('"messages"', '"stream":true,"messages"'),
            "body.stream",
            "Chat Completions: Streaming is not supported in the Batch API.",
        )
    ],
    "invalid_request": [
        (request('"custom_id":"b",', '"messages":[]'), "body.model", "Model parameter is required.")
    ],
    "invalid_value": [
        (
            OTHER.replace("POST", "GET"),
            "method",
            "Invalid value: 'GET'. Supported values are: 'POST'.",
        )
    ],
    "invalid_type": [
        (
            request('"custom_id":7,'),
            "custom_id",
            "Invalid type for 'custom_id': expected a string, but got an integer instead.",
        ),
        (
            OTHER.replace('{"model":"m","messages":[]}', "[]"),
            "body",
            "Invalid type for 'body': expected an object, but got an array instead.",
        ),
    ],
    "empty_string": [
        (
            request('"custom_id":"",'),
            "custom_id",
            "Invalid 'custom_id': empty string. "
            "Expected a string with minimum length 1, but got an empty string instead.",
        )
    ],
    "string_above_max_length": [
        (
            request(f'"custom_id":"{"x" * 513}",'),
            "custom_id",
            "Invalid 'custom_id': string too long. Expected a string with maximum length 512, "
            "but got a string with length 513 instead.",
        )
    ],
}
"""What is wrong with the third physical line of an input, after a good line and a blank one, by its code."""

FILES: Final = {
    "empty_file": "The input file is empty. Please ensure that the batch contains at least one request.",
    "too_many_tasks": "The number of requests in the input file exceeds the maximum allowed value of 50,000.",
    "token_limit_exceeded": "Enqueued token limit reached for m in organization project-1. "
    "Limit: 1 enqueued tokens. Please try again once some in_progress batches have been completed.",
    "invalid_request": "Cannot find file file-x, or organization project-1 does not have access to it.",
    "input_lost": "The contents of input file file-x are gone from storage, and did not come back.",
}
"""What is wrong with a whole input, by its code. It has no line, and a parameter only if it is not there."""

RESULTS: Final = {
    "batch_expired": "This request could not be executed before the completion window expired.",
    "batch_cancelled": "This request was not executed because the batch was cancelled.",
    "request_timeout": "The request timed out.",
    "connection_error": "The upstream gave no usable answer: refused.",
    "invalid_response": "The upstream answered status 200 with 9 bytes that are not JSON "
    "(content type text/html).",
    "response_too_large": "The upstream gave no usable answer: an answer of more than 10 bytes from "
    "http://gpu.",
}
"""The error of a result line that has no HTTP answer, by its code. `worker_lost` takes real deaths to see:
`tests/chaos/test_killer_lines.py`."""


def planned(content: str, rules: LineRules) -> Plan | list[LineError]:
    data = content.encode()
    with Planning(rules, NOWHERE) as planning:
        planning.feed(data)
        return planning.finish(lambda start, end: data[start:end])


@pytest.mark.parametrize(
    ("code", "line", "param", "message"),
    [pytest.param(code, *case, id=f"{code} {case[1]}") for code, cases in INPUTS.items() for case in cases],
)
def test_what_is_wrong_with_a_line_is_told_with_its_number(
    code: str, line: str, param: str | None, message: str
) -> None:
    rules = LineRules(CHAT, known_models=frozenset({"m", "n"}))
    assert planned(f"{GOOD}\n\n{line}\n", rules) == [LineError(code, message, param, 3)]


@pytest.mark.parametrize("code", FILES)
def test_what_is_wrong_with_a_whole_input_is_told_without_a_line(code: str) -> None:
    rules, said = LineRules(CHAT), FILES[code]
    match code:
        case "empty_file":
            found = planned("\n \n", rules)
        case "too_many_tasks":
            many = (request(f'"custom_id":"{n}",') for n in range(50_001))
            found = planned("\n".join(many), rules)
        case "token_limit_exceeded":
            found = fitting(planned(GOOD, rules), Limits(queued_tokens=1), "project-1")
        case "input_lost":
            found = [input_lost("file-x")]
        case _:
            found = [cannot_find("file-x", "project-1")]
    assert isinstance(found, list)
    [error] = found
    assert (error.code, error.line) == (code, None)
    assert error.param == ("file_id" if code in ("invalid_request", "input_lost") else None)
    assert error.message.startswith(said)


def test_a_line_without_an_answer_says_why() -> None:
    told = {code: message for code, message in UNRUN.values()}
    for end in (
        TimedOut("late", ""),
        ConnectFailed("refused", ""),
        InvalidResponse(200, "text/html", 9),
        AnswerTooLarge("http://gpu", 10),
    ):
        verdict = judge(end)
        told[str(verdict.rule.code)] = verdict.message
    assert told == RESULTS
    assert {*ERROR_CODES.values()} - told.keys() == {"worker_lost"}


def test_the_tables_name_every_code_that_the_program_has() -> None:
    folder = Path(events.inputs.__file__).parent
    source = "".join(path.read_text("utf-8") for path in folder.glob("*.py"))
    named = {*INPUTS, *FILES}
    assert set(re.findall(r'(?:LineError|_BadLine)\(\s*"(\w+)"', source)) == named
