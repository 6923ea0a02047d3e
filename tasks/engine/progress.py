"""One progress bar on the terminal: the flow opens it, the step that does the work advances it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_current: ContextVar[Callable[[], None] | None] = ContextVar("current", default=None)


def advance_by_one() -> Callable[[], None]:
    """The function that a step calls after each sample, from any thread. Without an open bar it does nothing."""
    return _current.get() or (lambda: None)


@contextmanager
def progress(console: Console, description: str, total: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Open a progress bar, which disappears at the end. Yields the function that sets the number of samples done.

    Args:
        console: The terminal.
        description: Text beside the bar.
        total: Number of samples.
        shown: Whether the bar is drawn.
    """
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    bar = Progress(
        TextColumn("{task.description:>22}"),
        *columns,
        console=console,
        transient=True,
        disable=not (shown and console.is_terminal),
    )
    with bar:
        row = bar.add_task(description, total=total)
        token = _current.set(lambda: bar.advance(row))
        try:
            yield lambda done: bar.update(row, completed=done)
        finally:
            _current.reset(token)
