"""A compiled upstream: nginx on a free port of loopback, which answers every POST with the same completion.

It takes a fraction of a core where a Python server would take more than the client under test.
"""

import asyncio
import json
import secrets
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

_CONFIG = """
daemon off;
worker_processes 1;
error_log {folder}/error.log error;
pid {folder}/pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 3600s;
    client_max_body_size 64m;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type application/json;
    server {{
        listen 127.0.0.1:{port};
        location = /v1/models {{ return 200 '{models}'; }}
        location / {{ {answer} }}
    }}
}}
"""


def completion(size: int, *, compressible: bool = True) -> bytes:
    """A chat completion of about `size` bytes, with its usage; of words, or of what cannot be compressed to
    less than three quarters."""

    def text(content: str) -> bytes:
        return json.dumps(
            {
                "id": "chatcmpl-bench",
                "object": "chat.completion",
                "created": 1_700_000_000,
                "model": "bench",
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": content},
                        "finish_reason": "stop",
                    }
                ],
                "usage": {"prompt_tokens": 150, "completion_tokens": 170, "total_tokens": 320},
            }
        ).encode()

    if not compressible:
        return text(secrets.token_urlsafe(size)[: size - len(text(""))])
    words = "Thirteen millers ground the barley before the rain came down the valley. "
    missing = max(0, size - len(text("")))
    return text((words * (missing // len(words) + 1))[:missing])


@asynccontextmanager
async def nginx(folder: Path, answer: bytes, *, from_file: bool = False) -> AsyncIterator[str]:
    """Runs it with its files in `folder`; gives its URL, with `/v1`. `from_file` serves the answer from the
    file `answer.json` there, which may be replaced, and takes any size."""
    program = shutil.which(
        "nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin"
    )
    if program is None:
        raise SystemExit("The benchmarks need nginx as the upstream (Debian: apt-get install nginx-light).")
    port = _free_port()
    config = _write_files(folder, port, answer, from_file)
    process = await asyncio.create_subprocess_exec(program, "-p", str(folder), "-c", str(config))
    try:
        await _listening(port)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        await process.wait()


def _write_files(folder: Path, port: int, answer: bytes, from_file: bool) -> Path:
    """Its configuration, with the answer in it or beside it."""
    folder.mkdir(parents=True)
    answering = f"return 200 '{answer.decode()}';"  # a word of at most 4,096 bytes
    if from_file:
        (folder / "answer.json").write_bytes(answer)
        answering = f"root {folder}; rewrite ^ /answer.json break; error_page 405 =200 /answer.json;"
    models = json.dumps({"object": "list", "data": [{"id": "bench", "object": "model"}]})
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=folder, port=port, models=models, answer=answering))
    return config


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


async def _listening(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            writer.close()
            return
