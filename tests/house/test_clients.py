"""The table of clients is as old as the API, the clients and the rows: else `make clients` has to be run."""

from api.openapi.served import operations
from tests.api.serving import OPTIONS
from tests.clients.clients import CLIENTS
from tests.clients.driving import OK
from tests.clients.operations import OPERATIONS
from tests.clients.page import NOT_OFFERED, PAGE, page


def cells() -> dict[str, dict[str, str]]:
    """What the page says, by the names of client and operation."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines[2:]]
    told = [row[1:] for row in rows if row[-1]]
    assert len(told) == len(OPERATIONS), "the table has other rows: run `make clients`"
    return {
        client.name: {
            operation.name: row[column]
            for operation, row in zip(OPERATIONS, told, strict=True)
            if row[column] != NOT_OFFERED
        }
        for column, client in enumerate(CLIENTS)
    }


def test_the_table_has_these_rows_and_these_versions() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(cells()), "the table is old: run `make clients`"


def test_every_operation_of_the_api_is_in_it() -> None:
    offered = {f"{one.method.upper()} {one.path}" for one in operations(OPTIONS) if one.scope is not None}
    assert offered == {operation.route for operation in OPERATIONS if operation.route is not None}


def test_everything_in_it_works() -> None:
    assert {cell for column in cells().values() for cell in column.values()} == {OK}
