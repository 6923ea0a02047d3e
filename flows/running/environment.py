"""Settings of Prefect and MLflow that have to stand before they are imported."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from flows.running.failures import TEMPORARY_SERVER
from tasks.engine.atomic_folders import make_folder
from tasks.errors import InputError
from tasks.records import Runtime

if TYPE_CHECKING:
    from flows.running.server import Server

# Where `ptq-ui` serves the pages of Prefect, unless that port is taken.
UI_ADDRESS = "http://127.0.0.1:4200"


def require_extra(runtime: Runtime) -> None:
    """Raise InputError when the run is to use Dask workers, and what reaches them is not installed."""
    if runtime.distributed and not find_spec("prefect_dask"):
        msg = "runtime: Dask workers need the extra `dask`; install it with: pip install 'prefect-dask>=0.3.7,<0.4'"
        raise InputError(msg)


@contextmanager
def run_environment(
    home: Path, *, serves: bool = True, meanwhile: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """Keep all state in ``home`` and the terminal quiet. What the user's environment sets stays as it is.

    ``serves`` tells whether a flow follows, which starts a server of its own where there is none. ``meanwhile`` is what
    to do while that one starts: it needs these settings and no server, such as imports.
    """
    state = home.resolve()
    for folder in (state, state / "results", state / "prefect"):
        make_folder(folder)
    settings = {
        "PREFECT_HOME": str(state / "prefect"),
        "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(state / "results"),
        # A busy machine needs far more than the default 20 s; one that hangs is noticed.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "600",
        # The commands report steps and errors themselves; Prefect's own log lines are kept in its database.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
        # Its list of fonts would lie in the user's home, whose settings of plots say nothing about ours.
        "MPLCONFIGDIR": str(state / "matplotlib"),
    }
    profiles = Path.home() / ".prefect" / "profiles.toml"
    if profiles.is_file():
        # The server or workspace that the user chose with `prefect profile`.
        settings["PREFECT_PROFILES_PATH"] = str(profiles)
    for name, value in settings.items():
        os.environ.setdefault(name, value)

    if not serves:
        yield
        return
    # Here because Prefect reads the settings above when it is imported.
    from prefect.settings import (  # noqa: PLC0415
        PREFECT_CLIENT_MAX_RETRIES,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        temporary_settings,
    )

    from flows.running.recording import recorded  # noqa: PLC0415

    # The thread of the heartbeat sleeps in whole seconds, which the end of a flow waits for. Flows wait for a server
    # by themselves; what is sent beside them is not worth a minute for each line.
    defaults = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, PREFECT_CLIENT_MAX_RETRIES: 1}
    with temporary_settings(set_defaults=defaults) as current, ExitStack() as stack:
        server = None if current.api.url else stack.enter_context(_temporary(state, meanwhile))
        stack.enter_context(recorded(server))
        yield


@contextmanager
def _temporary(home: Path, meanwhile: Callable[[], object]) -> Iterator["Server"]:
    """A server of our own, which other processes find as well: by themselves each would start one."""
    from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL, temporary_settings  # noqa: PLC0415

    from flows.running.server import start  # noqa: PLC0415

    print("starting a temporary Prefect server ...", file=sys.stderr)
    server = start(home, meanwhile)
    # `ptq-ui` has pages for the same database.
    settings = {"PREFECT_API_URL": server.url, "PREFECT_UI_URL": os.environ.get("PREFECT_UI_URL", UI_ADDRESS)}
    os.environ[TEMPORARY_SERVER] = server.url  # for what went wrong, in trials of other processes as well
    before = {name: os.environ.get(name) for name in settings}
    with temporary_settings({PREFECT_API_URL: server.url}, set_defaults={PREFECT_UI_URL: UI_ADDRESS}):
        os.environ.update(settings)
        try:
            yield server
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Processes started in here never see Ctrl-C: it is for the flow, which still needs them when it ends."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
