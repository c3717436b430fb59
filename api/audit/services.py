"""What the API has for audits."""

import msgspec

from events.audit.bundle.export import BundleExport
from events.audit.proofs import Proofs
from events.audit.records import AuditRecords
from events.database import Database
from storage.data_key import DataKeys
from storage.store import Store


class AuditServices(msgspec.Struct, frozen=True):
    """Leaves of the log, and what is made of them and the tiles in storage."""

    records: AuditRecords
    proofs: Proofs
    bundles: BundleExport

    @classmethod
    def over(cls, database: Database, store: Store, keys: DataKeys | None = None) -> "AuditServices":
        """Of the log in a database, sealed in a storage."""
        records = AuditRecords(database, store)
        return cls(records, Proofs(records, store), BundleExport(database, store, keys))
