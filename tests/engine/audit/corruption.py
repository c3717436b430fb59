"""What somebody may do to a log who owns the database and the storage, and has the source of the program.

Each kind is one act at a random place that a witnessed checkpoint covers; it says what an audit must call it.
Whoever has the tables has their triggers too, so these are off.
"""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from random import Random
from typing import Final

import asyncpg
import msgspec

from events.audit.checkpoint import Checkpoint, parse_checkpoint
from events.audit.note import PrivateKey, parse_note, sign
from events.audit.records import Signed
from tests.engine.audit.mill import KEY
from tests.postgres import Database

TABLES: Final = ("events", "attachments", "read_models", "signed_checkpoints")
FORGED: Final = PrivateKey("mill", bytes(range(7, 39)))
Connection = asyncpg.Connection


class Done(msgspec.Struct, frozen=True):
    """What was done, and what it must be called: one of `kinds`, at one of `positions` or of `keys` (which
    a defect's key begins with), where these are given."""

    told: str
    kinds: tuple[str, ...]
    positions: Sequence[int] = ()
    keys: Sequence[str] = ()


class Hand:
    """The hand that does it."""

    def __init__(
        self, connection: Connection, folder: Path, witnessed: Sequence[Signed], dice: Random
    ) -> None:
        self.connection = connection
        self.folder = folder
        self.witnessed = witnessed
        self.dice = dice
        self.size = witnessed[-1].checkpoint.size

    async def row(self, query: str, *arguments: object) -> asyncpg.Record:
        """One of the rows, by the dice."""
        rows = await self.connection.fetch(query, *arguments)
        return self.dice.choice(rows)

    async def position(self) -> int:
        return self.dice.randint(1, self.size)

    async def execute(self, statement: str, *arguments: object) -> None:
        await self.connection.execute(statement, *arguments)

    async def shift(self, first: int, by: int) -> None:
        """Moves events from a position on, so that none is missing."""
        await self.execute("UPDATE events SET position = -position - 1000000 WHERE position >= $1", first)
        await self.execute(
            "UPDATE events SET position = -position - 1000000 + $1 WHERE position < -1000000", by
        )

    def flipped(self, value: bytes) -> bytes:
        """The same with one bit changed."""
        at = self.dice.randrange(len(value))
        return value[:at] + bytes([value[at] ^ 1 << self.dice.randrange(8)]) + value[at + 1 :]

    def misspelt(self, text: str) -> str:
        """The same with one letter changed."""
        at = self.dice.randrange(len(text))
        other = self.dice.choice([sign for sign in "abc012 x" if sign != text[at]])
        return text[:at] + other + text[at + 1 :]


async def flip_a_byte(hand: Hand) -> Done:
    """In any column of an event, in an attachment, or in its salt."""
    position = await hand.position()
    column = hand.dice.choice(
        [
            "event_id",
            "stream_id",
            "version",
            "type",
            "project_id",
            "data",
            "lines",
            "metadata",
            "attachments",
            "content_digest",
            "digest",
            "recorded_at",
            "position",
            "body",
            "salt",
        ]
    )
    if column in ("body", "salt"):
        one = await hand.row(
            "SELECT a.*, e.position FROM attachments a JOIN events e USING (event_id) WHERE e.position <= $1",
            hand.size,
        )
        await hand.execute(
            f"UPDATE attachments SET {column} = $1 WHERE event_id = $2 AND ordinal = $3",
            hand.flipped(one[column]), one["event_id"], one["ordinal"],
        )  # fmt: skip
        key = f"{one['event_id']}/{one['ordinal']}"
        return Done(f"a bit of {column} of {key}", ("attachment_changed",), [one["position"]], [key])
    if column in ("lines", "attachments"):
        position = (
            await hand.row(
                f"SELECT position FROM events WHERE {column} IS NOT NULL AND position <= $1", hand.size
            )
        )["position"]
    [row] = await hand.connection.fetch("SELECT * FROM events WHERE position = $1", position)
    change: dict[str, Callable[[], object]] = {
        "event_id": lambda: str(row["event_id"])[:-1] + ("0" if str(row["event_id"])[-1] != "0" else "1"),
        "version": lambda: row["version"] + (1 << hand.dice.randint(10, 40)),
        "recorded_at": lambda: row["recorded_at"].replace(microsecond=row["recorded_at"].microsecond ^ 1),
        "position": lambda: position + (1 << hand.dice.randint(10, 40)),
    }
    value = (
        change[column]()
        if column in change
        else hand.flipped(row[column])
        if isinstance(row[column], bytes)
        else hand.misspelt(row[column])
    )
    await hand.execute(f"UPDATE events SET {column} = $1 WHERE position = $2", value, position)
    kind = "events_reordered" if column == "position" else "event_changed"
    return Done(f"{column} of the event at {position}", (kind,), [position])


