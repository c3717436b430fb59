"""`batchmill serve` with a database and a bucket that are not its own."""

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import asyncpg
import pytest
from moto.server import ThreadedMotoServer

from cli.exit_codes import ExitCode
from tests.contract.mill import KEY, chat, results, submit, until_ended
from tests.postgres import Database
from tests.serve_process import serve_process
from tests.upstream import LedgerUpstream, ledger_upstream


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """A bucket, as the settings name it."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    moto.start()
    host, port = moto.get_host_and_port()
    with closing(socket.create_connection((host, port))) as connection:
        connection.sendall(b"PUT /results HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        while connection.recv(4096):
            pass
    yield {
        "BATCHMILL_STORAGE_URL": "s3://results/mill",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "the-secret-of-the-bucket",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }
    moto.stop()


async def test_a_batch_runs_on_a_database_and_a_bucket_of_one_s_own(
    external: dict[str, str], s3: dict[str, str], tmp_path: Path
) -> None:
    async with ledger_upstream(tmp_path / "ledger") as upstream:
        settings = external | s3 | {"BATCHMILL_UPSTREAM_URL": upstream.url}
        with serve_process(settings=settings) as served:
            client = served.client(KEY)
            batch = await asyncio.to_thread(submit, client, chat("line-0", "line-1 400"))
            done = await asyncio.to_thread(until_ended, client, batch)
            good = await asyncio.to_thread(results, client, done.output_file_id)
            bad = await asyncio.to_thread(results, client, done.error_file_id)
    assert [line["custom_id"] for line in good + bad] == ["line-0", "line-1"]
    data = tmp_path / "data"
    assert [path for path in data.rglob("*") if path.is_file()] == [data / "lock"]
    assert "the-secret-of-the-bucket" not in served.told
    assert "database_owner_url" not in served.told


def test_one_login_for_everything_is_served_with_a_warning(
    external: dict[str, str], database: Database
) -> None:
    del external["BATCHMILL_DATABASE_OWNER_URL"]
    settings = external | {"BATCHMILL_DATABASE_URL": database.owner_url}
    with serve_process(settings=settings) as served:
        assert served.client(KEY).batches.list().data == []
    assert "database_owner_url" in served.until("the application's login may change the schema")
    assert "batchmill-test" not in served.told  # the password


def test_the_application_s_login_is_enough_where_the_schema_is_up_to_date(
    external: dict[str, str], empty_database: Database
) -> None:
    owner_url = external.pop("BATCHMILL_DATABASE_OWNER_URL")
    with serve_process(settings=external) as served:
        assert served.client(KEY).batches.list().data == []
    assert "database_owner_url" not in served.told
    with serve_process(settings=external | {"BATCHMILL_DATABASE_URL": empty_database.app_url}) as served:
        assert served.exit_code() == ExitCode.REFUSED
    assert served.said == ["batchmill: the database has no schema yet: run `batchmill migrate`"]
    assert owner_url not in served.told


@pytest.mark.soak  # a fleet behind PgBouncer does, in tests/chaos
def test_several_may_start_at_once_on_a_fresh_database(empty_database: Database, tmp_path: Path) -> None:
    settings = {
        "BATCHMILL_DATABASE_URL": empty_database.app_url,
        "BATCHMILL_DATABASE_OWNER_URL": empty_database.owner_url,
        "BATCHMILL_STORAGE_URL": (tmp_path / "files").as_uri(),
        "BATCHMILL_API_KEY": KEY,
    }
    (tmp_path / "files").mkdir()
    with (
        serve_process("--data-dir", tmp_path / "one", settings=settings) as one,
        serve_process("--data-dir", tmp_path / "two", settings=settings) as two,
    ):
        batch = submit(one.client(KEY), chat("line-0"))
        assert two.client(KEY).batches.retrieve(batch.id).id == batch.id
        assert one.end() == two.end() == ExitCode.OK


@pytest.mark.soak  # those of a fleet are cut in tests/chaos
async def test_a_database_that_drops_its_connections_is_waited_for(
    external: dict[str, str], database: Database, tmp_path: Path
) -> None:
    async with ledger_upstream(tmp_path / "ledger", latency=0.05) as upstream:
        settings = external | {
            "BATCHMILL_UPSTREAM_URL": upstream.url,
            "BATCHMILL_LEASE": "2s",
            "BATCHMILL_BEAT": "500ms",
        }
        with serve_process("--concurrency", "4", settings=settings) as served:
            client = served.client(KEY).with_options(max_retries=8)  # some calls meet the gap: 503
            texts = [f"line-{n}" for n in range(60)]
            batch = await asyncio.to_thread(submit, client, chat(*texts))
            for tries in (10, 30, 50):
                await upstream.until(partial(has_tried, tries))
                await drop_connections(database)
            done = await asyncio.to_thread(until_ended, client, batch)
            lines = await asyncio.to_thread(results, client, done.output_file_id)
            assert await asyncio.to_thread(served.end) == ExitCode.OK
    assert len(lines) == 60


def has_tried(tries: int, upstream: LedgerUpstream) -> bool:
    return upstream.tries >= tries


async def drop_connections(database: Database) -> None:
    """What a restart of the database server does to those who are connected."""
    connection = await asyncpg.connect(database.superuser_url)
    try:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    finally:
        await connection.close()
