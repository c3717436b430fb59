"""Files of secret keys, one on a line, the newest first, which only their owner may read."""

import os
import secrets
from pathlib import Path

from events.errors import SettingsError


def read_keys(file: Path) -> str:
    """The text of a key file. Raises `SettingsError`."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{file} cannot be read: {getattr(error, 'strerror', 'it is no text')}"
        ) from error


def write_key(file: Path, text: str, *, above: str | None = None) -> None:
    """Writes a key into a new file, or `above` what the file has: whole or not at all. Raises
    `SettingsError`."""
    if above is None and file.exists():
        raise SettingsError(f"{file} is there already: give another name, or --rotate to put a key above its")
    draft = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as new:
            new.write(f"{text}\n{above or ''}")
            new.flush()
            os.fsync(new.fileno())
        if above is None:
            os.link(draft, file)
            draft.unlink()
        else:
            draft.replace(file)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise SettingsError(f"{file} cannot be written: {error.strerror}") from error
