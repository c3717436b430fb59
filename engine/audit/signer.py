"""Who signs checkpoints: keys that this process has, or a command that asks whoever has them (a KMS)."""

from collections.abc import Sequence
from typing import Protocol

from events.audit.note import (
    MalformedNote,
    Note,
    NotSigned,
    PrivateKey,
    PublicKey,
    parse_note,
    parse_private_key,
    parse_public_key,
    sign,
)
from events.errors import BatchmillError, SettingsError
from events.program import PATIENCE, ProgramFailed, answer_of


class SignerFailed(BatchmillError):
    """No signature was made, for now."""


class Signer(Protocol):
    """Signs with one key, or, while a new one takes the place of an old one, with both."""

    @property
    def keys(self) -> Sequence[PublicKey]:
        """The keys that sign, the newest first."""
        ...

    async def sign(self, text: str) -> Note:
        """The text, signed by all of the keys. Raises `SignerFailed`."""
        ...


class KeySigner:
    """Signs with keys at hand."""

    def __init__(self, keys: Sequence[PrivateKey]) -> None:
        self._private = keys
        self.keys: Sequence[PublicKey] = [key.public for key in keys]

    async def sign(self, text: str) -> Note:
        """See `Signer.sign`."""
        return sign(text, self._private)


class CommandSigner:
    """Runs a program for each signature: it gets the text on its standard input, and writes a line for each
    signature, as it stands in a note, on its standard output. No shell is involved."""

    def __init__(self, command: Sequence[str], keys: Sequence[PublicKey], patience: float = PATIENCE) -> None:
        self._command = command
        self.keys = keys
        self._patience = patience

    async def sign(self, text: str) -> Note:
        """See `Signer.sign`."""
        name = self._command[0]
        try:
            said = await answer_of(self._command, text, self._patience)
        except ProgramFailed as error:
            raise SignerFailed(str(error)) from error
        try:
            note = parse_note(f"{text}\n{said}")
            signed = note.signers(self.keys)
        except (MalformedNote, NotSigned) as error:
            raise SignerFailed(f"what {name} said is no signature that is asked of it: {error}") from error
        missing = [key.text for key in self.keys if key not in signed]
        if note.text != text or missing:
            raise SignerFailed(f"{name} did not sign with {', '.join(missing) or 'the text as it was given'}")
        return note


def parse_private_keys(text: str) -> list[PrivateKey]:
    """The keys of a key file, one on a line, the newest first. Raises `SettingsError`."""
    try:
        keys = [parse_private_key(word) for word in text.split()]
    except MalformedNote as error:
        raise SettingsError(f"audit_key: {error}") from error
    return keys


def parse_public_keys(text: str) -> list[PublicKey]:
    """Public keys with commas or spaces between, the newest first. Raises `SettingsError`."""
    try:
        return [parse_public_key(word) for word in text.replace(",", " ").split()]
    except MalformedNote as error:
        raise SettingsError(f"audit_public_keys: {error}") from error
