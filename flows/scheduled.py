"""The flow that a schedule runs: it composes the configuration, so that its parameters are what a user typed."""

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.schedules import Cron
from prefect.settings import PREFECT_API_URL
from prefect.types.entrypoint import EntrypointType

from flows.preflight import settings
from flows.quantize import quantize
from flows.workers import on_workers
from tasks import tracking
from tasks.errors import InputError


@flow(name="scheduled")
def scheduled(overrides: list[str]) -> None:
    """Quantize as ``ptq-quantize`` would. Raises InputError like that command."""
    config = settings(overrides)
    tracking.start()
    with on_workers(quantize, config.runtime) as reaching:
        reaching(config, tuple(overrides))


def serve(overrides: list[str], cron: str, timezone: str, name: str) -> None:
    """Run the flow by the clock until Ctrl-C. Raises InputError for a schedule that cannot be, or without a server."""
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
    scheduled.serve(
        name=name,
        schedule=when,
        parameters={"overrides": overrides},
        limit=1,  # a run that takes too long delays the next one
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
