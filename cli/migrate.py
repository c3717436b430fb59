"""`batchmill migrate`: the database's schema brought up to date, before new servers start or at any time."""

import asyncio
import os

from cli.parameters import Config
from cli.settings_sources import load


def migrate(*, config: Config = None) -> None:
    """Bring the database's schema up to date and give the application's login
    its rights.

    Safe beside running servers and when several run at once. `serve` does the
    same at its start.

    $ batchmill migrate
    $ BATCHMILL_DATABASE_OWNER_URL=postgresql://owner@db/batchmill batchmill migrate
    """
    from cli.database import open_database, user_of
    from events.migrate import migrate as apply

    settings = load(environ=os.environ, config=config).settings

    async def run() -> list[str]:
        async with open_database(settings) as logins:
            return await apply(logins.owner, user_of(logins.application))

    for name in (applied := asyncio.run(run())):
        print(f"applied {name}")
    if not applied:
        print("nothing to apply: the schema is up to date")
