"""Verifies the log: what stands in the database and in storage is what was recorded and sealed.

    events ─▶ their digests, their leaves beside the tiles, roots beside checkpoints  ─┐
       └───▶ attachments, line roots, files, results made again                        ├─▶ defects, named
    streams ─▶ versions, folds beside read models                                      │
    rows that belong to no event                                                      ─┘

Reads page by page, so memory does not grow with the log, a running program is not held up, and what was done
can be gone on with later (`Progress`). It ends at the position that was the last one when it began.
"""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from itertools import pairwise
from typing import Final
from uuid import UUID

from engine.audit.checkpoints import EVER, Anchor, Checkpoints, Trust
from engine.audit.contents import Contents, files_of
from engine.audit.moved_events import note_damage, stand_ins
from engine.audit.progress import Progress, Report, Show, report_of
from engine.audit.strays import look_at_strays
from events.audit.alignment import WINDOW
from events.audit.defect import MOST, Defect
from events.audit.digests import LogRow, content_digest_of
from events.audit.evidence import Evidence
from events.audit.naming import Explanations, Place, Unsound, name_events, name_history
from events.audit.tile_store import TileMissing, TileStore
from events.audit.tiles import HEIGHT, Tiling, split, tile_at
from events.audit.tree import includes
from events.audit.tree_check import TreeCheck
from events.errors import NotFound
from events.event import event_digest
from events.log import Log
from storage.store import Store

PAGE: Final = 512
"""Events read together: a few MB with their facts."""
BEFORE_ALL: Final = -(1 << 62)
"""Somebody may have moved an event to where no position is."""


