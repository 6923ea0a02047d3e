"""``ptq-evaluate``: evaluates any model, alone or beside a reference."""

import sys

from flows.commands.configured import run_configured
from flows.commands.jobs import Flow
from tasks.config.schema import EvaluateConfig

_REGISTERED = "model=registry:"


def main() -> None:
    """Evaluate what the command line says: exit code 0 when done, 2 for bad input, 1 for a failure."""
    # A registered model stands where Hydra expects a file of conf/model.
    sys.argv[1:] = [
        f"model.path={word.removeprefix('model=')}" if word.startswith(_REGISTERED) else word for word in sys.argv[1:]
    ]
    run_configured("evaluate", EvaluateConfig, load_flow)


def load_flow() -> Flow:
    """The flow that evaluates."""
    from flows.evaluate import evaluate  # noqa: PLC0415 - Prefect reads its settings when it is imported

    return evaluate
