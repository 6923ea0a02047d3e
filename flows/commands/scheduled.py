"""The flow that a schedule runs. It composes the configuration itself, so that its parameters are what a user typed."""

import asyncio
import io
import multiprocessing
import os
import signal
from contextlib import redirect_stdout
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner
from prefect.schedules import Cron
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)
from prefect.types.entrypoint import EntrypointType

from flows.commands.preflight import settings
from flows.quantize import quantize
from flows.running.dask_workers import on_workers
from flows.running.environment import without_interrupts
from flows.running.failures import ServerError
from flows.running.lifeline import end_with
from tasks.errors import InputError
from tasks.tracking import client

# How long the run that is under way, and the server, may take to stop.
_STOP_SECONDS, _ANSWER_SECONDS = 20.0, 15.0


@flow(name="scheduled")
def scheduled(overrides: list[str]) -> None:
    """Quantize as ``ptq-quantize`` would. Raises InputError like that command."""
    if multiprocessing.parent_process():  # else a test calls it
        end_with(os.getppid())
    config = settings(overrides)
    client.start()
    with on_workers(quantize, config.runtime) as reaching:
        reaching(config, tuple(overrides))


def serve(overrides: list[str], cron: str, timezone: str, name: str) -> None:
    """Run the flow by the clock until Ctrl-C or SIGTERM, which pause the schedule.

    Args:
        overrides: Settings of ``ptq-quantize``.
        cron: Minute, hour, day of the month, month and day of the week, like ``0 3 * * *``.
        timezone: Name of the time zone of ``cron``, like ``Europe/Berlin``.
        name: Name of the deployment in Prefect.

    Raises InputError for a schedule that Prefect does not take, or without a server; ServerError when that is gone.
    """
    if not (address := PREFECT_API_URL.value()):
        raise InputError("PREFECT_API_URL: a schedule needs a Prefect server; start `ptq-ui` and export what it prints")
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as failure:
        raise InputError(f"--timezone: expected a name like Europe/Berlin, got '{timezone}'") from failure
    try:
        when = Cron(cron, timezone=timezone)
    except ValueError as failure:
        raise InputError(f"--cron: expected five fields like '0 3 * * *', got '{cron}'") from failure
    with get_client(sync_client=True) as server:
        if server.api_healthcheck():
            msg = f"PREFECT_API_URL: no Prefect server answers at '{address}'; start it,"
            raise InputError(f"{msg} or `ptq-ui` and export what it prints")
    deployment = {
        "name": name,
        "schedule": when,
        "paused": False,
        "parameters": {"overrides": overrides},
        "entrypoint_type": EntrypointType.MODULE_PATH,
    }
    print(f"'{name}' runs by the clock ('{cron}', {timezone}); Ctrl-C pauses it", flush=True)
    with (
        without_interrupts(),
        redirect_stdout(io.StringIO()),
    ):  # Prefect prints tracebacks of a server that does not answer
        trouble = asyncio.run(_until_stopped(deployment))
    if trouble:
        raise ServerError(trouble)


class Served(Runner):
    """Prefect's runner without its handler of SIGTERM, which does not wait until all has stopped."""

    def handle_sigterm(self, *_: Any) -> None:
        """Leave it to :func:`_until_stopped`."""


async def _until_stopped(deployment: dict[str, Any]) -> str | None:
    """Start runs until a signal comes, then end the one that is under way. Returns what went wrong, None if nothing."""
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    # One at a time: a run that takes too long delays the next one.
    runner = Served(deployment["name"], limit=1, pause_on_shutdown=False)
    name, trouble = f"{scheduled.name}/{deployment['name']}", None
    try:
        _pause(name)  # what was missed since a command like this one was killed is not made up for
        await runner.aadd_flow(scheduled, **deployment)
        serving, stop = asyncio.create_task(runner.start()), asyncio.create_task(stopping.wait())
        await asyncio.wait({serving, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.is_set():
            trouble = "the Prefect server does not answer any more; start it, and this command again"
    finally:
        try:
            _pause(name)
        except httpx.HTTPError:
            stays = f"schedule '{name}' is not paused there, and its runs are late until this command runs again"
            trouble = f"the Prefect server does not answer: {stays}"
    # Not `Runner.stop`, which leaves the flow in the flow running for ever.
    processes = multiprocessing.active_children()
    for process in processes:
        process.terminate()
    end = loop.time() + _STOP_SECONDS
    while any(process.is_alive() for process in processes) and loop.time() < end:
        await asyncio.sleep(0.1)
    for process in processes:
        process.kill()
    serving.cancel()
    await asyncio.wait({serving}, timeout=_STOP_SECONDS)
    return trouble


def _pause(name: str) -> None:
    """Pause a schedule, if the server has it; the server drops its runs that have not started."""
    with (
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0, PREFECT_API_REQUEST_TIMEOUT: _ANSWER_SECONDS}),
        get_client(sync_client=True) as server,
    ):
        try:
            server.pause_deployment(server.read_deployment_by_name(name).id)
        except ObjectNotFound:
            return
