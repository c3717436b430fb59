"""What the description says of the API as a whole."""

from typing import Final

from api.openapi.entry import Schema

_ABOUT: Final = """\
Batches, files, uploads, models and webhook endpoints are as OpenAI's API has them, so its SDKs need nothing
but another base URL. What is Batchmill's own is said to be, and disturbs no client that does not know it.

- **Unknown fields** of a JSON body are refused as `unknown_parameter`. Those of a form are ignored, and so
  are unknown keys of a query. Clients in turn ignore what they do not know in an answer: versions add keys
  to objects, and take none away.
- **null** in a JSON body is as if the field were absent, where the schema allows it.
- **HEAD** is answered wherever GET is, with the same head.
- **Errors** all have the same envelope. An object of another project is answered like one that is not.
- **Azure's paths**, under `/openai/` and `/openai/v1/`, are those under `/v1/`.
- **A server's limits** are in what it describes itself at `GET /openapi.json`: its completion windows, and
  the sizes that it takes.
"""
INFO: Final = {
    "title": "Batchmill",
    "summary": "A self-hosted, OpenAI-compatible Batch API.",
    "description": _ABOUT,
    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
}
TAGS: Final = [
    {"name": "Batches", "description": "Requests that run in the background, many at once."},
    {"name": "Files", "description": "Inputs and results."},
    {"name": "Uploads", "description": "Files that come in parts."},
    {"name": "Models", "description": "What the upstreams serve."},
    {"name": "Webhooks", "description": "Who is told when a batch has ended."},
    {"name": "Audit", "description": "Proofs of what happened, to be checked without the server."},
    {"name": "Server", "description": "The server itself: its health, its limits, and this description."},
]
SECURITY_SCHEMES: Final = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "`Authorization: Bearer` and a key from `batchmill keys create`. It opens one "
        "project, for `read`, `write` or `admin`; what an operation needs stands beside it.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "api-key",
        "description": "The same key in the header that Azure's SDK sends; `Authorization` goes before it.",
    },
}


def _header(says: str, schema: Schema, *, always: bool = False) -> Schema:
    return {"description": says, "schema": schema, **({"required": True} if always else {})}


_STANDING: Final = (
    ("limit", "the most", {"type": "integer", "minimum": 1}),
    ("remaining", "what is left", {"type": "integer", "minimum": 0}),
    ("reset", "how long until all of it is back, such as `8.64s`", {"type": "string"}),
)
HEADERS: Final = {
    "x-request-id": _header(
        "By this the server's log knows the request.",
        {"type": "string", "pattern": "^req_[0-9a-f]{32}$"},
        always=True,
    ),
    "openai-processing-ms": _header(
        "Milliseconds until the answer began.", {"type": "integer", "minimum": 0}, always=True
    ),
    "openai-version": _header("The version of the wire.", {"const": "2020-10-01"}, always=True),
    "openai-organization": _header("The key's project.", {"type": "string"}),
    **{
        f"x-ratelimit-{name}-{what}": _header(
            f"Of {kind}, where the project has a limit of them: {says}.", schema
        )
        for what, kind in (("requests", "requests a minute"), ("tokens", "tokens in the queue"))
        for name, says, schema in _STANDING
    },
    "retry-after": _header(
        "Seconds after which to ask again.", {"type": "integer", "minimum": 1}, always=True
    ),
    "content-range": _header("How many bytes there are.", {"type": "string"}, always=True),
    "x-should-retry": _header("Whether asking again can help.", {"const": "false"}),
    "www-authenticate": _header("How to say who you are.", {"const": "Bearer"}, always=True),
}
