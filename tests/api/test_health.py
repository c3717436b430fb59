"""Health checks: no key, and a server that cannot write is not ready."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from api import health
from tests.api.client import Client
from tests.api.serving import OPTIONS, Served, listening
from tests.chaos.proxy import place_of, proxy_to, through
from tests.postgres import Database


def test_no_key_is_needed(served: Served) -> None:
    nobody = Client(served.port, None)
    assert (nobody.get("/livez").status, nobody.get("/livez").json) == (200, {"status": "ok"})
    assert (nobody.get("/readyz").status, nobody.get("/readyz").json["status"]) == (200, "ok")


def test_a_log_that_is_not_sealed_is_seen_and_takes_nobody_out_of_service(served: Served) -> None:
    nobody = Client(served.port, None)
    served.seal()
    assert nobody.get("/readyz").json == {"status": "ok", "unsealed_seconds": 0}
    served.project()
    later = nobody.get("/readyz")
    assert later.status == 200
    assert later.json["unsealed_seconds"] >= 0


async def test_a_database_that_turned_read_only_is_not_ready(database: Database, tmp_path: Path) -> None:
    connection = await asyncpg.connect(database.superuser_url)
    try:
        setting = f"ALTER DATABASE {database.name} SET default_transaction_read_only"
        await connection.execute(f"{setting} = on")
    finally:
        await connection.close()
    async with listening(database.app_url, tmp_path, OPTIONS) as served:
        nobody = Client(served.port, None)
        live = await asyncio.to_thread(nobody.get, "/livez")
        ready = await asyncio.to_thread(nobody.get, "/readyz")
    assert live.status == 200
    assert ready.status == 503
    assert ready.error["type"] == "server_error"
    assert ready.headers["retry-after"] == "1"


async def test_a_database_that_does_not_answer_is_told_of_before_whoever_asks_has_gone(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "WITHIN", 0.1)
    async with (
        proxy_to(place_of(database.app_url)) as proxy,
        listening(through(proxy, database.app_url), tmp_path, OPTIONS) as served,
    ):
        proxy.stall()
        ready = await asyncio.to_thread(Client(served.port, None).get, "/readyz")
        proxy.go_on()
    assert ready.status == 503
