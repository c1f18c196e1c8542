"""What people see: the console, the log, times and numbers as text."""

import logging
from datetime import UTC, datetime
from enum import Enum

import msgspec
import structlog
from rich.console import Console
from structlog.typing import Processor

from binance_proxy.domain.errors import ConfigError

WIDE = 200
"""Columns that a table may take."""

out = Console(highlight=False, soft_wrap=True, width=WIDE)
"""Results: standard output. A table that is wider than the terminal is wrapped there, and never cut."""
screen = Console(highlight=False)
"""The terminal as it is, for what fills it."""
err = Console(stderr=True, highlight=False, soft_wrap=True)
"""Everything that is said about the work: standard error."""


class LogFormat(Enum):
    """How log lines look."""

    CONSOLE = "console"
    JSON = "json"


class _AboveProgress(logging.Handler):
    """Prints log lines by the console, which knows of the progress line below them."""

    def __init__(self, log_format: LogFormat) -> None:
        super().__init__()
        self.log_format = log_format

    def emit(self, record: logging.LogRecord) -> None:
        """Print a line."""
        err.print(self.format(record), markup=False, emoji=False)


def set_up_log(log_format: LogFormat) -> None:
    """Send the log of every module to standard error, one line an event."""
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if log_format is LogFormat.JSON
        else structlog.dev.ConsoleRenderer(
            colors=False,
            pad_event_to=0,
            exception_formatter=structlog.dev.plain_traceback,  # the others show variables, passwords too
        )
    )
    to_stderr = _AboveProgress(log_format)
    to_stderr.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [to_stderr]
    root.setLevel(logging.INFO)
    for talkative in ("alembic", "asyncio", "backoff"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    # The store says in a line what the driver says in a hundred.
    logging.getLogger("asyncpg").setLevel(logging.CRITICAL)


def chosen_log_format() -> LogFormat:
    """Return how log lines look in this process, for another one that logs to the same place."""
    ours = (one for one in logging.getLogger().handlers if isinstance(one, _AboveProgress))
    return next((one.log_format for one in ours), LogFormat.CONSOLE)


def ns(text: str, name: str) -> int:
    """Read a time such as ``2024-08-08T23:55:00Z`` as ns since the epoch.

    Raises:
        ConfigError: It is no time, or has no zone.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{name} {text!r} is not a time such as 2024-08-08T23:55:00Z") from error
    if at.tzinfo is None:
        raise ConfigError(f"{name} {text!r} has no time zone: write {text}Z for UTC")
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000


def count(number: int, word: str) -> str:
    """Write ``1 trade``, ``19,904 trades``."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def size(number_bytes: int) -> str:
    """Write ``512 bytes``, ``1.5 MiB``, ``4.0 GiB``."""
    if number_bytes < 1024:
        return f"{number_bytes} bytes"
    number, units = float(number_bytes), iter(("KiB", "MiB", "GiB", "TiB"))
    unit = ""
    while number >= 1024 and unit != "TiB":
        number, unit = number / 1024, next(units)
    return f"{number:,.1f} {unit}"


def print_json(result: object) -> None:
    """Print a result for programs."""
    out.file.write(msgspec.json.format(msgspec.json.encode(result), indent=2).decode() + "\n")
