"""The section ``compression``: algorithms and their parameters become settings of ``quantization``."""

from typing import Any

from tasks.pot.section import Findings, Section

QUANTIZE = ("DefaultQuantization", "MinMaxQuantization")
PARTS = ("ActivationChannelAlignment", "MinMaxQuantization", "FastBiasCorrection", "BiasCorrection")
SUPPORTED = ("DefaultQuantization", *PARTS)

_ACCURACY_AWARE = "use DefaultQuantization and look at the report, which says what every step costs"
_SEARCH = "sweep over parameters with ptq-quantize -m"
_TRAINING = "compress before or during training, for example with NNCF"
_INSTEAD = {
    "AccuracyAwareQuantization": _ACCURACY_AWARE,
    "AccuracyAwareCommon": _ACCURACY_AWARE,
    "AccuracyAwareGNA": _ACCURACY_AWARE,
    "QuantNoiseEstimator": _ACCURACY_AWARE,
    "INT4MixedQuantization": "use DefaultQuantization with weights.bits 4",
    "TunableQuantization": _SEARCH,
    "ParamsGridSearchAlgorithm": _SEARCH,
    "ParamsTuningSearch": _SEARCH,
    "RangeOptimization": "choose range_estimator by sweeps with ptq-quantize -m",
    "OutlierChannelSplitting": "use DefaultQuantization with range_estimator.preset quantile",
    "WeightBiasCorrection": "use FastBiasCorrection",
    "OverflowCorrection": "use DefaultQuantization; OpenVINO has no GNA plugin any more",
    "DataFreeQuantization": "give some samples without annotations: engine.type simplified",
    "RangeSupervision": "use DefaultQuantization with range_estimator.max.clipping_value",
    "MagnitudeSparsity": _TRAINING,
    "WeightSparsity": _TRAINING,
    "BaseWeightSparsity": _TRAINING,
}

# Parameters that keep their names and values; the composed configuration checks them.
_SAME = (
    *("stat_subset_size", "stat_batch_size", "shuffle_data", "seed", "saturation_fix", "threshold"),
    "apply_for_all_nodes",
)
_TENSOR = ("bits", "mode", "granularity", "level_low", "level_high")
_BORDER = ("type", "outlier_prob", "aggregator", "clipping_value")
_TUNING = (
    *("num_samples_for_tuning", "batch_size", "optimizer", "loss", "tuning_iterations", "random_seed"),
    *("use_ranking_subset", "calculate_grads_on_loss_increase_only", "weight_decay"),
    *("weights_lr", "bias_lr", "scale_lr", "min_lr", "asymmetric", "update_every_batch", "use_only_fp_inputs"),
    *("set_quantized_values_to_weight_parameter", "loss_logging_freq"),
)
_TUNED = {
    "use_layerwise_tuning": "use_layerwise_tuning",
    "calibration_indices_pool": "layerwise_tuning.samples",
    "tuning_ignored_scope": "layerwise_tuning.ignored.scope",
}
_PRESETS = {"symmetric": "performance", "asymmetric": "accuracy"}


def translate_compression(compression: Section) -> tuple[str, ...]:
    """The names of the algorithms; adds the settings of all of them to the findings.

    Args:
        compression: The section.
    """
    findings = compression.findings
    device = compression.take("target_device", "ANY")
    if "target_device" in compression:
        findings.set("quantization.target_device", device, compression.where("target_device"))
    _model_type(compression)
    _in_place(compression)
    if compression.take("dump_intermediate_model"):
        compression.notice("dump_intermediate_model", "intermediate models are kept in the store anyway.")
    entries = compression.sections("algorithms")
    if not entries:
        compression.problem("algorithms", f"expected at least one of {', '.join(SUPPORTED)}.")
    names = tuple(name for entry in entries if (name := _algorithm(entry, str(device))))
    if names and "quantization.stat_subset_size" not in findings.settings:
        # POT takes the whole data set.
        findings.set("quantization.stat_subset_size", None, compression.where("algorithms"))
    compression.finish()
    if names:
        _steps(findings, compression, names)
    return names


def _steps(findings: Findings, compression: Section, names: tuple[str, ...]) -> None:
    """Add the settings that switch off steps, if only parts of DefaultQuantization are asked for."""
    where = compression.where("algorithms")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        findings.problems.append(f"{where}: {twice[0]} twice; expected each algorithm once.")
    if "DefaultQuantization" in names:
        if parts := [name for name in names if name in PARTS]:
            findings.problems.append(
                f"{where}: {', '.join(parts)} is part of DefaultQuantization; name one or the other."
            )
        return
    corrects = {"FastBiasCorrection", "BiasCorrection"} & set(names)
    if len(corrects) > 1:
        findings.problems.append(f"{where}: FastBiasCorrection and BiasCorrection; expected one of them.")
    findings.set("quantization.channel_alignment", "ActivationChannelAlignment" in names, where)
    findings.set("quantization.bias_correction", bool(corrects), where)
    if corrects:
        findings.set("quantization.use_fast_bias", "BiasCorrection" not in names, where)
    if not set(names) & set(QUANTIZE):
        findings.quantizes = False
        text = "nothing is quantized without MinMaxQuantization or DefaultQuantization"
        findings.notices.append(f"{where}: {text}{', so there is no bias to correct' if corrects else ''}.")


