"""Who wraps data keys: keys that this process has, or a program that asks whoever has them (a KMS)."""

import base64
import binascii
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from events.encryption.wrapping_key import WrappingKey
from events.errors import BatchmillError
from events.program import answer_of
from storage.data_key import SECRET_BYTES, DataKey

BY_COMMAND: Final = "command"
"""What the database calls the program that wraps."""
MOST_WRAPPED: Final = 64 << 10


class WrappingFailed(BatchmillError):
    """A data key was not wrapped or unwrapped, for now, or by this process."""


class Wrapping:
    """The first of `keys` wraps, all unwrap. Where there is a `command`, that wraps, and `keys` only unwrap
    what they have wrapped before.

    The program gets `wrap` or `unwrap` and the project as its last arguments, the key as one line on its
    standard input, and writes one line. What it is to wrap is 32 bytes in base64.
    """

    def __init__(self, keys: Sequence[WrappingKey], command: Sequence[str] | None = None) -> None:
        self._keys = {key.id: key for key in keys}
        self._command = command
        self.by = BY_COMMAND if command is not None else keys[0].id
        """What wraps, as the database calls it."""

    def unwraps(self, by: str) -> bool:
        """Whether it unwraps what was wrapped by this."""
        return by in self._keys or (by == BY_COMMAND and self._command is not None)

    async def wrap(self, key: DataKey, project: str) -> bytes:
        """The data key of a project as the database keeps it. Raises `WrappingFailed` and `ProgramFailed`."""
        if self._command is None:
            return self._keys[self.by].wrap(key, project)
        text = await answer_of([*self._command, "wrap", project], _line(key))
        wrapped = text.strip().encode()
        if not 0 < len(wrapped) <= MOST_WRAPPED:
            raise WrappingFailed(f"{self._command[0]} wrapped a data key as {len(wrapped)} bytes")
        # What cannot be unwrapped again must never have encrypted anything.
        if (await self.unwrap(wrapped, self.by, key.id, project)).secret != key.secret:
            raise WrappingFailed(f"{self._command[0]} unwraps another key than it has wrapped")
        return wrapped

    async def unwrap(self, wrapped: bytes, by: str, id: UUID, project: str) -> DataKey:
        """What was wrapped. Raises `WrappingFailed`, `ProgramFailed`, and `DataKeyLost`."""
        if (key := self._keys.get(by)) is not None:
            return key.unwrap(wrapped, id, project)
        if by != BY_COMMAND or self._command is None:
            raise WrappingFailed(
                f"data key {id} of project {project} is wrapped by {named(by)}: {remedy(by)}"
            )
        answer = await answer_of([*self._command, "unwrap", project], wrapped.decode(errors="replace") + "\n")
        try:
            secret = base64.b64decode(answer.strip(), validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if len(secret) != SECRET_BYTES:
            raise WrappingFailed(
                f"{self._command[0]} unwrapped data key {id} of project {project} as something else than "
                f"{SECRET_BYTES} bytes in base64"
            )
        return DataKey(id, secret)


def named(by: str) -> str:
    """What wraps, in a message."""
    return "wrapping_command" if by == BY_COMMAND else f"wrapping key {by}"


def remedy(by: str) -> str:
    """What whoever misses it is to do."""
    if by == BY_COMMAND:
        return "give the program in BATCHMILL_WRAPPING_COMMAND"
    return "put it on a line of the file that BATCHMILL_WRAPPING_KEY_FILE names"


def _line(key: DataKey) -> str:
    return base64.b64encode(key.secret).decode() + "\n"
