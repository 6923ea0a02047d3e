"""The gate: a step that changes the INT8 model is kept only if the model is no worse for it."""

import math
from collections.abc import Mapping
from typing import Any

from flows.running.step_runner import StepRunner
from tasks.engine.caching import is_known
from tasks.records import DatasetRef, Decision, ModelRef, Runtime
from tasks.steps.evaluate_model import Evaluation, compile_ahead, evaluate_model

# Points of expected top-1 agreement that a step may cost, whatever the samples tell. One of 32 samples is 3 points.
LEAST_LOSS = 0.1
# A gain of so many dB counts for more than the estimate, which is worth little where errors are large.
LARGE_GAIN = 1.0
# A dB that a part loses counts like so many dB that the parts gain.
PRICE_OF_LOSS = 2.0
# No part may end so many dB below the first model judged: less is noise of the samples.
LEAST_DECIBELS = 0.3


class Acceptance:
    """Judges on samples that no correction was fitted to; without samples it keeps everything.

    What counts is the outputs' SQNR, and, where there are classes, the top-1 agreement with the float model that the
    margins between them let expect (see :func:`~tasks.numerics.metrics.expected_agreement`): SQNR weighs the confident
    samples, agreement the close ones. Outputs are judged by what decides them, each kind of values apart
    (see :mod:`tasks.graph.parts`), as the report shows them.

    Of several parts none is given up for another: the mean in dB has to gain, so that each counts by its own energy;
    what a part loses is worth twice what others gain, as users of all of them lose it; and no part may end below the
    first model judged, since steps that each take a little would take much together.
    """

    def __init__(self, runner: StepRunner, model: ModelRef, samples: DatasetRef, runtime: Runtime) -> None:
        self._runner, self._model, self._samples, self._runtime = runner, model, samples, runtime
        self._reference: Evaluation | None = None
        self._found: dict[ModelRef, Mapping[str, float | None]] = {}
        self._decisions: list[Decision] = []
        self._kept: list[tuple[str, ModelRef, ModelRef]] = []
        self._first: dict[str, float] = {}

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What was decided so far."""
        return tuple(self._decisions)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is worth knowing about how it was judged."""
        comparison = self._reference.comparison if self._reference else None
        if comparison is None or not comparison.labels:
            return ()
        parts = ", ".join(part.label for part in comparison.parts)
        return (f"steps were judged by what decides the outputs, each part alike: {parts}",)

    def judge(self, step: str, before: ModelRef, after: ModelRef, skipped: tuple[str, ...] = ()) -> Decision:
        """Whether ``after``, which ``step`` made of ``before``, takes its place; it does when both are equally good.

        ``skipped`` is what the step did not change, for the report.
        """
        self._prepare(before, after)
        old, new = self.scores(before, after)
        agreement = self._agreement(before), self._agreement(after)
        both = None if agreement[0] is None or agreement[1] is None else (agreement[0], agreement[1])
        gains = old is None or (new is not None and new >= old)
        lost = self._given_up(before, after) if gains else None
        better = gains and lost is None
        kept = better and (old is None or new is None or new >= old + LARGE_GAIN or not self._costs(both))
        decision = Decision(step, kept, old, new, skipped, both, lost)
        self._decisions.append(decision)
        if kept:
            self._kept.append((step, before, after))
        return decision

    def path(self, start: ModelRef) -> dict[str, ModelRef]:
        """The models that the steps kept made of ``start``, one of the other, by step."""
        path: dict[str, ModelRef] = {}
        for step, before, after in self._kept:
            if before == start != after:
                path[step] = start = after
        return path

    def scores(self, *models: ModelRef) -> list[float | None]:
        """The SQNR in dB of each model, where it has several parts the mean of those that are neither exact nor silent.

        None where nothing can be compared: a model whose outputs are not finite, say.
        """
        each = [self._decibels(model) for model in models]
        alike = set.intersection(*({item for item in one.items() if math.isinf(item[1])} for one in each))
        counted = [[item[1] for item in one.items() if item not in alike] for one in each]
        return [
            sum(values) / len(values) if values else max(one.values(), default=None)
            for one, values in zip(each, counted, strict=True)
        ]

    def _given_up(self, before: ModelRef, after: ModelRef) -> tuple[str, float, float] | None:
        """The part that loses most of all, before and after, if one is given up for others; None else."""
        old, new = self._decibels(before), self._decibels(after)
        self._first = self._first or old
        changes = {name: new[name] - old[name] for name in old if name in new and new[name] != old[name]}
        losses = {name: change for name, change in changes.items() if change < 0}
        if len(old) == 1 or not losses:
            return None
        gained = sum(change for change in changes.values() if change > 0)
        below = any(new[name] < self._first.get(name, -math.inf) - LEAST_DECIBELS for name in losses)
        if gained >= -PRICE_OF_LOSS * sum(losses.values()) and not below:
            return None
        worst = min(losses, key=lambda name: losses[name])
        return worst.removeprefix("sqnr_db/"), old[worst], new[worst]

    def _decibels(self, quantized: ModelRef) -> dict[str, float]:
        """The SQNR of each part that has one; nothing where one of them is not a number."""
        metrics = self._metrics(quantized)
        outputs = {name: value for name, value in metrics.items() if name.startswith("sqnr_db/")}
        found = {name: value for name, value in (outputs or {"": metrics.get("sqnr_db")}).items() if value is not None}
        return {} if any(map(math.isnan, found.values())) else found

    def _agreement(self, quantized: ModelRef) -> float | None:
        found = self._metrics(quantized).get("expected_agreement")
        return None if found is None or math.isnan(found) else found

    def _costs(self, agreement: tuple[float, float] | None) -> bool:
        """Whether top-1 agreement, before and after, is expected to suffer by more than so many samples can tell.

        What is missing to 100 % goes with the width of errors, of which n samples leave a standard error of
        1 / sqrt(2 n).
        """
        if agreement is None:
            return False
        told = (100 - agreement[0]) / math.sqrt(2 * len(self._samples))
        return agreement[1] < agreement[0] - max(LEAST_LOSS, told)

    def _metrics(self, quantized: ModelRef) -> Mapping[str, float | None]:
        """How near a model comes to the float one; nothing without samples."""
        if not self._samples:
            return {}
        if quantized not in self._found:
            self._found[quantized] = self._evaluate(quantized, self._float()).metrics
        return self._found[quantized]

    def _prepare(self, *models: ModelRef) -> None:
        """Have those models compiled at once that are not evaluated yet, by this run or an earlier one."""
        fresh = tuple(dict.fromkeys(model for model in models if model not in self._found))
        if self._samples and len(fresh) > 1:
            calls = {model: self._call(model, self._float()) for model in fresh}
            unknown = [model for model, call in calls.items() if not is_known(evaluate_model, call)]
            compile_ahead(unknown, self._samples, self._runtime, parts=True)

    def _float(self) -> Evaluation:
        if self._reference is None:
            self._reference = self._evaluate(self._model, None)
        return self._reference

    def _call(self, model: ModelRef, reference: Evaluation | None) -> dict[str, Any]:
        return {
            "model": model,
            "reference": reference,
            "dataset": self._samples,
            "gate": True,
            "runtime": self._runtime,
        }

    def _evaluate(self, model: ModelRef, reference: Evaluation | None) -> Evaluation:
        call = self._call(model, reference)
        found: Evaluation = self._runner.run(evaluate_model, **call, size=len(self._samples))
        return found
