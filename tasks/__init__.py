"""The map of the rooms. A line of code belongs to the room whose vocabulary it speaks.

What travels:

    records       the references that travel between steps, and the report
    errors        the error for input that a user can correct
    redaction     secrets: placeholders for them in all that is kept or shown

steps/: one Prefect task per file: open references, call the core, store, return a reference.

    steps/                the rooms of the core do the work; tasks/README.md tells what a step may import
    load_model            a model file of any format -> ModelRef
    load_dataset          a source of samples -> DatasetRef: which samples, in order, by digest
    place_quantizers      ModelRef -> Placement: the points to quantize and the tensors to observe
    collect_statistics    a shard of samples -> statistics of all observed tensors
    smooth_activations    ModelRef and statistics -> ModelRef, the same function without outlier features
    equalize_layers       ModelRef -> ModelRef, the same function with weights of similar size in neighbouring layers
    align_channels        ModelRef and statistics -> ModelRef, the same function with channels of similar range
    estimate_ranges       statistics and weights -> the range of every FakeQuantize
    find_unranged         statistics -> the operations that stay float because no sample gives a range
    find_unexecuted       statistics -> the layers that stay float because OpenVINO would run them in float anyway
    choose_clipping_weight  how much clipping counts against rounding, tried on samples that did not set ranges
    find_float_layers     what the quantizers of each layer cost the output -> those that had better stay float
    choose_ranges         two ranges of each tensor -> the one that suits the model's output
    insert_fake_quantize  ModelRef and ranges -> ModelRef, quantized
    correct_biases        ModelRef, quantized, and statistics -> ModelRef with corrected means of its layers
    correct_sequentially  the same by inference, in topological order
    plan_tuning           ModelRef, quantized -> which layers are tuned together, and which are not
    tune_layers           ModelRef, quantized -> ModelRef with one group of layers tuned to the float outputs
    analyze_model         the error of each layer of an INT8 model, and its sources
    describe_model        its quantizers, beside what was observed
    draw_plots            plots of all that
    evaluate_model        outputs and metrics of a model on a data set
    verify_model          ModelRef, quantized -> what is wrong with it, and the operations at fault
    package_model         its inputs, outputs and an example, for MLflow to serve it
    measure_speed         latency and throughput of models side by side
    plan_quantization     what a run would do, without data; no task

engine/: what steps are built on.

    engine/             caches, the store, locks and helper processes; nothing of quantization
    caching             the one cache policy of all steps: inputs, code, libraries
    result_locks        if several processes want the same step, one runs it
    artifact_store      content-addressed files: models and arrays by sha256
    atomic_folders      folders that are complete or absent, and the remains of killed runs
    template_databases  migrated databases of Prefect and MLflow that new homes begin with
    partial_statistics  rows that an earlier run collected for the same samples
    observed_model      a model with its observers, compiled once per process, and the samples of a shard
    progress            one progress bar per stage
    helper_process      a process that answers lines of JSON
    speed_process       measures speed where a crash ends nothing else

tracking/: all of MLflow.

    tracking/         runs as MLflow keeps them, and registered models
    client            MLflow, in a process of its own
    worker            what that process does
    database          MLflow's database in a home: its creation, and advice about one that cannot be used
    moved_home        artifacts of a home that was moved or copied
    options           where MLflow keeps a run, as users write it
    log_run           the finished run -> MLflow; never cached
    log_sweep         the parent run of a sweep's trials, and trials that failed
    registry          models in MLflow: logged, registered, found by name
    promotion         the rule by which an alias moves to a new INT8 model
    run_lookup        runs in MLflow, by the words of a user
    fetch_model       the file of a model, on the disk or in the registry
    pyfunc_model      a model as MLflow loads it; a file that imports nothing of ours
    resource_monitor  what a run uses of the machine

What users write and get:

    config/       the composed configuration, checked once: schema, options of DefaultQuantization, messages
    output/       what a user gets, put in place all at once: files, page, plots
    pot/          configurations of the Post-training Optimization Tool -> settings of this project

Core: knows no Prefect, Hydra, MLflow, store or config.

    numerics/     arrays in, arrays out: statistics, estimators, FakeQuantize parameters, metrics (numpy only)
    graph/        OpenVINO structure: reading, placement, edits
    algorithms/   whatever has to run the model: inference, calibration, ranges, evaluation, speed
    data/         sources, annotations and preprocessing: samples in, arrays out
    metrics/      outputs and annotations in, figures out: adapters, boxes, metrics of libraries
    digits/       the embedded example: a network for handwritten digits and the script that trained it
"""

import os
import sys

# What switches off usage data of each library. Set here, before any of them is imported.
_SILENCE = {"DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}


def _keep_silent() -> None:
    """Keep every library, in all our processes, from sending usage data, unless the user sets PTQ_TELEMETRY=1."""
    if os.environ.get("PTQ_TELEMETRY", "").lower() in ("1", "true", "yes"):
        return
    for name, value in _SILENCE.items():
        os.environ.setdefault(name, value)
    # OpenVINO has no such setting, but works without this package; None makes its import fail.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


_keep_silent()
