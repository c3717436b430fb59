"""Proofs that are handed out, checked as whoever gets them would."""

import pytest

from events.audit.leaf import event_leaf
from events.audit.note import parse_public_key
from events.audit.proofs import Proofs
from events.audit.records import Signed, parse_signed
from events.audit.tree import extends, includes
from events.errors import NotFound
from tests.engine.audit.mill import KEY, Mill


def checked(note: str) -> Signed:
    signed = parse_signed(note)
    assert signed.note.signers([parse_public_key(KEY.public.text)])
    return signed


async def test_a_proof_of_inclusion_can_be_checked_with_the_key_alone(mill: Mill) -> None:
    proofs = Proofs(mill.records, mill.store)
    await mill.append(3)
    await mill.seal()
    await mill.append(400)
    await mill.seal()
    for position, size in ((1, 4), (4, 4), (5, 404), (300, 404), (404, 404)):
        made = await proofs.inclusion(position)
        checkpoint = checked(made.checkpoint).checkpoint
        assert checkpoint.size == size
        leaf = event_leaf(bytes.fromhex(made.digest), made.stream_id, made.version)
        path = [bytes.fromhex(hash_) for hash_ in made.proof]
        assert includes(checkpoint.root, size, position - 1, leaf, path)
    [batch] = await mill.records.leaves_of("batch_399")
    assert (batch.type, batch.version) == ("BatchStarted", 1)
    assert (await proofs.inclusion_of(batch)).position == batch.position


async def test_a_proof_of_consistency_is_from_any_size_to_what_was_signed(mill: Mill) -> None:
    proofs = Proofs(mill.records, mill.store)
    await mill.append(300)
    first = (await mill.seal()).last
    await mill.append(300)
    newest = (await mill.seal()).last
    assert (await proofs.checkpoint()).checkpoint == newest
    made = await proofs.consistency(first.size)
    assert checked(made.checkpoint).checkpoint == newest
    path = [bytes.fromhex(hash_) for hash_ in made.proof]
    assert extends(first.root, first.size, newest.root, newest.size, path)
    assert (await proofs.consistency(7, 10)).size == first.size
    with pytest.raises(NotFound, match="no checkpoint of this log is as large as 602"):
        await proofs.consistency(602)


async def test_what_is_not_sealed_yet_has_no_proof(mill: Mill) -> None:
    proofs = Proofs(mill.records, mill.store)
    with pytest.raises(NotFound, match="nothing of this log was sealed yet"):
        await proofs.checkpoint()
    await mill.append(1)
    with pytest.raises(NotFound, match="no checkpoint covers position 1 yet"):
        await proofs.inclusion(1)
    with pytest.raises(NotFound, match="there is no event at position 9"):
        await proofs.inclusion(9)
