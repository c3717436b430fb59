"""`/v1/batchmill/audit/…`: signed checkpoints of the log, and proofs from its tree."""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec
from litestar import route

from api.errors import ApiError, missing_parameter, no_such_batch
from api.ids import looking_for
from api.paging import limit_of, number_of
from api.request import READ, ApiRequest, services_of
from api.scopes import needs
from api.wire import ListObject, list_object
from events.audit.proofs import InclusionProof
from events.audit.records import LeafOf
from events.batch import Batch
from events.errors import NotFound

PROOFS_PER_PAGE: Final = 20
MOST_PROOFS: Final = 100
_NO_SIZE: Final = 1 << 62
"""No log is as long."""


class CheckpointObject(msgspec.Struct, frozen=True, kw_only=True):
    """`audit.checkpoint`: the first `size` events of the log `origin` have the `root`, in hex; `note` is the
    signed note that says so."""

    object: Literal["audit.checkpoint"] = "audit.checkpoint"
    origin: str
    size: int
    root: str
    note: str


class ProofObject(msgspec.Struct, frozen=True, kw_only=True):
    """`audit.proof`: that an event, whose position is the `id` as well, is under `checkpoint`, a signed note.
    Hashes are in hex; `digest`, `stream_id` and `version` make the leaf, and `proof` goes from it up."""

    id: str
    object: Literal["audit.proof"] = "audit.proof"
    position: int
    stream_id: str
    version: int
    type: str
    digest: str
    proof: Sequence[str]
    checkpoint: str


class ConsistencyObject(msgspec.Struct, frozen=True, kw_only=True):
    """`audit.consistency`: that the tree of `size`, which `checkpoint`, a signed note, names, begins with the
    one of `old_size`."""

    object: Literal["audit.consistency"] = "audit.consistency"
    old_size: int
    size: int
    proof: Sequence[str]
    checkpoint: str


@route("/batchmill/audit/checkpoint", http_method=READ, status_code=200, opt=needs("read"))
async def newest_checkpoint(request: ApiRequest) -> CheckpointObject:
    """`GET /v1/batchmill/audit/checkpoint`"""
    try:
        signed = await services_of(request).audit.proofs.checkpoint()
    except NotFound as error:
        raise ApiError(404, "Nothing of the log is sealed yet.") from error
    checkpoint = signed.checkpoint
    return CheckpointObject(
        origin=checkpoint.origin, size=checkpoint.size, root=checkpoint.root.hex(), note=signed.note.encode()
    )


@route("/batchmill/audit/proof", http_method=READ, status_code=200, opt=needs("read"))
async def prove_events(request: ApiRequest) -> ListObject[ProofObject]:
    """`GET /v1/batchmill/audit/proof`: of the event at `position`, or of the events of `batch_id`."""
    services, query, project_id = services_of(request), request.query_params, request.auth.project_id
    position, batch_id = number_of(query, "position", least=1), query.get("batch_id")
    limit, after = limit_of(query, PROOFS_PER_PAGE, MOST_PROOFS), number_of(query, "after") or 0
    if position is None and batch_id is None:
        raise missing_parameter("position")
    if position is not None and batch_id is not None:
        raise ApiError(400, "Give 'position' or 'batch_id', not both.", param="batch_id")
    if batch_id is None:
        assert position is not None
        leaf = None
        if position < _NO_SIZE:
            leaf = await services.audit.records.leaf_in(project_id, position)
        if leaf is None:
            raise ApiError(404, f"No event found at position {position}.", param="position")
        return list_object([await _proof(request, leaf)], has_more=False)
    with looking_for(batch_id, no_such_batch(batch_id)):
        await services.journal.models.get(Batch, batch_id, project_id)
    leaves = await services.audit.records.leaves_of(batch_id, after=min(after, _NO_SIZE), limit=limit + 1)
    return list_object([await _proof(request, leaf) for leaf in leaves[:limit]], has_more=len(leaves) > limit)


@route("/batchmill/audit/consistency", http_method=READ, status_code=200, opt=needs("read"))
async def prove_consistency(request: ApiRequest) -> ConsistencyObject:
    """`GET /v1/batchmill/audit/consistency`: that the first checkpoint of at least the size `to`, or the
    newest, extends the one of the size `from`."""
    query = request.query_params
    old_size, size = number_of(query, "from"), number_of(query, "to")
    if old_size is None:
        raise missing_parameter("from")
    try:
        if max(old_size, size or 0) >= _NO_SIZE:
            raise NotFound("no log is as long")
        made = await services_of(request).audit.proofs.consistency(old_size, size)
    except NotFound as error:
        raise ApiError(404, "No checkpoint is as large yet.") from error
    return ConsistencyObject(
        old_size=made.old_size, size=made.size, proof=made.proof, checkpoint=made.checkpoint
    )


async def _proof(request: ApiRequest, leaf: LeafOf) -> ProofObject:
    try:
        made = await services_of(request).audit.proofs.inclusion_of(leaf)
    except NotFound as error:
        raise ApiError(
            409, f"The event at position {leaf.position} is not sealed yet: ask again in a few seconds."
        ) from error
    return _shown(made)


def _shown(made: InclusionProof) -> ProofObject:
    return ProofObject(
        id=str(made.position),
        position=made.position,
        stream_id=made.stream_id,
        version=made.version,
        type=made.type,
        digest=made.digest,
        proof=made.proof,
        checkpoint=made.checkpoint,
    )
