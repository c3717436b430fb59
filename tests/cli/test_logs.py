"""The program's own log, as a process writes it to standard error."""

import json
import subprocess
import sys

LIBRARY = 'logging.getLogger("some.library")'


def logged(code: str, level: str = "info", format: str = "json") -> list[str]:
    """The lines that `code` logs in a process of its own."""
    program = f"""
import logging, structlog
from cli.logs import set_up_logs
logger = structlog.get_logger()
set_up_logs({level!r}, {format!r})
{code}
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_off_a_terminal_a_log_line_is_json_with_its_keys() -> None:
    (line,) = logged('logger.info("batch ended", batch="batch_1")', format="auto")
    told = json.loads(line)
    assert told.pop("timestamp").endswith("Z")
    assert told == {"event": "batch ended", "level": "info", "batch": "batch_1"}


def test_what_is_below_the_level_is_not_logged() -> None:
    assert logged('logger.info("noise")', level="warning") == []


def test_a_warning_that_comes_again_and_again_is_told_once_until_there_is_other_news() -> None:
    again = 'for part in "aabab": logger.warning("board not seen", part=part, reason="database away")\n'
    lines = logged(f'{again}logger.info("leading")\n{again}')
    assert [json.loads(line).get("part") for line in lines] == ["a", "b", None, "a", "b"]


def test_libraries_are_heard_from_warnings_up_in_the_same_form() -> None:
    (line,) = logged(f'{LIBRARY}.info("noise"); {LIBRARY}.warning("lost %s", "a thread")', level="debug")
    told = json.loads(line)
    assert (told["event"], told["level"], told["logger"]) == ("lost a thread", "warning", "some.library")


def test_a_traceback_shows_where_but_no_variable() -> None:
    failing = """
def fail():
    body = "what only the client " + "may see"
    raise ValueError("unforeseen")
try:
    fail()
except ValueError as error:
    for_us, for_a_library = logger.error, LOGGER.error
    for_us("request failed", exc_info=error)
    for_a_library("request failed", exc_info=error)
""".replace("LOGGER", LIBRARY)
    for format in ("json", "console"):
        lines = logged(failing, format=format)
        assert "unforeseen" in "\n".join(lines)
        assert "fail" in "\n".join(lines)
        assert "what only the client may see" not in "\n".join(lines)
        if format == "json":
            assert [json.loads(line)["event"] for line in lines] == ["request failed"] * 2
