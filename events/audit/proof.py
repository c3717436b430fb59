"""Which nodes make up a proof (RFC 6962, 2.1.1 and 2.1.2).

A proof is a list of hashes, each over a range of leaves. Such a range is made of whole trees, and only those
are kept (`tiles`). So a proof is made in two steps: what it needs, `inclusion` or `consistency`, and, with
the nodes at hand, `prove`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from events.audit.tree import fold


class Node(NamedTuple):
    """The whole tree over the `2**level` leaves from `number * 2**level` on."""

    level: int
    number: int


Part = tuple[Node, ...]
"""Whole trees side by side, whose `fold` is one hash of a proof."""


def whole_trees(start: int, end: int) -> Part:
    """The whole trees that the leaves from `start` up to, not including, `end` make, from the left. `start`
    must be a multiple of the largest of them, as it is for every part of a tree."""
    nodes = []
    while start < end:
        level = (end - start).bit_length() - 1
        nodes.append(Node(level, start >> level))
        start += 1 << level
    return tuple(nodes)


def between(start: int, end: int) -> Part:
    """The whole trees over the leaves from `start` up to, not including, `end`, from the left, each as large
    as its place allows: what stands for leaves that a proof of several others leaves out."""
    nodes = []
    while start < end:
        level = (end - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        nodes.append(Node(level, start >> level))
        start += 1 << level
    return tuple(nodes)


def inclusion(index: int, size: int) -> list[Part]:
    """What shows that the leaf `index` is in the tree of `size`, from the leaf up."""
    if not 0 <= index < size:
        raise ValueError(f"there is no leaf {index} in a tree of {size}")
    parts = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _left(end - start)
        if index < middle:
            parts.append(whole_trees(middle, end))
            end = middle
        else:
            parts.append(whole_trees(start, middle))
            start = middle
    return parts[::-1]


def consistency(old_size: int, size: int) -> list[Part]:
    """What shows that the tree of `size` begins with that of `old_size`; nothing where one is empty or they
    are the same."""
    if not 0 <= old_size <= size:
        raise ValueError(f"a tree of {size} does not begin with one of {old_size}")
    if old_size in (0, size):
        return []
    parts = []
    start, end = 0, size
    while old_size != end:
        middle = start + _left(end - start)
        if old_size <= middle:
            parts.append(whole_trees(middle, end))
            end = middle
        else:
            parts.append(whole_trees(start, middle))
            start = middle
    if start > 0:
        parts.append(whole_trees(start, end))
    return parts[::-1]


def prove(parts: Sequence[Part], hash_of: Callable[[Node], bytes]) -> list[bytes]:
    """The hashes of a proof."""
    return [fold([hash_of(node) for node in part]) for part in parts]


def _left(size: int) -> int:
    """The largest power of two that is smaller than `size`."""
    return 1 << (size - 1).bit_length() - 1
