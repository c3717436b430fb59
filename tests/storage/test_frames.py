"""A body in frames: what was encrypted comes back, and nothing else ever does."""

import random

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from storage.data_key import DataKey
from storage.frames import (
    ENCRYPTED_FRAME_BYTES,
    FRAME_BYTES,
    FrameDamaged,
    decrypt,
    encrypt,
    plain_size,
    span_of,
)

KEY = DataKey.fresh()
CIPHER = KEY.cipher("one")
sizes = st.one_of(
    st.integers(0, 3 * FRAME_BYTES),
    st.builds(lambda frames, more: frames * FRAME_BYTES + more, st.integers(1, 3), st.integers(-1, 1)),
)


def text(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def encrypted(size: int, cipher: AESGCM = CIPHER) -> bytes:
    return encrypt(cipher, 0, text(size), ends=True)


def frames_of(body: bytes) -> list[bytes]:
    return [body[at : at + ENCRYPTED_FRAME_BYTES] for at in range(0, len(body), ENCRYPTED_FRAME_BYTES)]


@given(sizes)
def test_a_body_comes_back_and_its_size_is_known_from_that_of_its_frames(size: int) -> None:
    body = encrypted(size)
    assert decrypt(CIPHER, 0, body, ends=True) == text(size)
    assert plain_size(len(body)) == size


@given(sizes, st.integers(1, 3))
def test_a_body_may_be_encrypted_part_by_part(size: int, frames: int) -> None:
    run, plain = frames * FRAME_BYTES, text(size)
    starts = range(0, max(1, size), run)
    parts = [encrypt(CIPHER, at // FRAME_BYTES, plain[at : at + run], ends=at == starts[-1]) for at in starts]
    assert decrypt(CIPHER, 0, b"".join(parts), ends=True) == plain


@given(sizes, st.data())
def test_a_range_is_read_from_its_frames_alone(size: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, size))
    end = data.draw(st.integers(start, size + FRAME_BYTES))
    body, span = encrypted(size), span_of(start, end)
    if not (found := body[span.start : span.end]):
        assert text(size)[start:end] == b""
        return
    plain = decrypt(CIPHER, span.first, found, ends=span.end >= len(body))
    origin = span.first * FRAME_BYTES
    assert plain[start - origin : end - origin] == text(size)[start:end]


@given(sizes, st.data())
def test_a_flipped_bit_is_noticed(size: int, data: st.DataObject) -> None:
    body = bytearray(encrypted(size))
    at = data.draw(st.integers(0, len(body) * 8 - 1))
    body[at // 8] ^= 1 << at % 8
    with pytest.raises(FrameDamaged):
        decrypt(CIPHER, 0, bytes(body), ends=True)


@given(sizes, st.data())
def test_a_body_that_was_cut_is_noticed(size: int, data: st.DataObject) -> None:
    body = encrypted(size)
    frames = st.integers(0, (len(body) - 1) // ENCRYPTED_FRAME_BYTES)
    kept = data.draw(st.integers(0, len(body) - 1) | frames.map(lambda n: n * ENCRYPTED_FRAME_BYTES))
    with pytest.raises(FrameDamaged):
        decrypt(CIPHER, 0, body[:kept], ends=True)


@given(st.permutations(range(4)).filter(lambda order: order != [0, 1, 2, 3]))
def test_frames_in_another_order_are_noticed(order: list[int]) -> None:
    frames = frames_of(encrypted(4 * FRAME_BYTES))
    with pytest.raises(FrameDamaged):
        decrypt(CIPHER, 0, b"".join(frames[n] for n in order), ends=True)


def test_a_body_with_frames_behind_its_last_one_is_noticed() -> None:
    frames = frames_of(encrypted(2 * FRAME_BYTES))
    for more in (frames[1], encrypted(5)):
        with pytest.raises(FrameDamaged):
            decrypt(CIPHER, 0, b"".join((*frames, more)), ends=True)


def test_frames_of_another_body_or_data_key_are_noticed() -> None:
    for other in (KEY.cipher("two"), DataKey.fresh().cipher("one")):
        with pytest.raises(FrameDamaged):
            decrypt(CIPHER, 0, encrypted(100, other), ends=True)


def test_the_same_body_is_never_encrypted_alike() -> None:
    assert encrypted(100) != encrypted(100)


def test_a_data_key_does_not_tell_its_secret() -> None:
    assert KEY.secret.hex() not in repr(KEY)
    assert repr(KEY.secret) not in f"{KEY!r} {KEY!s}"
