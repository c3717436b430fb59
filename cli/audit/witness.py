"""What a witness has kept, for whoever verifies."""

from pathlib import Path
from typing import Final

import aiohttp

from cli.settings_values import mask_url
from events.audit.note import MalformedNote, Note, parse_note, parse_notes
from events.audit.records import Signed, parse_signed
from events.errors import SettingsError

PATIENCE: Final = 10.0
"""Seconds for a witness to answer."""


async def kept_by(place: str) -> list[Signed]:
    """The checkpoints in a file, in the files of a folder, or behind a URL. Raises `SettingsError` for a
    place that has none."""
    if not place.startswith(("http:", "https:")):
        return kept_in(Path(place))
    try:
        return _kept(place, [await _fetched(place)])
    except (UnicodeDecodeError, aiohttp.ClientError, TimeoutError) as error:
        raise _unreadable(place, error) from error


def kept_in(place: Path) -> list[Signed]:
    """The same of a file or a folder alone."""
    try:
        return _kept(str(place), _read(place))
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(str(place), error) from error


def _kept(place: str, texts: list[str]) -> list[Signed]:
    try:
        kept = [parse_signed(note.encode()) for text in texts for note in _notes(text)]
    except MalformedNote as error:
        raise _unreadable(place, error) from error
    if not kept:
        raise SettingsError(f"the witness {mask_url(place)} has no checkpoints")
    return kept


def _unreadable(place: str, error: Exception) -> SettingsError:
    reason = str(error) or type(error).__name__
    return SettingsError(f"the witness {mask_url(place)} has no checkpoints that can be read: {reason}")


def _read(place: Path) -> list[str]:
    files = sorted(file for file in place.rglob("*") if file.is_file()) if place.is_dir() else [place]
    return [file.read_text("utf-8") for file in files]


def _notes(text: str) -> list[Note]:
    """Notes with a blank line after each, as witnesses keep them, or a single one."""
    return parse_notes(text) if text.endswith("\n\n") else [parse_note(text)]


async def _fetched(url: str) -> str:
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    async with (
        aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
        session.get(url) as answer,
    ):
        return await answer.text("utf-8")
