"""What may be done to what events tell of: attachments, files, checkpoints, rows; each at a random place."""

from collections.abc import Callable
from random import Random
from typing import Final
from uuid import UUID

import msgspec

from events.audit.checkpoint import Checkpoint, parse_checkpoint
from events.audit.note import PrivateKey, parse_note, sign
from tests.engine.audit.hand import Done, Hand
from tests.engine.audit.mill import KEY

FORGED: Final = PrivateKey("mill", bytes(range(7, 39)))


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


async def change_an_attachment(hand: Hand) -> Done:
    """Deleted, moved to where none is, made another batch's, or one more."""
    one = await hand.row(
        "SELECT a.event_id, a.ordinal FROM attachments a JOIN events e USING (event_id) "
        "WHERE e.position <= $1 ORDER BY e.position, a.ordinal", hand.size,
    )  # fmt: skip
    other, key = str(UUID(int=hand.dice.randrange(1 << 128))), f"{one['event_id']}/{one['ordinal']}"
    how, statement, kind, keys = hand.dice.choice(
        [
            ("deleted", "DELETE FROM attachments", "attachment_deleted", [key]),
            ("moved", f"UPDATE attachments SET event_id = '{other}'", "attachment_swapped", [key]),
            ("moved", "UPDATE attachments SET ordinal = 9", "attachment_swapped", [key]),
            ("another's", "UPDATE attachments SET batch_id = 'batch_other'", "attachment_changed", [key]),
            (
                "there twice",
                f"INSERT INTO attachments SELECT '{other}', 0, batch_id, salt, body FROM attachments",
                "attachment_inserted",
                [other],
            ),
        ]
    )
    await hand.execute(f"{statement} WHERE event_id = $1 AND ordinal = $2", one["event_id"], one["ordinal"])
    return Done(f"attachment {key} {how}", (kind,), [], keys)


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
    how = hand.dice.choice(("forged", "resigned", "broken", "column", "another", "storage", "older", "gone"))
    key = f"the database/{row['size']}"
    [place] = hand.folder.glob("audit/*/checkpoint")
    if how == "older":
        older = hand.dice.choice(hand.witnessed[:-2])
        place.write_text(older.note.encode())
        return Done(
            "checkpoint in storage was older",
            ("checkpoint_replaced",),
            [],
            [f"storage/{older.checkpoint.size}"],
        )
    if how == "gone":
        place.unlink()
        return Done("checkpoint in storage deleted", ("checkpoint_replaced",), [], ["storage/0"])
    if how == "storage":
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
            "expires_at",
            "bytes",
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
            "INSERT INTO read_models SELECT $2, kind, project_id, label, stored, created_at, hidden, "
            "version, state, parked, expires_at, bytes FROM read_models WHERE id = $1", id, other,
        )  # fmt: skip
        return Done(f"row {other} inserted", ("read_model_inserted",), [], [other])
    values: dict[str, Callable[[], object]] = {
        "kind": lambda: "upload" if row["kind"] != "upload" else "file",
        "created_at": lambda: row["created_at"].replace(year=2020),
        "hidden": lambda: not row["hidden"],
        "version": lambda: row["version"] + (1 if row["version"] == 0 or hand.dice.random() < 0.5 else -1),
        "state": lambda: _edited(row["state"], hand.dice),
        "parked": lambda: "nobody knows",
        "expires_at": lambda: (row["expires_at"] or 0) + 1,
        "bytes": lambda: (row["bytes"] or 0) + 1,
    }
    value = values[column]() if column in values else hand.misspelt(row[column] or "x")
    await hand.execute(f"UPDATE read_models SET {column} = $1 WHERE id = $2", value, id)
    return Done(f"{column} of row {id}", ("read_model_edited",), [], [id])


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
