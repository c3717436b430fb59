"""The page that the run writes: which operation works with which client, and in which versions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.clients.clients import CLIENTS, NODE_VERSION, ROOT
from tests.clients.operations import GROUPS, Operation

PAGE: Final[Path] = ROOT / "docs" / "reference" / "clients.md"
NOT_OFFERED: Final = "–"

_HEAD: Final = f"""\
# Clients

Made by `make clients`: it starts a whole Batchmill and drives every operation with every client.

**ok**: it did what it should, with as much of it as the client offers. **{NOT_OFFERED}**: the client has
no call for it. What OpenAI does not have is reached with the SDKs' `client.get` and `client.post`. The npm
package ran on Node {NODE_VERSION}.

`AzureOpenAI` is given the server as `azure_endpoint` and any `api_version`. Unlike Azure's, the endpoint of a
batch and the `url` of its lines begin with `/v1`.

"""


def page(cells: Mapping[str, Mapping[str, str]]) -> str:
    """The page. `cells` has, by the names of client and operation, how it went, for what a client offers."""
    rows = [
        ["Operation", *(f"{client.name} {client.version}".strip() for client in CLIENTS)],
        ["---"] * (1 + len(CLIENTS)),
    ]
    for group in GROUPS:
        rows.append([f"**{group.title}**", *[""] * len(CLIENTS)])
        rows += [
            [_title(operation), *(cells[client.name].get(operation.name, NOT_OFFERED) for client in CLIENTS)]
            for operation in group.operations
        ]
    return _HEAD + "".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |\n" for row in rows)


def _title(operation: Operation) -> str:
    """What stands at the beginning of an operation's row."""
    asked = [f"`{operation.route}`"] if operation.route else []
    return ": ".join([*asked, *filter(None, [operation.with_])])
