"""What somebody may do to a log who owns the database and the storage, and has the source of the program.

Each kind is one act at a random place that a witnessed checkpoint covers; it says what an audit must call it.
Whoever has the tables has their triggers too, so these are off.
"""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from random import Random
from typing import Final

import asyncpg

from events.audit.records import Signed
from tests.engine.audit.corrupted_contents import (
    change_a_file,
    change_an_attachment,
    edit_a_read_model,
    replace_a_checkpoint,
    swap_attachments,
)
from tests.engine.audit.corrupted_events import (
    change_with_right_digests,
    cut_the_tail,
    delete_rows,
    flip_a_byte,
    insert_a_row,
    swap_rows,
)
from tests.engine.audit.hand import TABLES, Done, Hand
from tests.postgres import Database

Act = Callable[[Hand], Awaitable[Done]]
KINDS: Final[dict[str, Act]] = {
    "byte flipped": flip_a_byte,
    "changed, digests right": change_with_right_digests,
    "rows swapped": swap_rows,
    "deleted": delete_rows,
    "inserted, digests right": insert_a_row,
    "attachment swapped": swap_attachments,
    "attachment changed": change_an_attachment,
    "file changed": change_a_file,
    "checkpoint replaced": replace_a_checkpoint,
    "read model edited": edit_a_read_model,
    "tail cut": cut_the_tail,
}


async def corrupt(
    kind: str, database: Database, folder: Path, witnessed: Sequence[Signed], dice: Random
) -> Done:
    """Does it, with the owner's login."""
    connection = await asyncpg.connect(database.owner_url)
    try:
        async with connection.transaction():
            for table in TABLES:
                await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            return await KINDS[kind](Hand(connection, folder, witnessed, dice))
    finally:
        await connection.close()
