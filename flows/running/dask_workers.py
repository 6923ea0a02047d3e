"""Shards on Dask workers: processes of this machine, or those of a running scheduler.

A worker is sent the step, the settings of Prefect and the paths of files. It needs this package, the folder
``runtime.home`` under the same path, and the files of the samples. Results are those of a run without workers if the
workers have the same libraries, which is checked before anything starts.
"""

import importlib.metadata
import logging
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from prefect import Flow
from prefect.settings import PREFECT_API_URL

from flows.running.environment import without_interrupts
from flows.running.server import is_temporary
from tasks.engine.caching import code_digest
from tasks.errors import InputError
from tasks.records import DatasetRef, Runtime
from tasks.redaction import known, learn

CONNECT_SECONDS = 10
_LIBRARIES = ("numpy", "openvino", "prefect")
_STEPS = ("tasks.steps.collect_statistics", "tasks.data.source")
_HERE = ("localhost", "127.0.0.1", "::1")

T = TypeVar("T")


@contextmanager
def on_workers(flow: Flow[..., Any], runtime: Runtime) -> Iterator[Flow[..., Any]]:
    """The flow with a task runner that reaches the workers which ``runtime`` names; the flow itself if it names none.

    Raises InputError if the scheduler does not answer, has no workers, or has one that could compute other results.
    """
    if not runtime.distributed:
        yield flow
        return
    from prefect_dask import DaskTaskRunner  # noqa: PLC0415 - an optional extra

    if runtime.address:
        _require_server(runtime.address)
        _meet(runtime.address, runtime.home.resolve())
        runner = DaskTaskRunner(address=runtime.address)
    else:
        runner = DaskTaskRunner(cluster_class=local_cluster, cluster_kwargs={"workers": runtime.workers})
    yield flow.with_options(task_runner=runner)


def local_cluster(workers: int) -> Any:
    """A cluster of so many worker processes on this machine. They hold references only: Dask need not watch memory."""
    from distributed import LocalCluster  # noqa: PLC0415 - comes with the optional extra

    resource_tracker.ensure_running()  # whoever starts it first, here Dask, takes the shield off
    with without_interrupts():
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=0,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,  # a step that fails tells so itself
        )


def for_worker(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a step as a worker needs them: with absolute paths, and its share of the threads."""
    return {name: _for_worker(value) for name, value in arguments.items()}


def _for_worker(value: Any) -> Any:
    if isinstance(value, DatasetRef):
        return replace(value, source=_located(value.source))
    if isinstance(value, Runtime):
        threads = value.threads
        if threads is None and value.workers and not value.address:
            threads = max(1, (os.cpu_count() or 1) // value.workers)
        return replace(_located(value), threads=threads)
    return value


def _located(value: T) -> T:
    """The dataclass with absolute paths."""
    contents = {field.name: getattr(value, field.name) for field in fields(value)}  # type: ignore[arg-type]
    return replace(  # type: ignore[type-var]
        value, **{name: content.resolve() for name, content in contents.items() if isinstance(content, Path)}
    )


def _require_server(address: str) -> None:
    host = urlsplit(address if "//" in address else f"tcp://{address}").hostname
    if is_temporary(PREFECT_API_URL.value()) and host not in _HERE:
        msg = f"runtime.address: workers of {address} need a Prefect server that they can reach; start one,"
        raise InputError(f"{msg} and set PREFECT_API_URL to its address")


def _meet(address: str, home: Path) -> None:
    """Raise InputError unless every worker sees the same files and has the same code and libraries."""
    from distributed import Client  # noqa: PLC0415 - comes with the optional extra

    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as failure:
        raise InputError(f"runtime.address: no Dask scheduler answers at '{address}'") from failure
    with client, tempfile.NamedTemporaryFile(dir=home, prefix=".seen-") as file:
        answers = client.run(describe_worker, file.name, on_error="return")
        if secrets := known():  # arguments of a user's function hold no more than placeholders
            client.run(learn, secrets, on_error="return")
    if not answers:
        msg = f"runtime.address: the scheduler at {address} has no workers; on every machine start"
        raise InputError(f"{msg} `dask worker {address} --nthreads 1`")
    for worker, answer in answers.items():
        require_same(worker, answer)


def describe_worker(file: str | None = None) -> dict[str, str]:
    """What two processes must have in common to compute the same: versions, the digests of code, and ``runtime.home``.

    ``file`` lies in that folder; a process that sees it has the same one. None where that need not be checked.
    """
    libraries = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {
        "runtime.home": "seen" if file is None or Path(file).is_file() else "another folder",
        "Python": ".".join(platform.python_version_tuple()[:2]),
        **libraries,
        **{name: code_digest(name)[:12] for name in _STEPS},
    }


def require_same(worker: str, answer: dict[str, str] | BaseException) -> None:
    """Raise InputError unless a worker is like this process.

    Args:
        worker: Address of the worker.
        answer: What its :func:`describe_worker` returned, or raised.
    """
    if isinstance(answer, BaseException):
        msg = f"runtime.address: worker {worker} cannot run steps: {answer}; install this package there"
        raise InputError(msg) from answer
    for what, value in describe_worker().items():
        if answer.get(what) != value:
            found = f"worker {worker} has {what} {answer.get(what)}, here it is {value}"
            raise InputError(f"runtime.address: {found}; workers need the same package, libraries and runtime.home")
