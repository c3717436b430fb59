"""The client of the demo: the official SDK, used as any program uses it. Only `base_url` is ours."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import openai

from cli.batch_view import BatchView
from cli.demo.requests import ENDPOINT
from cli.progress import Show
from cli.remote.client import decode
from events.errors import BatchmillError

LOOK_EVERY: Final = 0.2


class DemoFailed(BatchmillError):
    """The batch of the demo did not come to its end."""


class DemoFiles(msgspec.Struct, frozen=True):
    """The three files of a batch, in one folder."""

    requests: Path
    output: Path
    errors: Path

    @classmethod
    def within(cls, folder: Path) -> "DemoFiles":
        """Where they are in a folder."""
        return cls(folder / "requests.jsonl", folder / "output.jsonl", folder / "errors.jsonl")


def run_batch(
    url: str,
    key: str,
    files: DemoFiles,
    told: Callable[[str], None],
    show: Show,
    stopped: Callable[[], bool],
) -> BatchView | None:
    """Uploads the requests, makes a batch of them, waits for its end and downloads both results.

    Blocks: for a thread. `told` hears each step, `show` sees the batch. None soon after `stopped` holds.
    Raises `DemoFailed` where the server does not do what it should.
    """
    with openai.OpenAI(base_url=url, api_key=key) as client:
        try:
            with files.requests.open("rb") as source:
                uploaded = client.files.create(file=source, purpose="batch")
            told(f"uploaded {uploaded.filename} ({uploaded.bytes:,} bytes) as {uploaded.id}")
            batch = client.batches.create(
                input_file_id=uploaded.id,
                endpoint=ENDPOINT,
                completion_window="24h",
                metadata={"made by": "batchmill demo"},
            )
            told(f"made {batch.id}")
            while not _shown(batch, show).ended:
                if stopped():
                    return None
                time.sleep(LOOK_EVERY)
                batch = client.batches.retrieve(batch.id)
            for file_id, path in ((batch.output_file_id, files.output), (batch.error_file_id, files.errors)):
                if file_id is not None:
                    client.files.content(file_id).write_to_file(path)
        except openai.OpenAIError as error:
            if stopped():
                return None
            raise DemoFailed(f"the server did not do what the demo asked: {error}") from error
    return _view(batch)


def _shown(batch: openai.types.Batch, show: Show) -> BatchView:
    view = _view(batch)
    show(view)
    return view


def _view(batch: openai.types.Batch) -> BatchView:
    return decode(batch.to_json().encode(), BatchView)
