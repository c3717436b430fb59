"""How the program logs: JSON lines in pods, readable lines on a terminal; always to standard error."""

import logging
import sys
from typing import Final

import structlog
from structlog.typing import Processor

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def set_up_logs(level: str, format: str) -> None:
    """`level` is a name of `LEVELS`; `format` is `console`, `json`, or `auto`: console on a terminal."""
    on_terminal = sys.stderr.isatty()
    console = format == "console" or (format == "auto" and on_terminal)
    render: Processor = (
        structlog.dev.ConsoleRenderer(colors=on_terminal) if console else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks if not console else structlog.processors.format_exc_info,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
