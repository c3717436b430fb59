"""What a verification makes of segments that were damaged: each is one defect, and all of its events are
not."""

from collections.abc import Collection

from engine.audit.progress import Progress
from events.audit.naming_segments import SegmentFault
from events.audit.tile_store import TileMissing, TileStore
from events.audit.tiles import HEIGHT, split, tile_at
from events.segments.shelf import Shelf


async def stand_ins(
    moved: Shelf, tiles: TileStore, size: int, after: int, upto: int, but: Collection[int]
) -> dict[int, bytes | None]:
    """For positions of damaged segments the leaves that were sealed there, of a tree of `size` (None: there
    is none): behind a position, up to another, `but` for those that are rows."""
    leaves: dict[int, bytes | None] = {}
    number, tile = -1, list[bytes]()
    for position in sorted(moved.lost(max(after, 0), upto).difference(but)):
        leaves[position] = None
        index = position - 1
        if index < size and index >> HEIGHT != number:
            number = index >> HEIGHT
            try:
                tile = split(await tiles.read(tile_at(0, number, size)))
            except TileMissing:
                tile = []
        within = index - (number << HEIGHT)
        if index < size and within < len(tile):
            leaves[position] = tile[within]
    return leaves


async def note_damage(moved: Shelf, progress: Progress) -> None:
    """Notes damaged segments that are not noted yet."""
    noted = {fault.first for fault in progress.segments}
    for damage in [damage for first, damage in moved.damaged.items() if first not in noted]:
        segment = damage.segment
        other = None if damage.found is None else await moved.with_digest(damage.found)
        progress.segments.append(
            SegmentFault(
                segment.first,
                segment.last,
                segment.events,
                segment.name,
                segment.sha256.hex(),
                None if damage.found is None else damage.found.hex(),
                other,
            )
        )