async def change_with_right_digests(hand: Hand) -> Done:
    """Data and digests together, as the log's own functions make them."""
    position = await hand.position()
    [row] = await hand.connection.fetch("SELECT * FROM events WHERE position = $1", position)
    await hand.execute(
        "UPDATE events SET data = $1 WHERE position = $2", hand.misspelt(row["data"]), position
    )
    await _digest(hand, position)
    return Done(f"data and digests of the event at {position}", ("event_changed",), [position])


async def swap_rows(hand: Hand) -> Done:
    """Two events, near or far from each other."""
    first = hand.dice.randint(1, hand.size - 1)
    second = first + 1 if hand.dice.random() < 0.5 else hand.dice.randint(first + 1, hand.size)
    await hand.execute("UPDATE events SET position = -1000000 WHERE position = $1", first)
    await hand.execute("UPDATE events SET position = $1 WHERE position = $2", first, second)
    await hand.execute("UPDATE events SET position = $1 WHERE position = -1000000", second)
    return Done(f"events {first} and {second} swapped", ("events_reordered",), [first, second])


async def delete_rows(hand: Hand) -> Done:
    """One or a few, with or without their attachments, with or without the gap closed; not the last."""
    count = hand.dice.choice((1, 1, 1, 3))
    first = hand.dice.randint(1, hand.size - count)
    if hand.dice.random() < 0.5:
        await hand.execute(
            "DELETE FROM attachments a USING events e WHERE e.event_id = a.event_id AND e.position >= $1 "
            "AND e.position < $2", first, first + count,
        )  # fmt: skip
    await hand.execute("DELETE FROM events WHERE position >= $1 AND position < $2", first, first + count)
    closed = hand.dice.random() < 0.5
    if closed:
        await hand.shift(first, -count)
    told = f"{count} events from {first} on, gap {'closed' if closed else 'left'}"
    return Done(told, ("event_deleted",), [first])


async def insert_a_row(hand: Hand) -> Done:
    """With right digests, at the end of a stream or in one of its own, all later ones moved up."""
    position = hand.dice.randint(1, hand.size)
    await hand.shift(position, 1)
    streams = [
        row["stream_id"] for row in await hand.connection.fetch("SELECT DISTINCT stream_id FROM events")
    ]
    kind = hand.dice.choice(("FileDeleted", "BatchCancelRequested", "FileCreated"))
    data = "{}"
    if kind == "FileCreated":
        stream = f"file-{hand.dice.randrange(1 << 60)}"
        data = (
            '{"filename":"x","purpose":"batch","size":1,"sha256":"00","storage_key":"files/' + "0" * 32 + '"}'
        )
    else:
        prefix = "file-" if kind == "FileDeleted" else "batch_"
        stream = hand.dice.choice(sorted(one for one in streams if one.startswith(prefix)))
    await hand.execute(
        "INSERT INTO events SELECT $1, gen_random_uuid(), $2, (SELECT coalesce(max(version), 0) + 1 "
        "FROM events WHERE stream_id = $2), $3, 'proj_1', $4, NULL, '{}', NULL, '', '', now()",
        position, stream, kind, data,
    )  # fmt: skip
    await _digest(hand, position)
    return Done(f"a {kind} inserted at {position}", ("event_inserted",), [position])


