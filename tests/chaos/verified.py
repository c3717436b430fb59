"""What a verification finds of a log on which processes run, or ran."""

from collections.abc import Sequence
from pathlib import Path

from engine.audit.checkpoints import Trust
from engine.audit.progress import Report
from engine.audit.verifier import Verifier
from events.audit.evidence import Evidence
from events.audit.note import PublicKey
from events.database import Database
from events.incarnation import current_incarnation
from events.postgres_log import PostgresLog
from storage.object_store import open_store
from tests.engine.audit.sealed_log import shown_to_nobody


async def verified(url: str, files: Path, keys: Sequence[PublicKey]) -> Report:
    """What there is to find, for whoever trusts these keys; `url` is the application's login."""
    database = await Database.open(url)
    store = open_store(files.as_uri())
    try:
        incarnation = await current_incarnation(database)
        evidence, log = Evidence(database, store), PostgresLog(database, store)
        verifier = Verifier(evidence, log, store, incarnation, Trust(keys))
        return await verifier.run(await verifier.begin(), shown_to_nobody)
    finally:
        await store.close()
        await database.close()
