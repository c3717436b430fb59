"""`batchmill run`: one file to another, as real processes; killed, stopped, and asked for what cannot be."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from cli.main import run
from tests.cli.commands import batchmill, command
from tests.made_data_folder import copy_data_folder
from tests.upstream import ledger_upstream, visits

URL = "http://127.0.0.1:9/v1"


def write_input(path: Path, lines: int, directives: dict[int, str] | None = None) -> Path:
    """Lines `line-0` and so on, with what the upstream shall do with some of them."""
    with path.open("w") as target:
        for number in range(lines):
            text = f"line-{number} {(directives or {}).get(number, '')}".strip()
            body = {"model": "practice", "messages": [{"role": "user", "content": text}]}
            line = {"custom_id": f"c-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            target.write(json.dumps(line) + "\n")
    return path


def custom_ids(path: Path) -> list[str]:
    return [json.loads(line)["custom_id"] for line in path.read_bytes().splitlines()]


def names_in(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def ids(numbers: Sequence[int]) -> list[str]:
    return [f"c-{number}" for number in numbers]


@pytest.fixture
def made_state(tmp_path: Path, made_data_folder: Path) -> None:
    """What a run to `out.jsonl` keeps beside it, as one that ended before its first line leaves it."""
    copy_data_folder(made_data_folder, tmp_path / "out.jsonl.batchmill")


async def test_every_line_is_in_the_output_in_its_order_failed_ones_too(tmp_path: Path) -> None:
    source, output = write_input(tmp_path / "in.jsonl", 300, {7: "400", 9: "503x1"}), tmp_path / "out.jsonl"
    async with ledger_upstream(tmp_path / "ledger") as upstream:
        ended = await batchmill("run", source, output, "--upstream", upstream.url)
    assert ended.code == ExitCode.FAILED
    assert ended.out == ""
    assert "300 lines: 299 succeeded, 1 failed." in ended.err
    assert custom_ids(output) == ids(range(300))
    assert json.loads(output.read_bytes().splitlines()[7])["response"]["status_code"] == 400
    assert names_in(tmp_path) == ["in.jsonl", "ledger", "out.jsonl"]


@pytest.mark.usefixtures("made_state")
async def test_failed_lines_go_apart_where_that_is_asked_and_are_no_failure_then(tmp_path: Path) -> None:
    source, output, errors = (tmp_path / name for name in ("in.jsonl", "out.jsonl", "errors.jsonl"))
    output.write_text("of an earlier run\n")
    write_input(source, 20, {3: "400", 8: "422"})
    async with ledger_upstream(tmp_path / "ledger", key="sk-up") as upstream:
        (tmp_path / "key").write_text("sk-up\n")
        ended = await batchmill(
            *("run", "-i", source, "-o", output, "--errors", errors),
            *("--upstream", upstream.url, "--upstream-key-file", tmp_path / "key"),
        )
    assert ended.code == ExitCode.OK
    assert custom_ids(errors) == ids([3, 8])
    assert custom_ids(output) == ids([n for n in range(20) if n not in (3, 8)])


@pytest.mark.usefixtures("made_state")
async def test_after_a_kill_the_same_command_goes_on_and_repeats_nothing_recorded(tmp_path: Path) -> None:
    source, output = write_input(tmp_path / "in.jsonl", 1_500), tmp_path / "out.jsonl"
    async with ledger_upstream(tmp_path / "ledger", latency=0.02) as upstream:
        arguments = ("run", source, output, "--upstream", upstream.url, "--concurrency", 16)
        async with command(*arguments) as running:
            await upstream.until(lambda upstream: upstream.tries >= 500)
            await running.killed()
        await upstream.until(lambda upstream: upstream.under_way == 0)
        tried = upstream.tries
        assert not output.exists()
        async with command(*arguments) as running:
            said = await running.says("Going on where it stopped")
            ended = await running.ended()
    found = re.search(r"([\d,]+) of 1,500 lines are done", said)
    assert found is not None
    recorded = int(found[1].replace(",", ""))
    assert 0 < recorded <= tried
    assert ended.code == ExitCode.OK
    assert custom_ids(output) == ids(range(1_500))
    assert upstream.tries - 1_500 == tried - recorded
    assert not (tmp_path / "out.jsonl.batchmill").exists()


@pytest.mark.usefixtures("made_state")
async def test_interrupted_it_ends_what_is_under_way_and_later_repeats_nothing(tmp_path: Path) -> None:
    source, output = write_input(tmp_path / "in.jsonl", 600), tmp_path / "out.jsonl"
    async with ledger_upstream(tmp_path / "ledger", latency=0.05) as upstream:
        arguments = ("run", source, output, "--upstream", upstream.url, "--concurrency", 16)
        async with command(*arguments) as running:
            await upstream.until(lambda upstream: upstream.tries >= 100)
            running.interrupt()
            stopped = await running.ended()
        assert stopped.code == ExitCode.INTERRUPTED
        assert "The same command goes on from here." in stopped.err
        assert 100 <= upstream.tries < 600
        ended = await batchmill(*arguments)
    assert ended.code == ExitCode.OK
    assert custom_ids(output) == ids(range(600))
    assert upstream.tries == 600
    assert {visit.outcome for visit in visits(tmp_path / "ledger")} == {"200"}


@pytest.mark.usefixtures("made_state")
async def test_a_second_run_and_a_changed_input_are_refused(tmp_path: Path) -> None:
    source, output = write_input(tmp_path / "in.jsonl", 50), tmp_path / "out.jsonl"
    first = source.read_bytes()
    async with ledger_upstream(tmp_path / "ledger", latency=60.0) as upstream:
        arguments = ("run", source, output, "--upstream", upstream.url)
        async with command(*arguments) as running:
            await upstream.until(lambda upstream: upstream.under_way > 0)
            second = await batchmill(*arguments)
            assert second.code == ExitCode.REFUSED
            assert "out.jsonl.batchmill is in use by process" in second.err
            await running.killed()
        source.write_bytes(first.replace(b"line-7", b"line-8"))
        changed = await batchmill(*arguments)
        assert changed.code == ExitCode.REFUSED
        assert f"remove {output}.batchmill to begin anew" in changed.err
        source.write_bytes(first)
        other = await batchmill(*arguments, "--endpoint", "/v1/completions")
        assert other.code == ExitCode.REFUSED
        upstream.latency = 0.0
        assert (await batchmill(*arguments)).code == ExitCode.OK


@pytest.mark.usefixtures("made_state")
async def test_what_is_not_valid_is_told_by_line_and_leaves_nothing_behind(tmp_path: Path) -> None:
    source, output = write_input(tmp_path / "in.jsonl", 3), tmp_path / "out.jsonl"
    with source.open("a") as more:
        more.write('{"custom_id":"c-1","method":"POST"}\n\nnot json\n')
    async with ledger_upstream(tmp_path / "ledger") as upstream:
        ended = await batchmill("run", source, output, "--upstream", upstream.url)
        assert upstream.tries == 0
    assert ended.code == ExitCode.FAILED
    assert f"{source}:4: Missing required parameter: 'url'. (missing_required_parameter)" in ended.err
    assert f"{source}:6: This line is not parseable as valid JSON. (invalid_json_line)" in ended.err
    assert names_in(tmp_path) == ["in.jsonl", "ledger"]


@pytest.mark.usefixtures("made_state")
async def test_while_the_upstream_is_away_it_says_so(tmp_path: Path) -> None:
    source = write_input(tmp_path / "in.jsonl", 3)
    async with command("run", source, tmp_path / "out.jsonl", "--upstream", URL) as running:
        await running.says(f"route paused: connection refused by {URL}")
        running.terminate()
        ended = await running.ended()
    assert ended.code == ExitCode.INTERRUPTED
    assert (ended.out, (tmp_path / "out.jsonl").exists()) == ("", False)


@pytest.mark.usefixtures("made_state")
async def test_the_limits_of_serve_hold_only_where_they_are_set(tmp_path: Path) -> None:
    source, output = write_input(tmp_path / "in.jsonl", 30), tmp_path / "out.jsonl"
    async with ledger_upstream(tmp_path / "ledger") as upstream:
        arguments = ("run", source, output, "--upstream", upstream.url)
        ended = await batchmill(*arguments, environ={"BATCHMILL_MAX_BATCH_LINES": "29"})
        assert "(too_many_tasks)" in ended.err
        ended = await batchmill(*arguments, environ={"BATCHMILL_MAX_BATCH_FILE_BYTES": "1KiB"})
    assert ended.code == ExitCode.USAGE
    assert "over max_batch_file_bytes (1KiB)" in ended.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("in.jsonl", "out.jsonl"), ExitCode.USAGE, "no upstream: give --upstream URL"),
        (("none.jsonl", "out.jsonl", "--upstream", URL), ExitCode.NOT_FOUND, "none.jsonl does not exist"),
        ((".", "out.jsonl", "--upstream", URL), ExitCode.NOT_FOUND, "is not a regular file"),
        (("in.jsonl", "in.jsonl", "--upstream", URL), ExitCode.USAGE, "must be different files"),
        (("in.jsonl", "o", "--errors", "o", "--upstream", URL), ExitCode.USAGE, "must be different files"),
        (("in.jsonl", "no/out.jsonl", "--upstream", URL), ExitCode.USAGE, "there is no folder no"),
        (("in.jsonl", ".", "--upstream", URL), ExitCode.USAGE, "is not a regular file"),
        (("in.jsonl", "o", "--endpoint", "/v1/x", "--upstream", URL), ExitCode.USAGE, "/v1/x is none of"),
        (("in.jsonl",), ExitCode.USAGE, "--output-file requires an argument"),
    ],
)
def test_what_cannot_be_is_told_before_anything_starts(
    arguments: Sequence[str],
    code: ExitCode,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_input(tmp_path / "in.jsonl", 1)
    assert run(["run", *arguments]) == code
    assert said in capsys.readouterr().err
    assert names_in(tmp_path) == ["in.jsonl"]