class Verifier:
    """Over one log and one storage."""

    def __init__(
        self,
        evidence: Evidence,
        log: Log,
        store: Store,
        incarnation: UUID,
        trust: Trust,
        page: int = PAGE,
    ) -> None:
        self._page = page
        self._evidence = evidence
        self._log = log
        self._store = store
        self._tiles = TileStore(store, incarnation)
        self._checkpoints = Checkpoints(evidence, self._tiles, incarnation, trust)

    @property
    def origin(self) -> str:
        """The name of the log, as checkpoints have it."""
        return self._checkpoints.origin

    async def begin(self, after: int = 0, *, whole: bool = True) -> Progress:
        """Looks at what was signed last, and begins at the last checkpoint at or before position `after`. To
        look at a batch alone, not the `whole` log, takes no look at every checkpoint of storage."""
        await self._checkpoints.learn_keys()
        anchor = await self._checkpoints.anchor(of_hours=whole)
        head = await self._log.head()
        base = min(after, head, anchor.size) if after else 0
        begun = await self._checkpoints.newest(base) if base else None
        base = 0 if begun is None else begun.size
        return Progress(
            self._checkpoints.origin,
            base,
            head,
            anchor.size,
            anchor.where,
            position=base or BEFORE_ALL,
            checkpoint=base,
            passed=1 if base else 0,
            named=anchor.defects,
            told=anchor.told,
        )

    async def run(self, progress: Progress, show: Show) -> Report:
        """Goes on to the end, and says what was found. `show` is called after each page; what it is given can
        be kept only as long as the call. Raises as the database and storage do."""
        await self._checkpoints.learn_keys()
        progress.rewind()
        if progress.phase == "events":
            await self._events(progress, show)
        if progress.phase == "read models":
            await self._models(progress, show)
        if progress.phase == "strays":
            await look_at_strays(self._evidence, progress, show)
        return report_of(progress)

    async def run_batch(self, batch_id: str, show: Show) -> Report:
        """The same of one batch and its files: that each of their events is under the newest checkpoint, by a
        proof, and all that they tell of. Events that were cut off the end of a stream only a verification of
        the whole log finds. Raises `NotFound` too."""
        progress = await self.begin(whole=False)
        await self._checkpoints.learn_keys()
        anchor = await self._checkpoints.anchor(of_hours=False)
        contents = Contents(self._evidence, self._log, self._store, progress.looked)
        streams, number = [batch_id], 0
        while number < len(streams):
            stream, version = streams[number], 0
            while rows := await self._evidence.stream_rows(stream, version, self._page):
                version = rows[-1].version
                sound = [row for row in rows if self._sound(row, progress)]
                for row in rows:
                    await self._prove(row, anchor, progress)
                await contents.look(sound)
                streams += [file for row in sound for file in files_of(row) if file not in streams]
                progress.events += len(rows)
                await show(progress)
            number += 1
        if not progress.events:
            raise NotFound(f"there is no batch {batch_id!r} in the log")
        progress.sizes = await self._checkpoints.around(progress.places)
        progress.of_events += name_events(
            [], progress.unsound, {}, head=0, laid=0, size=0, sizes=progress.sizes
        )
        touched = Explanations(progress.of_events).touched
        await self.streams(progress, [stream for stream in streams if stream not in touched])
        await note_damage(self._evidence.moved, progress)
        return report_of(progress)

    async def _prove(self, row: LogRow, anchor: Anchor, progress: Progress) -> None:
        """Notes an event whose leaf is not where it must be in the tree that was signed."""
        if not 1 <= row.position <= anchor.size:
            return
        try:
            proof = await self._tiles.inclusion(row.position - 1, anchor.size)
        except TileMissing as error:
            told = f"the event at position {row.position} cannot be proven: {error}"
            progress.named.append(Defect("tile_missing", told, position=row.position, key=row.stream_id))
            return
        if not includes(anchor.root, anchor.size, row.position - 1, row.leaf, proof):
            progress.of_events.append(
                Defect(
                    "event_changed",
                    f"the event at position {row.position} (version {row.version} of {row.stream_id}) is not "
                    "the one that was sealed there",
                    position=row.position,
                    stream=row.stream_id,
                    version=row.version,
                    found=row.leaf.hex(),
                    before=anchor.size,
                )
            )

    async def _events(self, progress: Progress, show: Show) -> None:
        check = await self._tree(progress)
        contents = Contents(self._evidence, self._log, self._store, progress.looked)
        at = progress.position
        async with aclosing(self._evidence.pages(at, progress.head, self._page)) as pages:
            async for rows in pages:
                before, at = at, rows[-1].position
                sound = [row for row in rows if self._sound(row, progress)]
                there = [row.position for row in rows]
                lost = await stand_ins(self._evidence.moved, self._tiles, check.size, before, at, there)
                await note_damage(self._evidence.moved, progress)
                await self._lay(check, progress, rows, at, lost, last=False)
                await contents.look(sound)
                missing = await self._checkpoints.missing(sound)
                progress.missing += missing[: MOST - len(progress.missing)]
                progress.events += len(rows)
                _missing(progress, sorted([before, *there, *lost]), check.size)
                state = check.state(at + 1)
                if check.another:
                    break
                if state is not None:
                    progress.tree, progress.position = state, at
                    progress.reach(state.size)
                    await show(progress)
        await self._lay(check, progress, [], min(max(at, progress.base), check.size), {}, last=True)
        await self._name(check, progress)
        progress.phase, progress.position, progress.tree = "read models", progress.base or BEFORE_ALL, None

    async def _tree(self, progress: Progress) -> TreeCheck:
        if progress.tree is not None:
            check = TreeCheck.resume(progress.tree, progress.size)
        else:
            tiling = await self._tiles.tiling(progress.base) if progress.base else Tiling()
            check = TreeCheck(tiling, progress.size)
        check.mark(mark for mark in progress.told if mark.size <= progress.size)
        return check

    async def _lay(
        self,
        check: TreeCheck,
        progress: Progress,
        rows: Sequence[LogRow],
        at: int,
        lost: Mapping[int, bytes | None],
        *,
        last: bool,
    ) -> None:
        """Lays rows beside the leaves that were sealed, and what stands for those that are `lost`."""
        upto = min(check.size, at + WINDOW + PAGE)
        await self._marks(check, progress, EVER if last else upto)
        leaves = await self._leaves(check, progress, upto)
        laid, strays = [], []
        gone = {parting.sealed for parting in check.partings}
        for row in rows:
            if 1 <= row.position <= check.size + WINDOW:
                laid.append((row.position, row.leaf))
            elif row.position < 1 or (gone and row.leaf in gone):
                strays.append(row)
        if lost:
            laid = sorted([*laid, *((position, leaf) for position, leaf in lost.items() if leaf is not None)])
        if laid or last or leaves:
            check.add(laid, at, leaves, last=last)
        check.stray((row.position, row.leaf) for row in strays)
        for tile, expected in [*check.take_tiles(), *(check.edge_tiles() if last else ())]:
            try:
                found = await self._tiles.read(tile)
            except TileMissing:
                check.missing_tiles.add((tile.level, tile.number))
                continue
            if found != expected:
                check.wrong_tiles.add((tile.level, tile.number))

    async def _leaves(self, check: TreeCheck, progress: Progress, upto: int) -> list[bytes | None]:
        leaves: list[bytes | None] = []
        while (index := check.wanted - 1 + len(leaves)) < upto:
            tile = tile_at(0, index >> HEIGHT, check.size)
            begin = index - (tile.number << HEIGHT)
            try:
                leaves += split(await self._tiles.read(tile))[begin:]
            except TileMissing:
                check.missing_tiles.add((0, tile.number))
                leaves += [None] * (tile.width - begin)
        return leaves

    async def _marks(self, check: TreeCheck, progress: Progress, upto: int) -> None:
        while progress.checkpoint < upto:
            marks, defects, progress.checkpoint = await self._checkpoints.after(progress.checkpoint)
            progress.ahead += [mark.size for mark in marks]
            progress.named += defects
            check.mark(marks)

    def _sound(self, row: LogRow, progress: Progress) -> bool:
        """Whether an event has the digests that it names."""
        content = content_digest_of(row)
        if content != row.content_digest:
            columns, expected, found = "type, data, lines or attachment digests", row.content_digest, content
        else:
            digest = event_digest(row.event, content)
            if digest == row.digest:
                return True
            columns, expected, found = "stream, id, project, metadata or time", row.digest, digest
        if len(progress.unsound) < MOST:
            place = Place(row.stream_id, row.version)
            progress.unsound.append(Unsound(row.position, place, columns, expected.hex(), found.hex()))
        return False

    async def _name(self, check: TreeCheck, progress: Progress) -> None:
        await self._find_far(check, progress)
        positions = [parting.position for parting in check.partings if parting.position is not None]
        places = await self._evidence.places(positions)
        sealed = [
            parting.sealed_position for parting in check.partings if parting.sealed_position is not None
        ]
        progress.sizes = await self._checkpoints.around([*positions, *sealed, *progress.places])
        laid = check.wanted - 1
        events = name_events(
            check.partings,
            progress.unsound,
            places,
            head=progress.head,
            laid=laid,
            size=progress.size,
            sizes=progress.sizes,
        )
        cut = next((d for d in events if d.kind == "tail_cut"), None)
        end = progress.head if cut is None or cut.position is None else cut.position - 1
        events += name_history(check.disagreeing, check.agreed, check.witnessed, explained=cut is not None)
        for kind, tiles in (("tile_changed", check.wrong_tiles), ("tile_missing", check.missing_tiles)):
            for level, number in sorted(tiles):
                first = (number << HEIGHT * (level + 1)) + 1
                if kind == "tile_missing" and cut is not None and number + 1 << HEIGHT * (level + 1) > end:
                    continue
                path = tile_at(level, number, progress.size).path
                events.append(
                    Defect(
                        "tile_changed" if kind == "tile_changed" else "tile_missing",
                        f"the tile {path} in storage "
                        + ("was changed" if kind == "tile_changed" else "is not there, or not whole")
                        + ": the log can make it again",
                        position=first,
                        key=path,
                    )
                )
        moved = {d.position for d in events if d.kind == "events_reordered"} | {
            d.upto for d in events if d.kind == "events_reordered"
        }
        events += [gap for gap in progress.gaps if gap.upto is None or gap.upto + 1 not in moved]
        progress.of_events = events

    async def _find_far(self, check: TreeCheck, progress: Progress) -> None:
        """Looks whether what stands behind a gap, far from all that was sealed, is an event that is gone."""
        gone = {parting.sealed for parting in check.partings if parting.sealed is not None}
        told = {parting.position for parting in check.partings}
        for gap in progress.gaps if gone else ():
            assert gap.upto is not None
            for row in await self._evidence.rows(gap.upto, gap.upto + 1, 1):
                if row.leaf in gone and row.position not in told:
                    check.stray([(row.position, row.leaf)])

    async def _models(self, progress: Progress, show: Show) -> None:
        touched = Explanations(progress.of_events).touched
        while True:
            last, ids = await self._evidence.ends(progress.position, progress.head, self._page)
            if last is None:
                break
            await self.streams(progress, [id for id in ids if id not in touched])
            progress.position = last
            await show(progress)
        await note_damage(self._evidence.moved, progress)
        progress.phase = "done" if progress.base else "strays"

    async def streams(self, progress: Progress, ids: Sequence[str]) -> None:
        """Folds streams, and notes what is odd about them."""
        async for check in self._evidence.streams(ids):
            if check.id in self._evidence.moved.lacking:
                continue
            progress.streams += 1
            progress.foreign += check.foreign
            for gap in check.gaps:
                defect = Defect(
                    "event_deleted",
                    f"version {gap.version} of {check.id} is missing",
                    position=gap.before,
                    stream=check.id,
                    version=gap.version,
                )
                progress.odd.append((defect, check.id, gap.after, gap.before))
            for position in check.disorder:
                if position > progress.size:
                    told = f"the events of {check.id} do not stand in the order of their versions"
                    progress.named.append(
                        Defect("events_reordered", told, position=position, stream=check.id)
                    )
            if check.gaps or (defect_of := check.defect()) is None:
                continue
            if check.ahead:
                progress.odd.append((defect_of, check.id, check.position, None))
            else:
                progress.models.append(defect_of)


def _missing(progress: Progress, positions: Sequence[int], size: int) -> None:
    """Notes positions, not sealed, that are missing between others."""
    for before, after in pairwise(positions):
        if after != before + 1 and after > size + 1 and len(progress.gaps) < MOST:
            first = max(before, size) + 1
            progress.gaps.append(
                Defect(
                    "event_deleted",
                    f"positions {first} to {after - 1} are missing, which were not sealed yet",
                    position=first,
                    upto=after - 1,
                )
            )
