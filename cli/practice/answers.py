"""What the practice upstream answers: an echo in the shape of each endpoint, with honest token counts.

Pure: the same request gets the same answer. A token is a word: what white space separates.
"""

import base64
import hashlib
import math
import struct
from collections.abc import Callable
from typing import Final

import msgspec

MODEL: Final = "practice"

Json = dict[str, object]
"""A JSON object of a request or an answer, which msgspec has decoded or will encode."""


class Refusal(Exception):
    """A request that gets an error for an answer."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code


def models() -> Json:
    """The answer to `GET /models`."""
    model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "batchmill"}
    return {"object": "list", "data": [model]}


def answer(endpoint: str, body: bytes) -> Json:
    """The answer to a POST; raises `Refusal` for a request that a model server would refuse."""
    respond = ENDPOINTS.get(endpoint)
    if respond is None:
        raise Refusal(404, f"Invalid URL (POST {endpoint})")
    try:
        request = msgspec.json.decode(body, type=Json)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refusal(400, "We could not parse the JSON body of your request.") from None
    if not isinstance(request.get("model"), str):
        raise Refusal(400, "Missing required parameter: 'model'.", "model", "missing_required_parameter")
    if request["model"] != MODEL:
        raise Refusal(404, f"The model '{request['model']}' does not exist.", "model", "model_not_found")
    if request.get("stream") is True:
        raise Refusal(400, "The practice upstream does not stream: leave out 'stream'.", "stream")
    return respond(request, hashlib.sha256(body).hexdigest()[:24])


def _chat(request: Json, name: str) -> Json:
    asked = _text(_required(request, "messages"))
    said, finished = _echo(asked, request.get("max_completion_tokens", request.get("max_tokens")))
    return {
        "id": f"chatcmpl-{name}",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": said, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop" if finished else "length",
            }
        ],
        "usage": {
            "prompt_tokens": _tokens(asked),
            "completion_tokens": _tokens(said),
            "total_tokens": _tokens(asked) + _tokens(said),
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


def _completion(request: Json, name: str) -> Json:
    asked = _text(_required(request, "prompt"))
    said, finished = _echo(asked, request.get("max_tokens"))
    reason = "stop" if finished else "length"
    return {
        "id": f"cmpl-{name}",
        "object": "text_completion",
        "created": 0,
        "model": MODEL,
        "choices": [{"index": 0, "text": said, "logprobs": None, "finish_reason": reason}],
        "usage": {
            "prompt_tokens": _tokens(asked),
            "completion_tokens": _tokens(said),
            "total_tokens": _tokens(asked) + _tokens(said),
        },
    }


def _response(request: Json, name: str) -> Json:
    asked = _text([request.get("instructions"), _required(request, "input")])
    said, finished = _echo(asked, request.get("max_output_tokens"))
    content = {"type": "output_text", "text": said, "annotations": []}
    message = {"type": "message", "id": f"msg_{name}", "status": "completed", "role": "assistant"}
    return {
        "id": f"resp_{name}",
        "object": "response",
        "created_at": 0,
        "status": "completed" if finished else "incomplete",
        "error": None,
        "incomplete_details": None if finished else {"reason": "max_output_tokens"},
        "instructions": request.get("instructions"),
        "metadata": {},
        "model": MODEL,
        "output": [{**message, "content": [content]}],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": _tokens(asked),
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": _tokens(said),
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": _tokens(asked) + _tokens(said),
        },
    }


def _embeddings(request: Json, name: str) -> Json:
    given = _required(request, "input")
    texts = [_text(part) for part in given] if isinstance(given, list) else [_text(given)]
    dimensions = request.get("dimensions", 8)
    if not isinstance(dimensions, int) or not 1 <= dimensions <= 4096:
        raise Refusal(400, "Invalid 'dimensions': expected an integer from 1 to 4096.", "dimensions")
    packed = request.get("encoding_format") == "base64"
    vectors = [_vector(text, dimensions) for text in texts]
    data = [
        {"object": "embedding", "index": index, "embedding": _packed(vector) if packed else vector}
        for index, vector in enumerate(vectors)
    ]
    tokens = sum(map(_tokens, texts))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": MODEL, "usage": usage}


def _moderation(request: Json, name: str) -> Json:
    given = _required(request, "input")
    parts = given if isinstance(given, list) else [given]
    result = {
        "flagged": False,
        "categories": dict.fromkeys(_HARMS, False),
        "category_scores": dict.fromkeys(_HARMS, 0.0),
        "category_applied_input_types": {harm: ["text"] for harm in _HARMS},
    }
    return {"id": f"modr-{name}", "model": MODEL, "results": [result for _ in parts]}


ENDPOINTS: Final[dict[str, Callable[[Json, str], Json]]] = {
    "/v1/chat/completions": _chat,
    "/v1/completions": _completion,
    "/v1/responses": _response,
    "/v1/embeddings": _embeddings,
    "/v1/moderations": _moderation,
}


_HARMS: Final = (
    *("harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent"),
    *("self-harm", "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors"),
    *("violence", "violence/graphic"),
)


def _required(request: Json, name: str) -> object:
    if request.get(name) is None:
        raise Refusal(400, f"Missing required parameter: '{name}'.", name, "missing_required_parameter")
    return request[name]


def _text(value: object) -> str:
    """All text a request holds at a place: strings, `content` and `text` of messages and parts, in order."""
    match value:
        case str():
            return value
        case list():
            return " ".join(filter(None, map(_text, value)))
        case {"content": inner} | {"text": inner}:
            return _text(inner)
        case _:
            return ""


def _tokens(text: str) -> int:
    return len(text.split())


def _echo(asked: str, at_most: object) -> tuple[str, bool]:
    """What is said, and whether all of it fitted into the tokens the request allows."""
    words = ["Echo:", *asked.split()]
    limit = len(words) if at_most is None else at_most
    if not isinstance(limit, int) or limit < 1:
        raise Refusal(
            400, f"Invalid limit of tokens: expected an integer from 1, but got {limit!r}.", "max_tokens"
        )
    return " ".join(words[:limit]), limit >= len(words)


def _vector(text: str, dimensions: int) -> list[float]:
    """A direction that only this text has, of length 1."""
    stream = hashlib.shake_256(text.encode(errors="surrogatepass")).digest(2 * dimensions)
    numbers = [number + 0.5 for number in struct.unpack(f">{dimensions}h", stream)]
    length = math.hypot(*numbers)
    return [number / length for number in numbers]


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
