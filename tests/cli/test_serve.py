"""`batchmill serve` as its operator meets it: real processes, their words, their exit codes."""

import asyncio
import json
import logging
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import asyncpg
import psutil
import pytest
from moto.server import ThreadedMotoServer
from openai import AuthenticationError, OpenAI
from openai.types import Batch

from cli.exit_codes import ExitCode
from tests.cli.test_embedded_postgres import ROOT, RUN_AS
from tests.postgres import Database
from tests.serve_process import ServeProcess, ran, serve_process
from tests.upstream import LedgerUpstream, ledger_upstream

KEY = "sk-the-operator-s-own-key"
SECRET_BODY = "what-only-the-client-may-see"


@pytest.fixture
def external(database: Database, tmp_path: Path) -> dict[str, str]:
    """Settings that start fast: a database that is there already, and a key."""
    return {
        "BATCHMILL_DATABASE_URL": database.app_url,
        "BATCHMILL_DATABASE_OWNER_URL": database.owner_url,
        "BATCHMILL_DATA_DIR": str(tmp_path / "data"),
        "BATCHMILL_API_KEY": KEY,
    }


def requests(*texts: str) -> bytes:
    """An input file that asks the upstream of the tests these things."""
    return b"\n".join(
        json.dumps(
            {
                "custom_id": f"request-{n}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"model": "practice", "messages": [{"role": "user", "content": text}]},
            }
        ).encode()
        for n, text in enumerate(texts)
    )


def batch_of(client: OpenAI, content: bytes) -> Batch:
    """A new batch."""
    file = client.files.create(file=("upload", content), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )


def ended(client: OpenAI, batch: Batch) -> Batch:
    """The batch once it has ended."""
    deadline = time.monotonic() + 40
    while (seen := client.batches.retrieve(batch.id)).status not in ("completed", "failed", "cancelled"):
        assert time.monotonic() < deadline, seen
        time.sleep(0.05)
    return seen


def lines_of(client: OpenAI, file_id: str | None) -> list[str]:
    """The lines of a result file."""
    assert file_id is not None
    return client.files.content(file_id).text.splitlines()


def test_the_first_start_shows_a_key_once_and_keeps_only_its_digest(tmp_path: Path) -> None:
    with serve_process("--data-dir", tmp_path) as first:
        key = first.first_key
        assert first.client(key).batches.list().data == []
        with pytest.raises(AuthenticationError):
            first.client(key[:-1]).batches.list()
        assert first.end() == ExitCode.OK
    with serve_process("--data-dir", tmp_path) as second:
        assert second.client(key).batches.list().data == []
        assert second.end() == ExitCode.OK
    assert "key, shown" not in second.told
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]
    assert kept == []


def test_a_given_key_opens_the_api_and_none_is_made(external: dict[str, str], tmp_path: Path) -> None:
    with serve_process(settings=external) as served:
        assert served.client(KEY).batches.list().data == []
    assert KEY not in served.told
    assert "Your first API key" not in served.told
    file = tmp_path / "key"
    file.write_text("sk-from-a-file\n")
    del external["BATCHMILL_API_KEY"]
    with serve_process(settings=external | {"BATCHMILL_API_KEY_FILE": str(file)}) as served:
        assert served.client("sk-from-a-file").batches.list().data == []
        assert served.client(KEY).batches.list().data == []


def test_without_a_key_nobody_beyond_this_machine_is_listened_to(external: dict[str, str]) -> None:
    del external["BATCHMILL_API_KEY"]
    with serve_process("--host", "0.0.0.0", settings=external) as served:
        assert served.exit_code() == ExitCode.USAGE
    (told,) = [line for line in served.said if line.startswith("batchmill: ")]
    assert "set BATCHMILL_API_KEY, or make a key with `batchmill keys create`" in told
    key = ran("keys", "create", settings=external).stdout.strip()
    with serve_process("--host", "0.0.0.0", settings=external) as served:
        assert served.client(key).batches.list().data == []
        assert served.url.startswith("http://127.0.0.1:")


