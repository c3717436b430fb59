"""A client that asks until it is answered: its server dies all the time."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import msgspec

from tests.api.client import FORM, JSON, file, form
from tests.api.client import field as form_field
from tests.chaos.mill import KEY, PATIENCE, Mill

WITHIN: Final = 120.0
"""Seconds after which a wait for anything is a failure of the test: meanwhile a server dies many times."""
ONE_TRY: Final = 10.0
"""Seconds after which an answer is not waited for any longer."""


@dataclass(frozen=True)
class Answered:
    """An answer; of those that say "later" the last one that does not."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def message(self) -> str:
        """What an error says."""
        return str(self.json["error"]["message"])


class PatientClient:
    """Asks a server that is killed and started again. What is asked twice must be harmless."""

    def __init__(self, serving: Mill, session: aiohttp.ClientSession) -> None:
        self._serving = serving
        self._session = session
        self.lost = 0

    async def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answered:
        """The answer, as soon as there is one; 503 is none. `lost` counts what had to be asked again."""
        async with asyncio.timeout(WITHIN):
            while True:
                if self._serving.url:
                    try:
                        answered = await self._once(method, self._serving.url + path, body, headers or {})
                    except (aiohttp.ClientError, OSError, TimeoutError):
                        self.lost += 1
                    else:
                        if answered.status != 503:
                            return answered
                await asyncio.sleep(PATIENCE)

    async def post(self, path: str, wanted: object, key: str) -> Answered:
        """Asks for something to be made, with an idempotency key."""
        headers = {**JSON, "Idempotency-Key": key}
        return await self.ask("POST", path, msgspec.json.encode(wanted), headers)

    async def upload(self, content: bytes, key: str) -> str:
        """The id of a new input file."""
        body = form(form_field("purpose", "batch"), file(content))
        answered = await self.ask("POST", "/files", body, {**FORM, "Idempotency-Key": key})
        assert answered.status == 200, answered.body
        return str(answered.json["id"])

    async def _once(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Answered:
        authorized = {"Authorization": f"Bearer {KEY}", **headers}
        limit = aiohttp.ClientTimeout(ONE_TRY)
        async with self._session.request(method, url, data=body, headers=authorized, timeout=limit) as answer:
            return Answered(answer.status, await answer.read(), answer.headers)
