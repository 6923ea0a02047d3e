"""``ptq-plan``: what ``ptq-quantize`` would do with the same arguments; no data, no server, nothing written."""

from flows.commands.configured import run_configured
from flows.commands.jobs import Flow
from tasks.config.schema import QuantizeConfig


def main() -> None:
    """Print the plan for what the command line says: exit code 0 when done, 2 for bad input, 1 for a failure."""
    run_configured("quantize", QuantizeConfig, load_flow, serves=False)


def load_flow() -> Flow:
    """What prints the plan."""
    from flows.plan import plan  # noqa: PLC0415 - Prefect reads its settings when it is imported

    return plan
