"""Input files for the benchmarks: request lines of one length, each with text of its own."""

import json
from collections.abc import Iterator
from pathlib import Path

_WORDS = [
    "grain",
    "husk",
    "mill",
    "river",
    "stone",
    "wheel",
    "flour",
    "oven",
    "bread",
    "salt",
    "yeast",
    "winter",
    "harvest",
    "sack",
    "scale",
    "brook",
]


def request_line(number: int, size: int) -> bytes:
    """Line `number`, `size` bytes long with its newline (at least 200)."""

    def text(content: str) -> bytes:
        body = {"model": "bench", "messages": [{"role": "user", "content": content}], "max_tokens": 200}
        return json.dumps(
            {"custom_id": f"line-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
        ).encode()

    missing = size - len(text("")) - 1
    words = " ".join(
        _WORDS[(number * 7 + n * (1 + number % 5)) % len(_WORDS)] for n in range(1 + missing // 5)
    )
    return text(words[:missing].ljust(missing, ".")) + b"\n"


def request_lines(count: int, size: int) -> Iterator[bytes]:
    """So many lines."""
    return (request_line(number, size) for number in range(count))


def write_input(path: Path, count: int, size: int) -> Path:
    """A file of so many lines."""
    with path.open("wb") as file:
        file.writelines(request_lines(count, size))
    return path
