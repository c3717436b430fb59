"""Signed notes: a text, a blank line, and a line for each signature (C2SP signed-note), with Ed25519 keys.

A key has a name and an id, the first four bytes of `SHA-256(name || 0x0A || 0x01 || public key)`. Keys are
written as Go's `sumdb/note` writes them:

    <name>+<id, hex>+<base64(0x01 || public key)>
    PRIVATE+KEY+<name>+<id, hex>+<base64(0x01 || seed)>
"""

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from events.errors import BatchmillError

MOST_SIGNATURES: Final = 64
MOST_BYTES: Final = 1 << 20
_ED25519: Final = b"\x01"
_ID_BYTES: Final = 4
_KEY_BYTES: Final = 32
_DASH: Final = "\u2014 "
_PRIVATE: Final = "PRIVATE+KEY+"
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")
_NO_NAME: Final = re.compile(r"[\s+\x00-\x1f]")


class MalformedNote(BatchmillError):
    """This is no signed note, no key, or no checkpoint."""


class NotSigned(BatchmillError):
    """No key that is known has signed this, or a signature of one that is known is false."""


class Signature(msgspec.Struct, frozen=True):
    """What the key of this name and id made of the text."""

    name: str
    key_id: bytes
    bytes_: bytes

    @property
    def line(self) -> str:
        """As it stands in a note, without the end of the line."""
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.bytes_).decode()}"


class PublicKey(msgspec.Struct, frozen=True):
    """What checks signatures of a key."""

    name: str
    raw: bytes

    @property
    def id(self) -> bytes:
        """Four bytes that tell the keys of a name apart; no proof of anything."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.raw).digest()[:_ID_BYTES]

    @property
    def text(self) -> str:
        """As it is handed to whoever is to check."""
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(_ED25519 + self.raw).decode()}"

    def made(self, signature: Signature, text: str) -> bool:
        """Whether the signature is this key's and right for the text."""
        if (signature.name, signature.key_id) != (self.name, self.id):
            return False
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature.bytes_, text.encode())
        except InvalidSignature:
            return False
        return True


class PrivateKey:
    """What signs. Its text is a secret; `repr` does not tell it."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._seed = seed
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = PublicKey(_checked_name(name), self._key.public_key().public_bytes_raw())

    @classmethod
    def fresh(cls, name: str) -> "PrivateKey":
        """A new key, of the system's randomness."""
        return cls(name, Ed25519PrivateKey.generate().private_bytes_raw())

    @property
    def text(self) -> str:
        """As it is kept in a file that nobody else may read."""
        public = self.public
        encoded = base64.b64encode(_ED25519 + self._seed).decode()
        return f"{_PRIVATE}{public.name}+{public.id.hex()}+{encoded}"

    def sign(self, text: str) -> Signature:
        """Its signature of a text."""
        return Signature(self.public.name, self.public.id, self._key.sign(text.encode()))


class Note(msgspec.Struct, frozen=True):
    """A text that ends with a newline, and signatures, of which nothing is known yet."""

    text: str
    signatures: tuple[Signature, ...]

    def encode(self) -> str:
        """The note as it is stored and sent."""
        return self.text + "\n" + "".join(signature.line + "\n" for signature in self.signatures)

    def signers(self, keys: Iterable[PublicKey]) -> list[PublicKey]:
        """Those of the keys that signed it, never none; signatures of other keys are ignored.

        Raises `NotSigned` where none of them did, or a signature under the name and id of one is false.
        """
        known = {(key.name, key.id): key for key in keys}
        found = []
        for signature in self.signatures:
            key = known.get((signature.name, signature.key_id))
            if key is None:
                continue
            if not key.made(signature, self.text):
                raise NotSigned(f"the signature of {key.name}+{key.id.hex()} is false")
            if key not in found:
                found.append(key)
        if not found:
            names = ", ".join(f"{s.name}+{s.key_id.hex()}" for s in self.signatures)
            raise NotSigned(f"none of the keys that are known has signed this: it is signed by {names}")
        return found


