"""What ``ptq-pot`` says: on the terminal, and of each run in a file."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOG = logging.getLogger("ptq-pot")
LEVELS = ("CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG")


@contextmanager
def on_terminal(level: str) -> Iterator[None]:
    """Send lines of that level and above to standard error, but for those that are ``silent``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    handler.addFilter(lambda record: not getattr(record, "silent", False))
    LOG.setLevel(level)
    LOG.propagate = False
    LOG.addHandler(handler)
    try:
        yield
    finally:
        LOG.removeHandler(handler)


@contextmanager
def in_file(file: Path) -> Iterator[None]:
    """Write all lines into a file as well."""
    handler = logging.FileHandler(file, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    LOG.addHandler(handler)
    try:
        yield
    finally:
        LOG.removeHandler(handler)
        handler.close()
