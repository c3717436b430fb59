"""Lists page by page: stable over ties, over objects that come and go, and over bad queries."""

from urllib.parse import urlencode

import pytest

from events.batch import Batch
from events.database import Database
from tests.api.client import Answer
from tests.api.serving import Project, Served


def tie(served: Served, project: Project) -> None:
    """Makes everything of a project created at the same moment."""

    async def update() -> None:
        database: Database = served.journal.models._database
        async with database.writing() as connection:
            await connection.execute(
                "UPDATE read_models SET created_at = '2026-01-01Z' WHERE project_id = $1", project.id
            )

    served.run(update())


def walk(project: Project, path: str, **query: str) -> list[list[str]]:
    """Every page, asked for as the SDKs do: after the last object seen, until there is no more."""
    pages: list[list[str]] = []
    after: dict[str, str] = {}
    while True:
        page = project.client.get(f"{path}?{urlencode(query | after)}").json
        ids = [shown["id"] for shown in page["data"]]
        assert page["object"] == "list"
        assert (page["first_id"], page["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
        pages.append(ids)
        if not page["has_more"]:
            return pages
        after = {"after": ids[-1]}


def test_batches_are_listed_newest_first_and_paged(project: Project) -> None:
    ids = [project.client.created() for _ in range(5)][::-1]
    assert walk(project, "/v1/batches") == [ids]
    assert walk(project, "/v1/batches", limit="2") == [ids[:2], ids[2:4], ids[4:]]
    assert walk(project, "/v1/batches", limit="5") == [ids]


def test_paging_goes_over_ties(served: Served, project: Project) -> None:
    batches = {project.client.created() for _ in range(5)}
    files = {project.client.uploaded() for _ in range(5)}
    tie(served, project)
    assert walk(project, "/v1/batches", limit="1") == [[id] for id in sorted(batches, reverse=True)]
    assert walk(project, "/v1/files", limit="1") == [[id] for id in sorted(files, reverse=True)]
    assert walk(project, "/v1/files", limit="1", order="asc") == [[id] for id in sorted(files)]


def test_a_cursor_outlives_its_file(project: Project) -> None:
    ids = [project.client.uploaded() for _ in range(3)][::-1]
    project.client.ask("DELETE", f"/v1/files/{ids[1]}")
    assert project.client.get(f"/v1/files?after={ids[1]}").json["first_id"] == ids[2]


def test_twenty_batches_are_a_page(project: Project) -> None:
    for _ in range(21):
        project.client.created()
    assert [len(page) for page in walk(project, "/v1/batches")] == [20, 1]
    assert [len(page) for page in walk(project, "/v1/batches", limit="100")] == [21]


def test_a_list_shows_what_is_not_folded_into_its_rows_yet(served: Served, project: Project) -> None:
    batch_id = project.client.created()
    project.client.ask("POST", f"/v1/batches/{batch_id}/cancel")
    assert project.client.get("/v1/batches").json["data"][0]["status"] == "cancelled"
    assert served.run(served.journal.models.get(Batch, batch_id)).version == 3


def refused(answer: Answer, status: int, message: str, param: str | None, code: str | None) -> None:
    assert answer.status == status
    assert answer.error == {
        "message": message,
        "type": "invalid_request_error",
        "param": param,
        "code": code,
    }


@pytest.mark.parametrize("limit", ["0", "10001", "-1", "x", "1.5", "", "9" * 30])
def test_a_bad_limit_of_files(project: Project, limit: str) -> None:
    answer = project.client.get(f"/v1/files?limit={limit}")
    refused(answer, 400, "limit must be between 1 and 10000.", None, None)


def test_a_bad_limit_of_batches(project: Project) -> None:
    refused(
        project.client.get("/v1/batches?limit=101"),
        400,
        "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 101 instead.",
        "limit",
        "integer_above_max_value",
    )
    refused(
        project.client.get(f"/v1/batches?limit={'9' * 30}"),
        400,
        f"Invalid 'limit': integer above maximum value. Expected a value <= 100, but got {'9' * 30} instead.",
        "limit",
        "integer_above_max_value",
    )
    refused(
        project.client.get("/v1/batches?limit=0"),
        400,
        "Invalid 'limit': integer below minimum value. Expected a value >= 1, but got 0 instead.",
        "limit",
        "integer_below_min_value",
    )
    refused(
        project.client.get("/v1/batches?limit=ten"),
        400,
        "Invalid type for 'limit': expected an integer, but got a string instead.",
        "limit",
        "invalid_type",
    )


def test_a_bad_order(project: Project) -> None:
    refused(
        project.client.get("/v1/files?order=up"),
        400,
        "Invalid value: 'up'. Supported values are: 'asc' and 'desc'.",
        "order",
        "invalid_value",
    )


@pytest.mark.parametrize("cursor", ["file-unknown", "batch_unknown", "%00", "x" * 500])
def test_an_unknown_cursor(project: Project, cursor: str) -> None:
    refused(project.client.get(f"/v1/files?after={cursor}"), 404, "Resource not found.", "after", None)
    answer = project.client.get(f"/v1/batches?after={cursor}")
    assert answer.status == 404
    assert (answer.error["message"] or "").startswith("No batch found with id '")
    assert answer.error["param"] is None


def test_unknown_query_keys_are_ignored(project: Project) -> None:
    for path in ("/v1/batches", "/v1/files"):
        assert project.client.get(f"{path}?order=asc&color=blue&limit=1").status == 200
