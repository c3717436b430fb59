"""`batchmill keys`: made, listed and taken away, with a server at work and without one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import AuthenticationError, NotFoundError, OpenAI, PermissionDeniedError

from cli.exit_codes import ExitCode
from cli.keys import create_key, first_key
from cli.main import run
from events.buses.local_bus import LocalBus
from events.database import Database as Pools
from events.errors import SettingsError
from events.journal import Journal
from events.key import SCOPES, KeyRestricted, describe_secret, secret_digest
from events.postgres_log import PostgresLog
from events.read_models import ReadModels
from tests.made_data_folder import copy_data_folder
from tests.postgres import Database
from tests.serve_process import ServeProcess, environment, ran, ran_here, serve_process

LINE = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[]}}'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, made_data_folder: Path) -> Path:
    """A data folder that the tests of this module share."""
    path = tmp_path_factory.mktemp("keys") / "data"
    copy_data_folder(made_data_folder, path)
    return path


@pytest.fixture
def settings(folder: Path) -> dict[str, str]:
    return {"BATCHMILL_DATA_DIR": str(folder)}


@pytest.fixture
def serving(settings: dict[str, str]) -> Iterator[ServeProcess]:
    """A server on that folder, with a key of its operator's."""
    with serve_process(settings=settings | {"BATCHMILL_API_KEY": "sk-operator"}) as served:
        assert served.url
        yield served


def made_key(settings: dict[str, str], *options: str) -> dict[str, Any]:
    """A new key: its id, its project, itself, its scopes, and when it expires."""
    made = ran_here("keys", "create", *options, "--json", settings=settings)
    assert made.returncode == ExitCode.OK, made.stderr
    found: dict[str, Any] = json.loads(made.stdout)
    return found


