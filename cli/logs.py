"""How the program logs: JSON lines in pods, readable lines on a terminal; always to standard error.

What libraries log through the standard library comes out in the same form, from warnings up.
"""

import logging
import sys
import time
from math import inf
from typing import Final

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
# A traceback's variables hold request bodies and keys: none of them is ever shown.
_TRACEBACKS: Final = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
REPEATED: Final = 60.0
"""Seconds for which a warning is not told again."""
_WARNINGS: Final = 1_000
"""Most warnings that are remembered as told."""


class _NewsOnly:
    """Drops a warning that was told within a minute, where only warnings were told since. A database that is
    away for long would fill the log of every process with the same few of them each second."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def __call__(self, _logger: WrappedLogger, level: str, entry: EventDict) -> EventDict:
        if level != "warning" or len(self._told) >= _WARNINGS:
            self._told.clear()
        if level == "warning":
            words, now = repr(entry), time.monotonic()
            if now - self._told.get(words, -inf) < REPEATED:
                raise structlog.DropEvent
            self._told[words] = now
        return entry


def set_up_logs(level: str, format: str) -> None:
    """`level` is a name of `LEVELS`; `format` is `console`, `json`, or `auto`: console on a terminal."""
    on_terminal = sys.stderr.isatty()
    console = format == "console" or (format == "auto" and on_terminal)
    stamps: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renders: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.dev.ConsoleRenderer(colors=on_terminal)]
        if console
        else [_TRACEBACKS, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[_NewsOnly(), *stamps, *renders],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    _set_up_libraries(max(LEVELS[level], logging.WARNING), stamps, renders)


def _set_up_libraries(level: int, stamps: list[Processor], renders: list[Processor]) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *stamps],
            processors=[ProcessorFormatter.remove_processors_meta, *renders],
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Of a broker that is away its client tells with a traceback what the bus tells in a line.
    for name in ("aiormq", "aio_pika"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # Of a database that is away its pool tells again and again what every caller of it tells as well.
    logging.getLogger("asyncpg").setLevel(logging.ERROR)
