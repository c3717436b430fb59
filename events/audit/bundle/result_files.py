"""Whether a result file that somebody has downloaded is the one that a bundle tells of."""

from hashlib import sha256
from typing import Final, Literal

import msgspec

from events.audit.bundle.outcomes import Outcomes
from events.audit.bundle.parts import MOST_BYTES, BundleFlaw, Source
from events.file import FileCreated

WHY_UNRUN: Final = {"cancelled": "batch_cancelled", "expired": "batch_expired"}
"""What stands in the error file of lines without an outcome, by how the batch ended."""


class _Error(msgspec.Struct, frozen=True):
    code: str | None


class _ErrorLine(msgspec.Struct, frozen=True):
    error: _Error | None = None


def require_result_file(
    source: Source,
    name: Literal["output", "errors"],
    file: FileCreated | None,
    outcomes: Outcomes,
    status: str,
) -> None:
    """Compares line by line, then as a whole. `outcomes` are those of the bundle, kept with a spool, and
    `status` that of the batch. Raises `BundleFlaw`, which names the file and the line."""
    whole, size = sha256(), 0
    for place, line in enumerate(outcomes.of_file(output=name == "output"), 1):
        text = source.readline(MOST_BYTES)
        where = f"line {place} of the {name} file, line {line} of the batch from 0,"
        if not text:
            raise BundleFlaw(name, f"{where} is missing: the file ends before it")
        if outcomes.ran(line) and not outcomes.fits(line, text):
            raise BundleFlaw(name, f"{where} is not what was recorded")
        if not outcomes.ran(line) and _code(text) != WHY_UNRUN.get(status):
            raise BundleFlaw(name, f"{where} does not say that it was never run")
        whole.update(text)
        size += len(text)
    if source.read(1):
        raise BundleFlaw(name, f"the {name} file has more lines than the batch has for it")
    if file is None:
        if size:
            raise BundleFlaw(name, f"the batch has no {name} file, and this is one")
    elif (size, whole.hexdigest()) != (file.size, file.sha256):
        raise BundleFlaw(
            name,
            f"the {name} file does not have the SHA-256 that was sealed: it is {whole.hexdigest()}, of "
            f"{size} bytes, and must be {file.sha256}, of {file.size}",
        )


def _code(text: bytes) -> str | None:
    try:
        line = msgspec.json.decode(text, type=_ErrorLine)
    except msgspec.MsgspecError:
        return None
    return None if line.error is None else line.error.code
