"""A storage URL names its store, or is refused with what would be right."""

from pathlib import Path

import pytest

from storage.bucket import Bucket
from storage.local_folder import LocalFolder
from storage.object_store import open_store
from storage.store import StorageError
from tests.storage.bodies import body_of


async def test_a_file_url_opens_the_folder(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/some%20where")
    assert isinstance(store, LocalFolder)
    stored = await store.put(body_of(b"x"), prefix="files", project="p")
    assert (tmp_path / "some where" / stored.key).read_bytes() == b"x"
    await store.close()


def test_every_cloud_has_its_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0")
    monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
    for url in ("s3://files/x", "gs://files/x", "az://files/x"):
        assert isinstance(open_store(url), Bucket)


@pytest.mark.parametrize("url", ["ftp://files", "/var/lib/files", "", "http://files", "memory:///"])
def test_another_scheme_is_refused_with_those_there_are(url: str) -> None:
    with pytest.raises(StorageError, match=r"not supported; supported: file://, s3://, gs://, az://"):
        open_store(url)


@pytest.mark.parametrize("url", ["file://host/folder", "file:relative", "file://"])
def test_a_folder_must_be_absolute_and_here(url: str) -> None:
    with pytest.raises(StorageError, match="file:///absolute/path"):
        open_store(url)


@pytest.mark.parametrize("url", ["s3://", "gs:///x"])
def test_a_url_without_a_bucket_is_refused(url: str) -> None:
    with pytest.raises(StorageError, match="names no bucket"):
        open_store(url)


def test_a_wrong_environment_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(StorageError, match="az:// storage cannot be opened as configured"):
        open_store("az://files/x")
