"""What several commands need of settings and options: who signs, which witnesses are told, which place in
the log is meant."""

import shlex
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path

import structlog

from cli.embedded.data_folder import audit_key_file, kept_audit_key
from cli.settings import Settings
from cli.settings_values import mask_url
from engine.audit.signer import CommandSigner, KeySigner, Signer, parse_private_keys, parse_public_keys
from engine.audit.witnesses import FileWitness, HttpWitness, StoreWitness, Witness, Witnesses
from events.audit.evidence import Evidence
from events.audit.note import PublicKey
from events.errors import SettingsError
from storage.object_store import open_store

_logger = structlog.get_logger()


def signer_of(settings: Settings) -> Signer | None:
    """Who signs by the settings; None where there is nobody. Raises `SettingsError` for what are no keys."""
    if settings.audit_sign_command is not None:
        keys = parse_public_keys(settings.audit_public_keys or "")
        return CommandSigner(shlex.split(settings.audit_sign_command), keys)
    return None if settings.audit_key is None else KeySigner(parse_private_keys(settings.audit_key))


def public_keys(given: Sequence[str]) -> list[PublicKey]:
    """Public keys that somebody names: each one's text, or a file of such. Raises `SettingsError`."""
    found: list[PublicKey] = []
    for one in given:
        file = Path(one)
        found += parse_public_keys(file.read_text("utf-8") if file.is_file() else one)
    return found


async def last_position(option: str, given: str, evidence: Evidence, *, inclusive: bool) -> int:
    """The last position before what an option gives, a time or a position; `inclusive`: that position itself.
    Raises `SettingsError` for what is neither."""
    if given.isdecimal():
        return int(given) if inclusive else max(0, int(given) - 1)
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        raise SettingsError(
            f"{option} {given!r} is no position, and no time such as 2026-11-26T12:00"
        ) from None
    return await evidence.since(moment.astimezone())


def own_signer(settings: Settings) -> Signer:
    """The same beside an embedded database: where nobody is set, a key that the data folder keeps."""
    signer = signer_of(settings)
    if signer is not None:
        return signer
    file = audit_key_file(settings.data_dir)
    made = not file.exists()
    keys = parse_private_keys(kept_audit_key(settings.data_dir))
    if made:
        public = keys[0].public.text
        _logger.info("audit key made: keep the public one elsewhere", file=str(file), public_key=public)
    return KeySigner(keys)


@asynccontextmanager
async def open_witnesses(settings: Settings) -> AsyncIterator[Witnesses]:
    """The witnesses, for as long as the block runs. Raises `StorageError` for storage that is none."""
    async with AsyncExitStack() as closing:
        witnesses: list[Witness] = []
        for place in settings.audit_witnesses:
            if place.startswith("/"):
                witnesses.append(FileWitness(Path(place)))
            elif place.startswith(("http:", "https:")):
                witnesses.append(HttpWitness(place, mask_url(place)))
            else:
                store = open_store(place, checksums=True)  # the bucket may have object lock
                closing.push_async_callback(store.close)
                witnesses.append(StoreWitness(store, mask_url(place)))
        yield Witnesses(witnesses)
