"""Buckets: the suite against an S3 server, and what only a network can do to us."""

import asyncio
import logging
import socket
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from urllib.request import Request, urlopen

import pytest
from moto.server import ThreadedMotoServer

from storage.object_store import open_store
from storage.store import NameTaken, ObjectMissing, StorageError, StorageFull, StorageUnavailable, Store
from tests.receiver import Heard, answer, receiver
from tests.storage.bodies import ClientGone, Stalled, body_of, broken_after, repeated
from tests.storage.store_suite import MIB, StoreSuite, listed


class S3Server:
    """A server with the bucket `files`."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, method: str, path: str) -> str:
        with urlopen(Request(f"{self.url}/{path}", method=method), timeout=60) as answer:
            return str(answer.read(), "utf-8")

    def make_locked(self, bucket: str) -> None:
        """A bucket with object lock."""
        headers = {"x-amz-bucket-object-lock-enabled": "true"}
        urlopen(Request(f"{self.url}/{bucket}", method="PUT", headers=headers), timeout=60).close()

    def unfinished_uploads(self) -> int:
        return self.ask("GET", "files?uploads").count("<UploadId>")


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    moto.start()
    host, port = moto.get_host_and_port()
    yield S3Server(f"http://{host}:{port}")
    moto.stop()


@pytest.fixture
def s3(server: S3Server, environment: pytest.MonkeyPatch) -> S3Server:
    server.ask("POST", "moto-api/reset")
    server.ask("PUT", "files")
    environment.setenv("AWS_ENDPOINT_URL", server.url)
    return server


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "the-secret-of-the-test",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
async def store(s3: S3Server) -> AsyncIterator[Store]:
    bucket = open_store("s3://files/batchmill/one")
    yield bucket
    await bucket.close()


class TestS3(StoreSuite):
    """The suite of all stores."""


async def test_objects_lie_below_the_prefix_of_the_url(store: Store, s3: S3Server) -> None:
    stored = await store.put(body_of(b"x"), prefix="files", project="p")
    assert f"<Key>batchmill/one/{stored.key}</Key>" in s3.ask("GET", "files")
    assert await listed(open_store("s3://files/batchmill/another")) == []


async def test_what_others_keep_in_the_bucket_is_not_listed(store: Store, s3: S3Server) -> None:
    s3.ask("PUT", "files/batchmill/one/notes.txt")
    assert await listed(store) == []


async def test_a_bucket_with_object_lock_keeps_each_object(s3: S3Server) -> None:
    s3.make_locked("locked")
    witness = open_store("s3://locked/witness", checksums=True)
    for _ in range(2):
        await witness.keep("checkpoints/log/7", b"a note")
    with pytest.raises(NameTaken):
        await witness.keep("checkpoints/log/7", b"another")
    assert await witness.read("checkpoints/log/7", 0, 100) == b"a note"
    await witness.close()


async def test_it_gets_the_checksum_that_it_insists_on(environment: pytest.MonkeyPatch) -> None:
    checksum = b64encode(sha256(b"a note").digest()).decode()

    def insisting(heard: Heard) -> bytes:
        return answer(200 if heard.headers.get("x-amz-checksum-sha256") == checksum else 400, 'etag: "1"')

    async with receiver(insisting) as server:
        environment.setenv("AWS_ENDPOINT_URL", server.url().rstrip("/"))
        await open_store("s3://locked/witness", checksums=True).keep("checkpoints/log/7", b"a note")
        with pytest.raises(StorageError):
            await open_store("s3://locked/witness").keep("checkpoints/log/7", b"a note")


async def test_an_upload_that_is_broken_off_leaves_no_parts(store: Store, s3: S3Server) -> None:
    with pytest.raises(ClientGone):
        await store.put(broken_after(bytes(MIB), 12), prefix="files", project="p")
    body = Stalled(bytes(MIB), 12)
    putting = asyncio.create_task(store.put(body, prefix="files", project="p"))
    await body.reached.wait()
    assert s3.unfinished_uploads() == 1
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert s3.unfinished_uploads() == 0


async def test_free_space_has_no_meaning_in_a_bucket(store: Store) -> None:
    assert await store.free_space() is None


async def test_a_bucket_that_does_not_exist_is_told(s3: S3Server) -> None:
    store = open_store("s3://elsewhere")
    with pytest.raises(StorageUnavailable, match="s3://elsewhere does not exist"):
        await store.put(body_of(b"x"), prefix="files", project="p")
    with pytest.raises(StorageUnavailable, match="s3://elsewhere does not exist"):
        await store.read("files/" + "0" * 32, 0, 1)


async def assert_unavailable(store: Store) -> None:
    for operation in (
        store.put(repeated(bytes(MIB), 30), prefix="files", project="p"),
        store.read("files/" + "0" * 32, 0, 1),
        store.delete("files/" + "0" * 32),
        listed(store),
    ):
        with pytest.raises(StorageUnavailable, match="s3://files"):
            await operation
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_server_that_cannot_be_reached_is_told(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    await assert_unavailable(open_store("s3://files", patience=0.2))


async def test_a_server_that_never_answers_is_told_in_time(environment: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        environment.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        await assert_unavailable(open_store("s3://files", patience=0.2))


@pytest.mark.parametrize(
    ("status", "code", "error", "message"),
    [
        ("507 Insufficient Storage", "XMinioStorageFull", StorageFull, "s3://files has no room left"),
        ("403 Forbidden", "AccessDenied", StorageUnavailable, "s3://files refuses our credentials"),
        ("500 Internal Server Error", "InternalError", StorageUnavailable, "500 Internal Server Error"),
    ],
)
async def test_what_a_server_refuses_is_told_by_its_kind(
    environment: pytest.MonkeyPatch, status: str, code: str, error: type[StorageError], message: str
) -> None:
    body = f"<Error><Code>{code}</Code></Error>"

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write((head + body).encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as refusing:
        host, port = refusing.sockets[0].getsockname()
        environment.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        with pytest.raises(error, match=message):
            await open_store("s3://files", patience=0.2).put(body_of(b"x"), prefix="files", project="p")


async def test_messages_hold_no_secret(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(StorageUnavailable) as failure:
        await open_store("s3://files", patience=0.2).read("files/" + "0" * 32, 0, 1)
    assert "the-secret-of-the-test" not in str(failure.value)


async def test_an_absent_object_is_told_apart_from_an_absent_bucket(store: Store) -> None:
    with pytest.raises(ObjectMissing):
        await store.read("files/" + "0" * 32, 0, 1)
