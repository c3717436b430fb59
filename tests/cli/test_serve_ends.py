"""Every end of a `serve`: stopped, killed, its database gone; what it was at goes on with the next."""

import asyncio
import signal
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from cli.exit_codes import ExitCode
from tests.cli.test_embedded_postgres import ROOT, RUN_AS
from tests.contract.mill import KEY, chat, results, submit, until_ended
from tests.serve_process import ServeProcess, serve_process
from tests.upstream import ledger_upstream


@pytest.mark.parametrize("how", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.soak)])
async def test_a_stop_records_what_is_in_flight_and_the_batch_goes_on_later(
    external: dict[str, str], tmp_path: Path, how: signal.Signals
) -> None:
    texts = [f"line-{n} slow 1" for n in range(4)] + [f"line-{n}" for n in range(4, 8)]
    async with ledger_upstream(tmp_path / "ledger") as upstream:
        settings = external | {"BATCHMILL_UPSTREAM_URL": upstream.url}
        with serve_process("--concurrency", "4", settings=settings) as served:
            client = served.client(KEY)
            batch = await asyncio.to_thread(submit, client, chat(*texts))
            await upstream.until(lambda upstream: upstream.under_way == 4)
            assert await asyncio.to_thread(served.end, how) == ExitCode.OK
        with serve_process("--concurrency", "4", settings=settings) as served:
            client = served.client(KEY)
            done = await asyncio.to_thread(until_ended, client, batch)
            lines = await asyncio.to_thread(results, client, done.output_file_id)
        assert [line["custom_id"] for line in lines] == [f"line-{n}" for n in range(8)]
        assert [upstream.tries_of(f"line-{n}") for n in range(8)] == [1] * 8


async def test_a_stop_does_not_wait_longer_for_lines_than_the_drain_time(
    external: dict[str, str], tmp_path: Path
) -> None:
    async with ledger_upstream(tmp_path / "ledger") as upstream:
        settings = external | {"BATCHMILL_UPSTREAM_URL": upstream.url, "BATCHMILL_DRAIN": "200ms"}
        with serve_process(settings=settings) as served:
            await asyncio.to_thread(submit, served.client(KEY), chat("line-0 stall"))
            await upstream.until(lambda upstream: upstream.under_way == 1)
            assert await asyncio.to_thread(served.end) == ExitCode.OK


async def test_a_second_interrupt_ends_the_wait_for_lines_and_requests(
    external: dict[str, str], tmp_path: Path
) -> None:
    async with ledger_upstream(tmp_path / "ledger") as upstream:
        settings = external | {"BATCHMILL_UPSTREAM_URL": upstream.url, "BATCHMILL_DRAIN": "1h"}
        with serve_process("--concurrency", "2", settings=settings) as served:
            batch = await asyncio.to_thread(
                submit, served.client(KEY), chat("line-0 stall", "line-1", "line-2", "line-3")
            )
            await upstream.until(lambda upstream: upstream.tries == 4)
            _, writer = await begin_an_upload(served.url)
            served.process.send_signal(signal.SIGINT)
            await asyncio.to_thread(served.until, "stopping")
            assert await asyncio.to_thread(served.end, signal.SIGINT) == ExitCode.OK
            writer.close()
        with serve_process(settings=settings | {"BATCHMILL_DRAIN": "100ms"}) as served:
            kept = await asyncio.to_thread(served.client(KEY).batches.retrieve, batch.id)
            assert kept.request_counts is not None
            assert kept.request_counts.completed == 3
        assert "Traceback" not in served.told


async def begin_an_upload(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which the body of a request is still to come."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = f"POST /v1/files HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {KEY}\r\n"
    writer.write(f"{head}Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 9999\r\n".encode())
    writer.write(b"Expect: 100-continue\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 100")
    return reader, writer


@pytest.mark.soak  # tests/chaos kills everything time and again
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
            batch = await asyncio.to_thread(submit, served.client(KEY), chat(*texts))
            await upstream.until(lambda upstream: upstream.tries >= 30)
            await asyncio.to_thread(served.kill_all)
        with serve_process(*start, settings=settings, run_as=run_as) as served:
            client = served.client(KEY)
            done = await asyncio.to_thread(until_ended, client, batch)
            lines = await asyncio.to_thread(results, client, done.output_file_id)
            assert await asyncio.to_thread(served.end) == ExitCode.OK
        assert [line["custom_id"] for line in lines] == [f"line-{n}" for n in range(60)]
        assert done.request_counts is not None
        assert done.request_counts.completed == 60


def database_server(served: ServeProcess) -> psutil.Process:
    """The postmaster among the processes that a `serve` has started."""
    with_children = [process for process in served.family()[:-1] if process.children()]
    (server,) = [process for process in with_children if "postgres" in process.name()]
    return server


def test_the_death_of_its_database_ends_it_with_a_word(data_folder: Path) -> None:
    with serve_process("--data-dir", data_folder) as served:
        assert served.url
        database_server(served).kill()
        assert served.exit_code() == ExitCode.FAILED
    last_words = [line for line in served.said if line.startswith("batchmill: ")]
    assert last_words[0].startswith("batchmill: the embedded database ended (status -9)")
    assert "Traceback" not in served.told
