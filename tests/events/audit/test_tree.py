"""The tree against published vectors, and against its definition written down a second time."""

import hashlib
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.audit.proof import Node, consistency, inclusion, prove, whole_trees
from events.audit.tree import EMPTY_ROOT, Frontier, extends, fold, includes, leaf_hash, node_hash
from tests.events.audit import plain_tree

# The vectors of the reference implementation of Certificate Transparency (merkle_tree_test.cc), which others
# of RFC 6962 took over.
LEAVES: Final = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", bytes(range(96, 112)).hex())
]
ROOTS: Final = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSIONS: Final = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCIES: Final = {
    (1, 1): [],
    (1, 8): INCLUSIONS[0, 8],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


def hashes_of(entries: list[bytes]) -> dict[Node, bytes]:
    """Every whole tree of these leaves."""
    row = {Node(0, at): leaf_hash(entry) for at, entry in enumerate(entries)}
    nodes = dict(row)
    while len(row) > 1:
        row = {
            Node(left.level + 1, left.number // 2): node_hash(row[left], row[right])
            for left, right in zip(list(row)[0::2], list(row)[1::2], strict=False)
        }
        nodes |= row
    return nodes


def root_of(entries: list[bytes]) -> bytes:
    frontier = Frontier()
    for entry in entries:
        frontier.add(leaf_hash(entry))
    assert frontier.size == len(entries)
    return frontier.root


def entries_of(size: int) -> list[bytes]:
    return [b"%d" % number for number in range(size)]


@pytest.mark.parametrize("size", range(9))
def test_the_published_roots(size: int) -> None:
    assert root_of(LEAVES[:size]).hex() == ROOTS[size]


@pytest.mark.parametrize(("index", "size"), INCLUSIONS)
def test_the_published_proofs_of_inclusion(index: int, size: int) -> None:
    made = prove(inclusion(index, size), hashes_of(LEAVES).__getitem__)
    assert [hash_.hex() for hash_ in made] == INCLUSIONS[index, size]
    assert includes(bytes.fromhex(ROOTS[size]), size, index, leaf_hash(LEAVES[index]), made)


@pytest.mark.parametrize(("old", "size"), CONSISTENCIES)
def test_the_published_proofs_of_consistency(old: int, size: int) -> None:
    made = prove(consistency(old, size), hashes_of(LEAVES).__getitem__)
    assert [hash_.hex() for hash_ in made] == CONSISTENCIES[old, size]
    assert extends(bytes.fromhex(ROOTS[old]), old, bytes.fromhex(ROOTS[size]), size, made)


def test_every_root_up_to_300_leaves_is_that_of_the_definition() -> None:
    entries = entries_of(300)
    frontier = Frontier()
    for size in range(301):
        whole = [
            plain_tree.mth(entries[node.number << node.level : (node.number + 1) << node.level])
            for node in whole_trees(0, size)
        ]
        assert frontier.whole == tuple(whole)
        assert frontier.root == fold(whole)
        if size % 25 == 0 or size.bit_count() == 1:
            assert frontier.root == plain_tree.mth(entries[:size])
        assert Frontier(size, frontier.whole).root == frontier.root
        if size < 300:
            frontier.add(leaf_hash(entries[size]))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300).flatmap(lambda size: st.tuples(st.integers(0, size - 1), st.just(size))))
def test_proofs_of_inclusion_are_those_of_the_definition_and_hold(place: tuple[int, int]) -> None:
    index, size = place
    entries = entries_of(size)
    made = prove(inclusion(index, size), hashes_of(entries).__getitem__)
    root = plain_tree.mth(entries)
    assert made == plain_tree.path(index, entries)
    assert includes(root, size, index, leaf_hash(entries[index]), made)
    assert not includes(root, size, index, leaf_hash(b"another"), made)
    assert not includes(root, size, index ^ 1, leaf_hash(entries[index]), made) or size == 1
    assert not includes(EMPTY_ROOT, size, index, leaf_hash(entries[index]), made)
    assert not includes(root, size, index, leaf_hash(entries[index]), [*made, root])
    if made:
        assert not includes(root, size, index, leaf_hash(entries[index]), made[:-1])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300).flatmap(lambda size: st.tuples(st.integers(1, size), st.just(size))))
def test_proofs_of_consistency_are_those_of_the_definition_and_hold(sizes: tuple[int, int]) -> None:
    old, size = sizes
    entries = entries_of(size)
    made = prove(consistency(old, size), hashes_of(entries).__getitem__)
    root, old_root = plain_tree.mth(entries), plain_tree.mth(entries[:old])
    assert made == plain_tree.proof(old, entries)
    assert extends(old_root, old, root, size, made)
    assert not extends(hashlib.sha256(b"other").digest(), old, root, size, made)
    assert not extends(old_root, old, hashlib.sha256(b"other").digest(), size, made)
    assert not extends(old_root, old, root, size, [*made, root])
    if made:
        assert not extends(old_root, old, root, size, made[:-1])
        changed = [bytes([made[0][0] ^ 1]) + made[0][1:], *made[1:]]
        assert not extends(old_root, old, root, size, changed)


@settings(max_examples=30)
@given(st.integers(1, 1 << 60), st.data())
def test_a_proof_is_no_longer_than_the_tree_is_high(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    assert len(inclusion(index, size)) <= (size - 1).bit_length()
    assert len(consistency(index + 1, size)) <= size.bit_length() + 1


def test_everything_extends_the_empty_tree() -> None:
    assert extends(EMPTY_ROOT, 0, root_of(LEAVES), 8, [])
    assert not extends(root_of(LEAVES), 0, root_of(LEAVES), 8, [])
    assert not extends(EMPTY_ROOT, 0, root_of(LEAVES), 8, [EMPTY_ROOT])
    assert consistency(0, 8) == []


@pytest.mark.parametrize(("old", "size"), [(-1, 8), (9, 8)])
def test_a_tree_does_not_extend_a_larger_one(old: int, size: int) -> None:
    assert not extends(EMPTY_ROOT, old, EMPTY_ROOT, size, [])
    with pytest.raises(ValueError, match="does not begin with"):
        consistency(old, size)


@pytest.mark.parametrize(("index", "size"), [(-1, 8), (8, 8), (0, 0)])
def test_there_is_no_proof_of_a_leaf_that_is_not_there(index: int, size: int) -> None:
    assert not includes(EMPTY_ROOT, size, index, EMPTY_ROOT, [])
    with pytest.raises(ValueError, match="there is no leaf"):
        inclusion(index, size)


def test_a_frontier_is_not_begun_with_too_little() -> None:
    with pytest.raises(ValueError, match="3 leaves make 2 whole trees, not 1"):
        Frontier(3, [EMPTY_ROOT])
