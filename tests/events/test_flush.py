"""Recording outcomes: once, under a token that holds, whatever is repeated, revoked or lost."""

import asyncio
from collections.abc import Iterator
from itertools import permutations
from uuid import UUID, uuid4

import msgspec
import pytest

from events import failpoint
from events.errors import DatabaseUnavailable, EventMismatch
from events.failpoint import FailpointRaised
from events.log import Flush
from events.outcomes.lines import unpack_block, unpack_facts
from events.work import Claim
from tests.events.proxy import proxy_to
from tests.events.stage import Stage, attachment_of, flush_of, open_stage
from tests.postgres import Database

WAYS_TO_THE_DATABASE = ("direct", "pgbouncer")


@pytest.fixture
def _disarm() -> Iterator[None]:
    yield
    failpoint.arm("")


async def claimed(stage: Stage, lines: int = 8) -> Claim:
    """A claim to all lines of a batch of its own."""
    return await stage.claim(await stage.running_batch(lines), lines)


async def test_a_flush_is_one_event_with_sums_facts_and_bodies(stage: Stage) -> None:
    claim = await claimed(stage)
    flush = flush_of(claim, [1, 3, 4])
    assert await stage.log.flush([flush]) == ["recorded"]
    event = (await stage.log.stream(claim.batch_id))[-1]
    assert (event.type, event.version, event.event_id) == ("LinesCompleted", 3, flush.event.event_id)
    assert event.data == flush.event.data
    [(version, event_id, column)] = await stage.log.facts(claim.batch_id)
    assert (version, event_id) == (3, flush.event.event_id)
    attachment = await attachment_of(stage.database, event_id)
    assert attachment is not None
    results = unpack_facts(column).results(unpack_block(attachment.body))
    assert [line for line, _, _ in results] == [1, 3, 4]
    batch = await stage.batch(claim.batch_id)
    assert (batch.completed, batch.failed) == (3, 0)


async def test_facts_are_read_on_from_a_version(stage: Stage) -> None:
    claim = await claimed(stage)
    for line in range(4):
        await stage.log.flush([flush_of(claim, [line])])
    versions = [version for version, _, _ in await stage.log.facts(claim.batch_id)]
    assert versions == [3, 4, 5, 6]
    assert [v for v, _, _ in await stage.log.facts(claim.batch_id, after=4, limit=1)] == [5]


async def test_a_line_that_has_an_outcome_gets_no_other(stage: Stage) -> None:
    claim = await claimed(stage)
    await stage.log.flush([flush_of(claim, [0, 1])])
    assert await stage.log.flush([flush_of(claim, [1, 2])]) == ["lost"]
    assert await stage.log.flush([flush_of(claim, [2, 3])]) == ["recorded"]
    assert (await stage.batch(claim.batch_id)).completed == 4


async def test_a_claim_whose_lines_are_all_done_is_gone(stage: Stage) -> None:
    claim = await claimed(stage)
    await stage.log.flush([flush_of(claim, claim.open_lines())])
    [batch] = await stage.board.open_batches()
    assert (batch.held, batch.free, batch.open_lines, batch.lines_left) == (0, 0, 0, 0)
    assert await stage.log.flush([flush_of(claim, [0])]) == ["lost"]


async def test_a_repeated_flush_is_recorded_whatever_became_of_its_claim(stage: Stage) -> None:
    claim = await claimed(stage)
    part, rest = flush_of(claim, [0]), flush_of(claim, range(1, 8))
    await stage.log.flush([part])
    assert await stage.log.flush([part]) == ["recorded"]
    await stage.board.void_claims(None)
    assert await stage.log.flush([part, rest]) == ["recorded", "lost"]
    await stage.finalize(claim.batch_id)
    assert await stage.log.flush([part]) == ["recorded"]
    assert (await stage.batch(claim.batch_id)).completed == 1


async def test_a_repeated_flush_of_a_finished_claim_is_recorded(stage: Stage) -> None:
    claim = await claimed(stage)
    whole = flush_of(claim, range(8))
    assert [await stage.log.flush([whole]) for _ in range(3)] == [["recorded"]] * 3
    assert await stage.log.head() == 3


async def test_an_event_id_of_a_flush_stands_for_one_content(stage: Stage) -> None:
    claim = await claimed(stage)
    first = flush_of(claim, [0])
    await stage.log.flush([first])
    with pytest.raises(EventMismatch):
        await stage.log.flush([flush_of(claim, [1], event_id=first.event.event_id)])
    assert (await stage.batch(claim.batch_id)).completed == 1


async def test_one_flush_sent_many_times_at_once_is_recorded_once(stage: Stage) -> None:
    claim = await claimed(stage)
    flush = flush_of(claim, range(8))
    assert await asyncio.gather(*(stage.log.flush([flush]) for _ in range(8))) == [["recorded"]] * 8
    assert (await stage.batch(claim.batch_id)).completed == 8
    assert await stage.log.head() == 3


async def test_claims_of_several_batches_are_recorded_together_in_any_order(stage: Stage) -> None:
    claims = [await claimed(stage, 4) for _ in range(3)]
    for round_, order in enumerate(permutations(range(3))):
        if round_ == 4:
            break
        answers = await stage.log.flush([flush_of(claims[n], [round_]) for n in order])
        assert answers == ["recorded"] * 3
    assert [(await stage.batch(claim.batch_id)).completed for claim in claims] == [4, 4, 4]


