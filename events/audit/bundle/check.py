"""Whether a bundle holds: by a public key alone, without database or network.

What is found wrong first is told as a `BundleFlaw`. What is right follows from the signature: it covers the
root, the root every event, the events every line's outcome and both result files.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final
from uuid import UUID

import msgspec

from events.audit.bundle.contents import Head, Kind, decode_event, decode_head, encode_event
from events.audit.bundle.outcomes import Outcomes, facts_of, result_digests
from events.audit.bundle.parts import BundleFlaw, Part, PartReader, Source
from events.audit.checkpoint import origin_of
from events.audit.digests import LogRow, attachment_digest, attachment_digests_of, event_digest_of
from events.audit.note import MalformedNote, NotSigned, PublicKey
from events.audit.proof import between
from events.audit.records import Signed, parse_signed
from events.audit.tree import HASH_BYTES, Frontier
from events.batch import Batch, BatchStarted, LinesCompleted
from events.catalog import decode, fold
from events.errors import UnknownEvent
from events.event import SALT_BYTES
from events.file import File, FileCreated

MOST_STREAMS: Final = 4
"""A batch, its input and its two result files."""


class Bundle(msgspec.Struct, frozen=True):
    """What a bundle proves. `signed_by` are the keys that signed its checkpoint, of those that were given;
    `erased` counts attachments that are gone. `unrun` lines ended without an outcome."""

    batch_id: str
    project_id: str
    status: str
    incarnation: UUID
    kind: Kind
    signed: Signed
    signed_by: tuple[str, ...]
    events: int
    completed: int
    failed: int
    unrun: int
    erased: int
    input: FileCreated | None
    output: FileCreated | None
    errors: FileCreated | None


def check_bundle(source: Source, keys: Sequence[PublicKey], outcomes: Outcomes | None = None) -> Bundle:
    """What the bundle proves, to whoever trusts these keys; it fills `outcomes`. Raises `BundleFlaw`."""
    return _Check(PartReader(source), keys, outcomes or Outcomes()).run()


class _Check:
    """One run through the parts, in their order."""

    def __init__(self, parts: PartReader, keys: Sequence[PublicKey], outcomes: Outcomes) -> None:
        self._parts = parts
        self._keys = keys
        self._outcomes = outcomes
        self._tree = Frontier()
        self._versions: dict[str, int] = {}
        self._states: dict[str, Batch | File] = {}
        self._project: str | None = None
        self._events = self._erased = 0

    def run(self) -> Bundle:
        head = self._head()
        signed, signers = self._checkpoint(head)
        size = signed.checkpoint.size
        while (part := self._parts.take("event", "rest")).name == "event":
            row = self._event(part, size)
            self._hashes(self._parts.take("hashes"), row.position - 1)
            self._tree.add(row.leaf)
            self._fold(part, head, row)
            self._attachments(part, row, head.kind)
            self._events += 1
        self._hashes(part, size)
        self._parts.end()
        if self._tree.root != signed.checkpoint.root:
            raise part.flaw(
                "the events and hashes of this bundle do not give the root that its checkpoint names: one of "
                "them is not what was sealed"
            )
        return self._proven(head, signed, signers)

    def _head(self) -> Head:
        part = self._parts.take("bundle")
        try:
            head = decode_head(part.content)
        except ValueError as error:
            raise part.flaw(str(error)) from error
        if head.encode() != part.content:
            raise part.flaw("it is not encoded as it must be")
        return head

    def _checkpoint(self, head: Head) -> tuple[Signed, list[PublicKey]]:
        part = self._parts.take("checkpoint")
        try:
            signed = parse_signed(part.content)
            signers = signed.note.signers(self._keys)
        except (MalformedNote, NotSigned) as error:
            raise part.flaw(str(error)) from error
        if signed.note.encode().encode() != part.content:
            raise part.flaw("it is not encoded as it must be")
        if signed.checkpoint.origin != origin_of(head.incarnation):
            raise part.flaw(f"it is of {signed.checkpoint.origin}, and the bundle of {head.incarnation}")
        return signed, signers

    def _event(self, part: Part, size: int) -> LogRow:
        try:
            row = decode_event(part.content)
        except ValueError as error:
            raise part.flaw(f"it is no event: {error}") from error
        if encode_event(row) != part.content:
            raise part.flaw("it is not encoded as it must be", row.position)
        if not self._tree.size < row.position <= size:
            raise part.flaw(f"it comes before the last one, or after all {size} events", row.position)
        if event_digest_of(row) != row.digest:
            raise part.flaw("it does not have the digest that it names", row.position)
        return row

    def _hashes(self, part: Part, end: int) -> None:
        """The hashes that stand for the leaves between the last event and leaf `end`."""
        nodes = between(self._tree.size, end)
        if len(part.content) != len(nodes) * HASH_BYTES:
            raise part.flaw(f"it has {len(part.content)} bytes, and {len(nodes)} hashes belong here")
        for place, node in enumerate(nodes):
            self._tree.add(part.content[place * HASH_BYTES : (place + 1) * HASH_BYTES], node.level)

    def _fold(self, part: Part, head: Head, row: LogRow) -> None:
        """One more event of its stream, which must be the next one and of the batch's project."""
        before = self._states.get(row.stream_id)
        if row.version != self._versions.get(row.stream_id, 0) + 1:
            raise part.flaw("it is not the next one of its stream: one is missing", row.position)
        if self._project is not None and row.project_id != self._project:
            raise part.flaw("it is of another project", row.position)
        if isinstance(before, Batch) and before.ended:
            raise part.flaw("it comes after the end of the batch", row.position)
        if before is None and len(self._states) == MOST_STREAMS:
            raise part.flaw("it is of a file that the batch does not name", row.position)
        try:
            state = fold(before, row.event)
        except UnknownEvent as error:
            raise part.flaw(str(error), row.position) from error
        of_batch = row.stream_id == head.batch_id
        if not isinstance(state, Batch | File) or isinstance(state, Batch) != of_batch:
            raise part.flaw("it is neither of the batch nor of a file", row.position)
        self._project = row.project_id
        self._versions[row.stream_id] = row.version
        self._states[row.stream_id] = state
        if row.type == BatchStarted.__name__ and isinstance(state, Batch):
            try:
                self._outcomes.begin(state.total)
            except ValueError as error:
                raise part.flaw(str(error), row.position) from error

    def _attachments(self, event: Part, row: LogRow, kind: Kind) -> None:
        if row.type == LinesCompleted.__name__:
            self._flush(event, row, kind)
        elif kind == "bodies":
            for digest in attachment_digests_of(row):
                part = self._parts.take("salt", "erased")
                if part.name == "salt":
                    self._body(row, _salt(part, row), digest)
                else:
                    self._erase(part, row)

    def _flush(self, event: Part, row: LogRow, kind: Kind) -> None:
        """The lines of a flush, and what their results must be."""
        digests = attachment_digests_of(row)
        if row.lines is None or len(digests) != 1:
            raise event.flaw("it has outcomes of lines, and no facts or no attachment", row.position)
        part, salt, told = self._parts.take("salt", "erased"), None, b""
        if part.name == "erased":
            self._erase(part, row)
        else:
            salt = _salt(part, row)
            told = self._digests(row, salt, digests[0], kind)
        try:
            facts = facts_of(row.lines)
            self._outcomes.add(facts, salt, told)
        except ValueError as error:
            raise event.flaw(str(error), row.position) from error

    def _digests(self, row: LogRow, salt: bytes, digest: bytes, kind: Kind) -> bytes:
        part = self._parts.take("digests")
        event = decode(row.type, row.data)
        assert isinstance(event, LinesCompleted)
        if sha256(part.content).hexdigest() != event.root:
            raise part.flaw("they do not have the root that the event has recorded", row.position)
        if len(part.content) != HASH_BYTES * (event.completed + event.failed):
            raise part.flaw("they are not one for each line", row.position)
        if kind == "bodies":
            body = self._body(row, salt, digest)
            try:
                found = b"".join(result_digests(row.lines or b"", salt, body.content))
            except ValueError as error:
                raise body.flaw(str(error), row.position) from error
            if found != part.content:
                raise body.flaw("it holds other results than the digests tell of", row.position)
        return part.content

    def _body(self, row: LogRow, salt: bytes, digest: bytes) -> Part:
        part = self._parts.take("body")
        if attachment_digest(salt, part.content) != digest:
            raise part.flaw("it does not have the digest that the event has recorded", row.position)
        return part

    def _erase(self, part: Part, row: LogRow) -> None:
        if part.content:
            raise part.flaw("it says that something is gone, and holds something", row.position)
        self._erased += 1

    def _proven(self, head: Head, signed: Signed, signers: Sequence[PublicKey]) -> Bundle:
        """What the whole says, where it is whole."""
        batch = self._states.get(head.batch_id)
        if not isinstance(batch, Batch) or not batch.ended:
            raise _flaw(head, "its end is not here")
        found = self._outcomes
        if (found.completed, found.failed) != (batch.completed, batch.failed):
            raise _flaw(head, "the lines that have outcomes are not as many as its events count")
        if batch.status == "completed" and found.unrun:
            raise _flaw(head, f"it has completed, and {found.unrun} of its lines have no outcome")
        return Bundle(
            batch_id=head.batch_id,
            project_id=self._project or "",
            status=batch.status,
            incarnation=head.incarnation,
            kind=head.kind,
            signed=signed,
            signed_by=tuple(key.text for key in signers),
            events=self._events,
            completed=found.completed,
            failed=found.failed,
            unrun=found.unrun,
            erased=self._erased,
            **self._files(head, batch),
        )

    def _files(self, head: Head, batch: Batch) -> dict[str, FileCreated | None]:
        """The files that the batch names, and no others."""
        created = batch.created
        files = {
            "input": None if created.input is None else created.input_file_id,
            "output": batch.output_file_id,
            "errors": batch.error_file_id,
        }
        states = {name: self._states.pop(file, None) for name, file in files.items() if file is not None}
        if not all(isinstance(state, File) for state in states.values()) or len(self._states) > 1:
            raise _flaw(head, "the files that it names are not those whose events are here")
        found = {name: state.created for name, state in states.items() if isinstance(state, File)}
        source, lines = created.input, self._outcomes
        if source is not None and source.sha256 != found["input"].sha256:
            raise _flaw(head, "its input is not the file that it names")
        for name, count in (("output", lines.completed), ("errors", lines.failed + lines.unrun)):
            if (name in found) != (count > 0) or (name in found and found[name].batch_id != head.batch_id):
                raise _flaw(head, f"{count} of its lines belong into its {name} file, which is {files[name]}")
        return {name: found.get(name) for name in files}


def _salt(part: Part, row: LogRow) -> bytes:
    if len(part.content) != SALT_BYTES:
        raise part.flaw(f"it must have {SALT_BYTES} bytes", row.position)
    return part.content


def _flaw(head: Head, wrong: str) -> BundleFlaw:
    return BundleFlaw("batch", f"batch {head.batch_id}: {wrong}")
