"""What a verification finds of a log on which processes run, or ran."""

from collections.abc import Sequence
from pathlib import Path

from engine.audit.checkpoints import Trust
from engine.audit.progress import Report
from engine.audit.verifier import Verifier
from events.audit.evidence import Evidence
from events.audit.note import PublicKey
from events.incarnation import current_incarnation
from events.postgres_log import PostgresLog
from tests.chaos.contents import opened
from tests.engine.audit.sealed_log import shown_to_nobody


async def verified(url: str, files: Path, keys: Sequence[PublicKey]) -> Report:
    """What there is to find, for whoever trusts these keys; `url` is the application's login."""
    async with opened(url, files) as (database, store, data_keys):
        incarnation = await current_incarnation(database)
        evidence, log = Evidence(database, store, data_keys), PostgresLog(database, store, data_keys)
        verifier = Verifier(evidence, log, store, incarnation, Trust(keys))
        return await verifier.run(await verifier.begin(), shown_to_nobody)