def parse_note(encoded: bytes | str) -> Note:
    """The note that was encoded; `parse_note(x).encode() == x`. Raises `MalformedNote`."""
    if isinstance(encoded, bytes):
        try:
            encoded = encoded.decode()
        except UnicodeDecodeError:
            raise MalformedNote("the note is not UTF-8") from None
    if len(encoded) > MOST_BYTES or _CONTROL.search(encoded):
        raise MalformedNote("the note is too large, or holds control characters")
    text, blank, block = encoded.rpartition("\n\n")
    if not blank or not block.endswith("\n"):
        raise MalformedNote("a note is a text, a blank line, and lines with signatures")
    return Note(text + "\n", parse_signatures(block))


def parse_notes(encoded: str) -> list[Note]:
    """Notes that stand one after the other, with a blank line after each; their texts have none. Raises
    `MalformedNote`."""
    blocks = encoded.split("\n\n")
    if len(blocks) % 2 == 0 or blocks[-1]:
        raise MalformedNote("the last of the notes is not whole")
    return [
        parse_note(f"{text}\n\n{block}\n") for text, block in zip(blocks[::2], blocks[1::2], strict=False)
    ]


def parse_signatures(block: str) -> tuple[Signature, ...]:
    """Signatures from their lines, each with its end. Raises `MalformedNote`."""
    lines = block.removesuffix("\n").split("\n")
    if len(lines) > MOST_SIGNATURES:
        raise MalformedNote(f"the note has more than {MOST_SIGNATURES} signatures")
    return tuple(_parse_signature(line) for line in lines)


def parse_public_key(text: str) -> PublicKey:
    """The public key that was written so. Raises `MalformedNote`."""
    name, key_id, raw = _parts_of_key(text)
    key = PublicKey(name, raw)
    if key.id.hex() != key_id:
        raise MalformedNote(f"the id of the public key {name} does not fit it: was it cut or changed?")
    return key


def parse_private_key(text: str) -> PrivateKey:
    """The private key that was written so. Raises `MalformedNote`, which tells nothing of it."""
    if not text.startswith(_PRIVATE):
        raise MalformedNote(f"a private key begins with {_PRIVATE}: `batchmill audit key new` makes one")
    name, key_id, seed = _parts_of_key(text.removeprefix(_PRIVATE))
    key = PrivateKey(name, seed)
    if key.public.id.hex() != key_id:
        raise MalformedNote(f"the id of the private key {name} does not fit it: was it cut or changed?")
    return key


def sign(text: str, keys: Sequence[PrivateKey]) -> Note:
    """The text, signed by each of the keys. Raises `MalformedNote` for a text that no note can have."""
    note = Note(text, tuple(key.sign(text) for key in keys))
    if parse_note(note.encode()) != note:
        raise MalformedNote("a note's text ends with a newline")
    return note


def _parse_signature(line: str) -> Signature:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space:
        raise MalformedNote(f"{line[:80]!r} is no line of a signature")
    decoded = _decoded(encoded)
    if len(decoded) <= _ID_BYTES:
        raise MalformedNote(f"the signature of {name[:80]!r} is too short, or no base64")
    return Signature(_checked_name(name), decoded[:_ID_BYTES], decoded[_ID_BYTES:])


def _parts_of_key(text: str) -> tuple[str, str, bytes]:
    """Name, id and the 32 bytes of a key."""
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    decoded = _decoded(encoded)
    if len(decoded) != 1 + _KEY_BYTES or decoded[:1] != _ED25519:
        raise MalformedNote("a key is written <name>+<id>+<base64>, and must be of Ed25519")
    return _checked_name(name), key_id, decoded[1:]


def _checked_name(name: str) -> str:
    if not name or _NO_NAME.search(name):
        raise MalformedNote(f"{name[:80]!r} is no name of a key: no spaces, no plus sign")
    return name


def _decoded(text: str) -> bytes:
    """The bytes of base64 in its one canonical writing; none where it is something else."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return decoded if base64.b64encode(decoded).decode() == text else b""
