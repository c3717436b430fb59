#!/usr/bin/env python3
"""Checks an evidence bundle of Batchmill: offline, and without trust in Batchmill's own programs.

    python check_bundle.py BUNDLE --key KEY [--checkpoint NOTE] [--output FILE] [--errors FILE]

KEY is the public key of whoever ran the batch, as `batchmill audit key show` prints it; NOTE a file with a
checkpoint that you have kept, of the size of the bundle's; each FILE a result file that you have downloaded.
It needs Python 3.11 and the package `cryptography`, for Ed25519 alone. Read it before you trust it: it goes
from the bytes up, and docs/reference/evidence-bundle.md tells of the format.

Where it ends with 0, the key has signed a checkpoint; under its Merkle root (RFC 6962) lie exactly these
events; they are the whole history of the batch, each as it was recorded; each line has one outcome at most;
and the result files that were given hold these outcomes, line by line. Into compressed bodies it does not
look: it holds that they have the digests that were recorded.
"""

import argparse
import base64
import hashlib
import json
import re
import struct
import sys
from typing import Any, BinaryIO, NamedTuple, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MOST_BYTES = 1 << 30  # of one part, and of one line
MOST_LINES = 100_000_000  # of a batch; each takes 49 bytes of memory
ENDS = {f"Batch{status.capitalize()}": status for status in ("completed", "cancelled", "expired", "failed")}
UNRUN, COMPLETED, FAILED = range(3)


class Flaw(Exception):
    """What is wrong first: one sentence that names the part. `part` is its name."""

    def __init__(self, part: str, sentence: str) -> None:
        super().__init__(sentence)
        self.part = part


def require(part: str, holds: bool, wrong: str) -> None:
    if not holds:
        raise Flaw(part, wrong)


def sha256(*pieces: bytes) -> bytes:
    return hashlib.sha256(b"".join(pieces)).digest()


# Parts: `<name> <length> <SHA-256, hex>\n<content>\n`, one after the other.
class Part(NamedTuple):
    number: int
    name: str
    content: bytes

    def refuse(self, wrong: object) -> NoReturn:
        raise Flaw(self.name, f"part {self.number}, {self.name}: {wrong}")

    def require(self, holds: bool, wrong: str) -> None:
        if not holds:
            self.refuse(wrong)