async def test_of_several_claims_each_is_answered_for_itself(stage: Stage) -> None:
    good, revoked, repeated = [await claimed(stage) for _ in range(3)]
    again = flush_of(repeated, [0])
    await stage.log.flush([again])
    await stage.finalize(revoked.batch_id)
    head = await stage.log.head()
    answers = await stage.log.flush([flush_of(revoked, [0]), again, flush_of(good, [0])])
    assert answers == ["lost", "recorded", "recorded"]
    assert await stage.log.head() == head + 1
    lost = flush_of(revoked, [0]).event
    assert await attachment_of(stage.database, lost.event_id) is None


async def test_one_claim_may_be_flushed_twice_in_one_call(stage: Stage) -> None:
    claim = await claimed(stage)
    one, two, both = flush_of(claim, [0, 1]), flush_of(claim, [2, 3]), flush_of(claim, [3, 4])
    assert await stage.log.flush([one, two, both]) == ["recorded", "recorded", "lost"]
    assert (await stage.batch(claim.batch_id)).completed == 4


def _with(flush: Flush, **changes: object) -> Flush:
    return msgspec.structs.replace(flush, **changes)


async def test_a_flush_that_is_not_quite_the_claims_is_lost(stage: Stage) -> None:
    claim, other = await claimed(stage), await claimed(stage)
    flush = flush_of(claim, [0])
    foreign = msgspec.structs.replace(flush.event, stream_id=other.batch_id)
    for wrong in (
        _with(flush, token=uuid4()),
        _with(flush, token=other.token),
        _with(flush, claim_id=other.id),
        _with(flush, claim_id=1 << 40),
        _with(flush, bits="1"),
        _with(flush, event=foreign),
    ):
        assert await stage.log.flush([wrong]) == ["lost"]
    assert await stage.log.flush([flush]) == ["recorded"]


@pytest.mark.parametrize("how", ["voided", "left", "handed back"])
async def test_a_token_dies_with_the_claim_and_its_done_lines_stay_done(stage: Stage, how: str) -> None:
    batch_id = await stage.running_batch(lines=4)
    worker, heir = await stage.worker(), await stage.worker()
    [claim] = await stage.claims(batch_id, [0, 4], worker)
    await stage.log.flush([flush_of(claim, [1])])
    match how:
        case "voided":
            assert await stage.board.void_claims([worker]) == 1
        case "left":
            await stage.board.leave(worker)
        case _:
            await stage.board.hand_back([claim])
    again = await stage.board.claim(claim.id, heir)
    assert again is not None
    assert again.token != claim.token
    assert again.open_lines() == [0, 2, 3]
    assert await stage.log.flush([flush_of(claim, [2])]) == ["lost"]
    assert await stage.log.flush([flush_of(again, [2])]) == ["recorded"]
    assert (await stage.batch(batch_id)).completed == 2


@pytest.mark.parametrize("point", ["flush.before", "flush.after"])
@pytest.mark.usefixtures("_disarm")
async def test_a_flush_that_broke_is_repeated_without_harm(stage: Stage, point: str) -> None:
    claim = await claimed(stage)
    flush = flush_of(claim, [0, 1])
    failpoint.arm(f"{point}=raise")
    with pytest.raises(FailpointRaised):
        await stage.log.flush([flush])
    assert await stage.log.flush([flush]) == ["recorded"]
    assert (await stage.batch(claim.batch_id)).completed == 2


@pytest.mark.parametrize("lost", ["call", "answer"])
async def test_a_flush_whose_call_or_answer_was_lost_is_repeated_without_harm(
    database: Database, lost: str
) -> None:
    async with proxy_to(database.app_url) as proxy, open_stage(proxy.url, connections=2) as stage:
        claim = await claimed(stage)
        await stage.log.flush([flush_of(claim, [0])])
        flush = flush_of(claim, [1, 2])
        cut = proxy.cut_next("answer" if lost == "answer" else "call")
        with pytest.raises(DatabaseUnavailable):
            await stage.log.flush([flush])
        assert cut.is_set()
        await stage.board.void_claims(None)
        answer = await stage.log.flush([flush])
        assert answer == (["recorded"] if lost == "answer" else ["lost"])
        assert (await stage.batch(claim.batch_id)).completed == (3 if lost == "answer" else 1)


async def test_no_flush_is_no_call_that_fails(stage: Stage) -> None:
    assert await stage.log.flush([]) == []


async def test_a_line_costs_the_log_at_most_64_bytes(database: Database) -> None:
    flushes, lines = 100, 256
    async with open_stage(database.app_url) as stage:
        batch_id = await stage.running_batch(flushes * lines)
        claims = await stage.claims(batch_id, range(0, flushes * lines + 1, lines))
        for claim in claims:
            await stage.log.flush([flush_of(claim, claim.open_lines(), event_id=UUID(int=claim.id << 64))])
        async with stage.database.reading() as connection:
            size = await connection.fetchval("SELECT pg_total_relation_size('events')")
    per_line = size / (flushes * lines)
    print(f"the log takes {per_line:.1f} bytes a line beside its body")
    assert per_line <= 64
