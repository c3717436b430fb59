"""A fleet whose every session of the database is PgBouncer's, in transaction mode."""

from pathlib import Path

import asyncpg
import pytest

from cli.embedded.postgres import LOGIN
from tests.chaos.checker import Kill, broken_promises, in_flight, repeats, results_of
from tests.chaos.fleet import fleet
from tests.chaos.inputs import batch_of, fresh_names
from tests.chaos.mill import polling
from tests.chaos.witness import story_of
from tests.pgbouncer import Bouncer
from tests.postgres import Database
from tests.rabbit import Broker
from tests.upstream import LedgerUpstream

END_SESSIONS = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = $1
"""
SETTINGS = {"concurrency": "8", "chunk_lines": "16", "database_statement_cache": "0"}


async def end_all_sessions(database: Database) -> None:
    """Has the server end every session that the bouncer holds."""
    superuser = await asyncpg.connect(database.superuser_url)
    try:
        assert await superuser.fetchval(END_SESSIONS, LOGIN) > 0
    finally:
        await superuser.close()


@pytest.mark.soak  # the log and the board are tried behind it in their rooms
async def test_a_fleet_behind_pgbouncer_outlives_its_leader_and_its_sessions(
    tmp_path: Path,
    upstream: LedgerUpstream,
    ledger: Path,
    empty_database: Database,
    bouncer: Bouncer,
    broker: Broker,
) -> None:
    """All start at once, and migrate."""
    lines = fresh_names(600)
    upstream.latency = 0.05
    async with fleet(tmp_path, upstream.url, bouncer.before(empty_database), broker.url, SETTINGS) as pods:
        leader = await pods.leader()
        batch_id = await pods.api.submit(batch_of(lines))
        async with polling(pods.api, batch_id) as polls:
            await polls.until_done(150)
            kill = Kill(await leader.kill())
            assert await pods.leader() is not leader
            await leader.start()
            await polls.until_done(350)
            await end_all_sessions(empty_database)
            story = await story_of(pods.api, polls, lines, ledger, [kill])
        assert [await one.stop() for one in pods.everybody] == [0, 0, 0]
    assert story.polls[-1]["status"] == "completed"
    assert broken_promises(story) == []
    assert len(results_of(story.output)) == len(lines)
    assert repeats(story) <= in_flight(story, kill)
