"""What deploy/ starts is what this program understands: settings, commands, time-outs, and the database."""

import json
import re
import subprocess
import sys
import tomllib
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
VALUES = {
    "least": CHART / "ci" / "least-values.yaml",
    "whole": CHART / "ci" / "whole-values.yaml",
    "production": DEPLOY / "helm" / "production.yaml",
}
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


def environment_of(pod: Manifest) -> dict[str, str]:
    """What a pod that the chart makes is given."""
    (container,) = pod["containers"]
    return {entry["name"]: entry["value"] for entry in container["env"]}


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


@pytest.mark.parametrize(
    "command", ["hadolint deploy/Containerfile", "docker-compose --file deploy/compose.yaml config --quiet"]
)
def test_the_tools_that_read_these_files_find_nothing_wrong(command: str) -> None:
    tool, *arguments = command.split()
    asked = [str(Path(sys.executable).parent / tool), *arguments]
    said = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (said.returncode, said.stdout + said.stderr) == (0, "")


def test_image_and_chart_have_the_version_of_the_program() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == project["version"]
    assert f"ARG VERSION={project['version']}\n" in (DEPLOY / "Containerfile").read_text(encoding="utf-8")


def test_one_service_of_the_compose_stack_builds_the_image() -> None:
    stack = compose()["services"]
    ours = {name: service for name, service in stack.items() if service["image"] == "batchmill"}
    assert [name for name, service in ours.items() if "build" in service] == ["credentials"]
    assert {service["pull_policy"] for service in ours.values()} == {"never"}


def test_no_service_that_is_published_has_replicas() -> None:
    published = [service for service in compose()["services"].values() if "ports" in service]
    assert len({port for service in published for port in service["ports"]}) == len(published) == 2
    assert [service for service in published if "deploy" in service] == []


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
        settings = settings_from(environment_of(pod), tmp_path)
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
        drain = settings_from(environment_of(pod), tmp_path).drain
        pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert pod["terminationGracePeriodSeconds"] >= pause + drain + 5


@pytest.mark.parametrize("name", VALUES)
def test_every_pod_is_locked_down_and_gets_no_variables_of_services(name: str) -> None:
    for _, pod in pods(name):
        (container,) = pod["containers"]
        assert pod["enableServiceLinks"] is False
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("name", VALUES)
def test_each_pod_sees_the_credentials_that_it_needs_and_no_others(name: str) -> None:
    given = {
        of.removeprefix("batchmill-"): {entry for entry in environment_of(pod) if entry.endswith("_FILE")}
        for of, pod in pods(name)
    }
    every = {"BATCHMILL_DATABASE_URL_FILE"}
    owner = {"BATCHMILL_DATABASE_OWNER_URL_FILE"}
    if name == "least":
        assert given == {"migration": every | owner, "api": every, "worker": every}
        return
    runs = every | {f"BATCHMILL_{it}_FILE" for it in ("AMQP_URL", "UPSTREAM_API_KEY", "WRAPPING_KEY")}
    assert {of: files - {"SSL_CERT_FILE"} for of, files in given.items()} == {
        "migration": every | owner,
        "api": runs | {"BATCHMILL_WEBHOOK_KEY_FILE", "BATCHMILL_API_KEY_FILE"},
        "coordinator": runs | {"BATCHMILL_WEBHOOK_KEY_FILE", "BATCHMILL_AUDIT_KEY_FILE"},
        "worker": runs,
    }


@pytest.mark.parametrize("name", VALUES)
def test_every_pod_is_under_one_network_policy_which_is_there_before_it(name: str) -> None:
    policies = [manifest for manifest in rendered(name) if manifest["kind"] == "NetworkPolicy"]
    for maker in rendered(name):
        if maker["kind"] not in ("Deployment", "Job"):
            continue
        labels = maker["spec"]["template"]["metadata"]["labels"].items()
        (policy,) = [it for it in policies if it["spec"]["podSelector"]["matchLabels"].items() <= labels]
        hooked, hook = (it["metadata"].get("annotations", {}).get("helm.sh/hook") for it in (maker, policy))
        assert hook == hooked
        assert hook is None or int(policy["metadata"]["annotations"]["helm.sh/hook-weight"]) < 0


def test_a_setting_may_be_a_number_or_a_switch_and_the_nearer_wins() -> None:
    changed = {
        "settings": {"queued_lines": 1_000_000, "audit_reads": True, "retry_share": 0.5, "host": "::"},
        "worker": {"settings": {"audit_reads": False, "queued_lines": 0}},
        "storage": {"url": "s3://batchmill", "env": {"AWS_ALLOW_HTTP": True}},
    }
    given = {
        manifest["metadata"]["name"]: environment_of(manifest["spec"]["template"]["spec"])
        for manifest in render({**values_of("least"), **changed})
        if manifest["kind"] == "Deployment"
    }
    far = {"QUEUED_LINES": "1000000", "AUDIT_READS": "true", "RETRY_SHARE": "0.5", "HOST": "::"}
    for pod, own in (("api", far), ("worker", far | {"QUEUED_LINES": "0", "AUDIT_READS": "false"})):
        expected = {f"BATCHMILL_{name}": text for name, text in own.items()} | {"AWS_ALLOW_HTTP": "true"}
        assert expected.items() <= given[f"batchmill-{pod}"].items()


def test_no_secret_is_a_value_of_the_chart() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    allowed = schema["$defs"]["settings"]["properties"]
    assert [
        setting.name for setting in describe() if setting.secret and allowed.get(setting.name, True)
    ] == []


def test_every_object_of_the_chart_is_of_its_namespace_and_has_a_name_of_its_own() -> None:
    made = [(manifest["kind"], manifest["metadata"]) for manifest in rendered("whole")]
    assert {metadata["namespace"] for _, metadata in made} == {"inference"}
    assert len({(kind, metadata["name"]) for kind, metadata in made}) == len(made)


def test_the_chart_makes_no_secret() -> None:
    assert {manifest["kind"] for manifest in rendered("whole")}.isdisjoint({"Secret", "ConfigMap"})


def test_roles_are_one_pods_or_divided() -> None:
    def roles(name: str) -> dict[str, str]:
        return {
            of: given["BATCHMILL_ROLES"]
            for of, pod in pods(name)
            if "BATCHMILL_ROLES" in (given := environment_of(pod))
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
        ({"settings": {"projects": {"search": {}}}}, "projects"),
        ({"storage": {"url": "s3://b", "env": {"AWS_SECRET_ACCESS_KEY": "s"}}}, "AWS_SECRET_ACCESS_KEY"),
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
