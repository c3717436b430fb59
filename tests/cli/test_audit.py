"""`batchmill audit`: keys made, shown and put in the place of others; and what is handed out for checking."""

import json
import stat
from pathlib import Path

import pytest

from cli.embedded.data_folder import audit_key_file, kept_audit_key
from cli.exit_codes import ExitCode
from cli.main import run
from engine.audit.signer import parse_private_keys
from events.audit.leaf import event_leaf
from events.audit.note import parse_public_key
from events.audit.records import parse_signed
from events.audit.tree import includes
from tests.serve_process import ran_here, serve_process

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BATCHMILL_DATA_DIR", str(tmp_path / "data"))


def test_a_key_is_made_for_its_owner_alone_and_its_public_half_told(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "audit-key"
    assert run(["audit", "key", "new", str(file), "--name", "mill.example.com"]) == ExitCode.OK
    made = parse_public_key(capsys.readouterr().out.strip())
    assert made.name == "mill.example.com"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [key.public for key in parse_private_keys(file.read_text())] == [made]
    assert run(["audit", "key", "show", str(file)]) == ExitCode.OK
    assert capsys.readouterr().out == made.text + "\n"
    assert [path.name for path in tmp_path.iterdir()] == ["audit-key"]


def test_a_key_is_not_overwritten_but_put_above(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "audit-key"
    run(["audit", "key", "new", str(file)])
    first = capsys.readouterr().out.strip()
    assert run(["audit", "key", "new", str(file)]) == ExitCode.USAGE
    assert "is there already" in capsys.readouterr().err
    assert run(["audit", "key", "new", str(file), "--rotate"]) == ExitCode.OK
    second = capsys.readouterr().out.strip()
    run(["audit", "key", "show", str(file)])
    assert capsys.readouterr().out.split() == [second, first]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["key", "new", "{}/a", "--name", "two words"], "is no name of a key"),
        (["key", "new", "{}/absent/a"], "cannot be written: No such file"),
        (["key", "new", "{}/a", "--rotate"], "cannot be read: No such file"),
        (["key", "show", "{}"], "cannot be read: Is a directory"),
        (["key", "show"], "no key signs checkpoints: `batchmill audit key new` makes one"),
        (["proof"], "give --position or --batch"),
    ],
)
def test_what_cannot_be_done_is_told(
    arguments: list[str], said: str, tmp_path: Path, capsys: Capture
) -> None:
    assert run(["audit", *(argument.format(tmp_path) for argument in arguments)]) != ExitCode.OK
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_keys_shown_are_those_that_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    kept = kept_audit_key_public(tmp_path / "data")
    run(["audit", "key", "show"])
    assert capsys.readouterr().out.split() == [kept]
    run(["audit", "key", "new", str(tmp_path / "other")])
    other = capsys.readouterr().out.strip()
    monkeypatch.setenv("BATCHMILL_AUDIT_KEY_FILE", str(tmp_path / "other"))
    run(["audit", "key", "show"])
    assert capsys.readouterr().out.split() == [other]
    monkeypatch.delenv("BATCHMILL_AUDIT_KEY_FILE")
    monkeypatch.setenv("BATCHMILL_AUDIT_SIGN_COMMAND", "/usr/bin/sign --with kms")
    monkeypatch.setenv("BATCHMILL_AUDIT_PUBLIC_KEYS", f"{other},{kept}")
    run(["audit", "key", "show"])
    assert capsys.readouterr().out.split() == [other, kept]


def kept_audit_key_public(folder: Path) -> str:
    folder.mkdir()
    made = kept_audit_key(folder)
    assert kept_audit_key(folder) == made
    assert stat.S_IMODE(audit_key_file(folder).stat().st_mode) == 0o600
    [key] = parse_private_keys(made)
    return key.public.text


def test_what_a_server_sealed_is_checked_with_its_public_key(data_folder: Path) -> None:
    settings = {"BATCHMILL_DATA_DIR": str(data_folder)}
    with serve_process(settings=settings) as served:
        assert served.url
        asked = ran_here("audit", "proof", "--position", "1", settings=settings)
        while "no checkpoint covers position 1 yet" in asked.stderr:
            asked = ran_here("audit", "proof", "--position", "1", settings=settings)
    told = json.loads(asked.stdout)
    [key] = [private.public for private in parse_private_keys(kept_audit_key(data_folder))]
    signed = parse_signed(told["checkpoint"])
    assert signed.note.signers([key]) == [key]
    leaf = event_leaf(bytes.fromhex(told["digest"]), told["stream_id"], told["version"])
    path = [bytes.fromhex(hash_) for hash_ in told["proof"]]
    assert includes(signed.checkpoint.root, signed.checkpoint.size, 0, leaf, path)
