"""The command line as a whole: help, exit codes, and no traceback for what is foreseen."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.embedded.data_folder import DataFolderInUse
from cli.exit_codes import ExitCode, ServerUnreachable, exit_code_of
from cli.main import COMMANDS, run
from cli.settings import describe
from events.errors import BatchmillError, CannotCancel, DatabaseUnavailable, NotFound, SettingsError
from storage.store import StorageError, StorageUnavailable


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BATCHMILL_")]:
        monkeypatch.delenv(name)


def test_help_lists_every_command_without_importing_any(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == run(["--help"]) == run(["-h"]) == ExitCode.OK
    shown = capsys.readouterr().out
    assert all(f"{command.name} " in shown and command.summary in shown for command in COMMANDS)
    program = "import sys; from cli.main import run; run(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = done.stderr.split()
    assert not {"aiohttp", "asyncpg", "litestar", "obstore", "cli.remote.batches", "cli.serve"} & set(loaded)


@pytest.mark.parametrize(
    "command",
    [
        ["batches"],
        ["batches", "create"],
        ["files", "download"],
        ["config"],
        ["run"],
        ["api"],
        ["worker"],
        ["demo"],
        ["rebuild"],
    ],
)
def test_help_of_a_command_has_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, "--help"]) == ExitCode.OK
    assert f"$ batchmill {' '.join(command)}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "group", ["audit", "batches", "encryption", "files", "keys", "log", "projects", "webhooks"]
)
def test_help_of_a_group_says_what_each_command_does(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([group, "--help"]) == ExitCode.OK
    shown = capsys.readouterr().out.splitlines()
    lines = [line.strip("│ ") for line in shown if line.startswith("│ ") and line[2] != " "]
    assert lines
    assert [line for line in lines if " " not in line] == []


def test_serve_has_the_flag_of_every_setting_that_names_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "--help"]) == ExitCode.OK
    shown = capsys.readouterr().out
    flags = {setting.flag for setting in describe() if setting.flag and setting.name not in ("url", "roles")}
    assert {flag for flag in flags if f"{flag} " in shown} == flags


@pytest.mark.parametrize(("given", "missing"), [("DATABASE", "STORAGE"), ("STORAGE", "DATABASE")])
@pytest.mark.parametrize("command", ["api", "worker"])
def test_a_process_of_many_says_what_it_must_share(
    command: str,
    given: str,
    missing: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    urls = {"DATABASE": "postgresql://app@localhost/mill", "STORAGE": "file:///files"}
    monkeypatch.setenv(f"BATCHMILL_{given}_URL", urls[given])
    assert run([command]) == ExitCode.USAGE
    assert f"BATCHMILL_{missing}_URL must be set" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == ExitCode.OK
    assert capsys.readouterr().out.startswith("batchmill")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serv"], "there is no command serv: did you mean serve?"),
        (["xyzzy"], "there is no command xyzzy; `batchmill --help` lists them"),
        (["--verbose"], "there is no command --verbose"),
        (["batches", "lst"], 'Did you mean "list"?'),
        (["batches", "list", "--limt", "3"], "Unknown option"),
        (["batches", "list", "--limit", "many"], "--limit"),
        (["batches", "watch", "b", "--interval", "soon"], "'soon' is no duration"),
        (["files", "show"], "FILE_ID"),
    ],
)
def test_wrong_usage_is_told_in_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == ExitCode.USAGE
    told = capsys.readouterr()
    assert told.err.startswith("batchmill: ")
    assert said in told.err
    assert told.err.count("\n") == 1
    assert told.out == ""


def test_wrong_settings_are_told_one_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BATCHMILL_PROT", "1")
    monkeypatch.setenv("BATCHMILL_LEASE", "long")
    assert run(["config"]) == ExitCode.USAGE
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert all(line.startswith("batchmill: ") for line in told)


def test_config_shows_what_is_in_force_and_from_where_but_no_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mill.toml"
    path.write_text('concurrency = 7\ndatabase_url = "postgresql://ada:hush@db/mill"')
    monkeypatch.setenv("BATCHMILL_API_KEY", "sk-hush")
    assert run(["config", "--config", str(path)]) == ExitCode.OK
    shown = capsys.readouterr().out
    rows = {line.split()[0]: line for line in shown.splitlines()}
    assert rows["concurrency"].split(maxsplit=2)[1:] == ["7", f"concurrency in {path}"]
    assert rows["api_key"].split() == ["api_key", "***", "BATCHMILL_API_KEY"]
    assert "postgresql://ada:***@db/mill" in rows["database_url"]
    assert "hush" not in shown

    assert run(["config", "--config", str(path), "--json"]) == ExitCode.OK
    table = json.loads(capsys.readouterr().out)
    assert table["line_timeout"] == {"value": "10m", "from": "default"}
    assert table["upstream_url"] == {"value": None, "from": "default"}
    assert "hush" not in str(table)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BatchmillError("x"), 1),
        (StorageError("x"), 1),
        (SettingsError("x"), 2),
        (NotFound("x"), 3),
        (CannotCancel("completed"), 4),
        (DataFolderInUse(Path("/d"), 7), 4),
        (ServerUnreachable("x"), 5),
        (DatabaseUnavailable("x"), 5),
        (StorageUnavailable("x"), 5),
    ],
)
def test_each_kind_of_failure_has_its_exit_code(error: Exception, code: int) -> None:
    assert exit_code_of(error) == code


def test_a_reader_that_leaves_early_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write) as closed:
        command = [sys.executable, "-m", "cli.main", "config"]
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (ExitCode.BROKEN_PIPE, b"")


def test_an_output_that_is_full_is_told_in_a_line() -> None:
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "cli.main", "config"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    told = b"batchmill: standard output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (ExitCode.FAILED, told)
