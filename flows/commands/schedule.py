"""``ptq-schedule``: repeats a quantization by the clock, as long as the command runs."""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from flows.commands.ending import failures_told
from flows.commands.flags import parse_with_settings
from flows.commands.preflight import settings
from flows.running.environment import run_environment


def parse(arguments: Sequence[str]) -> Namespace:
    """The schedule, and settings of ``ptq-quantize``. Exits with 2 for other flags."""
    parser = ArgumentParser("ptq-schedule", description="Quantize by the clock, until Ctrl-C; needs a Prefect server.")
    parser.add_argument("--cron", required=True, help="minute, hour, day, month, weekday: '0 3 * * *' is 3 o'clock")
    parser.add_argument("--timezone", default="UTC", help="of --cron, like Europe/Berlin; default: UTC")
    parser.add_argument("--name", default="quantize", help="of the deployment in Prefect; default: quantize")
    return parse_with_settings(parser, arguments, "what ptq-quantize is told")


def main() -> None:
    """Quantize by the clock until Ctrl-C: exit code 2 for bad input, 1 for a failure."""
    with failures_told():
        schedule(parse(sys.argv[1:]))


def schedule(arguments: Namespace) -> None:
    """Run the flow by the clock until Ctrl-C. Raises InputError for a bad schedule or setting, or without a server."""
    config = settings(arguments.overrides)
    home = str(config.runtime.home.resolve())
    with run_environment(config.runtime.home, serves=False):
        from flows.commands.scheduled import serve  # noqa: PLC0415 - Prefect reads its settings when it is imported

        os.environ["PTQ_HOME"] = home  # each run is a process of its own, which composes the configuration anew
        serve(arguments.overrides, arguments.cron, arguments.timezone, arguments.name)
