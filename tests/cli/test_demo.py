"""`batchmill demo`: to its end in a pipe, kept where that is asked, and stopped in the middle."""

import json
import os
import re
from pathlib import Path

from cli.demo.requests import ENDPOINT, REFUSED_EVERY, request_lines
from cli.exit_codes import ExitCode
from cli.practice.answers import MODEL
from events.inputs.validator import LineError, LineRules, LineValidator
from tests.cli.commands import batchmill, command


def test_every_request_of_the_demo_is_valid_and_the_same_each_time() -> None:
    lines = list(request_lines(500))
    rules = LineRules(ENDPOINT, max_line_bytes=1 << 20, known_models=frozenset({MODEL}))
    validate = LineValidator(rules).validate
    judged = [validate(line.rstrip(), number) for number, line in enumerate(lines, start=1)]
    assert not [error for error in judged if isinstance(error, LineError)]
    assert lines == list(request_lines(500))
    kinds = {json.loads(line)["custom_id"].rpartition("-")[0] for line in lines}
    assert kinds == {"translate", "judge", "extract", "summarise", "continue", "too-short"}


async def test_in_a_pipe_it_shows_a_whole_batch_and_ends(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    ended = await batchmill("demo", "--data-dir", kept, environ={"BATCHMILL_DATABASE_URL": "nonsense"})
    assert (ended.code, ended.err) == (ExitCode.OK, "")
    failed = 2_000 // REFUSED_EVERY
    assert f"{2_000 - failed:,} succeeded, {failed} failed" in ended.out
    assert re.search(r"[\d,]+ lines/s", ended.out)
    assert "\x1b" not in ended.out
    moments = re.findall(r"\+\d+\.\d{3} s +(\w+)", ended.out)
    assert moments == [
        *("created", "planning", "validated", "queued", "running", "finalizing", "writing", "completed")
    ]
    results = [(kept / name).read_bytes().splitlines() for name in ("output.jsonl", "errors.jsonl")]
    assert [len(lines) for lines in results] == [2_000 - failed, failed]
    assert all(str(kept / name) in ended.out for name in ("requests.jsonl", "output.jsonl", "errors.jsonl"))

    rebuilt = await batchmill("rebuild", "--work-board", "--json", environ={"BATCHMILL_DATA_DIR": str(kept)})
    assert rebuilt.code == ExitCode.OK
    counted = json.loads(rebuilt.out)
    assert [counted[name] for name in ("batches", "files", "keys")] == [1, 3, 1]
    assert counted["board"] == {"batches": 0, "chunks": 0, "parked": 0}


async def test_stopped_in_the_middle_it_leaves_nothing_behind(tmp_path: Path) -> None:
    async with command("demo", environ={"TMPDIR": str(tmp_path)}) as running:
        await running.prints("in_progress")
        running.interrupt()
        ended = await running.ended()
    assert (ended.code, ended.err) == (ExitCode.INTERRUPTED, "")
    assert os.listdir(tmp_path) == []
