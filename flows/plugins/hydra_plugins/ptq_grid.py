"""Hydra's sweeper of grids without composing every trial again: the commands did that before Hydra started."""

from collections.abc import Sequence
from dataclasses import dataclass

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from tasks.redaction import hidden


class GridSweeper(BasicSweeper):
    """Runs every combination of the given values."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra hands over; ``multirun.yaml``, which Hydra writes, has no secrets."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.config = OmegaConf.create(hidden(OmegaConf.to_container(config)))

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Do nothing: ``preflight`` refuses bad trials, and the launcher those that only Hydra can compose."""


@dataclass
class GridSweeperConf(BasicSweeperConf):
    """Hydra's settings of the grid."""

    _target_: str = f"{__name__}.GridSweeper"


# Replaces Hydra's default sweeper: Hydra loads plugins after its own.
ConfigStore.instance().store("basic", GridSweeperConf, group="hydra/sweeper", provider="openvino-ptq-flow")
