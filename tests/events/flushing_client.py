"""A process that holds one claim and flushes its first line when it is told to: the one a test freezes.

`python -m tests.events.flushing_client URL CLAIM TOKEN BATCH LINES` prints `ready`, waits for a line on its
input, flushes, and prints the answer.
"""

import asyncio
import sys
from uuid import UUID, uuid4

from events.work import Claim
from tests.events.stage import PROJECT, flush_of, open_stage


async def main(url: str, claim_id: int, token: UUID, batch_id: str, lines: int) -> None:
    first = lines  # the second chunk of its batch
    claim = Claim(claim_id, batch_id, PROJECT, token, first, lines, "0" * lines, False, 0, 60.0)
    async with open_stage(url, connections=2) as stage:
        # The statement is known to the connection from here on: the flush is one message and one answer.
        unknown = Claim(0, batch_id, PROJECT, uuid4(), first, lines, "0" * lines, False, 0, 60.0)
        await stage.log.flush([flush_of(unknown, [first])])
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        [answer] = await stage.log.flush([flush_of(claim, [first])])
        print(answer, flush=True)


if __name__ == "__main__":
    url, claim_id, token, batch_id, lines = sys.argv[1:]
    asyncio.run(main(url, int(claim_id), UUID(token), batch_id, int(lines)))
