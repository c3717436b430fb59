"""The Merkle tree over the log: its hashes, its root, and whether a proof holds (RFC 6962, RFC 9162).

A leaf is hashed as `SHA-256(0x00 || entry)`, a node as `SHA-256(0x01 || left || right)`. A tree of `n` leaves
has at its left the largest whole tree that is smaller than it. Leaves count from 0: the event at position `p`
of the log is leaf `p - 1`, and a tree of size `n` covers positions 1 to `n`.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256().digest()
"""The root of a tree without leaves."""


def leaf_hash(entry: bytes) -> bytes:
    """The hash of a leaf that holds `entry`."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of the node above two others."""
    return sha256(b"\x01" + left + right).digest()


def fold(hashes: Sequence[bytes]) -> bytes:
    """The hash over whole trees that stand side by side, each smaller than the one to its left; that of an
    empty tree where there are none."""
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


class Frontier:
    """The root of leaves that come one after the other. Holds one hash for each bit of the size.

    `whole` are the hashes of the whole trees that `size` leaves make, from the left, one for each bit that is
    set: what a frontier has to be begun with to go on from there.
    """

    def __init__(self, size: int = 0, whole: Iterable[bytes] = ()) -> None:
        self._whole = list(whole)
        self.size = size
        if len(self._whole) != size.bit_count():
            raise ValueError(f"{size} leaves make {size.bit_count()} whole trees, not {len(self._whole)}")

    @property
    def whole(self) -> tuple[bytes, ...]:
        """The hashes of the whole trees, from the left."""
        return tuple(self._whole)

    @property
    def root(self) -> bytes:
        """The root of the leaves so far."""
        return fold(self._whole)

    def add(self, hash_: bytes, level: int = 0) -> None:
        """One more leaf, as its `leaf_hash`; or the whole tree over the next `2**level` leaves, where as many
        have a place of their own: the size must be a multiple of that."""
        trees, over = divmod(self.size, 1 << level)
        if over:
            raise ValueError(f"a tree of {1 << level} leaves does not begin at leaf {self.size}")
        for _ in range((~trees & (trees + 1)).bit_length() - 1):
            hash_ = node_hash(self._whole.pop(), hash_)
        self._whole.append(hash_)
        self.size += 1 << level


def includes(root: bytes, size: int, index: int, leaf: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows that the leaf `index` of the tree of that size and root has the hash `leaf`
    (RFC 9162, 2.1.3.2). Never raises."""
    if not 0 <= index < size:
        return False
    place, last, found = index, size - 1, leaf
    for hash_ in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            found = node_hash(hash_, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, hash_)
        place, last = place >> 1, last >> 1
    return last == 0 and found == root


def extends(old_root: bytes, old_size: int, root: bytes, size: int, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows that the tree of `size` begins with all leaves of the one of `old_size`
    (RFC 9162, 2.1.4.2). Everything extends the empty tree, without proof. Never raises."""
    if not 0 <= old_size <= size:
        return False
    if old_size == 0:
        return old_root == EMPTY_ROOT and not proof
    if old_size == size:
        return old_root == root and not proof
    path = [old_root, *proof] if old_size.bit_count() == 1 else list(proof)
    if not path:
        return False
    place, last = old_size - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old_found = found = path[0]
    for hash_ in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old_found, found = node_hash(hash_, old_found), node_hash(hash_, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, hash_)
        place, last = place >> 1, last >> 1
    return last == 0 and old_found == old_root and found == root
