"""`batchmill audit export`, `check` and `consistency`: what they print, and what the shell hears."""

import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from cli.exit_codes import ExitCode
from cli.main import run
from docs.verifier import check_bundle as single_file
from tests.engine.audit.test_bundles import yard_on
from tests.events.audit.bundle.bundles import GOLDEN, KEY, NEXT_KEY, STRANGER, golden
from tests.postgres import Database, PostgresServer

Capture = pytest.CaptureFixture[str]
EVIDENCE = str(GOLDEN / "digests.evidence")
FILES = ["--output", str(GOLDEN / "output.jsonl"), "--errors", str(GOLDEN / "errors.jsonl")]
HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "prove-what-happened.md"
BATCH = "batch_0123456789abcdef"
"""What the page calls the batch."""


class Scene(msgspec.Struct):
    """A batch that has ended under a checkpoint, one that still runs, and what was kept before and after."""

    database: Database
    folder: Path
    batch: str
    running: str
    files: tuple[bytes, bytes]
    kept: dict[int, str]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def scene(
    postgres_server: PostgresServer, migrated_template: Database, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    folder = tmp_path_factory.mktemp("scene") / "objects"
    async with postgres_server.new_database(migrated_template.name) as database:
        async with yard_on(database, folder) as yard:
            await yard.noise(3)
            await yard.seal()
            batch, running = await yard.batch(), await yard.batch()
            await batch.record_lines([0, 1, 2, 3, 4])
            await batch.record_lines([5, 6, 7], status=400)
            await yard.finalizer.finalize(batch.id)
            await yard.seal()
            await yard.noise(20)
            await yard.seal()
            files = await yard.files_of(batch)
            kept = {}
            for position in (1, (await yard.export.sealed(batch.id)).signed.checkpoint.size, 30):
                signed = await yard.records.covering(yard.sealed.incarnation, position)
                assert signed is not None
                kept[signed.checkpoint.size] = signed.note.encode()
        yield Scene(database, folder, batch.id, running.id, files, kept)


@pytest.fixture
def at_the_server(scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Scene:
    """A working folder, and settings that lead to the log."""
    monkeypatch.setenv("BATCHMILL_DATABASE_URL", scene.database.app_url)
    monkeypatch.setenv("BATCHMILL_STORAGE_URL", scene.folder.as_uri())
    monkeypatch.chdir(tmp_path)
    return scene


def test_a_bundle_is_checked_without_a_server(capsys: Capture) -> None:
    assert run(["audit", "check", EVIDENCE, "--key", KEY.public.text, *FILES]) == ExitCode.OK
    told = capsys.readouterr().out
    assert "is completed; 6 lines completed, 2 failed, 0 never ran." in told
    assert f"  {KEY.public.text}\n" in told
    assert "output.jsonl is its output file, line by line." in told
    assert "errors.jsonl is its error file, line by line." in told


def test_what_a_bundle_proves_is_told_as_json(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "mill.pub").write_text(f"{KEY.public.text}\n{NEXT_KEY.public.text}\n")
    assert run(["audit", "check", EVIDENCE, "--key", str(tmp_path / "mill.pub"), "--json"]) == ExitCode.OK
    told = msgspec.json.decode(capsys.readouterr().out)
    assert (told["proven"], told["status"], told["completed"], told["failed"]) == (True, "completed", 6, 2)
    assert told["signed_by"] == [KEY.public.text, NEXT_KEY.public.text]


@pytest.mark.parametrize(
    ("arguments", "part", "told"),
    [
        (["--key", STRANGER.public.text], "checkpoint", "none of the keys that are known has signed this"),
        (["--key", KEY.public.text, "--output", FILES[3]], "output", "line 1 of the output file"),
    ],
)
def test_what_does_not_hold_is_told_with_its_part(
    arguments: list[str], part: str, told: str, capsys: Capture
) -> None:
    assert run(["audit", "check", EVIDENCE, *arguments]) == ExitCode.DEFECTS
    assert re.match(rf"Not proven: .*{told}", capsys.readouterr().out)
    assert run(["audit", "check", EVIDENCE, *arguments, "--json"]) == ExitCode.DEFECTS
    found = msgspec.json.decode(capsys.readouterr().out)
    assert (found["proven"], found["part"], told in found["problem"]) == (False, part, True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([EVIDENCE, "--key", "nobody"], "a key is written"),
        (["/nowhere", "--key", KEY.public.text], "/nowhere cannot be read"),
        ([EVIDENCE, "--key", KEY.public.text, "--output", "/nowhere"], "/nowhere cannot be read"),
        ([EVIDENCE, "--key", KEY.public.text, "--checkpoint", "/nowhere"], "no checkpoints that can be read"),
    ],
)
def test_what_is_no_question_is_told(arguments: list[str], told: str, capsys: Capture) -> None:
    assert run(["audit", "check", *arguments]) == ExitCode.USAGE
    assert told in capsys.readouterr().err


def test_evidence_is_made_of_what_has_ended(at_the_server: Scene, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "evidence"
    arguments = ["audit", "export", "-o", str(out), "--batch"]
    assert run([*arguments, at_the_server.running, "--wait", "10ms"]) == ExitCode.REFUSED
    assert "has not ended: evidence is made of batches that have" in capsys.readouterr().err
    assert run([*arguments, "batch_none"]) == ExitCode.NOT_FOUND
    assert not out.exists()


def test_the_commands_of_the_page_do_what_it_says(
    at_the_server: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    old, own, _ = at_the_server.kept
    (tmp_path / "mill.pub").write_text(KEY.public.text + "\n")
    (tmp_path / "kept").write_text(at_the_server.kept[own])
    (tmp_path / "kept-before").write_text(at_the_server.kept[old])
    for name, content in zip(("output.jsonl", "errors.jsonl"), at_the_server.files, strict=True):
        (tmp_path / name).write_bytes(content)
    commands = [
        line.strip().replace("1200", str(old)).replace("5000", str(own)).replace(BATCH, at_the_server.batch)
        for line in HOW_TO.read_text("utf-8").splitlines()
        if line.startswith(("    batchmill", "    python"))
    ]
    assert {shlex.split(command)[2] for command in commands} >= {"export", "check", "consistency"}
    for command in commands:
        told, _, target = command.partition(" > ")
        program, *arguments = shlex.split(told)
        if program == "batchmill":
            assert run(arguments) == ExitCode.OK, (command, capsys.readouterr())
        else:
            arguments[0] = single_file.__file__
            arguments = [KEY.public.text if argument.startswith("$(") else argument for argument in arguments]
            monkeypatch.setattr(sys, "argv", arguments)
            assert single_file.main() == 0, command
        said = capsys.readouterr().out
        if target:
            (tmp_path / target).write_text(said)


def test_a_kept_checkpoint_of_another_size_wants_a_proof(
    at_the_server: Scene, tmp_path: Path, capsys: Capture
) -> None:
    run(["audit", "export", "--batch", at_the_server.batch, "-o", "evidence"])
    old, own, later = at_the_server.kept
    checking = ["audit", "check", "evidence", "--key", KEY.public.text, "--checkpoint", "kept"]
    for size in (old, later):
        smaller, larger = sorted((size, own))
        Path("kept").write_text(at_the_server.kept[size])
        assert run(checking) == ExitCode.USAGE
        wanted = f"batchmill audit consistency --from {smaller} --to {larger}`"
        assert wanted in capsys.readouterr().err
        assert run(["audit", "consistency", "--from", str(smaller), "--to", str(larger)]) == ExitCode.OK
        Path("proof").write_text(capsys.readouterr().out)
        assert run([*checking, "--consistency", "proof"]) == ExitCode.OK
        proof = msgspec.json.decode(Path("proof").read_bytes())
        proof["proof"][0] = "00" * 32
        Path("proof").write_bytes(msgspec.json.encode(proof))
        assert run([*checking, "--consistency", "proof"]) == ExitCode.DEFECTS
        assert "the proof of consistency does not hold" in capsys.readouterr().out
    Path("kept").write_text("".join(note + "\n" for note in at_the_server.kept.values()))
    assert run(checking) == ExitCode.OK, "of several the one of its size is taken"


def test_the_single_file_runs_alone(tmp_path: Path) -> None:
    """With an empty path, so that nothing of ours can be imported."""
    command = [sys.executable, "-I", single_file.__file__, EVIDENCE, "--key", KEY.public.text, *FILES]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "completed: 6 completed, 2 failed, 0 never run" in ran.stdout
    (tmp_path / "changed").write_bytes(golden("digests.evidence")[:-1])
    ran = subprocess.run(
        [*command[:3], "changed", *command[4:]], capture_output=True, text=True, cwd=tmp_path
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("NOT PROVEN: part ")
