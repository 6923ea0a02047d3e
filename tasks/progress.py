"""Progress bars on the terminal: shown while work lasts, gone when it is done, silent where nobody looks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextmanager
def progress(description: str, total: int, *, completed: int = 0, shown: bool = True) -> Iterator[Callable[[], None]]:
    """Show a bar of ``total`` samples, ``completed`` of them done before; yields what to call after each."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:>22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not (shown and console.is_terminal)) as bar:
        row = bar.add_task(description, total=total, completed=completed)
        yield lambda: bar.advance(row)
