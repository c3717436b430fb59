"""Roots and proofs against those of another implementation of RFC 6962, pymerkle."""

from functools import cache
from itertools import combinations
from typing import Final

import pymerkle  # type: ignore[import-untyped]  # it ships no types
import pytest

from events.audit.proof import Node, between, consistency, inclusion, prove
from events.audit.tree import Frontier, extends, includes, leaf_hash

SIZE: Final = 40
ENTRIES: Final = [b"%d" % number for number in range(SIZE)]
THEIRS: Final = pymerkle.InmemoryTree.init_from_entries(ENTRIES, algorithm="sha256")
ROOTS: Final[list[bytes]] = [THEIRS.get_root(size) for size in range(SIZE + 1)]


@cache
def hash_of(node: Node) -> bytes:
    """Of a whole tree, by its leaves alone."""
    frontier = Frontier()
    for entry in ENTRIES[node.number << node.level : node.number + 1 << node.level]:
        frontier.add(leaf_hash(entry))
    return frontier.root


def test_roots_are_the_same() -> None:
    frontier = Frontier()
    for size, entry in enumerate(ENTRIES, 1):
        frontier.add(leaf_hash(entry))
        assert frontier.root == ROOTS[size]


def test_their_proofs_of_inclusion_have_our_hashes() -> None:
    for size in range(1, SIZE + 1):
        for index in range(size):
            ours = prove(inclusion(index, size), hash_of)
            theirs = THEIRS.prove_inclusion(index + 1, size)
            leaf = leaf_hash(ENTRIES[index])
            assert sorted([leaf, *ours]) == sorted(theirs.path)
            pymerkle.verify_inclusion(leaf, ROOTS[size], theirs)
            assert includes(ROOTS[size], size, index, leaf, ours)


def test_our_proofs_of_consistency_hold_between_their_roots() -> None:
    for old, new in combinations(range(1, SIZE + 1), 2):
        proof = prove(consistency(old, new), hash_of)
        assert extends(ROOTS[old], old, ROOTS[new], new, proof)
        assert not extends(ROOTS[old], old, ROOTS[new - 1], new, proof)


def test_hashes_between_leaves_give_their_roots() -> None:
    """What a bundle has for the events that are not its own."""
    for first, second in combinations(range(SIZE), 2):
        frontier = Frontier()
        for leaf in (first, second):
            for node in between(frontier.size, leaf):
                frontier.add(hash_of(node), node.level)
            frontier.add(leaf_hash(ENTRIES[leaf]))
        for node in between(frontier.size, SIZE):
            frontier.add(hash_of(node), node.level)
        assert (frontier.size, frontier.root) == (SIZE, ROOTS[SIZE])
    with pytest.raises(ValueError, match="a tree of 2 leaves does not begin at leaf 1"):
        Frontier(1, [bytes(32)]).add(bytes(32), 1)
