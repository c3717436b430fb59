"""The command line: which commands there are, and what the shell hears of their end.

A command's module is imported when that command is asked, so that the list of commands and the small commands
start at once whatever the big ones need; and what reads the command line, when it is known what to do if the
program is told to end meanwhile.
"""

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final, NamedTuple

from cli.early_end import ends_well_when_told

if TYPE_CHECKING:
    from cyclopts import App

HELP = """A self-hosted, OpenAI-compatible Batch API.

$ batchmill demo
$ batchmill serve --upstream http://127.0.0.1:8000/v1
$ batchmill batches create requests.jsonl --watch

Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 not found, 4 refused,
5 server or database out of reach, 6 an audit found defects, 130 interrupted.
"""


class Command(NamedTuple):
    """A command's name, where its function or App is found, and its line in the list of commands."""

    name: str
    found_at: str
    summary: str


COMMANDS = (
    Command("serve", "cli.serve:serve", "Serve the API and run batches, all in one."),
    Command("api", "cli.api:api", "Serve the API alone, as one of many processes."),
    Command("worker", "cli.worker:worker", "Run batches without the API, as one of many processes."),
    Command("run", "cli.one_shot.run:run", "Run one file of requests to its end, without a server."),
    Command("validate", "cli.one_shot.validate:validate", "Check a file of requests, without a server."),
    Command("demo", "cli.demo.command:demo", "See a batch run, from upload to results."),
    Command("batches", "cli.remote.batches:app", "See and steer the batches of a running server."),
    Command("files", "cli.remote.files:app", "See and move the files of a running server."),
    Command("limits", "cli.remote.limits:limits", "Show what a project may have on a running server."),
    Command("keys", "cli.keys:app", "Make, list and revoke the keys of projects."),
    Command("projects", "cli.projects:app", "Delete all that a project has."),
    Command("webhooks", "cli.webhooks:app", "Say who is told of the ends of batches."),
    Command("encryption", "cli.encryption:app", "Look after the keys that wrap the data keys of projects."),
    Command("audit", "cli.audit.command:app", "Prove what the log says, and that nothing of it changed."),
    Command("log", "cli.log:app", "Read the log, and look after it after a restore."),
    Command("prune", "cli.prune:prune", "Move what the log has of old batches to storage."),
    Command("config", "cli.config:config", "Show the settings in force and where they came from."),
    Command("migrate", "cli.migrate:migrate", "Bring the database's schema up to date."),
    Command("rebuild", "cli.rebuild:rebuild", "Fold the read models again from the log."),
    Command(
        "practice-upstream",
        "cli.practice.upstream:practice_upstream",
        "Answer lines as a model would, for trying things out.",
    ),
)
SERVING: Final = frozenset({"serve", "api", "worker"})
"""Commands that run until they are told to end."""


def _version() -> str:
    from importlib import metadata

    try:
        return f"batchmill {metadata.version('batchmill')}"
    except metadata.PackageNotFoundError:
        return "batchmill, not installed"


def command_line(*, summaries: bool) -> "App":
    """The whole command line.

    With `summaries` the list of commands is told from the table above, without importing any of them;
    without, each command that is asked is imported and tells its own help.
    """
    from cyclopts import App

    line = App(
        name="batchmill",
        help=HELP,
        help_format="plaintext",
        version=_version,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    for place, command in enumerate(COMMANDS):
        summary = command.summary if summaries else None
        line.command(command.found_at, name=command.name, help=summary, sort_key=place)
    return line


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code. Failures that are foreseen are told in one line each."""
    from cyclopts import CycloptsError

    from cli.exit_codes import ExitCode, exit_code_of
    from events.errors import BatchmillError
    from storage.store import StorageError

    asked = arguments[0] if arguments else "--help"
    is_command = asked in [command.name for command in COMMANDS]
    if not is_command and asked not in ("--help", "-h", "--version"):
        _tell(f"there is no command {asked}{_nearest(asked)}")
        return ExitCode.USAGE
    line = command_line(summaries=not is_command)
    try:
        result = line(arguments, exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except CycloptsError as error:
        error.verbose = False
        _tell(f"{error} `batchmill {asked} --help` tells more.")
        return ExitCode.USAGE
    except (BatchmillError, StorageError) as error:
        _tell(str(error))
        return exit_code_of(error)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        _abandon_output()
        return ExitCode.BROKEN_PIPE
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _abandon_output()
        _tell(f"{error.filename or 'standard output'} cannot be written: {error.strerror}")
        return ExitCode.FAILED
    return result if isinstance(result, int) else ExitCode.OK


def main() -> None:
    """The program `batchmill`."""
    arguments = sys.argv[1:]
    with ends_well_when_told() if SERVING.intersection(arguments[:1]) else nullcontext():
        code = run(arguments)
    sys.exit(code)


def _abandon_output() -> None:
    """Python flushes standard output once more at exit and would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _nearest(asked: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(asked, [command.name for command in COMMANDS], n=1)
    return f": did you mean {close[0]}?" if close else "; `batchmill --help` lists them"


def _tell(message: str) -> None:
    for part in message.splitlines():
        print(f"batchmill: {part}", file=sys.stderr)


if __name__ == "__main__":
    main()