def _algorithm(entry: Section, device: str) -> str | None:
    name = entry.take("name")
    params = entry.section("params") or Section(entry.findings, entry.document, (*entry.place, "params"), {})
    entry.finish()
    if not isinstance(name, str):
        entry.problem("name", f"expected the name of an algorithm, got {name!r}.")
        return None
    if name in _INSTEAD:
        entry.problem("name", f"{name} is not available; {_INSTEAD[name]}. Supported: {', '.join(SUPPORTED)}.")
    elif name not in SUPPORTED:
        entry.unknown_name("name", name, SUPPORTED, "algorithm")
    if name not in SUPPORTED:
        return None
    _parameters(params, device)
    return name


def _parameters(params: Section, device: str) -> None:
    findings = params.findings
    _preset(params, device)
    for key in _SAME:
        if key in params:
            findings.set(f"quantization.{key}", params.take(key), params.where(key))
        params.ignore(key)
    if "use_fast_bias" in params:
        findings.set("quantization.use_fast_bias", params.take("use_fast_bias"), params.where("use_fast_bias"))
    params.ignore("use_fast_bias")
    _model_type(params)
    _in_place(params)
    if "target_device" in params:
        findings.set("quantization.target_device", params.take("target_device"), params.where("target_device"))
    _ignored(params)
    common = params.section("range_estimator")
    for role in ("weights", "activations"):
        _tensor(params.section(role), common, role)
    _tuning(params)
    params.ignore("dump_intermediate_model", "exec_log_dir")
    params.finish()


def _preset(params: Section, device: str) -> None:
    """Add the preset. POT's command line knows two more names, and exchanges ``accuracy`` and ``mixed`` by device."""
    if "preset" not in params:
        params.ignore("preset")
        return
    asked = params.take("preset")
    preset = _PRESETS.get(asked, asked) if isinstance(asked, str) else asked
    if preset == "accuracy" and not device.startswith(("NPU", "GNA")):
        preset = "mixed"
        params.notice(
            "preset",
            f"{asked!r} was mixed on {device} in POT's command line, and is here; asymmetric weights:"
            " weights.mode asymmetric.",
        )
    elif preset == "mixed" and device.startswith("GNA"):
        preset = "accuracy"
        params.notice("preset", f"'mixed' was accuracy on {device} in POT's command line, and is here.")
    params.findings.set("quantization.preset", preset, params.where("preset"))


def _model_type(section: Section) -> None:
    for key in ("model_type", "model type"):
        value = section.take(key)
        if value not in (None, "None"):
            section.findings.set("quantization.model_type", value, section.where(key))


def _in_place(section: Section) -> None:
    if "inplace_statistics" in section:
        value = section.take("inplace_statistics")
        section.findings.set("quantization.inplace_statistics", value, section.where("inplace_statistics"))
    section.ignore("inplace_statistics")


def _ignored(params: Section) -> None:
    ignored = params.section("ignored")
    if ignored is None:
        return
    scope = ignored.take("scope") or []
    if not isinstance(scope, list):
        ignored.problem("scope", f"expected a list of names, got {scope!r}.")
        scope = []
    # The name of an operation inside a loop is a list: outer, inner.
    names: list[Any] = ["|".join(map(str, each)) if isinstance(each, list) else each for each in scope]
    operations = []
    for entry in ignored.sections("operations"):
        attributes = entry.section("attributes")
        operation: dict[str, Any] = {"type": entry.take("type")}
        if attributes is not None:
            operation["attributes"] = attributes.content
        entry.finish()
        operations.append(operation)
    if ignored.take("skip_model"):
        ignored.notice("skip_model", "nothing is quantized.")
        params.findings.quantizes = False
    ignored.finish()
    if names:
        params.findings.set("quantization.ignored.scope", names, ignored.where("scope"))
    if operations:
        params.findings.set("quantization.ignored.operations", operations, ignored.where("operations"))


def _tensor(tensor: Section | None, common: Section | None, role: str) -> None:
    """Add the options of weights or activations; a role without a range of its own has the one that both share."""
    estimator = common
    if tensor is not None:
        for key in _TENSOR:
            if key in tensor:
                tensor.findings.set(f"quantization.{role}.{key}", tensor.take(key), tensor.where(key))
            tensor.ignore(key)
        estimator = tensor.section("range_estimator") or common
        tensor.finish()
    if estimator is None:
        return
    prefix = f"quantization.{role}.range_estimator"
    if "preset" in estimator:
        estimator.findings.set(f"{prefix}.preset", estimator.take("preset"), estimator.where("preset"))
    estimator.ignore("preset")
    granularity = tensor.content.get("granularity") if tensor else None
    for side in ("min", "max"):
        if (border := estimator.section(side)) is not None:
            _border(border, f"{prefix}.{side}", granularity, shared=estimator is common and role == "weights")
    estimator.finish()


def _border(border: Section, prefix: str, granularity: Any, *, shared: bool) -> None:
    for key in _BORDER:
        if key in border and not (shared and key == "aggregator"):
            border.findings.set(f"{prefix}.{key}", border.take(key), border.where(key))
        border.ignore(key)
    if border.take("granularity") not in (None, granularity):
        text = "statistics have the granularity of the quantizer; set granularity beside range_estimator."
        border.problem("granularity", text)
    border.finish()


def _tuning(params: Section) -> None:
    """Add the options of tuning. It searches exactly, so those of POT's gradient descent mean nothing."""
    for key, ours in _TUNED.items():
        if params.take(key) is not None:
            params.findings.set(f"quantization.{ours}", params.take(key), params.where(key))
    if found := [key for key in _TUNING if key in params]:
        params.notice(found[0], f"steers gradient descent, which tunes nothing here ({', '.join(found)}).")
    params.ignore(*_TUNING)
