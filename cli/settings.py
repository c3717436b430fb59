"""Every setting of Batchmill, with its default: the one place where they are named.

A setting has one name. In a TOML file it is the field's name (`line_timeout = "10m"`), in the environment
`BATCHMILL_` and that name in capitals (`BATCHMILL_LINE_TIMEOUT=10m`); a few have a flag as well. Each secret
may be given as a file instead: `upstream_api_key_file`, `BATCHMILL_UPSTREAM_API_KEY_FILE`.

`settings_sources` reads them, `settings_values` knows how each kind is written, `describe` lists them for
the reference page.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import msgspec

from cli.settings_values import (
    ROLES,
    Addresses,
    BrokerUrl,
    Count,
    DatabaseUrl,
    Duration,
    Folder,
    HttpUrl,
    Kind,
    LogFormat,
    LogLevel,
    MaybeNumber,
    MaybePort,
    MaybeText,
    Networks,
    Number,
    Places,
    Port,
    Projects,
    Roles,
    Secret,
    Share,
    Size,
    Space,
    StorageUrl,
    Switch,
    Text,
    Windows,
)
from events.limits import Limits, ProjectLimits
from events.webhooks.secret import LEAST_KEY

PREFIX = "BATCHMILL_"
HOST = "127.0.0.1"
MIB, GIB = 1024**2, 1024**3


class Flag(msgspec.Struct, frozen=True):
    """The flag that gives a setting; for a secret it names the file that holds it."""

    name: str


class Otherwise(msgspec.Struct, frozen=True):
    """What holds when a setting without a fixed default is not given."""

    text: str


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force. Durations are seconds, sizes are bytes.

    `data_dir` is the one without a default here: it depends on the user's home (`default_data_folder`).
    """

    # The server
    host: Annotated[Text, Flag("--host"), "Address to listen on; beyond loopback a key is needed."] = HOST
    port: Annotated[Port, Flag("--port"), "Port to listen on; 0 takes a free one."] = 8080
    data_dir: Annotated[
        Folder,
        Flag("--data-dir"),
        Otherwise("$XDG_DATA_HOME/batchmill"),
        "Folder of everything embedded: the database, the files, the lock.",
    ]
    api_key: Annotated[
        Secret, "Key of the first project; `serve` makes one when none is given. The commands send it."
    ] = None
    url: Annotated[
        HttpUrl,
        Flag("--url"),
        Otherwise("http://127.0.0.1:8080/v1"),
        "Where the commands `batches` and `files` find the server.",
    ] = None

    # The upstream
    upstream_url: Annotated[
        HttpUrl, Flag("--upstream"), "The OpenAI-compatible server that answers the lines, with its /v1."
    ] = None
    upstream_api_key: Annotated[
        Secret, Flag("--upstream-key-file"), "Key sent to the upstream as a bearer token."
    ] = None
    concurrency: Annotated[Count, Flag("--concurrency"), "Lines under way at once in one worker."] = 64
    connect_timeout: Annotated[Duration, "Longest wait for a connection to the upstream."] = 10.0
    read_timeout: Annotated[Duration, "Longest silence of the upstream during one attempt."] = 600.0
    line_timeout: Annotated[Duration, "Longest time one attempt of a line may take."] = 600.0
    attempts: Annotated[Count, "Attempts of a line before its last answer is its outcome."] = 5
    retry_share: Annotated[Share, "Retries of a route in one worker, as a share of its fresh sends."] = 0.2
    retry_floor: Annotated[
        Count, "Retries a second that a route may make in one worker, whatever its share."
    ] = 10
    answer_cap: Annotated[Size, "Largest answer of the upstream that is taken."] = 16 * MIB
    answers_in_flight: Annotated[Size, "Answers a worker holds in memory; above it sends wait."] = 128 * MIB
    probe_interval: Annotated[Duration, "First wait between probes of a paused route; it doubles."] = 5.0
    probe_interval_max: Annotated[Duration, "Longest wait between probes of a paused route."] = 60.0

    # Limits of the API
    max_batch_file_bytes: Annotated[Size, "Largest input file of a batch."] = 200 * MIB
    max_file_bytes: Annotated[Size, "Largest file of any other purpose."] = 512 * MIB
    max_upload_bytes: Annotated[Size, "Largest file of any other purpose that comes in parts."] = 8 * GIB
    max_batch_lines: Annotated[Count, "Most lines in a batch."] = 50_000
    max_line_bytes: Annotated[Size, "Longest line of an input file."] = 16 * MIB
    completion_windows: Annotated[
        Windows, "Completion windows a batch may ask for, up to `30d`; `1h-7d` offers all between."
    ] = ("24h",)

    # Limits of each project; 0 is any number
    requests_per_minute: Annotated[
        Number,
        "Requests a minute of a project in each process, up to twice as many after a pause; 0 is any number.",
    ] = 0
    batches_per_hour: Annotated[
        Number,
        "Batches an hour of a project in each process, up to twice as many after a pause; 0 is any number.",
    ] = 0
    queued_lines: Annotated[
        Number,
        "Queued lines of a project: a batch that has no room waits, a larger one fails; 0 is any number.",
    ] = 0
    queued_tokens: Annotated[
        Number, "Estimated tokens of the queued lines of a project, in the same way; 0 is any number."
    ] = 0
    running_batches: Annotated[
        Number, "Batches of a project that run at once, the others wait; 0 is any number."
    ] = 0
    stored_bytes: Annotated[
        Space, "What a project's files and uploads under way may hold; 0 is any number of bytes."
    ] = 0
    projects: Annotated[
        Projects,
        Otherwise("none"),
        "Those of these limits that a project has for itself: in a file `[projects.NAME]`, else JSON.",
    ] = {}

    # Where things are kept
    database_url: Annotated[
        DatabaseUrl,
        Otherwise("an embedded one in `data_dir`"),
        "PostgreSQL, with the login of the application.",
    ] = None
    database_owner_url: Annotated[
        DatabaseUrl, Otherwise("`database_url`"), "PostgreSQL, with the login that runs the migrations."
    ] = None
    database_connections: Annotated[Count, "Database connections of one process, at most."] = 8
    database_statement_cache: Annotated[
        MaybeNumber,
        Otherwise("100, or 0 behind a bouncer"),
        "Prepared statements kept for each connection; must be 0 behind PgBouncer in transaction mode.",
    ] = None
    append_timeout: Annotated[Duration, "An append that waits longer answers 503 with Retry-After."] = 5.0
    storage_url: Annotated[
        StorageUrl,
        Otherwise("a folder in `data_dir`"),
        "Where the contents of files are kept, of this database alone: `file:///folder`, "
        "`s3://bucket/prefix`, `gs://…` or `az://…`.",
    ] = None
    free_space_floor: Annotated[
        Space, "Below this much free disk no line is handed out and no upload is taken."
    ] = 1 * GIB

    # More than one process
    amqp_url: Annotated[
        BrokerUrl,
        Otherwise("none: what other processes do is found by polling"),
        "RabbitMQ, by which the processes of one installation tell each other what is to do.",
    ] = None
    amqp_prefix: Annotated[
        Text, "What the names of exchanges and queues begin with; another for each installation."
    ] = "batchmill"
    roles: Annotated[
        Roles,
        Flag("--roles"),
        "What a `worker` does: lead (one of them hands out), plan (and finalize), run lines.",
    ] = ROLES
    health_port: Annotated[
        MaybePort,
        Otherwise("none"),
        "Port at which a `worker` answers /livez and /readyz, at the address of `host`.",
    ] = None

    # Running lines
    chunk_lines: Annotated[Count, "Lines handed to a worker together, at most."] = 256
    flush_lines: Annotated[Count, "Outcomes recorded together, at most."] = 256
    flush_bytes: Annotated[Size, "Bytes of answers recorded together, at most."] = 4 * MIB
    flush_interval: Annotated[Duration, "Longest wait of an outcome before it is recorded."] = 0.25
    lease: Annotated[Duration, "Time after which a silent worker or leader is replaced."] = 5.0
    beat: Annotated[Duration, "Time between two signs of life of a worker or leader."] = 1.0
    yield_after: Annotated[
        Duration, "A chunk in hand for longer is given back but for the lines under way."
    ] = 900.0
    cancel_grace: Annotated[Duration, "Time for lines in flight when their batch is cancelled."] = 30.0
    drain: Annotated[
        Duration, "Time for lines in flight when the process is stopped; a second Ctrl-C ends it."
    ] = 30.0

    # Webhooks
    webhook_key: Annotated[
        Secret,
        Otherwise("a random one in `data_dir`, beside an embedded database"),
        "What signing secrets are derived from: 32 characters or more, the same in every process, for good.",
    ] = None
    webhook_networks: Annotated[
        Networks,
        "Networks that webhooks may call although they are private, also by plain http.",
    ] = ()
    webhook_timeout: Annotated[Duration, "Longest wait for the answer of a webhook's receiver."] = 20.0

    # Encryption
    encrypt_bodies: Annotated[
        Switch,
        "Encrypt what is stored of requests and answers from now on, with a data key for each project.",
    ] = False
    wrapping_key: Annotated[
        Secret,
        Otherwise("none"),
        "Keys that wrap data keys, one a line, the newest first; `batchmill encryption new-key` makes one.",
    ] = None
    wrapping_command: Annotated[
        MaybeText,
        Otherwise("none"),
        "Program that wraps data keys in the place of `wrapping_key`, such as one that asks a KMS.",
    ] = None

    # The audit
    audit_key: Annotated[
        Secret,
        Otherwise("one made in `data_dir`, beside an embedded database; else none, and nothing is sealed"),
        "Keys that sign checkpoints, one on a line, the newest first; `batchmill audit key new` makes one.",
    ] = None
    audit_sign_command: Annotated[
        MaybeText,
        Otherwise("none"),
        "Program that signs in the place of `audit_key`: it reads the text and writes lines of signatures.",
    ] = None
    audit_public_keys: Annotated[
        MaybeText,
        Otherwise("none"),
        "Public keys of the signatures that `audit_sign_command` makes, the newest first.",
    ] = None
    audit_witnesses: Annotated[
        Places,
        "Where each checkpoint goes as well: a file, a URL of storage, or one that it is posted to.",
    ] = ()
    audit_reads: Annotated[Switch, "Make each read of contents an event, before any of it is sent."] = False
    record_source_address: Annotated[
        Addresses,
        "What events keep for good of where their request came from: off, network (/24, /48) or full.",
    ] = "off"
    trusted_proxies: Annotated[Networks, "Networks of the proxies whose `X-Forwarded-For` is believed."] = ()

    # The log of the process
    log_level: Annotated[LogLevel, "Least level that is logged."] = "info"
    log_format: Annotated[LogFormat, "Form of the log; auto is console on a terminal, else json."] = "auto"

    @property
    def largest_body(self) -> int:
        """Bytes of the largest upload the server reads at all."""
        return max(self.max_file_bytes, self.max_batch_file_bytes)

    @property
    def limits(self) -> ProjectLimits:
        """What each project may have."""
        default = Limits(**{name: getattr(self, name) for name in Limits.__struct_fields__})
        replace = msgspec.structs.replace
        return ProjectLimits(default, {name: replace(default, **own) for name, own in self.projects.items()})

    @property
    def server_url(self) -> str:
        """Where the commands find the server, with its /v1."""
        return self.url or f"http://127.0.0.1:{self.port}/v1"

    def contradictions(self) -> list[str]:
        """What cannot be in force together, one sentence each."""
        rules = [
            (
                self.beat * 3 <= self.lease,
                "beat must be at most a third of lease, or no death is ever seen",
            ),
            (self.connect_timeout <= self.line_timeout, "connect_timeout must not exceed line_timeout"),
            (self.answer_cap <= self.answers_in_flight, "answer_cap must not exceed answers_in_flight"),
            (
                self.probe_interval <= self.probe_interval_max,
                "probe_interval must not exceed probe_interval_max",
            ),
            (
                self.webhook_key is None or len(self.webhook_key) >= LEAST_KEY,
                f"webhook_key must have at least {LEAST_KEY} characters: `openssl rand -hex 32` makes one",
            ),
            (
                not self.encrypt_bodies or bool(self.wrapping_key or self.wrapping_command),
                "encrypt_bodies needs wrapping_key or wrapping_command (`batchmill encryption new-key`)",
            ),
            (
                self.audit_key is None or self.audit_sign_command is None,
                "audit_key and audit_sign_command both sign: keep one of them",
            ),
            (
                (self.audit_sign_command is None) == (self.audit_public_keys is None),
                "audit_sign_command and audit_public_keys go together",
            ),
        ]
        return [sentence for holds, sentence in rules if not holds]


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """One setting as the reference, the sources and `batchmill config` see it."""

    name: str
    kind: Kind[Any]  # settings of every kind stand in one list
    text: str
    flag: str | None
    default: str

    @property
    def env(self) -> str:
        return PREFIX + self.name.upper()

    @property
    def secret(self) -> bool:
        return self.kind.secret

    @property
    def file_name(self) -> str | None:
        """The name under which a secret is given as a file."""
        return f"{self.name}_file" if self.secret else None


@cache
def describe() -> tuple[Description, ...]:
    """Every setting in the order of `Settings`."""
    hints = get_type_hints(Settings, include_extras=True)
    return tuple(
        _description(field, get_args(hints[field.name])[1:]) for field in msgspec.structs.fields(Settings)
    )


def _description(field: msgspec.structs.FieldInfo, notes: tuple[object, ...]) -> Description:
    kind = next(note for note in notes if isinstance(note, Kind))
    otherwise = next((note.text for note in notes if isinstance(note, Otherwise)), "")
    return Description(
        name=field.name,
        kind=kind,
        text=next(note for note in notes if isinstance(note, str)),
        flag=next((note.name for note in notes if isinstance(note, Flag)), None),
        default=otherwise or ("" if field.default is None else kind.show(field.default)),
    )


def default_data_folder(environ: Mapping[str, str]) -> Path:
    """`$XDG_DATA_HOME/batchmill`; a relative XDG_DATA_HOME is ignored, as the XDG specification asks."""
    base = Path(environ.get("XDG_DATA_HOME", ""))
    if not base.is_absolute():
        base = Path(environ.get("HOME") or Path.home()) / ".local" / "share"
    return base / "batchmill"
