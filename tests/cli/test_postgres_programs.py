"""How the programs of Postgres are run: as whom, tied to what, knowing what."""

from pathlib import Path

import pytest

from cli.embedded.postgres_programs import (
    Account,
    EmbeddedPostgresError,
    command,
    environment,
    programs_folder,
)


def test_an_ordinary_user_runs_them_tied_to_the_parents_life() -> None:
    *tie, program, option = command("postgres", ["-V"], None)
    assert tie[1:] == ["--pdeathsig", "INT", "--"]
    assert (program, option) == (str(programs_folder() / "postgres"), "-V")


def test_an_ordinary_user_without_setpriv_runs_them_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert command("postgres", ["-V"], None) == [str(programs_folder() / "postgres"), "-V"]


def test_an_ordinary_user_with_an_old_setpriv_runs_them_plainly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = tmp_path / "setpriv"
    old.write_text("#!/bin/sh\necho \"setpriv: unrecognized option '--pdeathsig'\" >&2\nexit 1\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command("postgres", ["-V"], None) == [str(programs_folder() / "postgres"), "-V"]


def test_root_without_setpriv_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EmbeddedPostgresError, match=r"util-linux.*ordinary user.*BATCHMILL_DATABASE_URL"):
        command("postgres", ["-V"], Account(65534, 65534))


def test_they_see_none_of_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHMILL_UPSTREAM_API_KEY", "sk-secret")
    assert "sk-secret" not in environment().values()
