"""The guard: an INT8 model that computes something wrong is not written as if it were fine."""

from flows.calibration.calibrate import Calibrated
from flows.running.step_runner import StepRunner
from tasks.config.schema import QuantizeConfig
from tasks.errors import BrokenModelError, listing, shortened
from tasks.records import DatasetRef
from tasks.steps.evaluate_model import Evaluation
from tasks.steps.verify_model import Verdict, verify_model

# Operations that a line names, and characters of a name in it.
_NAMED, _LONGEST = 3, 60


def guard(
    runner: StepRunner, config: QuantizeConfig, calibrated: Calibrated, samples: DatasetRef, evaluation: Evaluation
) -> tuple[tuple[str, ...], bool]:
    """Notes about the INT8 model, and whether it is broken, which ``evaluation.allow_broken`` allows.

    Only what the evaluation left in doubt is looked into. Raises BrokenModelError where nothing may be written.
    """
    if not evaluation.doubts:
        return (), False
    verdict: Verdict = runner.run(
        verify_model,
        model=calibrated.observed.model,
        quantized=calibrated.model,
        samples=samples.part(0),
        runtime=config.runtime,
        size=len(samples),
    )
    if not verdict.faults:
        return verdict.notes, False
    told = f"the INT8 model is broken: {_faults(verdict)}"
    if not config.evaluation.allow_broken:
        raise BrokenModelError(f"{told}. Nothing was written; {_remedy(verdict)}evaluation.allow_broken=true writes it")
    return (f"{told}. It was written because evaluation.allow_broken is true", *verdict.notes), True


def _faults(verdict: Verdict) -> str:
    others = f", and {len(verdict.faults) - 1} more outputs" if len(verdict.faults) > 1 else ""
    names = listing(verdict.operations, _NAMED, _LONGEST)
    if verdict.executed:
        where = f"OpenVINO computes {names if verdict.operations else 'it'} otherwise than its own quantized graph says"
    elif verdict.operations:
        where = f"it begins at {names}"
    else:
        where = "no single operation is at fault"
    return f"{verdict.faults[0]}{others}; {where}"


def _remedy(verdict: Verdict) -> str:
    if not verdict.operations:
        return ""
    shown = f"[{','.join(verdict.operations)}]" if len(verdict.operations) <= _NAMED else "[...]"
    return f"quantization.ignored.scope={shortened(shown, _LONGEST)} keeps float what is at fault, "
