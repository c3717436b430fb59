"""SQL lives in `.sql` files beside the code that runs it, each statement named and described."""

import re
from importlib import resources
from typing import Final

_HEAD: Final = re.compile(r"^-- name: (\w+)\s*\n", re.MULTILINE)


def load_statements(package: str, file: str) -> dict[str, str]:
    """The statements of a `.sql` file by name: each begins with a line `-- name: …`."""
    parts = _HEAD.split(resources.files(package).joinpath(file).read_text("utf-8"))
    return {name: text.strip().rstrip(";") for name, text in zip(parts[1::2], parts[2::2], strict=True)}
