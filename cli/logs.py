"""How the program logs: JSON lines in pods, readable lines on a terminal; always to standard error.

What libraries log through the standard library comes out in the same form, from warnings up.
"""

import logging
import sys
from typing import Final

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import Processor

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
# A traceback's variables hold request bodies and keys: none of them is ever shown.
_TRACEBACKS: Final = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))


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
        processors=stamps + renders,
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
