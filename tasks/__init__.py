"""The map of the rooms. A line of code belongs to the room whose vocabulary it speaks.

Steps, one Prefect task a file: open references, call the core, store, return a reference.

    load_model            a model file of any format -> ModelRef
    load_dataset          a source of samples -> DatasetRef: which samples, in order, by digest
    place_quantizers      ModelRef -> Placement: the points to quantize and the tensors to observe
    collect_statistics    a shard of samples -> statistics of all observed tensors
    find_unranged         statistics -> the operations that stay float, as samples tell no range of what they read
    smooth_activations    ModelRef and statistics -> ModelRef, the same function without outliers of features
    equalize_layers       ModelRef -> ModelRef, the same function with weights of like size in neighbouring layers
    align_channels        ModelRef and statistics -> ModelRef, the same function with channels of like ranges
    estimate_ranges       statistics and weights -> limits of every FakeQuantize
    choose_caution        how much room ranges leave for unseen samples, tried on samples that did not set them
    choose_ranges         two sets of limits -> for each tensor the ones that suit the model's output
    insert_fake_quantize  ModelRef and limits -> ModelRef, quantized
    correct_biases        ModelRef, quantized, and statistics -> ModelRef with the means of its layers put right
    correct_sequentially  the same by inference, in topological order
    plan_tuning           ModelRef, quantized -> which layers are tuned together, and which are not
    tune_layers           ModelRef, quantized -> ModelRef with one group of layers tuned to answer like the float ones
    analyze_model         the error of each layer of an INT8 model, and what it is made of
    describe_model        its quantizers as they are, beside what was observed
    draw_plots            plots of all that
    evaluate_model        outputs and metrics of a model on a data set
    verify_model          whether an INT8 model in doubt computes something wrong, and which operations do
    package_model         its inputs, outputs and an example, for MLflow to serve it
    measure_speed         latency and throughput of models side by side
    plan_quantization     what a run would do, without data; no task
    log_run               the finished run -> MLflow; never cached

Plumbing: what steps and flows stand on.

    records       the references that travel, and the report
    options       parameters of DefaultQuantization as users write them, and what contradicts itself
    config        the composed configuration, checked once
    mistakes      what is wrong with it, a line each
    store         content-addressed files: models and arrays by sha256
    staging       folders that are whole or not there, and what killed runs left of them
    shards        rows that an earlier run collected for the same samples
    taps          a model with its taps, compiled once a process, and the samples of a shard
    locking       of processes that want the same step, one runs it
    caching       the one cache policy of all steps: inputs, code, libraries
    make_page     report.html
    write_output  the files a user gets, put in place at once
    pot/          configurations of the Post-training Optimization Tool -> settings of this project
    release       which INT8 model may take over from the one before
    registry      models in MLflow: logged, registered, found by name
    fetch_model   the file of a model, be it in the registry
    serving       a model as MLflow loads it; a file that stands alone
    history       runs that MLflow has, by what people call them
    monitoring    what a run takes of the machine
    tracking      MLflow, by a process of its own
    moved_home    artifacts that MLflow has in a home that was moved or copied
    tracking_process   what that process does
    database      MLflow's database of a home, and what to do about a broken one
    speed_process measures speed where a crash harms nothing else
    line_process  a process that answers lines of JSON
    log_sweep     the run in MLflow that the points of a sweep belong to, and points that failed
    progress      one progress bar while a stage lasts
    redaction     passwords and tokens, which nothing that is kept or shown may hold
    errors        the error for what a user can mend

Core: knows no Prefect, Hydra, MLflow, store or config.

    numerics/     arrays in, arrays out: statistics, estimators, FakeQuantize parameters, metrics (numpy only)
    graph/        OpenVINO structure: reading, placement, edits
    algorithms/   what has to run the model: inference, calibration, ranges, evaluation, speed
    review/       plots by matplotlib, and the template of report.html
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
