"""Settings of Prefect and MLflow that have to stand before they are imported."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

from tasks.errors import InputError
from tasks.records import Runtime
from tasks.staging import make_folder


def require_extra(runtime: Runtime) -> None:
    """Raise InputError when the run is to use Dask workers, and what reaches them is not installed."""
    if runtime.distributed and not find_spec("prefect_dask"):
        msg = "runtime: Dask workers need the extra `dask`; install it with: pip install 'prefect-dask>=0.3.7,<0.4'"
        raise InputError(msg)


@contextmanager
def prepared(home: Path, *, serves: bool = True) -> Iterator[None]:
    """Keep all state in ``home`` and the terminal quiet. What the user's environment sets stays as it is.

    ``serves`` tells whether a flow follows, which starts a server of its own where there is none.
    """
    state = home.resolve()
    for folder in (state, state / "results", state / "prefect"):
        make_folder(folder)
    settings = {
        "PREFECT_HOME": str(state / "prefect"),
        "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(state / "results"),
        # Several temporary servers that start at once need far more than the default 20 s.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        # The commands report steps and errors themselves; Prefect's own log lines are kept in its database.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
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
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings  # noqa: PLC0415

    # The thread of the heartbeat sleeps in whole seconds, which the end of a flow waits for.
    with temporary_settings(set_defaults={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}) as current:
        if current.api.url is None:
            from prefect.client.orchestration import get_client  # noqa: PLC0415

            print("starting a temporary Prefect server ...", file=sys.stderr)
            with shielded():
                get_client(sync_client=True)  # which starts it; the flow finds it running
        yield


@contextmanager
def one_server() -> Iterator[None]:
    """Let other processes use the Prefect server of this one; by themselves each would start a temporary one."""
    from prefect.client.orchestration import get_client  # noqa: PLC0415 - after `prepared`
    from prefect.settings import PREFECT_API_URL, temporary_settings  # noqa: PLC0415

    if PREFECT_API_URL.value():
        yield
        return
    with ExitStack() as stack:
        client = stack.enter_context(get_client(sync_client=True))
        url = str(client.api_url).rstrip("/")
        stack.enter_context(temporary_settings({PREFECT_API_URL: url}))
        os.environ["PREFECT_API_URL"] = url
        stack.callback(os.environ.pop, "PREFECT_API_URL", None)
        yield


@contextmanager
def shielded() -> Iterator[None]:
    """Processes started in here never see Ctrl-C: it is for the flow, which still needs them when it ends."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
