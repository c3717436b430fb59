"""One database for all tests of this room, emptied for each, as that of the log is."""

from tests.events.conftest import database, shared_database

__all__ = ["database", "shared_database"]
