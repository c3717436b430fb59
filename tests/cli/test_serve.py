"""`batchmill serve` as its operator meets it: real processes, their words, their exit codes."""

import asyncio
import json
import socket
from contextlib import closing
from pathlib import Path

import pytest
from openai import AuthenticationError

from cli.exit_codes import ExitCode
from events.audit.note import PrivateKey
from tests.contract.mill import KEY, chat, submit, until_ended
from tests.ports import free_port
from tests.serve_process import ran_here, serve_process
from tests.upstream import ledger_upstream

AUDIT_KEY = PrivateKey("mill", bytes(range(32))).text
SECRET_BODY = "what-only-the-client-may-see"


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
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    del external["BATCHMILL_API_KEY"]
    with serve_process(settings=external | {"BATCHMILL_API_KEY_FILE": str(file)}) as served:
        assert served.client(KEY).batches.list().data == []
    assert KEY not in served.told
    assert "Your first API key" not in served.told


def test_without_a_key_nobody_beyond_this_machine_is_listened_to(external: dict[str, str]) -> None:
    del external["BATCHMILL_API_KEY"]
    with serve_process("--host", "0.0.0.0", settings=external) as served:
        assert served.exit_code() == ExitCode.USAGE
    (told,) = [line for line in served.said if line.startswith("batchmill: ")]
    assert "set BATCHMILL_API_KEY, or make a key with `batchmill keys create`" in told
    key = ran_here("keys", "create", settings=external).stdout.strip()
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


async def test_the_log_is_json_and_tells_neither_keys_nor_bodies(
    external: dict[str, str], tmp_path: Path
) -> None:
    async with ledger_upstream(tmp_path / "ledger", key="sk-of-the-upstream") as upstream:
        settings = external | {
            "BATCHMILL_UPSTREAM_URL": upstream.url,
            "BATCHMILL_UPSTREAM_API_KEY": "sk-of-the-upstream",
            "BATCHMILL_LOG_LEVEL": "debug",
            "BATCHMILL_LEASE": "10m",
            "BATCHMILL_AUDIT_KEY": AUDIT_KEY,
        }
        texts = [f"line-{n} {SECRET_BODY}" for n in range(3)] + [
            "line-3 400",
            "line-4 503x1",
            "line-5 htmlx1",
        ]
        with serve_process(settings=settings) as served:
            client = served.client(KEY)
            batch = await asyncio.to_thread(submit, client, chat(*texts))
            await asyncio.to_thread(until_ended, client, batch)
            wrong = chat(SECRET_BODY) + b"\n" + SECRET_BODY.encode()
            await asyncio.to_thread(until_ended, client, await asyncio.to_thread(submit, client, wrong))
            with pytest.raises(AuthenticationError):
                await asyncio.to_thread(served.client("sk-a-guess").batches.list)
            assert await asyncio.to_thread(served.end) == ExitCode.OK
    events = [json.loads(line) for line in served.said if not line.startswith("Batchmill is ready")]
    assert [event for event in events if event["level"] != "info"] == []
    assert sorted(event["event"] for event in events) == sorted(
        [
            "leading",
            "registered",
            "sealing",
            "serving",
            "batch planned",
            "batch ended",
            "batch planned",
            "stopping",
            "stopped",
        ]
    )
    assert [event["event"] for event in events if event.get("batch") == batch.id] == [
        "batch planned",
        "batch ended",
    ]
    for secret in (
        KEY,
        AUDIT_KEY.rpartition("+")[2],
        "sk-of-the-upstream",
        "sk-a-guess",
        SECRET_BODY,
        "batchmill-test",
        "echo of",
    ):
        assert secret not in served.told


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
    refused = ran_here("serve", "--config", config)
    assert refused.returncode == ExitCode.USAGE
    assert "prot" in refused.stderr


def test_what_cannot_be_reached_is_told_in_one_line(external: dict[str, str]) -> None:
    nowhere = f"postgresql://app:hush@127.0.0.1:{free_port()}/batchmill"
    settings = external | {"BATCHMILL_DATABASE_URL": nowhere, "BATCHMILL_DATABASE_OWNER_URL": nowhere}
    with serve_process(settings=settings) as served:
        assert served.exit_code() == ExitCode.UNREACHABLE
    (told,) = served.said
    assert told.startswith("batchmill: ")
    assert "hush" not in told


def test_help_shows_how_it_is_used() -> None:
    shown = ran_here("serve", "--help")
    assert shown.returncode == ExitCode.OK
    assert "$ batchmill serve --upstream http://127.0.0.1:8000/v1" in shown.stdout
    assert shown.stderr == ""
