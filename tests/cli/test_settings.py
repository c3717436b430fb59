"""Settings: one name, one default, three sources, and errors that name what is wrong."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from cli.settings import Settings, describe
from cli.settings_sources import Loaded, load
from events.errors import SettingsError
from events.limits import Limits

HOME = {"HOME": "/home/ada"}

WriteToml = Callable[[str], Path]


@pytest.fixture
def toml(tmp_path: Path) -> WriteToml:
    def write(text: str) -> Path:
        path = tmp_path / "batchmill.toml"
        path.write_text(text)
        return path

    return write


def loaded(
    flags: Mapping[str, object | None] | None = None, *, config: Path | None = None, **environ: str
) -> Loaded:
    return load(flags, environ=HOME | environ, config=config)


def refusal(
    flags: Mapping[str, object | None] | None = None, *, config: Path | None = None, **environ: str
) -> str:
    with pytest.raises(SettingsError) as refused:
        load(flags, environ=HOME | environ, config=config)
    return str(refused.value)


def test_without_any_source_every_default_is_in_force() -> None:
    result = loaded()
    assert result.settings == Settings(data_dir=Path("/home/ada/.local/share/batchmill"))
    assert set(result.origins.values()) == {"default"}


def test_the_defaults_are_those_of_the_reference() -> None:
    settings = loaded().settings
    assert (settings.host, settings.port, settings.concurrency, settings.attempts) == (
        "127.0.0.1",
        8080,
        64,
        5,
    )
    assert (settings.line_timeout, settings.flush_interval, settings.lease, settings.beat) == (
        600,
        0.25,
        5,
        1,
    )
    assert (settings.flush_lines, settings.flush_bytes) == (256, 4 * 1024**2)
    assert (settings.answer_cap, settings.answers_in_flight) == (16 * 1024**2, 128 * 1024**2)
    assert (settings.drain, settings.cancel_grace, settings.append_timeout) == (30, 30, 5)
    assert (settings.max_batch_file_bytes, settings.max_file_bytes) == (200 * 1024**2, 512 * 1024**2)
    assert (settings.max_batch_lines, settings.max_line_bytes) == (50_000, 16 * 1024**2)
    assert settings.completion_windows == ("24h",)
    assert settings.free_space_floor == 1024**3
    assert settings.database_connections == 8


def test_the_data_folder_follows_the_xdg_specification() -> None:
    assert loaded(XDG_DATA_HOME="/data").settings.data_dir == Path("/data/batchmill")
    assert loaded(XDG_DATA_HOME="data").settings.data_dir == Path("/home/ada/.local/share/batchmill")


def test_flags_win_over_the_environment_and_the_environment_over_the_file(toml: WriteToml) -> None:
    path = toml('port = 1\nhost = "0.0.0.0"\nconcurrency = 3\n')
    result = loaded({"port": 3, "host": None}, config=path, BATCHMILL_PORT="2", BATCHMILL_HOST="::1")
    assert (result.settings.port, result.settings.host, result.settings.concurrency) == (3, "::1", 3)
    assert result.origins["port"] == "--port"
    assert result.origins["host"] == "BATCHMILL_HOST"
    assert result.origins["concurrency"] == f"concurrency in {path}"
    assert result.origins["attempts"] == "default"


def test_the_environment_may_name_the_file(toml: WriteToml) -> None:
    assert loaded(BATCHMILL_CONFIG=str(toml("port = 9"))).settings.port == 9


def test_values_are_written_as_people_write_them(toml: WriteToml) -> None:
    path = toml('flush_interval = "1s"\nflush_bytes = 4096\nlease = 4.5\ncompletion_windows = ["5s", "24h"]')
    settings = loaded(config=path, BATCHMILL_LINE_TIMEOUT="20m", BATCHMILL_ANSWER_CAP="1MiB").settings
    assert (settings.flush_interval, settings.flush_bytes, settings.lease) == (1, 4096, 4.5)
    assert settings.completion_windows == ("5s", "24h")
    assert (settings.line_timeout, settings.answer_cap) == (1200, 1024**2)
    assert loaded(BATCHMILL_COMPLETION_WINDOWS="5s, 24h").settings.completion_windows == ("5s", "24h")


def test_a_switch_is_on_or_off(toml: WriteToml) -> None:
    assert loaded(config=toml("audit_reads = true")).settings.audit_reads
    assert not loaded(config=toml('audit_reads = "false"')).settings.audit_reads
    assert loaded(BATCHMILL_AUDIT_READS="true").settings.audit_reads


def test_an_empty_variable_counts_as_not_given() -> None:
    assert loaded(BATCHMILL_API_KEY="").settings.api_key is None


def test_what_belongs_to_the_tests_or_to_nobody_of_ours_is_left_alone() -> None:
    loaded(BATCHMILL_TEST_ANYTHING="1", BATCHMILL_FAILPOINTS="append.before=kill", PATH="/bin")


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"BATCHMILL_CONCURENCY": "3"}, ["unknown setting BATCHMILL_CONCURENCY", "BATCHMILL_CONCURRENCY?"]),
        ({"BATCHMILL_API_KEY_FIL": "x"}, ["BATCHMILL_API_KEY_FIL:", "BATCHMILL_API_KEY_FILE?"]),
        ({"BATCHMILL_port": "3"}, ["unknown setting BATCHMILL_port", "BATCHMILL_PORT?"]),
        ({"BATCHMILL_XYZZY": "3"}, ["unknown setting BATCHMILL_XYZZY", "`batchmill config`"]),
        ({"BATCHMILL_PORT": "70000"}, ["BATCHMILL_PORT is '70000'", "from 0 to 65535"]),
        ({"BATCHMILL_CONCURRENCY": "0"}, ["BATCHMILL_CONCURRENCY is '0'", "a whole number from 1"]),
        ({"BATCHMILL_LEASE": "5 parsecs"}, ["BATCHMILL_LEASE is '5 parsecs'", "a duration such as"]),
        ({"BATCHMILL_LEASE": "0s"}, ["BATCHMILL_LEASE is '0s'"]),
        ({"BATCHMILL_ANSWER_CAP": "16s"}, ["BATCHMILL_ANSWER_CAP is '16s'", "a size such as"]),
        ({"BATCHMILL_RETRY_SHARE": "20"}, ["BATCHMILL_RETRY_SHARE is '20'", "from 0 to 1"]),
        ({"BATCHMILL_COMPLETION_WINDOWS": "24"}, ["BATCHMILL_COMPLETION_WINDOWS is '24'"]),
        ({"BATCHMILL_COMPLETION_WINDOWS": "24h,24h"}, ["BATCHMILL_COMPLETION_WINDOWS"]),
        ({"BATCHMILL_UPSTREAM_URL": "gpu:8000"}, ["BATCHMILL_UPSTREAM_URL is 'gpu:8000'", "http://"]),
        ({"BATCHMILL_STORAGE_URL": "ftp://u:hush@h/x"}, ["BATCHMILL_STORAGE_URL is ***", "s3://"]),
        ({"BATCHMILL_LOG_LEVEL": "loud"}, ["BATCHMILL_LOG_LEVEL is 'loud'", "debug, info, warning, error"]),
        ({"BATCHMILL_AUDIT_READS": "yes"}, ["BATCHMILL_AUDIT_READS is 'yes'", "true or false"]),
        ({"BATCHMILL_RECORD_SOURCE_ADDRESS": "on"}, ["one of off, network, full"]),
        ({"BATCHMILL_BEAT": "2s"}, ["beat must be at most a third of lease"]),
        ({"BATCHMILL_AUDIT_WITNESSES": "witness"}, ["BATCHMILL_AUDIT_WITNESSES is 'witness'", "https://"]),
        ({"BATCHMILL_AUDIT_SIGN_COMMAND": "sign"}, ["audit_sign_command and audit_public_keys go together"]),
        ({"BATCHMILL_CONFIG": "/nowhere/b.toml"}, ["/nowhere/b.toml cannot be read: No such file"]),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_expected(environ: dict[str, str], said: list[str]) -> None:
    message = refusal(None, config=None, **environ)
    assert all(part in message for part in said), message
    assert "hush" not in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 3", ["unknown setting prot in", "did you mean port?"]),
        ("[server]\nport = 3", ["unknown setting server in"]),
        ("port = true", ["port in", "is True", "a whole number"]),
        ("port = 1979-05-27", ["port in", "a whole number"]),
        ("port = \nhost", ["is not TOML", "line 1"]),
        ('database_url = "mysql://u:hush@h/d"', ["database_url in", "is ***", "postgresql://"]),
    ],
)
def test_a_wrong_file_is_named_with_the_line_that_is_wrong(
    toml: WriteToml, text: str, said: list[str]
) -> None:
    path = toml(text)
    message = refusal(config=path)
    assert all(part in message for part in [*said, str(path)]), message
    assert "hush" not in message


def test_all_that_is_wrong_is_told_at_once(toml: WriteToml) -> None:
    path = toml("attemps = 3")
    message = refusal({"port": "x"}, config=path, BATCHMILL_LEASE="?", BATCHMILL_NOPE="1")
    assert len(message.splitlines()) == 4


def test_a_secret_may_be_given_as_a_file(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-hush\n")
    result = loaded(BATCHMILL_UPSTREAM_API_KEY_FILE=str(key))
    assert result.settings.upstream_api_key == "sk-hush"
    assert result.origins["upstream_api_key"] == f"BATCHMILL_UPSTREAM_API_KEY_FILE ({key})"
    assert loaded({"upstream_api_key_file": key}).settings.upstream_api_key == "sk-hush"


def test_a_secret_is_given_once_in_each_source(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-file")
    message = refusal(BATCHMILL_API_KEY="sk-hush", BATCHMILL_API_KEY_FILE=str(key))
    assert "BATCHMILL_API_KEY and BATCHMILL_API_KEY_FILE are both given" in message
    assert "sk-" not in message


def test_a_secret_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    message = refusal({"upstream_api_key_file": missing})
    assert message == f"--upstream-key-file: the file {missing} cannot be read: No such file or directory"
    empty = tmp_path / "empty"
    empty.write_text("\n")
    assert "is ***, expected a text that is not empty" in refusal(BATCHMILL_API_KEY_FILE=str(empty))


def test_commands_find_the_server_where_it_listens_unless_told_otherwise() -> None:
    assert loaded().settings.server_url == "http://127.0.0.1:8080/v1"
    assert loaded(BATCHMILL_PORT="9000").settings.server_url == "http://127.0.0.1:9000/v1"
    assert loaded(BATCHMILL_URL="https://mill/v1/").settings.server_url == "https://mill/v1"


def test_every_setting_is_described_and_every_default_can_be_written_as_shown() -> None:
    defaults = Settings(data_dir=Path("/d"))
    for setting in describe():
        assert setting.text.endswith(".")
        assert setting.env == f"BATCHMILL_{setting.name.upper()}"
        value = getattr(defaults, setting.name)
        if value is not None and setting.name != "data_dir":
            assert setting.kind.parse(setting.default) == value


def test_a_project_has_the_limits_of_all_but_for_its_own(toml: WriteToml) -> None:
    config = toml(
        'queued_lines = 1000\nstored_bytes = "1GiB"\n[projects.search]\nqueued_lines = 5000\n'
        '[projects.ads]\nrunning_batches = 2\nstored_bytes = "2GiB"\n'
    )
    result = loaded(config=config)
    limits = result.settings.limits
    everybody = Limits(queued_lines=1000, stored_bytes=2**30)
    assert limits.of("anybody") == everybody
    assert limits.of("search") == Limits(queued_lines=5000, stored_bytes=2**30)
    assert limits.of("ads") == Limits(queued_lines=1000, running_batches=2, stored_bytes=2**31)
    assert result.origins["projects"] == f"projects in {config}"


def test_limits_of_projects_in_the_environment_are_json() -> None:
    result = loaded(BATCHMILL_PROJECTS='{"search":{"queued_lines":7}}')
    assert result.settings.limits.of("search").queued_lines == 7
    told = refusal(BATCHMILL_PROJECTS='{"search":{"lines":7}}')
    assert "BATCHMILL_PROJECTS is" in told
    assert "queued_lines" in told
