"""Hydra's sweeper for searches: Optuna proposes trials, the launcher runs them; several objectives give a Pareto front.

It lies here because Hydra loads plugins only from the namespace package ``hydra_plugins``; this folder is a part of it
(see pyproject.toml), so it must have no ``__init__.py``. The published hydra-optuna-sweeper needs distributions that
Optuna dropped, and an Alembic that MLflow does not work with. Settings have the same names as there.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from tasks.pot.overrides import spelled
from tasks.redaction import hidden

# Stands for this many layers with the largest error of their own.
WORST = "worst_layers"


class SearchSweeper(Sweeper):
    """Runs ``n_trials`` trials in all, ``n_jobs`` of them at once.

    Attributes:
        objectives: Metrics of the INT8 model, each ``maximize`` or ``minimize``.
        n_trials: Number of trials.
        n_jobs: Trials that run at once.
        seed: The same seed and the same results give the same proposals.
        params: Overrides as on the command line: ``choice(a,b)``, ``range(1,5)``, ``interval(0,1)``,
            ``tag(log,interval(1e-5,1e-2))``.
        worst_layers: Choices for the number of layers that stay float. The first trial, with the first value of every
            parameter, is analysed to rank the layers.
    """

    def __init__(
        self,
        objectives: Mapping[str, Literal["maximize", "minimize"]],
        n_trials: int,
        n_jobs: int = 1,
        seed: int | None = None,
        params: Mapping[str, str] | None = None,
        worst_layers: Sequence[int] = (),
    ) -> None:
        self._objectives, self._trials, self._at_once, self._seed = objectives, n_trials, n_jobs, seed
        self._params, self._worst = dict(params or {}), list(worst_layers)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra hands over."""
        self.config, self.hydra_context = config, hydra_context
        self._folder = Path(config.hydra.sweep.dir)
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run the search. A repeated proposal gets the earlier result and does not run again."""
        import optuna  # noqa: PLC0415 - Hydra imports all plugins whenever it starts

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        folder = self._folder
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(OmegaConf.create(hidden(OmegaConf.to_container(self.config))), folder / "multirun.yaml")
        overrides = OverridesParser.create().parse_overrides(
            [*(f"{key}={value}" for key, value in self._params.items()), *arguments]
        )
        fixed = [str(each.input_line) for each in overrides if not each.is_sweep_override()]
        space = {each.get_key_element(): _distribution(each) for each in overrides if each.is_sweep_override()}
        if self._worst:
            space[WORST] = optuna.distributions.CategoricalDistribution(self._worst)
        study = optuna.create_study(
            directions=list(self._objectives.values()), sampler=optuna.samplers.TPESampler(seed=self._seed)
        )
        study.enqueue_trial({name: _first(each) for name, each in space.items()})

        known: dict[tuple[str, ...], Any] = {}
        launched, layers = 0, list[str]()
        asked = 0
        while asked < self._trials:
            count = 1 if not asked else min(self._at_once, self._trials - asked)
            trials = [study.ask(space) for _ in range(count)]
            asked += count
            proposals = [(*fixed, *_overrides(trial.params, layers)) for trial in trials]
            fresh = list(dict.fromkeys(proposal for proposal in proposals if proposal not in known))
            analysis = ["evaluation.analyze=true"] if self._worst and not launched else []
            found = self._launch([[*proposal, *analysis] for proposal in fresh], launched)
            known |= zip(fresh, found, strict=True)
            if not launched:
                layers = _noisiest(folder, max(self._worst, default=0))
            launched += len(fresh)
            for trial, proposal in zip(trials, proposals, strict=True):
                self._tell(study, trial, known[proposal])

    def _launch(self, proposals: list[list[str]], first: int) -> list[Any]:
        if not proposals:
            return []
        returns: Sequence[JobReturn] = self.launcher.launch(proposals, initial_job_idx=first)
        return [each.return_value for each in returns]

    def _tell(self, study: Any, trial: Any, metrics: Mapping[str, Mapping[str, float | None]] | None) -> None:
        """Tell the study the objectives of the last model; a trial that failed or lacks one fails in the study too."""
        last = dict(list(metrics.values())[-1]) if metrics else {}
        values = [last.get(name) for name in self._objectives]
        if None in values:
            from optuna.trial import TrialState  # noqa: PLC0415

            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, values)


def _distribution(override: Override) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution  # noqa: PLC0415

    value = override.value()
    if isinstance(value, IntervalSweep):
        return FloatDistribution(float(value.start or 0), float(value.end or 0), log="log" in value.tags)
    return CategoricalDistribution([str(each) for each in override.sweep_string_iterator()])


def _first(distribution: Any) -> Any:
    return distribution.choices[0] if hasattr(distribution, "choices") else distribution.low


def _overrides(params: Mapping[str, Any], layers: Sequence[str]) -> list[str]:
    found = [f"{key}={value}" for key, value in params.items() if key != WORST]
    if count := params.get(WORST, 0):
        found.append(f"quantization.ignored.scope={spelled(layers[:count])}")
    return found


def _noisiest(folder: Path, most: int) -> list[str]:
    """The layers with the largest error of their own weights and ranges, from the report of the first trial."""
    record = folder / "trials" / "0.json"
    output = Path(json.loads(record.read_text(encoding="utf-8"))["output"]) if record.exists() else folder
    report = output / "report.json"
    layers = json.loads(report.read_text(encoding="utf-8"))["layers"] if report.exists() else []

    def own(layer: dict[str, Any]) -> Any:
        last = list(layer["steps"].values())[-1]
        return (last["weights"] or 0) + (last["activations"] or 0)

    return [layer["name"] for layer in sorted(layers, key=own, reverse=True)[:most]]
