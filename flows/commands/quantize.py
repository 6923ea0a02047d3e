"""``ptq-quantize``: quantizes a model; with ``-m`` once for each trial of a sweep."""
# ruff: noqa: PLC0415 - Prefect reads its settings when it is imported

from flows.commands.configured import run_configured
from flows.commands.jobs import Flow
from tasks.tracking import client


def main() -> None:
    """Quantize what the command line says: exit code 0 when done, 2 for bad input, 1 for a failure."""
    from tasks.config.schema import QuantizeConfig

    run_configured("quantize", QuantizeConfig, load_flow)


def load_flow() -> Flow:
    """The flow that quantizes, on Dask workers where the configuration names some."""
    client.start()  # beside Prefect's server, once the configuration is known to be sound
    from flows.quantize import quantize
    from flows.running.dask_workers import on_workers
    from tasks.config.schema import QuantizeConfig

    def run(config: QuantizeConfig, overrides: tuple[str, ...]) -> object:
        client.start()  # for each trial of a sweep
        with on_workers(quantize, config.runtime) as reaching:
            return reaching(config, overrides)

    return run
