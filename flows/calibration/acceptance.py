"""The gate: a step that changes the INT8 model is kept only if the model is no worse for it."""

import math
from collections.abc import Mapping
from typing import Any

from flows.running.step_runner import StepRunner
from tasks.engine.caching import is_known
from tasks.records import DatasetRef, Decision, Evaluation, ModelRef, Runtime
from tasks.steps.evaluate_model import compile_ahead, evaluate_model

# Points of expected top-1 agreement that a step may cost, whatever the samples tell. One of 32 samples is 3 points.
LEAST_LOSS = 0.1
# A gain of so many dB counts for more than the estimate, which is worth little where errors are large.
LARGE_GAIN = 1.0


class Acceptance:
    """Judges on samples that no correction was fitted to; without samples it keeps everything.

    What counts is the outputs' SQNR, and, where there are classes, the top-1 agreement with the float model that the
    margins between them let expect (see :func:`~tasks.numerics.metrics.expected_agreement`): SQNR weighs the confident
    samples, agreement the close ones. Probabilities are judged by the logits behind them
    (see :mod:`tasks.graph.logits`).
    """

    def __init__(self, runner: StepRunner, model: ModelRef, samples: DatasetRef, runtime: Runtime) -> None:
        self._runner, self._model, self._samples, self._runtime = runner, model, samples, runtime
        self._reference: Evaluation | None = None
        self._found: dict[ModelRef, Mapping[str, float | None]] = {}
        self._decisions: list[Decision] = []
        self._kept: list[tuple[str, ModelRef, ModelRef]] = []

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What was decided so far."""
        return tuple(self._decisions)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is worth knowing about how it was judged."""
        judged = self._reference is not None and self._reference.logits
        return ("steps were judged by what the last softmax or sigmoid reads, not by probabilities",) if judged else ()

    def judge(self, step: str, before: ModelRef, after: ModelRef, skipped: tuple[str, ...] = ()) -> Decision:
        """Whether ``after``, which ``step`` made of ``before``, takes its place; it does when both are equally good.

        ``skipped`` is what the step did not change, for the report.
        """
        self._prepare(before, after)
        old, new = self.scores(before, after)
        agreement = self._agreement(before), self._agreement(after)
        both = None if agreement[0] is None or agreement[1] is None else (agreement[0], agreement[1])
        better = old is None or (new is not None and new >= old)
        kept = better and (old is None or new is None or new >= old + LARGE_GAIN or not self._costs(both))
        decision = Decision(step, kept, old, new, skipped, both)
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
        """The SQNR in dB of each model, where it has several outputs the mean of those that are not exact in all.

        None where nothing can be compared: a model whose outputs are not finite, say.
        """
        each = [self._decibels(model) for model in models]
        exact = set.intersection(*({name for name, value in one.items() if value == math.inf} for one in each))
        counted = [[value for name, value in one.items() if name not in exact] for one in each]
        return [
            sum(values) / len(values) if values else math.inf if one else None
            for one, values in zip(each, counted, strict=True)
        ]

    def _decibels(self, quantized: ModelRef) -> dict[str, float]:
        """The SQNR of each output that has one; nothing where one of them is not a number."""
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
            compile_ahead(unknown, self._samples, self._runtime, logits=True)

    def _float(self) -> Evaluation:
        if self._reference is None:
            self._reference = self._evaluate(self._model, None)
        return self._reference

    def _call(self, model: ModelRef, reference: Evaluation | None) -> dict[str, Any]:
        return {
            "model": model,
            "reference": reference,
            "dataset": self._samples,
            "logits": True,
            "runtime": self._runtime,
        }

    def _evaluate(self, model: ModelRef, reference: Evaluation | None) -> Evaluation:
        call = self._call(model, reference)
        found: Evaluation = self._runner.run(evaluate_model, **call, size=len(self._samples))
        return found
