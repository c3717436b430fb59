"""Whether a bundle's checkpoint is of the same history as one that the auditor has kept."""

from collections.abc import Sequence

from events.audit.bundle.parts import BundleFlaw
from events.audit.note import MalformedNote, NotSigned, PublicKey
from events.audit.proofs import ConsistencyProof
from events.audit.records import Signed, parse_signed
from events.audit.tree import extends


class ProofWanted(Exception):
    """The two are of different sizes: only a proof of consistency tells whether one extends the other."""

    def __init__(self, old_size: int, size: int) -> None:
        super().__init__(old_size, size)
        self.old_size = old_size
        self.size = size


def require_kept(
    signed: Signed, kept: Signed, keys: Sequence[PublicKey], proof: ConsistencyProof | None = None
) -> None:
    """`signed` is the checkpoint of a bundle that was checked. Raises `BundleFlaw` where the two are not of
    one history, and `ProofWanted` where a `proof` is needed that is not given."""
    ours, theirs = signed.checkpoint, kept.checkpoint
    try:
        kept.note.signers(keys)
    except NotSigned as error:
        raise _flaw(f"the one that was kept is not to be trusted: {error}") from error
    if ours.origin != theirs.origin:
        raise _flaw(f"it is of {ours.origin}, and the one that was kept of {theirs.origin}")
    if ours.size == theirs.size:
        if ours.root != theirs.root:
            raise _flaw("the one that was kept has the same size and another root: the log was forged")
        return
    old, new = sorted((ours, theirs), key=lambda checkpoint: checkpoint.size)
    if proof is None:
        raise ProofWanted(old.size, new.size)
    try:
        path = [bytes.fromhex(hash_) for hash_ in proof.proof]
        told = parse_signed(proof.checkpoint).checkpoint
    except (ValueError, MalformedNote) as error:
        raise _flaw(f"the proof of consistency is none: {error}") from error
    if (proof.old_size, proof.size, told) != (old.size, new.size, new):
        raise _flaw(
            f"the proof of consistency is from {proof.old_size} to {proof.size}, and must be from {old.size} "
            f"to {new.size}"
        )
    if not extends(old.root, old.size, new.root, new.size, path):
        raise _flaw(
            "the proof of consistency does not hold: it is of another history than the one that was kept"
        )


def _flaw(wrong: str) -> BundleFlaw:
    return BundleFlaw("checkpoint", f"the checkpoint of the bundle: {wrong}")
