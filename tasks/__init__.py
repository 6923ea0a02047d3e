"""The map of the rooms. A line of code belongs to the room whose vocabulary it speaks.

What travels:

    records       the references that travel between steps, and the report
    errors        the error for what a user can mend
    redaction     secrets: what is kept or shown has a placeholder for each

steps/: one Prefect task a file: open references, call the core, store, return a reference.

    steps/                the rooms of the core do the work; tasks/README.md tells what a step may import
    load_model            a model file of any format -> ModelRef
    load_dataset          a source of samples -> DatasetRef: which samples, in order, by digest
    place_quantizers      ModelRef -> Placement: the points to quantize and the tensors to observe
    collect_statistics    a shard of samples -> statistics of all observed tensors
    smooth_activations    ModelRef and statistics -> ModelRef, the same function without outliers of features
    equalize_layers       ModelRef -> ModelRef, the same function with weights of like size in neighbouring layers
    align_channels        ModelRef and statistics -> ModelRef, the same function with channels of like ranges
    estimate_ranges       statistics and weights -> the range of every FakeQuantize
    find_unranged         statistics -> the operations that stay float, as no sample tells a range
    choose_clipping_weight        how much clipping counts beside rounding, tried on samples that did not set ranges
    choose_ranges         two ranges of each tensor -> the one that suits the model's output
    insert_fake_quantize  ModelRef and ranges -> ModelRef, quantized
    correct_biases        ModelRef, quantized, and statistics -> ModelRef with the means of its layers put right
    correct_sequentially  the same by inference, in topological order
    plan_tuning           ModelRef, quantized -> which layers are tuned together, and which are not
    tune_layers           ModelRef, quantized -> ModelRef with one group of layers tuned to answer like the float ones
    analyze_model         the error of each layer of an INT8 model, and what it is made of
    describe_model        its quantizers as they are, beside what was observed
    draw_plots            plots of all that
    evaluate_model        outputs and metrics of a model on a data set
    verify_model          ModelRef, quantized -> what is wrong with it, and the operations at fault
    package_model         its inputs, outputs and an example, for MLflow to serve it
    measure_speed         latency and throughput of models side by side
    plan_quantization     what a run would do, without data; no task

engine/: what steps stand on.

    engine/             caches, the store, locks and helper processes; nothing of quantization
    caching             the one cache policy of all steps: inputs, code, libraries
    result_locks        of processes that want the same step, one runs it
    artifact_store      content-addressed files: models and arrays by sha256
    atomic_folders      folders that are whole or not there, and what killed runs left of them
    partial_statistics  rows that an earlier run collected for the same samples
    observed_model      a model with its observers, compiled once a process, and the samples of a shard
    progress            one progress bar while a stage lasts
    helper_process      a process that answers lines of JSON
    speed_process       measures speed where a crash harms nothing else

tracking/: all of MLflow.

    tracking/         a run's record, and models that are registered
    client            MLflow, by a process of its own
    worker            what that process does
    database          MLflow's database of a home: made whole, and what to do about one that cannot be used
    moved_home        artifacts of a home that was moved or copied
    options           where MLflow keeps a run, as users write it
    log_run           the finished run -> MLflow; never cached
    log_sweep         the run in MLflow that the trials of a sweep belong to, and trials that failed
    registry          models in MLflow: logged, registered, found by name
    promotion         which INT8 model may take over from the one before
    run_lookup        runs that MLflow has, by what people call them
    fetch_model       the file of a model, be it in the registry
    pyfunc_model      a model as MLflow loads it; a file that stands alone
    resource_monitor  what a run takes of the machine

What users write and get:

    config/       the composed configuration, checked once: schema, options of DefaultQuantization, messages
    output/       what a user gets, put in place at once: files, page, plots
    pot/          configurations of the Post-training Optimization Tool -> settings of this project

Core: knows no Prefect, Hydra, MLflow, store or config.

    numerics/     arrays in, arrays out: statistics, estimators, FakeQuantize parameters, metrics (numpy only)
    graph/        OpenVINO structure: reading, placement, edits
    algorithms/   what has to run the model: inference, calibration, ranges, evaluation, speed
    data/         sources, annotations and preprocessing: samples in, arrays out
    metrics/      outputs and annotations in, figures out: adapters, boxes, metrics of libraries
    digits/       the embedded example: a network for handwritten digits and the script that trained it
"""

import os
import sys

# What keeps each library from telling its makers that it is used. Set here, so that it stands before any is imported.
_SILENCE = {"DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}


def _keep_silent() -> None:
    """No library sends events, in no process of ours, unless the user sets PTQ_TELEMETRY=1."""
    if os.environ.get("PTQ_TELEMETRY", "").lower() in ("1", "true", "yes"):
        return
    for name, value in _SILENCE.items():
        os.environ.setdefault(name, value)
    # OpenVINO knows no such setting, but does without this package where it cannot be imported, as None says.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


_keep_silent()
