"""A data folder belongs to one process at a time, and says where its database answers."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.embedded.data_folder import (
    SOCKET_NAME,
    DataFolder,
    DataFolderError,
    DataFolderInUse,
    running_database_url,
)

HOLDER = """
import pathlib, sys, time
from cli.embedded.data_folder import DataFolder
folder = DataFolder.open(pathlib.Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A folder with a path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="batchmill-test-") as folder:
        yield Path(folder)


def test_a_new_data_folder_is_private_and_has_its_parts(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path / "deep" / "data") as folder:
        assert folder.path.stat().st_mode & 0o777 == 0o700
        for part in (folder.postgres, folder.files, folder.spill):
            assert part.is_dir()
            assert part.stat().st_mode & 0o777 == 0o700


def test_a_held_data_folder_is_refused_by_name_and_holder(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path), pytest.raises(DataFolderInUse) as refusal:
        DataFolder.open(tmp_path)
    assert str(tmp_path) in str(refusal.value)
    assert refusal.value.holder == os.getpid()


def test_a_closed_data_folder_can_be_opened_again(tmp_path: Path) -> None:
    DataFolder.open(tmp_path).close()
    DataFolder.open(tmp_path).close()


def test_a_holder_that_is_killed_lets_go(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DataFolderInUse, match=f"process {holder.pid}"):
            DataFolder.open(tmp_path)
        holder.kill()
        holder.wait()
        DataFolder.open(tmp_path).close()


def test_a_child_that_outlives_its_parent_holds_nothing(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path)
    with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        folder.close()
        DataFolder.open(tmp_path).close()
        child.kill()


def test_a_path_that_cannot_be_a_folder_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataFolderError, match="--data-dir"):
        DataFolder.open(tmp_path / "file" / "data")


def test_a_folder_whose_database_answers_says_where(tmp_path: Path, sockets: Path) -> None:
    url = f"postgresql://owner@/batchmill?host={sockets}"
    with DataFolder.open(tmp_path) as folder, socket.socket(socket.AF_UNIX) as server:
        assert running_database_url(tmp_path) is None
        folder.publish_database_url(url)
        server.bind(str(sockets / SOCKET_NAME))
        server.listen()
        assert running_database_url(tmp_path) == url
        folder.withdraw_database_url()
        assert running_database_url(tmp_path) is None


def test_a_folder_whose_database_is_gone_names_none(tmp_path: Path, sockets: Path) -> None:
    with DataFolder.open(tmp_path) as folder:
        folder.publish_database_url(f"postgresql://owner@/batchmill?host={sockets}")
        assert running_database_url(tmp_path) is None


def test_a_folder_that_is_not_there_names_no_database(tmp_path: Path) -> None:
    assert running_database_url(tmp_path / "nowhere") is None
