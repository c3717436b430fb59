"""Asks a program that an operator names: one that signs, or one that wraps keys. No shell is involved."""

import asyncio
from collections.abc import Sequence
from typing import Final

from events.errors import BatchmillError

PATIENCE: Final = 10.0
"""Seconds that a program may take."""
MOST_SAID: Final = 500


class ProgramFailed(BatchmillError):
    """The program gave no answer, for now."""


async def answer_of(command: Sequence[str], text: str, patience: float = PATIENCE) -> str:
    """What a program writes on its standard output when it gets `text` on its standard input. Raises
    `ProgramFailed`."""
    name, pipe = command[0], asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    except OSError as error:
        raise ProgramFailed(f"{name} cannot be run: {error.strerror}") from error
    try:
        async with asyncio.timeout(patience):
            output, errors = await process.communicate(text.encode())
    except TimeoutError:
        raise ProgramFailed(f"{name} took longer than {patience:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        why = errors.decode(errors="replace").strip()[-MOST_SAID:]
        raise ProgramFailed(f"{name} ended with {process.returncode}: {why}")
    return output.decode(errors="replace")
