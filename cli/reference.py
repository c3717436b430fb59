"""Writes the reference pages from the code: `python -m cli.reference`, which is `make docs`.

A test compares the pages that are committed with what is made here, so a page is never older than the code.
"""

import re
from pathlib import Path

from api.openapi.served import description, operations
from api.services import ApiOptions
from cli.settings import Description, describe
from events.buses.event_schema import schemas
from events.catalog import TYPES

FOLDER = Path(__file__).parents[1] / "docs" / "reference"

EXAMPLES = re.compile(r"^ *\$ .*(?:\n *\$ .*)*", re.MULTILINE)
"""The commands to try in a help text: consecutive lines that begin with a prompt."""

RUN_AS_MODULE = re.compile(r"(?<=^batchmill)((?: [a-z-]+)+) -m [\w.]+", re.MULTILINE)
"""Cyclopts calls a program as it runs now; of one run as `python -m NAME` this stays in the usage lines."""

SETTINGS_HEAD = """\
# Settings

Made from `cli/settings.py` by `make docs`.

A setting is given in a TOML file (`batchmill serve --config FILE`, or `BATCHMILL_CONFIG`), in the
environment, or, where it has one, by its flag; the later of these wins. In the file it has the name below, in
the environment `BATCHMILL_` and that name in capitals. A secret may be given as a file that holds it:
`NAME_file` in TOML, `BATCHMILL_NAME_FILE` in the environment; its flag, too, takes the file. A setting that
is unknown or cannot be read is an error that names it. `batchmill config` shows what is in force and where
each value came from.

Durations are written `250ms`, `30s`, `5m`, `24h`; sizes `16MiB`, `1GiB`, or a number of bytes.

| Setting | Value | Default | What it is |
|---|---|---|---|
"""


def settings_page() -> str:
    """The page of every setting, in the order of `Settings`."""
    return SETTINGS_HEAD + "".join(_row(setting) for setting in describe())


def _row(setting: Description) -> str:
    name = f"`{setting.name}`" + (f" `{setting.flag}`" if setting.flag is not None else "")
    value = setting.kind.name + (", secret" if setting.secret and setting.kind.name != "secret" else "")
    return f"| {name} | {value} | {_code(setting.default)} | {setting.text} |\n"


def _code(default: str) -> str:
    """A default as code, unless there is none, it is a sentence, or it has code of its own."""
    return default if not default or "`" in default or " " in default else f"`{default}`"


def command_line_page() -> str:
    """The page of every command, from the help texts that the commands themselves show."""
    from cli.main import command_line

    text = EXAMPLES.sub(
        r"```console\n\g<0>\n```", RUN_AS_MODULE.sub(r"\1", command_line(summaries=False).generate_docs())
    )
    _, title, rest = text.partition("# batchmill\n")
    return f"{title}\nMade from the help of each command by `make docs`.\n{rest.rstrip()}\n"


EVENTS_HEAD = """\
# Events

Made from `events/catalog.py` by `make docs`.

Every fact is one of these events. With RabbitMQ they are all published as CloudEvents (see
[Consume events](../how-to/consume-events.md)); the data of each is described by a JSON Schema. Fields are
added to a type, never changed or taken away: accept those you do not know.

| Type | What it says |
|---|---|
"""


def events_page() -> str:
    """The page of every event type, each with its schema."""
    return EVENTS_HEAD + "".join(
        f"| [`{name}`](events/{name}.json) | {' '.join((type_.__doc__ or '').split())} |\n"
        for name, type_ in TYPES.items()
    )


OPERATIONS_HEAD = """\
# HTTP API

Made from `api/openapi/` by `make docs`.

Every operation, with the scope that a key needs for it. [openapi.json](openapi.json) has all of it, in
OpenAPI 3.1: parameters, bodies, answers, errors with their codes, and examples, each of which a test sends to
a running API. It describes a server with the default limits. A running server describes itself, with its own,
at `GET /openapi.json`, for which nobody needs a key. `HEAD` is answered wherever `GET` is.

| Operation | What it does | Scope |
|---|---|---|
"""


def operations_page() -> str:
    """The page of every operation of the API."""
    return OPERATIONS_HEAD + "".join(
        f"| `{op.method.upper()} {op.path}` | {op.entry.summary} | {op.scope or 'no key'} |\n"
        for op in operations(ApiOptions())
    )


def pages() -> dict[Path, str]:
    """The text of each reference page, by the file it belongs in."""
    return {
        FOLDER / "settings.md": settings_page(),
        FOLDER / "cli.md": command_line_page(),
        FOLDER / "events.md": events_page(),
        FOLDER / "openapi.md": operations_page(),
        FOLDER / "openapi.json": description(ApiOptions()),
        **{FOLDER / "events" / f"{name}.json": text for name, text in schemas().items()},
    }


def main() -> None:
    """Writes every page."""
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
