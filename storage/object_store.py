"""Opens the store that a URL names."""

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from storage.bucket import Bucket, brief
from storage.local_folder import LocalFolder
from storage.store import StorageError, Store

if TYPE_CHECKING:  # obstore has these for type checkers only
    from obstore.store import ClientConfig, RetryConfig, S3Config

# What the variables of the environment begin with.
CLOUDS = {"s3": "AWS", "gs": "GOOGLE", "az": "AZURE"}


def open_store(url: str, *, patience: float = 60.0, checksums: bool = False) -> Store:
    """The store at `url`: `file:///folder`, `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`.

    Credentials, endpoint and region come from the usual environment: `AWS_*` (`AWS_ENDPOINT_URL`,
    `AWS_REGION`, `AWS_ALLOW_HTTP`), `GOOGLE_*`, `AZURE_*`. The folder or prefix belongs to this store, and to
    one database, alone: the sweep deletes objects there that no event names. `patience` is in seconds. With
    `checksums` each object is sent to S3 with its SHA-256, which a bucket with object lock insists on.
    Raises `StorageError` when the URL is no such URL; connects to nothing yet.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise StorageError("a storage folder is written file:///absolute/path")
        return LocalFolder(Path(unquote(parts.path)), patience=patience)
    if parts.scheme in CLOUDS:
        if not parts.hostname:
            raise StorageError(f"the storage URL names no bucket; write {parts.scheme}://bucket/prefix")
        return Bucket(_connect(url, patience, checksums), f"{parts.scheme}://{parts.hostname}", patience)
    supported = ", ".join(f"{scheme}://" for scheme in ("file", *CLOUDS))
    raise StorageError(f"storage URLs of scheme {parts.scheme!r} are not supported; supported: {supported}")


def _connect(url: str, patience: float, checksums: bool) -> S3Store | GCSStore | AzureStore:
    scheme = urlsplit(url).scheme
    # Half for the tries, half for the last of them: so a request ends within our patience, with its reason.
    half = timedelta(seconds=patience / 2)
    retry: RetryConfig = {"max_retries": 5, "retry_timeout": half}
    client: ClientConfig = {
        "timeout": half,
        "connect_timeout": min(half, timedelta(seconds=5)),
        # obstore forgets this variable once any option of the client is given.
        "allow_http": os.environ.get(f"{CLOUDS[scheme]}_ALLOW_HTTP", "").lower()
        in ("true", "1", "yes", "on"),
    }
    try:
        match scheme:
            case "s3":
                config: S3Config = {"checksum_algorithm": "SHA256"} if checksums else {}
                return S3Store.from_url(url, config=config, client_options=client, retry_config=retry)
            case "gs":
                return GCSStore.from_url(url, client_options=client, retry_config=retry)
            case _:
                return AzureStore.from_url(url, client_options=client, retry_config=retry)
    except (BaseError, ValueError) as error:
        raise StorageError(f"{scheme}:// storage cannot be opened as configured: {brief(error)}") from error
