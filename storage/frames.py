"""Encrypts a body in frames, each of which is proven by itself, so that a range is read without the rest.

    frame := nonce ciphertext tag          12 + 65,536 + 16 bytes; the last one of a body is shorter

A frame's number, and whether it is the last, are authenticated with it: this is STREAM (Hoang, Reyhanitabar,
Rogaway, Vizár: Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance, CRYPTO 2015), but for
the nonces: these are random, so that a body may be written once more under its name. A frame that was
changed, moved or repeated does not decrypt, nor does the new end of a body that was cut. An empty body is one
empty frame.

Pure but for the nonces. The cipher is of one body alone (`DataKey.cipher`).
"""

import os
import struct
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FRAME_BYTES: Final = 64 << 10
"""Of the body in one frame: little to read for one line, and much beside what a frame adds."""
_NONCE_BYTES: Final = 12
_ADDED: Final = _NONCE_BYTES + 16
ENCRYPTED_FRAME_BYTES: Final = FRAME_BYTES + _ADDED
_PLACE: Final = struct.Struct(">Q?")


class FrameDamaged(Exception):
    """A frame is not the one that belongs here."""


class Span(NamedTuple):
    """Frames from number `first` up to, not including, `after`."""

    first: int
    after: int

    @property
    def start(self) -> int:
        """Where they begin in the encrypted body."""
        return self.first * ENCRYPTED_FRAME_BYTES

    @property
    def end(self) -> int:
        """Where they end, if the body is as long."""
        return self.after * ENCRYPTED_FRAME_BYTES


def span_of(start: int, end: int) -> Span:
    """The frames that hold the bytes from `start` up to, not including, `end`."""
    return Span(start // FRAME_BYTES, -(-end // FRAME_BYTES))


def plain_size(encrypted: int) -> int:
    """How many bytes a body has that takes so many encrypted."""
    frames = max(1, -(-encrypted // ENCRYPTED_FRAME_BYTES))
    return max(0, encrypted - frames * _ADDED)


def encrypt(cipher: AESGCM, first: int, plain: bytes, *, ends: bool) -> bytes:
    """The frames of a part of a body, the first of them with number `first`. `ends`: it is the last part;
    the others are whole frames."""
    body = memoryview(plain)
    parts: list[bytes] = []
    for number, at in enumerate(range(0, max(1, len(plain)), FRAME_BYTES), first):
        nonce = os.urandom(_NONCE_BYTES)
        place = _PLACE.pack(number, ends and at + FRAME_BYTES >= len(plain))
        parts += (nonce, cipher.encrypt(nonce, body[at : at + FRAME_BYTES], place))
    return b"".join(parts)


def decrypt(cipher: AESGCM, first: int, encrypted: bytes, *, ends: bool) -> bytes:
    """What `encrypt` was given. Raises `FrameDamaged`."""
    frames = memoryview(encrypted)
    parts: list[bytes] = []
    for number, at in enumerate(range(0, max(1, len(encrypted)), ENCRYPTED_FRAME_BYTES), first):
        frame = frames[at : at + ENCRYPTED_FRAME_BYTES]
        place = _PLACE.pack(number, ends and at + ENCRYPTED_FRAME_BYTES >= len(encrypted))
        if len(frame) < _ADDED:
            raise FrameDamaged(f"frame {number} is cut")
        try:
            parts.append(cipher.decrypt(frame[:_NONCE_BYTES], frame[_NONCE_BYTES:], place))
        except InvalidTag:
            raise FrameDamaged(f"frame {number} is not the one that was encrypted") from None
    return b"".join(parts)
