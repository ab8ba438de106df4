"""Log lines of our own processes: one JSON object a line, event names as `noun_verbed`, no secrets."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

from vaultlayer.imports import left_out

with left_out("rich"):  # structlog takes it in for a renderer for screens
    import structlog

Logger = structlog.typing.FilteringBoundLogger

SECRET_WORDS = ("secret", "seed", "token", "jwt", "password", "env_sealed", "access_key", "box")


def _redact(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Hide every value whose name says that it is a secret, whatever a caller passes."""
    for name in event:
        if any(word in name.lower() for word in SECRET_WORDS):
            event[name] = "***"
    return event


def set_up_logging(stream: TextIO | None = None, *, level: str = "INFO") -> None:
    """Send log lines to `stream`, by default standard error."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _redact,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=True,
    )


def get_logger(**bound: Any) -> Logger:
    """Give a logger with some names bound once, such as `actor` or `job`."""
    return structlog.get_logger(**bound)