def test_a_port_in_use_is_told_with_the_remedy(external: dict[str, str]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with serve_process(port=port, settings=external) as served:
            assert served.exit_code() == ExitCode.USAGE
    assert served.said == [
        f"batchmill: cannot listen at 127.0.0.1:{port} (Address already in use): "
        "give another address, or --port 0"
    ]


def test_a_second_start_on_a_data_folder_is_refused(external: dict[str, str]) -> None:
    with serve_process(settings=external) as first:
        assert first.url
        with serve_process(settings=external) as second:
            assert second.exit_code() == ExitCode.REFUSED
        folder = external["BATCHMILL_DATA_DIR"]
        assert second.said == [
            f"batchmill: the data folder {folder} is in use by process {first.process.pid}: stop it first, "
            "or choose another with --data-dir"
        ]
        assert first.client(KEY).batches.list().data == []


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_records_what_is_in_flight_and_the_batch_goes_on_later(
    external: dict[str, str], tmp_path: Path, how: signal.Signals
) -> None:
    texts = [f"line-{n} slow 1" for n in range(4)] + [f"line-{n}" for n in range(4, 8)]
    async with ledger_upstream(tmp_path / "ledger") as upstream:
        settings = external | {"BATCHMILL_UPSTREAM_URL": upstream.url}
        with serve_process("--concurrency", "4", settings=settings) as served:
            client = served.client(KEY)
            batch = await asyncio.to_thread(batch_of, client, requests(*texts))
            await upstream.until(lambda upstream: upstream.under_way == 4)
            assert await asyncio.to_thread(served.end, how) == ExitCode.OK
        with serve_process("--concurrency", "4", settings=settings) as served:
            client = served.client(KEY)
            done = await asyncio.to_thread(ended, client, batch)
            results = await asyncio.to_thread(lines_of, client, done.output_file_id)
        assert [json.loads(line)["custom_id"] for line in results] == [f"request-{n}" for n in range(8)]
        assert [upstream.tries_of(f"line-{n}") for n in range(8)] == [1] * 8


async def test_a_stop_does_not_wait_longer_for_lines_than_the_drain_time(
    external: dict[str, str], tmp_path: Path
) -> None:
    async with ledger_upstream(tmp_path / "ledger") as upstream:
        settings = external | {"BATCHMILL_UPSTREAM_URL": upstream.url, "BATCHMILL_DRAIN": "200ms"}
        with serve_process(settings=settings) as served:
            await asyncio.to_thread(batch_of, served.client(KEY), requests("line-0 stall"))
            await upstream.until(lambda upstream: upstream.under_way == 1)
            assert await asyncio.to_thread(served.end) == ExitCode.OK


async def test_after_everything_was_killed_the_next_start_goes_on_at_once(tmp_path: Path) -> None:
    run_as = RUN_AS["an ordinary user" if ROOT else "ourselves"]
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o777)
    async with ledger_upstream(tmp_path / "ledger", latency=0.05) as upstream:
        start = ("--data-dir", home / "data", "--upstream", upstream.url, "--concurrency", "4")
        settings = {"BATCHMILL_API_KEY": KEY, "BATCHMILL_LEASE": "10m"}
        with serve_process(*start, settings=settings, run_as=run_as) as served:
            texts = [f"line-{n}" for n in range(60)]
            batch = await asyncio.to_thread(batch_of, served.client(KEY), requests(*texts))
            await upstream.until(lambda upstream: upstream.tries >= 30)
            await asyncio.to_thread(served.kill_all)
        with serve_process(*start, settings=settings, run_as=run_as) as served:
            client = served.client(KEY)
            done = await asyncio.to_thread(ended, client, batch)
            results = await asyncio.to_thread(lines_of, client, done.output_file_id)
            assert await asyncio.to_thread(served.end) == ExitCode.OK
        assert [json.loads(line)["custom_id"] for line in results] == [f"request-{n}" for n in range(60)]
        assert done.request_counts is not None
        assert done.request_counts.completed == 60


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
            batch = await asyncio.to_thread(batch_of, client, requests("line-0", "line-1 400"))
            done = await asyncio.to_thread(ended, client, batch)
            good = await asyncio.to_thread(lines_of, client, done.output_file_id)
            bad = await asyncio.to_thread(lines_of, client, done.error_file_id)
    assert [json.loads(line)["custom_id"] for line in good + bad] == ["request-0", "request-1"]
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
        batch = batch_of(one.client(KEY), requests("line-0"))
        assert two.client(KEY).batches.retrieve(batch.id).id == batch.id
        assert one.end() == two.end() == ExitCode.OK


