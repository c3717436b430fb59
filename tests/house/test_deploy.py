"""What deploy/ starts is what this program understands: settings, commands, time-outs, and the database."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg
import jsonschema  # type: ignore[import-untyped]  # it ships no types
import kubernetes_validate  # type: ignore[import-untyped]  # it ships no types
import pytest
import yaml  # type: ignore[import-untyped]  # it ships no types

from cli.main import COMMANDS
from cli.settings import PREFIX, Settings, describe
from cli.settings_sources import load
from cli.settings_values import parse_duration
from events.audit.note import PrivateKey
from events.encryption.wrapping_key import WrappingKey
from tests.house.chart import CHART, ROOT, Manifest, RenderError, lint, render
from tests.postgres import Database

DEPLOY = ROOT / "deploy"
VALUES = {path.name.removesuffix("-values.yaml"): path for path in sorted(CHART.glob("ci/*-values.yaml"))}
KUBERNETES = ("1.30", "1.37")
"""The oldest that the chart takes, and the newest that there are schemas of."""
SECRETS = {
    "database-url": "postgresql://batchmill_login:secret@postgres/batchmill",
    "database-owner-url": "postgresql://batchmill_owner:secret@postgres/batchmill",
    "amqp-url": "amqp://batchmill:secret@rabbitmq/",
    "upstream-api-key": "secret",
    "api-key": "sk-secret",
    "webhook-key": "secret" * 6,
    "audit-key": PrivateKey("batchmill", bytes(32)).text,
    "wrapping-key": WrappingKey(bytes(32)).text,
}


@cache
def compose() -> Manifest:
    stack: Manifest = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return stack


def our_services() -> dict[str, Manifest]:
    return {
        name: service
        for name, service in compose()["services"].items()
        if service["image"] == "batchmill" and "entrypoint" not in service
    }


def values_of(name: str) -> Manifest:
    values: Manifest = yaml.safe_load(VALUES[name].read_text(encoding="utf-8"))
    return values


@cache
def rendered(name: str) -> list[Manifest]:
    return render(values_of(name))


def pods(name: str) -> Iterator[tuple[str, Manifest]]:
    """The pods that the chart makes, each by the name of what makes it."""
    for manifest in rendered(name):
        if manifest["kind"] in ("Deployment", "Job"):
            yield manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]


def settings_from(environment: Mapping[str, Any], folder: Path) -> Settings:
    """What the program reads there, each credential being at its place in `folder` instead of its mount."""
    for file, content in SECRETS.items():
        (folder / file).write_text(content, encoding="utf-8")
    environ = {
        name: str(folder / Path(value).name) if name.endswith("_FILE") else str(value)
        for name, value in environment.items()
    }
    return load(environ=environ).settings


def test_every_setting_that_is_named_in_deploy_exists() -> None:
    known = {name for setting in describe() for name in (setting.env, f"{setting.env}_FILE")}
    named = {
        (word, path.name)
        for path in DEPLOY.rglob("*")
        if path.is_file() and path.suffix != ".tpl"
        for word in re.findall(rf"{PREFIX}[A-Z_]*[A-Z]", path.read_text(encoding="utf-8"))
    }
    assert named
    assert [(word, path) for word, path in named if word not in known] == []


def test_every_command_of_the_compose_stack_exists() -> None:
    started = {service["command"][0] for service in our_services().values()}
    assert started == {"api", "worker", "migrate", "practice-upstream"}
    assert started <= {command.name for command in COMMANDS}


@pytest.mark.parametrize("name", ["api", "worker", "migrate"])
def test_the_program_takes_what_the_compose_stack_gives_it(name: str, tmp_path: Path) -> None:
    settings = settings_from(our_services()[name]["environment"], tmp_path)
    assert settings.database_url == SECRETS["database-url"]


@pytest.mark.parametrize("name", ["api", "worker"])
def test_the_compose_stack_waits_longer_than_a_process_drains(name: str) -> None:
    service = our_services()[name]
    assert parse_duration(service["stop_grace_period"]) > load(environ={}).settings.drain


def test_what_the_compose_stack_uses_is_declared_in_it() -> None:
    stack = compose()
    for service in stack["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (DEPLOY / source).is_file() if source.startswith("./") else source in stack["volumes"]
        assert set(service.get("networks", [])) <= set(stack["networks"])
        assert set(service.get("depends_on", {})) <= set(stack["services"])


def test_the_passwords_of_the_compose_stack_are_made_once(tmp_path: Path) -> None:
    folder, owner_folder = tmp_path / "all", tmp_path / "owner"
    for place in (folder, owner_folder):
        place.mkdir()
    script: dict[str, Any] = {"__name__": "make_credentials"}
    exec((DEPLOY / "compose" / "make_credentials.py").read_text(encoding="utf-8"), script)
    script["make"](folder, owner_folder)
    first = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    script["make"](folder, owner_folder)
    assert {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == first

    environ = {
        "BATCHMILL_DATABASE_URL_FILE": str(folder / "database-url"),
        "BATCHMILL_DATABASE_OWNER_URL_FILE": str(owner_folder / "database-owner-url"),
        "BATCHMILL_AMQP_URL_FILE": str(folder / "amqp-url"),
        "BATCHMILL_API_KEY_FILE": str(folder / "api-key"),
        "BATCHMILL_WEBHOOK_KEY_FILE": str(folder / "webhook-key"),
    }
    assert (folder / "login-password").read_text() in (load(environ=environ).settings.database_url or "")


def test_the_values_of_the_chart_fit_their_schema() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    jsonschema.validate(values, schema)
    assert set(values) | {"global"} == set(schema["properties"])


@pytest.mark.parametrize("name", VALUES)
def test_helm_finds_nothing_wrong_with_the_chart(name: str) -> None:
    assert lint(values_of(name)) == []


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@pytest.mark.parametrize("name", VALUES)
def test_kubernetes_understands_what_the_chart_makes(name: str, kubernetes: str) -> None:
    native = [manifest for manifest in rendered(name) if not manifest["apiVersion"].startswith("keda.sh/")]
    assert native
    for manifest in native:
        kubernetes_validate.validate(manifest, kubernetes, strict=True)


@pytest.mark.parametrize("name", VALUES)
def test_the_program_takes_what_the_chart_gives_each_pod(name: str, tmp_path: Path) -> None:
    commands = {command.name for command in COMMANDS}
    for _, pod in pods(name):
        (container,) = pod["containers"]
        given = {entry["name"]: entry["value"] for entry in container["env"]}
        settings = settings_from(given, tmp_path)
        assert settings.database_url == SECRETS["database-url"]
        assert container["args"][0] in commands
        probed = settings.health_port if container["args"] == ["worker"] else settings.port
        assert [port["containerPort"] for port in container.get("ports", [])] in ([], [probed])


@pytest.mark.parametrize("name", VALUES)
def test_a_pod_is_given_more_time_than_it_drains(name: str, tmp_path: Path) -> None:
    for _, pod in pods(name):
        (container,) = pod["containers"]
        if container["args"] == ["migrate"]:
            continue
        drain = settings_from({e["name"]: e["value"] for e in container["env"]}, tmp_path).drain
        pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert pod["terminationGracePeriodSeconds"] >= pause + drain + 5


@pytest.mark.parametrize("name", VALUES)
def test_every_pod_is_locked_down_and_gets_no_variables_of_services(name: str) -> None:
    for _, pod in pods(name):
        (container,) = pod["containers"]
        assert pod["enableServiceLinks"] is False
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsUser"] == 10001
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("name", VALUES)
def test_only_the_migration_sees_the_owner_of_the_database(name: str) -> None:
    seen_by = [of for of, pod in pods(name) if "database-owner-url" in json.dumps(pod)]
    assert seen_by == ["batchmill-migration"]


def test_no_secret_is_a_value_of_the_chart() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    allowed = schema["$defs"]["settings"]["properties"]
    assert [
        setting.name for setting in describe() if setting.secret and allowed.get(setting.name, True)
    ] == []


def test_the_chart_makes_no_secret() -> None:
    assert {manifest["kind"] for manifest in rendered("whole")}.isdisjoint({"Secret", "ConfigMap"})


def test_roles_are_one_pods_or_divided() -> None:
    def roles(name: str) -> dict[str, str]:
        return {
            of: entry["value"]
            for of, pod in pods(name)
            for entry in pod["containers"][0]["env"]
            if entry["name"] == "BATCHMILL_ROLES"
        }

    assert roles("least") == {"batchmill-worker": "lead,plan,run"}
    assert roles("whole") == {"batchmill-worker": "run", "batchmill-coordinator": "lead,plan"}


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"database": {}}, r"database\.existingSecret"),
        ({"storage": {"url": ""}}, r"storage\.url"),
        ({"upstream": {"url": ""}}, r"upstream\.url"),
        ({"settings": {"database_url": "postgresql://a:b@c/d"}}, "database_url"),
        ({"settings": {"attempts": 3}}, "want string"),
        ({"keda": {"enabled": True, "minReplicas": 0}}, "coordinator"),
        ({"replicas": 3}, "replicas"),
    ],
)
def test_the_chart_refuses_what_cannot_work(changed: Manifest, complaint: str) -> None:
    with pytest.raises(RenderError, match=complaint):
        render({**values_of("least"), **changed})


async def test_workers_are_scaled_by_the_lines_without_an_outcome(database: Database) -> None:
    (scaled,) = [manifest for manifest in rendered("whole") if manifest["kind"] == "ScaledObject"]
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    connection = await asyncpg.connect(database.app_url)
    try:
        assert await connection.fetchval(query) == 0
        await connection.executemany(
            "INSERT INTO batch_work"
            " (batch_id, project_id, phase, input_file_id, total, next_line, expires_at)"
            " VALUES ($1, 'default', $2, 'file-1', $3, $4, now() + interval '1 day')",
            [
                ("batch_running", "running", 1000, 512),
                ("batch_ending", "running", 100, 100),
                ("batch_planning", "planning", 0, 0),
                ("batch_cancelled", "stopping", 5000, 256),
                ("batch_finalizing", "finalizing", 700, 700),
            ],
        )
        assert await connection.fetchval(query) == (1000 - 512) + 1 + 1 + 1 + 1
        await connection.executemany(
            "INSERT INTO claims (batch_id, first_line, lines, done)"
            " VALUES ($1, $2, 256, (repeat('1', $3) || repeat('0', 256 - $3))::varbit)",
            [("batch_running", 0, 200), ("batch_running", 256, 0), ("batch_cancelled", 0, 0)],
        )
        assert await connection.fetchval(query) == (1000 - 512 + 56 + 256) + 1 + 1 + 1 + 1
    finally:
        await connection.close()
