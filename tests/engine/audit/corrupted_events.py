"""What may be done to the events themselves, each at a random place."""

from collections.abc import Callable

from tests.engine.audit.hand import DIGESTED, Done, Hand


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
    await hand.execute(DIGESTED, position)
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
    await hand.execute(DIGESTED, position)
    return Done(f"a {kind} inserted at {position}", ("event_inserted",), [position])


async def cut_the_tail(hand: Hand) -> Done:
    """The last events, or all; with or without the checkpoints and tiles that tell of them, and their
    attachments."""
    how = hand.dice.choice(("events", "all events", "checkpoints", "everything"))
    kept = 0 if how == "all events" else hand.size - hand.dice.randint(1, 40)
    if hand.dice.random() < 0.5:
        await hand.execute(
            "DELETE FROM attachments a USING events e WHERE e.event_id = a.event_id AND e.position > $1", kept
        )
    await hand.execute("DELETE FROM events WHERE position > $1", kept)
    if how in ("checkpoints", "everything"):
        await hand.execute("DELETE FROM signed_checkpoints WHERE size > $1", kept)
        older = [signed for signed in hand.witnessed if signed.checkpoint.size <= kept][-1]
        [place] = hand.folder.glob("audit/*/checkpoint")
        place.write_text(older.note.encode())
    if how == "everything":
        for tile in hand.folder.glob("audit/*/tile/0/000.p/*"):
            if int(tile.name) > kept:
                tile.unlink()
    return Done(f"cut behind {kept} with its {how}", ("tail_cut",), [kept + 1])