class Parts:
    """Reads part after part. The checksums only find damage: whoever forges a part makes a new one."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.number = 0

    def take(self, *expected: str) -> Part:
        self.number += 1
        head = re.fullmatch(rb"([a-z]+) (0|[1-9][0-9]{0,9}) ([0-9a-f]{64})\n", self.file.readline(96))
        if head is None or head[1].decode() not in expected:
            raise Flaw(expected[0], f"part {self.number} is not there, or not {' or '.join(expected)}")
        length = min(int(head[2]), MOST_BYTES)
        part = Part(self.number, head[1].decode(), self.file.read(length))
        part.require(b"%d" % len(part.content) == head[2], "it is shorter than it says")
        part.require(self.file.read(1) == b"\n", "it is longer than it says, or cut")
        part.require(sha256(part.content).hex() == head[3].decode(), "it is damaged: its checksum is another")
        return part


# The checkpoint: a signed note (c2sp.org/signed-note, c2sp.org/tlog-checkpoint).
class Checkpoint(NamedTuple):
    origin: str
    size: int
    root: bytes


def from_base64(text: str) -> bytes:
    decoded = base64.b64decode(text, validate=True)
    if base64.b64encode(decoded).decode() != text:
        raise ValueError("its base64 is not written as it must be")
    return decoded


def public_key(text: str) -> tuple[tuple[str, bytes], Ed25519PublicKey]:
    """`<name>+<id, hex>+<base64(0x01 || key)>`, by name and id."""
    name, id_, encoded = text.strip().split("+", 2)
    raw = from_base64(encoded)
    key_id = sha256(name.encode(), b"\n", raw)[:4]
    if raw[:1] != b"\x01" or key_id.hex() != id_:
        raise ValueError(f"{text} is no Ed25519 key, or its id does not fit it")
    return (name, key_id), Ed25519PublicKey.from_public_bytes(raw[1:])


def signed_checkpoint(note: bytes, keys: list[str]) -> Checkpoint:
    """What one of the keys has signed, and none of them falsely. Raises `ValueError`."""
    known, signed = dict(map(public_key, keys)), False
    text, _, signatures = note.decode().rpartition("\n\n")
    form = re.fullmatch(r"([^\n]+)\n(0|[1-9][0-9]{0,18})\n([^\n]+)", text)
    if form is None or not re.fullmatch("(\u2014 [^ +\n]+ [^ \n]+\n)+", signatures):
        raise ValueError("it is no signed checkpoint")
    for line in signatures[:-1].split("\n"):
        _, name, encoded = line.split(" ")
        signature = from_base64(encoded)
        key = known.get((name, signature[:4]))
        if key is not None:  # else it is of a key that nobody asked for
            try:
                key.verify(signature[4:], text.encode() + b"\n")
            except InvalidSignature:
                raise ValueError(f"the signature of {name} is false") from None
            signed = True
    if not signed:
        raise ValueError("no key that you gave has signed it")
    return Checkpoint(form[1], int(form[2]), from_base64(form[3]))


# The tree (RFC 6962), from left to right.
class Tree:
    """The root of all leaves so far. Of leaves that are not ours, hashes of trees over them are enough."""

    def __init__(self) -> None:
        self.size = 0
        self.whole: list[bytes] = []  # of each whole tree, from the left: one for each bit of the size

    def add(self, hash_: bytes, leaves: int = 1) -> None:
        """The whole tree over the next `leaves`, a power of two that divides the size."""
        self.size += leaves
        while self.size & leaves == 0:  # as large as its left neighbour: the two become one
            hash_ = sha256(b"\x01", self.whole.pop(), hash_)
            leaves *= 2
        self.whole.append(hash_)

    def skip(self, part: Part, end: int) -> None:
        """The leaves up to `end`, from the hashes of the largest whole trees that have a place there."""
        for at in range(0, len(part.content), 32):
            part.require(self.size < end, "it has more hashes than belong here")
            leaves = 1 << (end - self.size).bit_length() - 1
            self.add(part.content[at : at + 32], min(leaves, self.size & -self.size) if self.size else leaves)
        part.require(
            self.size == end and len(part.content) % 32 == 0, "it has not all hashes that belong here"
        )

    def root(self) -> bytes:
        root = self.whole[-1] if self.whole else sha256()
        for left in reversed(self.whole[:-1]):
            root = sha256(b"\x01", left, root)
        return root


# Events: twelve columns, each after its length.
def prefixed(*pieces: bytes | None) -> bytes:
    return b"".join(struct.pack(">i", -1 if p is None else len(p)) + (p or b"") for p in pieces)


class Event:
    """One event of the log. Raises `ValueError` or `struct.error` where it is none."""

    def __init__(self, content: bytes) -> None:
        columns: list[bytes | None] = []
        at = 0
        while at < len(content):
            (length,) = struct.unpack_from(">i", content, at)
            columns.append(None if length == -1 else content[at + 4 : at + 4 + length])
            at += 4 + max(0, length)
        if prefixed(*columns) != content or len(columns) != 12 or None in columns[:9] + columns[11:]:
            raise ValueError("it does not have its twelve columns")
        position, stream, version, id_, project, metadata, at_, type_, data, lines, attached, digest = columns
        (self.position,), (self.version,) = (struct.unpack(">q", c or b"") for c in (position, version))
        self.stream, self.project, self.type = ((c or b"").decode() for c in (stream, project, type_))
        self.data: dict[str, Any] = json.loads(data or b"")
        self.lines = lines or b""
        self.attachments = [(attached or b"")[at : at + 32] for at in range(0, len(attached or b""), 32)]
        # The log's own digests: of what was said, and of that with where, by whom and when it was said.
        what = sha256(prefixed(type_, data, lines, attached))
        if sha256(prefixed(stream, version, id_, project, metadata, at_, what)) != digest:
            raise ValueError(f"the event at position {self.position} does not have the digest that it names")
        self.leaf = sha256(b"\x00", prefixed(digest, stream, version))


def unpacked(packed: bytes) -> list[list[int]]:
    """The facts of a flush, column by column: MessagePack, of which only arrays and integers occur."""
    integers = {0xCC: "B", 0xCD: "H", 0xCE: "I", 0xCF: "Q", 0xD0: "b", 0xD1: "h", 0xD2: "i", 0xD3: "q"}
    lengths = {0xDC: "H", 0xDD: "I"}
    at = 0

    def value() -> Any:
        nonlocal at
        first = packed[at]
        at += 1
        if first < 0x80 or first >= 0xE0:
            return first if first < 0x80 else first - 0x100
        if first & 0xF0 == 0x90:
            return [value() for _ in range(first & 0x0F)]
        form = ">" + (integers | lengths)[first]
        (number,) = struct.unpack_from(form, packed, at)
        at += struct.calcsize(form)
        return [value() for _ in range(number)] if first in lengths else number

    columns: list[list[int]] = value()
    if at != len(packed) or len({len(column) for column in columns}) != 1:
        raise ValueError("its facts are not columns of one length")
    return columns


# The whole.
class Bundle:
    """A bundle that was read, and holds. Raises `Flaw` where it does not."""

    def __init__(self, file: BinaryIO, keys: list[str]) -> None:
        self.parts, self.tree = Parts(file), Tree()
        self.history: dict[str, tuple[Event, Event]] = {}  # of each stream the first event and the last
        self.became = bytearray()  # of each line, from 0: UNRUN, COMPLETED or FAILED
        self.results = bytearray()  # of each line: salt and digest of its result, or zeros
        self.events = self.erased = self.completed = self.failed = 0
        self.read_head(self.parts.take("bundle"), self.parts.take("checkpoint"), keys)
        while (part := self.parts.take("event", "rest")).name == "event":
            self.read_event(part)
        self.tree.skip(part, self.checkpoint.size)
        part.require(not file.read(1), "bytes follow it, and it must be the last part")
        same = self.tree.root() == self.checkpoint.root
        part.require(same, "the events and hashes do not give the root that was signed: one was changed")
        self.conclude()

    def read_head(self, head: Part, note: Part, keys: list[str]) -> None:
        form = rb"batchmill evidence 1\n([0-9a-f-]{36})\n([!-~]{1,256})\n(digests|bodies)\n"
        found = re.fullmatch(form, head.content)
        if found is None:
            head.refuse("it is not that of a bundle of version 1")
        incarnation, self.batch, self.kind = (text.decode() for text in found.groups())
        try:
            self.checkpoint = signed_checkpoint(note.content, keys)
        except ValueError as error:
            note.refuse(error)
        note.require(self.checkpoint.origin == f"batchmill/{incarnation}", "it is of another log")

    def read_event(self, part: Part) -> None:
        try:
            event = Event(part.content)
        except (ValueError, struct.error, RecursionError) as error:
            part.refuse(error)
        part.require(self.tree.size < event.position <= self.checkpoint.size, "it is not in its order")
        self.tree.skip(self.parts.take("hashes"), event.position - 1)
        self.tree.add(event.leaf)
        first, last = self.history.get(event.stream, (event, None))
        part.require(event.version == (last.version if last else 0) + 1, "it is not the next of its stream")
        part.require(last is None or last.type not in ENDS, "it comes after the end of the batch")
        self.history[event.stream] = first, event
        part.require(len(self.history) <= 4, "it is of a file that the batch does not name")
        project = next(iter(self.history.values()))[0].project
        part.require(event.project == project, "it is of another project")
        self.events += 1
        try:
            if event.type == "BatchStarted":
                self.begin(event.data["total"])
            self.read_attachments(event)
        except (ValueError, LookupError, TypeError, struct.error, RecursionError) as error:
            part.refuse(f"it does not hold together: {error}")

    def begin(self, total: int) -> None:
        if self.became or not 0 <= total <= MOST_LINES:
            raise ValueError(f"{total} lines are out of the question")
        self.became, self.results = bytearray(total), bytearray(48 * total)

    def read_attachments(self, event: Event) -> None:
        flush = event.type == "LinesCompleted"
        for digest in event.attachments if flush or self.kind == "bodies" else []:
            salt, told = self.parts.take("salt", "erased"), b""
            length = 16 if salt.name == "salt" else 0
            salt.require(len(salt.content) == length, f"it must have {length} bytes")
            if salt.name == "erased":
                self.erased += 1
            elif flush:
                digests = self.parts.take("digests")
                told = digests.content
                digests.require(sha256(told).hex() == event.data["root"], "they have another root")
            if salt.name == "salt" and self.kind == "bodies":
                body = self.parts.take("body")
                body.require(sha256(salt.content, body.content) == digest, "it has another digest")
            if flush:
                self.record(event, salt.content, told)

    def record(self, event: Event, salt: bytes, digests: bytes) -> None:
        """What became of the lines of a flush."""
        lines, statuses, *_ = unpacked(event.lines)
        if salt and len(digests) != 32 * len(lines):
            raise ValueError("its digests are not one for each line")
        for place, (line, status) in enumerate(zip(lines, statuses, strict=True)):
            if not 0 <= line < len(self.became) or self.became[line]:
                raise ValueError(f"there is no line {line}, or it has an outcome already")
            self.became[line] = COMPLETED if 200 <= status < 300 else FAILED
            if salt:
                self.results[48 * line : 48 * line + 48] = salt + digests[32 * place : 32 * place + 32]
        self.completed += event.data["completed"]
        self.failed += event.data["failed"]

    def conclude(self) -> None:
        """What all parts say together."""

        def sound(holds: bool, wrong: str) -> None:
            require("batch", holds, f"batch {self.batch}: {wrong}")

        sound(self.batch in self.history, "none of its events is here")
        created, end = self.history.pop(self.batch)
        sound(end.type in ENDS, "its end is not here")
        self.status = ENDS[end.type]
        self.unrun = self.became.count(UNRUN)
        counts = self.became.count(COMPLETED), self.became.count(FAILED)
        sound(counts == (self.completed, self.failed), "its lines are not as many as its events count")
        sound(self.status != "completed" or not self.unrun, "it has completed without all of its lines")
        self.files = {}
        for name, lines in (("output", self.completed), ("errors", self.failed + self.unrun)):
            id_ = end.data.get("output_file_id" if name == "output" else "error_file_id")
            sound((id_ is None) == (lines == 0), f"{lines} lines belong into its {name} file, {id_}")
            if id_ is not None:
                sound(id_ in self.history, f"no event of its {name} file is here")
                self.files[name] = self.history.pop(id_)[0].data
                sound(self.files[name].get("batch_id") == self.batch, f"its {name} file is another's")
        if created.data["input"]:
            sound(created.data["input_file_id"] in self.history, "no event of its input file is here")
            uploaded = self.history.pop(created.data["input_file_id"])[0].data
            sound(uploaded.get("sha256") == created.data["input"]["sha256"], "its input is another file")
        sound(not self.history, "there are events of files that it does not name")

    def check_file(self, name: str, file: BinaryIO) -> None:
        """Whether this is the batch's `output` or `errors` file."""
        whole, place = hashlib.sha256(), 0
        for line, how in enumerate(self.became):
            if (how == COMPLETED) != (name == "output"):
                continue
            place += 1
            text = file.readline(MOST_BYTES)
            kept = bytes(self.results[48 * line : 48 * line + 48])
            if how == UNRUN:
                fits = f'"code":"batch_{self.status}"'.encode() in text
            else:  # of a result that is erased nothing is known but the outcome
                fits = kept == bytes(48) or sha256(kept[:16], struct.pack(">q", line), text) == kept[16:]
            require(name, fits, f"line {place} of the {name} file is not what was recorded of line {line}")
            whole.update(text)
        require(name, not file.read(1), f"the {name} file goes on after its last line")
        same = whole.hexdigest() == self.files[name]["sha256"] if name in self.files else not place
        require(name, same, f"the {name} file does not have the SHA-256 that was sealed")


def main() -> int:
    parser = argparse.ArgumentParser(description="Checks an evidence bundle of Batchmill.")
    parser.add_argument("bundle")
    parser.add_argument("--key", action="append", required=True)
    for option in ("--checkpoint", "--output", "--errors"):
        parser.add_argument(option)
    given = parser.parse_args()
    try:
        with open(given.bundle, "rb") as file:
            bundle = Bundle(file, given.key)
        if given.checkpoint:
            with open(given.checkpoint, "rb") as file:
                kept = signed_checkpoint(file.read(), given.key)
            require("checkpoint", kept == bundle.checkpoint, "the checkpoint is not the one that was kept")
        for name, path in (("output", given.output), ("errors", given.errors)):
            if path:
                with open(path, "rb") as file:
                    bundle.check_file(name, file)
    except (Flaw, OSError, ValueError) as error:
        print(f"NOT PROVEN: {error}", file=sys.stderr)
        return 1
    print(
        f"batch {bundle.batch} {bundle.status}: {bundle.completed} completed, {bundle.failed} failed,",
        end=" ",
    )
    print(f"{bundle.unrun} never run; {bundle.events} events, {bundle.erased} attachments erased")
    return 0


if __name__ == "__main__":
    sys.exit(main())