async def swap_attachments(hand: Hand) -> Done:
    """Exchanged with another one, or the one put in the place of another of the batch."""
    rows = await hand.connection.fetch(
        "SELECT a.*, e.position FROM attachments a JOIN events e USING (event_id) WHERE e.position <= $1",
        hand.size,
    )
    one, other = hand.dice.sample(rows, 2)
    if hand.dice.random() < 0.5:
        other = hand.dice.choice([row for row in rows if row["batch_id"] == one["batch_id"] and row != one])
        pairs = [(one, other)]
    else:
        pairs = [(one, other), (other, one)]
    for to, source in pairs:
        await hand.execute(
            "UPDATE attachments SET salt = $1, body = $2 WHERE event_id = $3 AND ordinal = $4",
            source["salt"], source["body"], to["event_id"], to["ordinal"],
        )  # fmt: skip
    keys = [f"{to['event_id']}/{to['ordinal']}" for to, _ in pairs]
    return Done(f"attachments {keys} swapped", ("attachment_swapped",), [], keys)


async def change_a_file(hand: Hand) -> Done:
    """A bit, a cut, more at the end, another file's content, exchanged, or deleted."""
    files = [
        (row["stream_id"], hand.folder / msgspec.json.decode(row["data"])["storage_key"])
        for row in await hand.connection.fetch(
            "SELECT stream_id, data FROM events WHERE type = 'FileCreated' ORDER BY 1"
        )
    ]
    present = [(id, path) for id, path in files if path.exists()]
    id, path = hand.dice.choice(present)
    content = path.read_bytes()
    ways: dict[str, bytes] = {
        "flipped": hand.flipped(content),
        "cut": content[:-1],
        "longer": content + b"{}\n",
        "empty": b"",
    }
    how = hand.dice.choice([*ways, "exchanged", "deleted"])
    if how == "deleted":
        path.unlink()
        return Done(f"file {id} deleted", ("file_deleted",), [], [id])
    if how == "exchanged":
        others = [(other, there) for other, there in present if there.read_bytes() != content]
        other, there = hand.dice.choice(others)
        path.write_bytes(there.read_bytes())
        there.write_bytes(content)
        return Done(f"files {id} and {other} exchanged", ("file_swapped",), [], [id, other])
    path.write_bytes(ways[how])
    return Done(f"file {id} {how}", ("file_changed",), [], [id])


async def replace_a_checkpoint(hand: Hand) -> Done:
    """In the database or in storage: another root, another key, another row's note, or a false signature."""
    row = await hand.row("SELECT * FROM signed_checkpoints ORDER BY size")
    genuine = parse_checkpoint(parse_note(row["note"]).text)
    other = Checkpoint(genuine.origin, genuine.size, hand.flipped(genuine.root))
    how = hand.dice.choice(("forged", "resigned", "broken", "column", "another", "storage"))
    key = f"the database/{row['size']}"
    if how == "storage":
        [place] = hand.folder.glob("audit/*/checkpoint")
        stored = parse_checkpoint(parse_note(place.read_bytes()).text)
        place.write_text(
            sign(Checkpoint(stored.origin, stored.size, hand.flipped(stored.root)).text, [FORGED]).encode()
        )
        return Done("checkpoint in storage", ("checkpoint_replaced",), [], [f"storage/{stored.size}"])
    root, note = row["root"], row["note"]
    if how == "forged":
        root, note = other.root, sign(other.text, [FORGED]).encode()
    elif how == "resigned":  # the key was stolen, too
        root, note = other.root, sign(other.text, [KEY]).encode()
    elif how == "broken":
        note = sign(genuine.text, [KEY]).encode().replace(genuine.text, other.text)
        root = other.root
    elif how == "column":
        root = other.root
    else:
        rows = await hand.connection.fetch("SELECT * FROM signed_checkpoints WHERE size <> $1", row["size"])
        note = hand.dice.choice(rows)["note"]
    await hand.execute(
        "UPDATE signed_checkpoints SET root = $1, note = $2 WHERE size = $3", root, note, row["size"]
    )
    return Done(f"checkpoint {row['size']} {how}", ("checkpoint_replaced",), [], [key])