def listed_keys(settings: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The keys by their ids."""
    listed = ran_here("keys", "list", "--json", settings=settings)
    assert listed.returncode == ExitCode.OK, listed.stderr
    return {key["id"]: key for key in json.loads(listed.stdout)}


def test_keys_need_no_server(settings: dict[str, str]) -> None:
    limits = ("--scopes", "write", "--expires-in", "30d")
    key = made_key(settings, "--project", "research", "--name", "nightly", *limits)
    listed = listed_keys(settings)[key["id"]]
    assert (listed["project"], listed["name"], listed["revoked_at"]) == ("research", "nightly", None)
    assert listed["scopes"] == key["scopes"] == ["read", "write"]
    assert listed["expires_at"] == key["expires_at"] == listed["created_at"] + 30 * 86_400
    assert listed["state"] == "active"
    assert key["key"] not in json.dumps(listed)
    assert ran_here("keys", "revoke", key["id"], settings=settings).returncode == ExitCode.OK
    revoked = listed_keys(settings)[key["id"]]
    assert revoked["revoked_at"] is not None
    assert revoked["state"] == "revoked"


def test_keys_of_a_running_server_open_and_close_it_at_once(
    serving: ServeProcess, settings: dict[str, str]
) -> None:
    shown = ran_here("keys", "create", settings=settings)
    secret = shown.stdout.strip()
    assert "of project default, shown this once" in shown.stderr
    narrow = ran_here("keys", "create", "--scopes", "read", settings=settings)
    assert "of project default for read, shown this once" in narrow.stderr
    with pytest.raises(PermissionDeniedError, match="Missing scopes: write"):
        serving.client(narrow.stdout.strip()).files.create(file=LINE, purpose="batch")
    client = serving.client(secret)
    assert client.batches.list().data == []
    (key_id,) = [word for word in shown.stderr.split() if word.startswith("key_")]
    assert ran_here("keys", "revoke", key_id, settings=settings).returncode == ExitCode.OK
    with pytest.raises(AuthenticationError) as refused:
        client.batches.list()
    assert refused.value.code == "invalid_api_key"
    assert secret not in str(refused.value)
    assert serving.client("sk-operator").batches.list().data == []


def test_a_project_sees_its_own_objects_only(serving: ServeProcess, settings: dict[str, str]) -> None:
    mine, theirs, mine_too = (
        serving.client(made_key(settings, "--project", project)["key"])
        for project in ("search", "ads", "search")
    )
    file = mine.files.create(file=LINE, purpose="batch")
    batch = created(mine, file.id)
    assert mine_too.files.retrieve(file.id).id == file.id
    assert [seen.id for seen in mine_too.batches.list()] == [batch]
    assert theirs.files.list().data == []
    assert theirs.batches.list().data == []
    for look in (
        lambda: theirs.files.retrieve(file.id),
        lambda: theirs.files.content(file.id),
        lambda: theirs.files.delete(file.id),
        lambda: theirs.batches.retrieve(batch),
        lambda: theirs.batches.cancel(batch),
        lambda: theirs.batches.list(after=batch),
    ):
        with pytest.raises(NotFoundError):
            look()
    mine.batches.cancel(batch)


def created(client: OpenAI, file_id: str) -> str:
    return client.batches.create(
        input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h"
    ).id


def test_an_unknown_key_is_not_found(settings: dict[str, str]) -> None:
    revoked = ran_here("keys", "revoke", "key_of_nobody", settings=settings)
    assert revoked.returncode == ExitCode.NOT_FOUND
    assert revoked.stderr == "batchmill: there is no key key_of_nobody: `batchmill keys list` shows them\n"


def test_a_key_of_the_environment_that_was_revoked_is_refused(settings: dict[str, str]) -> None:
    given = settings | {"BATCHMILL_API_KEY": "sk-given"}
    with serve_process(settings=given) as served:
        assert served.client("sk-given").batches.list().data == []
    (key_id,) = [id for id, key in listed_keys(settings).items() if key["hint"] == "…iven"]
    assert ran_here("keys", "revoke", key_id, settings=settings).returncode == ExitCode.OK
    with serve_process(settings=given) as served:
        assert served.exit_code() == ExitCode.USAGE
    assert served.said[-1] == (
        f"batchmill: the key in BATCHMILL_API_KEY was revoked as {key_id}: give another"
    )


async def test_a_key_of_the_environment_is_no_second_key(database: Database) -> None:
    """A program that is given a narrow key must not make it a full one."""
    pool = await Pools.open(database.app_url)
    try:
        journal = Journal(PostgresLog(pool), ReadModels(pool), LocalBus())
        described = describe_secret("sk-narrow")
        key_id = await create_key(journal, "research", described, restricted=KeyRestricted(("read",)))
        assert await first_key(journal, "sk-narrow", make=False) is None
        assert [key.id for key in await journal.models.keys()] == [key_id]

        expired = describe_secret("sk-expired")
        expired_id = await create_key(journal, "research", expired, restricted=KeyRestricted(SCOPES, 0))
        with pytest.raises(SettingsError, match=f"has expired as {expired_id}: give another"):
            await first_key(journal, "sk-expired", make=False)
    finally:
        await pool.close()


async def test_a_server_whose_keys_have_all_expired_makes_one(database: Database) -> None:
    pool = await Pools.open(database.app_url)
    try:
        journal = Journal(PostgresLog(pool), ReadModels(pool), LocalBus())
        await create_key(journal, "research", describe_secret("sk-1"), restricted=KeyRestricted(SCOPES, 0))
        secret = await first_key(journal, None, make=True)
        assert secret is not None
        assert await journal.models.key_of(secret_digest(secret)) is not None
        assert await first_key(journal, None, make=True) is None
    finally:
        await pool.close()


@pytest.mark.parametrize(
    "options", [("--scopes", "root"), ("--scopes", ""), ("--expires-in", "soon"), ("--expires-in", "0.5s")]
)
def test_what_is_no_scope_or_no_time_makes_no_key(
    settings: dict[str, str], options: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["keys", "create", *options]) == ExitCode.USAGE
    assert options[0] in capsys.readouterr().err


def test_the_output_is_the_key_alone_whatever_is_logged(database: Database, tmp_path: Path) -> None:
    settings = {"BATCHMILL_DATABASE_URL": database.owner_url, "BATCHMILL_DATA_DIR": str(tmp_path)}
    made = ran("keys", "create", settings=settings)
    assert made.returncode == ExitCode.OK, made.stderr
    assert made.stdout.splitlines() == [made.stdout.strip()]
    assert made.stdout.startswith("sk-bm-")
    settings["BATCHMILL_DATABASE_URL"] = database.app_url
    assert len(listed_keys(settings)) == 1


@pytest.mark.parametrize("name", ["", "Research", "-a", "a b", "a" * 64])
def test_a_project_has_a_name_that_can_be_typed(settings: dict[str, str], name: str) -> None:
    made = ran_here("keys", "create", f"--project={name}", settings=settings)
    assert made.returncode == ExitCode.USAGE
    assert "is no name" in made.stderr


def test_a_list_is_a_table_for_people(settings: dict[str, str]) -> None:
    assert environment().keys().isdisjoint({"BATCHMILL_DATA_DIR"})
    made_key(settings, "--project", "for-the-table")
    listed = ran_here("keys", "list", settings=settings)
    assert listed.stdout.splitlines()[0].split() == [
        *("id", "project", "name", "key", "scopes", "created", "expires", "state")
    ]
    assert any("for-the-table" in line for line in listed.stdout.splitlines())
