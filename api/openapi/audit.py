"""The operations that prove what the log says."""

from typing import Final

from api.audit import evidence, proofs
from api.audit.proofs import (
    MOST_PROOFS,
    PROOFS_PER_PAGE,
    CheckpointObject,
    ConsistencyObject,
    ProofObject,
)
from api.openapi import samples
from api.openapi.entry import BYTES, Answer, Entry, Example, Parameter, Refused
from api.openapi.parts import TEXT, number, one_of, page
from api.openapi.refusals import HEAD, IN_PAGE
from api.wire import list_object

_TAG: Final = "Audit"
_ORIGIN: Final = "batchmill/5f6b1c0e-8d2a-4b7f-9c3e-1a4d6e8f0b2c"
_ROOT: Final = "3ecbad04fb8cc99c3a1b0b4d15500d9a931a14b77f22696e3c3bc3e7fb62b682"
_HASH: Final = "aa3ffdad504141608f1de2d7abd8ed408b4742b734adfa553b0c9a783d40fefb"
_NOTE: Final = (
    f"{_ORIGIN}\n16\nPsutBPuMyZw6GwtNFVANmpMaFLd/ImluPDvD5/titoI=\n\n"
    "\u2014 mill.example.com l0B746epW0WYmtxAg3vsmSUKzkwLOqfVAUdxNQVFPXTfFMxswAWFgx732MPf1dFAIrLz\n"
)
_CHECKPOINT: Final = CheckpointObject(origin=_ORIGIN, size=16, root=_ROOT, note=_NOTE)
_PROOF: Final = ProofObject(
    id="6",
    position=6,
    stream_id=samples.BATCH,
    version=1,
    type="BatchCreated",
    digest="6d6d2eafef11ecc150e5dd2a95e89668e75cb45a6e3bd2920a9a749ff3319005",
    proof=[_HASH, _ROOT],
    checkpoint=_NOTE,
)
_CONSISTENCY: Final = ConsistencyObject(old_size=1, size=16, proof=[_HASH, _ROOT], checkpoint=_NOTE)
_BUNDLE: Final = (
    "bundle 105 04b2db73…\nbatchmill evidence 1\n5f6b1c0e-8d2a-4b7f-9c3e-1a4d6e8f0b2c\n"
    f"{samples.BATCH}\ndigests\n\ncheckpoint 198 3a94d836…\n…"
)
_TOO_SOON: Final = "What is asked for is not sealed yet. It will be in a second or two."
_NO_CHECKPOINT: Final = "No checkpoint is as large, or there is none yet."


def entries() -> tuple[Entry, ...]:
    """Every operation of these."""
    return (
        Entry(
            handler=evidence.export_evidence,
            tag=_TAG,
            summary="Evidence of a batch",
            says="Batchmill's own. One file that proves offline, with the server's public key, what happened "
            "to every line: see docs/reference/evidence-bundle.md. It names what the log has of the batch "
            "and its files, places in storage and actors too.",
            parameters=(
                Parameter(
                    name="bodies",
                    schema={**one_of("false", "true"), "default": "false"},
                    says="Whether the results themselves are in it, compressed.",
                ),
            ),
            answers=(Answer(says="The bundle.", content={BYTES: TEXT}),),
            refuses={
                400: Refused(codes=("invalid_value",), otherwise=HEAD),
                409: Refused(otherwise=f"The batch has not ended. Not to be retried. Or: {_TOO_SOON}"),
            },
            examples={"done": Example(says="A batch that has ended.", media=BYTES, answer=_BUNDLE)},
        ),
        Entry(
            handler=proofs.newest_checkpoint,
            tag=_TAG,
            summary="The newest checkpoint",
            says="Batchmill's own. How long the log is and what its Merkle tree's root is, signed. Keep one "
            "elsewhere: all that it covers can be held against it later.",
            refuses={404: Refused(otherwise=_NO_CHECKPOINT)},
            examples={"newest": Example(says="The newest.", answer=_CHECKPOINT)},
        ),
        Entry(
            handler=proofs.prove_events,
            tag=_TAG,
            summary="Prove that events are sealed",
            says="Batchmill's own. Of the event at `position`, or of a page of the events of `batch_id`: the "
            "path to the root of the first checkpoint that covers it.",
            parameters=(
                number("position", "The place of an event in the log.", least=1),
                Parameter(name="batch_id", schema=TEXT, says="The id of a batch."),
                number("after", "The `version` of the last proof of the batch that you have."),
                page(MOST_PROOFS, PROOFS_PER_PAGE)[1],
            ),
            refuses={
                400: Refused(
                    codes=("missing_required_parameter", *IN_PAGE),
                    otherwise=f"Both are given. Or: {HEAD}",
                ),
                404: Refused(otherwise="The project has no such event, or no such batch."),
                409: Refused(otherwise=_TOO_SOON),
            },
            examples={
                "batch": Example(
                    says="The first event of a batch.",
                    query={"batch_id": samples.BATCH, "limit": 1},
                    answer=list_object([_PROOF], has_more=True),
                )
            },
        ),
        Entry(
            handler=proofs.prove_consistency,
            tag=_TAG,
            summary="Prove that checkpoints are of one history",
            says="Batchmill's own. That the first checkpoint of at least the size `to`, or the newest, "
            "begins with all that one of the size `from` covers.",
            parameters=(
                number("from", "The size of the older checkpoint.", required=True),
                number("to", "The size of the newer one."),
            ),
            refuses={
                400: Refused(codes=("missing_required_parameter", *IN_PAGE[:2]), otherwise=HEAD),
                404: Refused(otherwise=_NO_CHECKPOINT),
            },
            examples={
                "newest": Example(
                    says="From the first event to the newest checkpoint.",
                    query={"from": 1},
                    answer=_CONSISTENCY,
                )
            },
        ),
    )
