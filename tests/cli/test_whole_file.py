"""Files that appear whole or not at all."""

import os
from pathlib import Path

import pytest

from cli.whole_file import NotWritten, whole_file


def test_the_file_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("before")
    with whole_file(path) as target:
        target.write(b"after")
        target.flush()
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    assert os.listdir(tmp_path) == ["out.jsonl"]


def test_what_is_not_finished_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("before")
    with pytest.raises(TypeError), whole_file(path) as target:
        target.writelines([b"half", None])  # type: ignore[list-item]  # the failure to be
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["out.jsonl"]


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    real, link = tmp_path / "real.jsonl", tmp_path / "out.jsonl"
    real.write_text("before")
    link.symlink_to(real)
    with whole_file(link) as target:
        target.write(b"after")
    assert link.is_symlink()
    assert real.read_text() == "after"


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(NotWritten, match=r"none/out\.jsonl cannot be written: No such file"),
        whole_file(tmp_path / "none" / "out.jsonl"),
    ):
        pass


def test_a_pipe_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR)
    try:
        with whole_file(pipe) as target:
            target.write(b"all of it")
        assert os.read(reader, 100) == b"all of it"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