async def test_the_log_is_json_and_tells_neither_keys_nor_bodies(
    external: dict[str, str], tmp_path: Path
) -> None:
    async with ledger_upstream(tmp_path / "ledger", key="sk-of-the-upstream") as upstream:
        settings = external | {
            "BATCHMILL_UPSTREAM_URL": upstream.url,
            "BATCHMILL_UPSTREAM_API_KEY": "sk-of-the-upstream",
            "BATCHMILL_LOG_LEVEL": "debug",
        }
        texts = [f"line-{n} {SECRET_BODY}" for n in range(3)] + [
            "line-3 400",
            "line-4 503x1",
            "line-5 htmlx1",
        ]
        with serve_process(settings=settings) as served:
            client = served.client(KEY)
            batch = await asyncio.to_thread(batch_of, client, requests(*texts))
            await asyncio.to_thread(ended, client, batch)
            wrong = requests(SECRET_BODY) + b"\n" + SECRET_BODY.encode()
            await asyncio.to_thread(ended, client, await asyncio.to_thread(batch_of, client, wrong))
            with pytest.raises(AuthenticationError):
                await asyncio.to_thread(served.client("sk-a-guess").batches.list)
            assert await asyncio.to_thread(served.end) == ExitCode.OK
    events = [json.loads(line) for line in served.said if not line.startswith("Batchmill is ready")]
    assert {event["level"] for event in events} == {"info"}
    assert sorted(event["event"] for event in events) == sorted(
        ["leading", "serving", "batch planned", "batch ended", "batch planned", "stopping", "stopped"]
    )
    assert [event["event"] for event in events if event.get("batch") == batch.id] == [
        "batch planned",
        "batch ended",
    ]
    for secret in (KEY, "sk-of-the-upstream", "sk-a-guess", SECRET_BODY, "batchmill-test", "echo of"):
        assert secret not in served.told


def database_server(served: ServeProcess) -> psutil.Process:
    """The postmaster among the processes that a `serve` has started."""
    with_children = [process for process in served.family()[:-1] if process.children()]
    (server,) = [process for process in with_children if "postgres" in process.name()]
    return server


def test_the_death_of_its_database_ends_it_with_a_word(tmp_path: Path) -> None:
    with serve_process("--data-dir", tmp_path) as served:
        assert served.url
        database_server(served).kill()
        assert served.exit_code() == ExitCode.FAILED
    last_words = [line for line in served.said if line.startswith("batchmill: ")]
    assert last_words[0].startswith("batchmill: the embedded database ended (status -9)")
    assert "Traceback" not in served.told


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
            client = served.client(KEY)
            texts = [f"line-{n}" for n in range(60)]
            batch = await asyncio.to_thread(batch_of, client, requests(*texts))
            for tries in (10, 30, 50):
                await upstream.until(partial(has_tried, tries))
                await drop_connections(database)
            done = await asyncio.to_thread(ended, client, batch)
            results = await asyncio.to_thread(lines_of, client, done.output_file_id)
            assert await asyncio.to_thread(served.end) == ExitCode.OK
    assert len(results) == 60


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


def test_settings_may_come_from_a_file(external: dict[str, str], tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "batchmill.toml"
    names = ("database_url", "database_owner_url", "data_dir", "api_key")
    given = {name: external[f"BATCHMILL_{name.upper()}"] for name in names} | {"log_level": "warning"}
    config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in given.items()))
    with serve_process("--config", config, port=port) as served:
        assert served.url == f"http://127.0.0.1:{port}/v1"
        assert served.client(KEY).batches.list().data == []
        assert served.end() == ExitCode.OK
    config.write_text("prot = 1\n")
    with serve_process("--config", config) as served:
        assert served.exit_code() == ExitCode.USAGE
    assert "prot" in served.told


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        return int(taken.getsockname()[1])


def test_what_cannot_be_reached_is_told_in_one_line(external: dict[str, str]) -> None:
    nowhere = f"postgresql://app:hush@127.0.0.1:{free_port()}/batchmill"
    settings = external | {"BATCHMILL_DATABASE_URL": nowhere, "BATCHMILL_DATABASE_OWNER_URL": nowhere}
    with serve_process(settings=settings) as served:
        assert served.exit_code() == ExitCode.UNREACHABLE
    (told,) = served.said
    assert told.startswith("batchmill: ")
    assert "hush" not in told


def test_help_shows_how_it_is_used() -> None:
    shown = ran("serve", "--help")
    assert shown.returncode == ExitCode.OK
    assert "$ batchmill serve --upstream http://127.0.0.1:8000/v1" in shown.stdout
    assert shown.stderr == ""
