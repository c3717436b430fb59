"""`batchmill log`: what an operator does to the log as a whole."""

import asyncio
import os
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import App, Parameter

from cli.parameters import Config, Json
from cli.settings_sources import load
from events.errors import SettingsError

if TYPE_CHECKING:
    from events.incarnation import Incarnation

app = App(
    name="log",
    help="""Say what has become of the log.

    $ batchmill log fork --reason "restored from the dump of Tuesday"
    """,
    help_format="plaintext",
)


@app.command
def fork(
    *,
    reason: Annotated[str, Parameter(help="Why: it is kept with the log.")],
    config: Config = None,
    json: Json = False,
) -> None:
    """Begin a new incarnation of the log, after a restore that lost events.

    What was published or signed of the lost events stays known under the old
    incarnation, and cannot be taken for events of this one. Sealing goes on with
    a tree of its own. Safe beside running servers; nothing is changed or deleted.

    $ batchmill log fork --reason "restored from the dump of Tuesday"
    """
    if not reason.strip():
        raise SettingsError("--reason is empty: say why, for whoever looks at the log later")
    begun = asyncio.run(_begin(reason, config))
    if json:
        print(msgspec.json.encode({"incarnation": begun.id, "position": begun.position}).decode())
    else:
        print(f"Incarnation {begun.id} has begun after position {begun.position:,}.")


async def _begin(reason: str, config: Config) -> "Incarnation":
    from cli.database import bring_up_to_date, open_database
    from events.incarnation import begin_incarnation

    async with open_database(load(environ=os.environ, config=config).settings) as logins:
        await bring_up_to_date(logins)
        return await begin_incarnation(logins.owner, reason)