async def edit_a_read_model(hand: Hand) -> Done:
    """Any column of a row, a row less, or one more."""
    row = await hand.row("SELECT * FROM read_models ORDER BY id")
    column = hand.dice.choice(
        [
            "kind",
            "project_id",
            "label",
            "stored",
            "created_at",
            "hidden",
            "version",
            "state",
            "parked",
            "deleted",
            "inserted",
        ]
    )
    if column == "state" and row["state"] is None:
        row = await hand.row("SELECT * FROM read_models WHERE state IS NOT NULL ORDER BY id")
    id = row["id"]
    if column == "deleted":
        await hand.execute("DELETE FROM read_models WHERE id = $1", id)
        return Done(f"row {id} deleted", ("read_model_deleted",), [], [id])
    if column == "inserted":
        other = id[:8] + f"{hand.dice.randrange(1 << 60):x}"
        await hand.execute(
            "INSERT INTO read_models SELECT $2, kind, project_id, label, stored, created_at, hidden, version, "
            "state, parked, expires_at, bytes FROM read_models WHERE id = $1", id, other,
        )  # fmt: skip
        return Done(f"row {other} inserted", ("read_model_inserted",), [], [other])
    values: dict[str, Callable[[], object]] = {
        "kind": lambda: "upload" if row["kind"] != "upload" else "file",
        "created_at": lambda: row["created_at"].replace(year=2020),
        "hidden": lambda: not row["hidden"],
        "version": lambda: row["version"] + (1 if row["version"] == 0 or hand.dice.random() < 0.5 else -1),
        "state": lambda: _edited(row["state"], hand.dice),
        "parked": lambda: "nobody knows",
    }
    value = values[column]() if column in values else hand.misspelt(row[column] or "x")
    await hand.execute(f"UPDATE read_models SET {column} = $1 WHERE id = $2", value, id)
    return Done(f"{column} of row {id}", ("read_model_edited",), [], [id])


async def cut_the_tail(hand: Hand) -> Done:
    """The last events; with or without the checkpoints and tiles that tell of them, and their attachments."""
    kept = hand.size - hand.dice.randint(1, 40)
    how = hand.dice.choice(("events", "checkpoints", "everything"))
    if hand.dice.random() < 0.5:
        await hand.execute(
            "DELETE FROM attachments a USING events e WHERE e.event_id = a.event_id AND e.position > $1", kept
        )
    await hand.execute("DELETE FROM events WHERE position > $1", kept)
    if how != "events":
        await hand.execute("DELETE FROM signed_checkpoints WHERE size > $1", kept)
        older = [signed for signed in hand.witnessed if signed.checkpoint.size <= kept][-1]
        [place] = hand.folder.glob("audit/*/checkpoint")
        place.write_text(older.note.encode())
    if how == "everything":
        for tile in hand.folder.glob("audit/*/tile/0/000.p/*"):
            if int(tile.name) > kept:
                tile.unlink()
    return Done(f"cut behind {kept} with its {how}", ("tail_cut",), [kept + 1])


Act = Callable[[Hand], Awaitable[Done]]
KINDS: Final[dict[str, Act]] = {
    "byte flipped": flip_a_byte,
    "changed, digests right": change_with_right_digests,
    "rows swapped": swap_rows,
    "deleted": delete_rows,
    "inserted, digests right": insert_a_row,
    "attachment swapped": swap_attachments,
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


async def _digest(hand: Hand, position: int) -> None:
    """Gives an event the digests that its columns have now."""
    await hand.execute(
        """
        UPDATE events SET content_digest = sha256(
            length_prefixed(convert_to(type, 'UTF8')) || length_prefixed(convert_to(data, 'UTF8'))
            || length_prefixed(lines) || length_prefixed(attachments)) WHERE position = $1
        """,
        position,
    )
    await hand.execute(
        "UPDATE events SET digest = event_digest(stream_id, version, event_id, project_id, metadata, "
        "recorded_at, content_digest) WHERE position = $1",
        position,
    )


def _edited(state: str, dice: Random) -> str:
    """A state with one of its numbers or texts another."""
    fields = msgspec.json.decode(state)
    name = dice.choice([name for name, value in fields.items() if isinstance(value, int | str)])
    value = fields[name]
    if isinstance(value, bool):
        fields[name] = not value
    elif name == "status":
        fields[name] = "expired" if value != "expired" else "cancelled"
    else:
        fields[name] = value + 1 if isinstance(value, int) else value + "x"
    return msgspec.json.encode(fields).decode()
