"""Every file of the corpus is translated to the parameters that stand here, or refused with the lines that do."""

import json
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module

from flows.commands.pot import parse, pot
from flows.commands.pot_configurations import Run, all_checked, as_hydra, translations_of
from tasks.config.schema import AnnotatedFilesOptions, QuantizeConfig, from_hydra
from tasks.data.source import annotations_of, open_source
from tasks.errors import InputError
from tasks.pot.document import without_comments

CORPUS = Path(__file__).with_name("corpus")
PARAMS = "compression.algorithms.0.params"
DATASET = "models.0.datasets.0"


@dataclass(frozen=True)
class Runs:
    """A configuration that is accepted: settings by dotted key, and the beginnings of all notices."""

    settings: dict[str, Any]
    notices: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    samples: int | None = None
    quantizes: bool = True


@dataclass(frozen=True)
class Fails:
    """A configuration that is refused: the beginnings of all lines, and what has to be in one of them."""

    lines: tuple[str, ...]
    hints: tuple[str, ...] = field(default=())
    flags: tuple[str, ...] = ()


E = ("-e",)
SIMPLIFIED = {"dataset.kind": "annotated_files", "evaluation.subset_size": 32, "evaluation.metrics": ()}
RESIZED = {"type": "resize", "dst_height": 64, "dst_width": 64}

RUN = {
    "template.json": Runs(
        {
            "model.path": "model.xml",
            "model.name": "model_name",
            "quantization.preset": "performance",
            "quantization.stat_subset_size": 300,
            "quantization.target_device": "ANY",
        },
        samples=12,
    ),
    "simplified_folder.json": Runs(SIMPLIFIED | {"quantization.stat_subset_size": 10}, samples=12),
    "simplified_pattern.json": Runs(
        SIMPLIFIED | {"dataset.annotation.pattern": "00001*.png", "dataset.preprocessing.0.central_fraction": 0.875},
        samples=2,
    ),
    "simplified_list.json": Runs(
        {"dataset.annotation.list_file": "voc/images.txt", "quantization.stat_subset_size": None}, samples=3
    ),
    "simplified_arrays.json": Runs({"dataset.kind": "arrays", "dataset.path": "samples.npz"}, samples=6),
    "weights_elsewhere.json": Runs({"model.weights": "model.bin", "model.name": "elsewhere"}),
    "default.yaml": Runs(
        {
            "quantization.target_device": "CPU",
            "quantization.preset": "mixed",
            "quantization.activations.range_estimator.max.outlier_prob": 1e-4,
            "quantization.activations.range_estimator.max.aggregator": "max",
        },
        ("default.yaml:6:3: engine.stat_requests_number: OpenVINO chooses",),
    ),
    "asymmetric.json": Runs(
        {"quantization.preset": "mixed"}, (f"asymmetric.json:9:21: {PARAMS}.preset: 'asymmetric'",)
    ),
    "accuracy_on_gna.json": Runs(
        {"quantization.preset": "accuracy", "quantization.target_device": "GNA"},
        (f"accuracy_on_gna.json:10:21: {PARAMS}.preset: 'mixed' was accuracy on GNA",),
    ),
    "weights.json": Runs(
        {
            "quantization.weights.bits": 8,
            "quantization.weights.mode": "asymmetric",
            "quantization.weights.granularity": "pertensor",
            "quantization.weights.level_low": -128,
            "quantization.weights.level_high": 127,
            "quantization.weights.range_estimator.max.type": "quantile",
            "quantization.weights.range_estimator.max.outlier_prob": 1e-4,
            "quantization.activations.mode": None,
        }
    ),
    "activations.json": Runs(
        {
            "quantization.activations.range_estimator.preset": "quantile",
            "quantization.activations.range_estimator.min.clipping_value": 0,
            "quantization.activations.range_estimator.min.aggregator": "mean",
            "quantization.activations.range_estimator.max.clipping_value": 6,
            "quantization.activations.range_estimator.max.aggregator": "hl_estimator",
            "quantization.activations.range_estimator.max.type": "abs_quantile",
            "quantization.activations.range_estimator.max.outlier_prob": 1e-3,
            "quantization.weights.range_estimator.preset": "default",
        }
    ),
    "common_estimator.json": Runs(
        {
            "quantization.weights.range_estimator.preset": "quantile",
            "quantization.weights.range_estimator.max.aggregator": None,
            "quantization.activations.range_estimator.preset": "quantile",
            "quantization.activations.range_estimator.max.aggregator": "max",
            "quantization.activations.mode": "asymmetric",
        }
    ),
    "own_estimator.json": Runs(
        {
            "quantization.weights.range_estimator.preset": "quantile",
            "quantization.activations.range_estimator.preset": "default",
            "quantization.activations.range_estimator.max.aggregator": "median",
        }
    ),
    "statistic_granularity.json": Runs({"quantization.weights.range_estimator.max.type": "abs_max"}),
    "ignored.json": Runs(
        {
            "quantization.ignored.scope": ("Convolution.2", "Loop.1|Add.3"),
            "quantization.ignored.operations.0.type": "Convolution",
            "quantization.ignored.operations.0.attributes.strides": (2, 2),
            "quantization.ignored.operations.0.attributes.auto_pad": "explicit",
            "quantization.ignored.operations.1.type": "ReLU",
        }
    ),
    "skip_model.json": Runs({}, (f"skip_model.json:9:33: {PARAMS}.ignored.skip_model",), quantizes=False),
    "parts.json": Runs(
        {
            "quantization.channel_alignment": True,
            "quantization.bias_correction": True,
            "quantization.use_fast_bias": False,
            "quantization.preset": "mixed",
            "quantization.threshold": 1000,
            "quantization.stat_subset_size": 50,
        }
    ),
    "minmax.json": Runs(
        {
            "quantization.channel_alignment": False,
            "quantization.bias_correction": False,
            "quantization.activations.range_estimator.preset": "quantile",
        }
    ),
    "fast_bias_alone.json": Runs(
        {"quantization.channel_alignment": False},
        ("fast_bias_alone.json:5:9: compression.algorithms: nothing is quantized",),
        quantizes=False,
    ),
    "alignment_alone.json": Runs(
        {"quantization.channel_alignment": True, "quantization.bias_correction": False},
        ("alignment_alone.json:5:9: compression.algorithms: nothing is quantized",),
        quantizes=False,
    ),
    "transformer.json": Runs(
        {
            "quantization.target_device": "GPU",
            "quantization.model_type": "transformer",
            "quantization.inplace_statistics": False,
        },
        ("transformer.json:6:9: compression.dump_intermediate_model: ",),
    ),
    "published_keys.json": Runs(
        {
            "quantization.stat_batch_size": 4,
            "quantization.model_type": "transformer",
            "quantization.inplace_statistics": True,
            "quantization.shuffle_data": True,
            "quantization.seed": 7,
            "quantization.stat_subset_size": None,
        }
    ),
    "full_bias.json": Runs(
        {
            "quantization.use_fast_bias": False,
            "quantization.threshold": 2.5,
            "quantization.apply_for_all_nodes": True,
            "quantization.saturation_fix": "no",
            "quantization.channel_alignment": True,
        }
    ),
    "tuning.json": Runs(
        {"quantization.use_layerwise_tuning": True, "quantization.layerwise_tuning.samples": 100},
        (f"tuning.json:10:21: {PARAMS}.num_samples_for_tuning: steers gradient descent",),
    ),
    "inline.json": Runs(
        {
            "dataset.annotation": None,
            "dataset.preprocessing.0.type": "crop",
            "dataset.preprocessing.1.size": 64,
            "validation.annotation.annotation_file": "labels.txt",
            "validation.preprocessing.0.dst_height": 64,
            "evaluation.metrics.0.name": "accuracy@top1",
            "evaluation.adapter.type": "classification",
            "evaluation.subset_size": None,
        },
        ("inline.json:17:9: engine.stat_requests_number: ",),
        E,
        samples=12,
    ),
    "lenient.json": Runs(
        {"quantization.stat_subset_size": 5},
        (f"lenient.json:10:21: {PARAMS}.maximal_drop: unknown key. It is ignored.",),
        ("--lenient",),
    ),
    "with_voc.json": Runs(
        {
            "dataset.annotation.converter": "voc_detection",
            "dataset.annotation.dataset_meta_file": "meta.json",
            "dataset.annotation.has_background": False,
            "evaluation.adapter.type": "yolo_v3",
            "evaluation.adapter.anchors": (18, 18, 28, 28),
            "evaluation.postprocessing.1.type": "class_aware_nms",
            "evaluation.postprocessing.2.apply_to": "prediction",
            "evaluation.metrics.0.integral": "11point",
        },
        flags=E,
        samples=12,
    ),
    "with_coco.json": Runs(
        {
            "dataset.annotation.converter": "mscoco_detection",
            "dataset.preprocessing.0.interpolation": "BICUBIC",
            "dataset.preprocessing.0.aspect_ratio_scale": "fit_to_window",
            "dataset.preprocessing.1.mean": (1, 2, 3),
            "dataset.preprocessing.1.std": (255, 255, 255),
            "evaluation.metrics.0.threshold": "0.5:0.05:0.95",
            "evaluation.metrics.1.type": "coco_recall",
        },
        flags=E,
        samples=12,
    ),
    "with_imagenet.json": Runs(
        {
            "dataset.reader.type": "pillow_imread",
            "dataset.annotation.has_background": True,
            "dataset.subsample_size": "50%",
            "dataset.subsample_seed": 5,
            "dataset.shuffle": False,
            "dataset.preprocessing.1.use_pillow": True,
            "dataset.preprocessing.3.mean": "imagenet",
            "evaluation.metrics.1.top_k": 5,
            "evaluation.metrics.3.type": "classification_f1-score",
        },
        flags=E,
        samples=6,
    ),
    "with_cifar.json": Runs(
        {f"dataset.preprocessing.0.{key}": value for key, value in RESIZED.items()}, flags=E, samples=5
    ),
    "with_mnist.json": Runs({"dataset.annotation.images_file": "mnist/images.gz"}, flags=E, samples=3),
    "with_csv.json": Runs(
        {"dataset.reader.type": "numpy_reader", "evaluation.metrics.1.name": "absolute"}, flags=E, samples=4
    ),
    "with_defined.json": Runs(
        {"dataset.preprocessing.0.size": 64, "evaluation.metrics.0.type": "map", "evaluation.adapter.type": "ssd"},
        flags=E,
        samples=12,
    ),
}

FAIL = {
    "broken_comma.json": Fails(("broken_comma.json:3:36: no JSON: ",)),
    "broken_text.json": Fails(("broken_text.json:2:36: no JSON: ",)),
    "broken_comment.json": Fails(("broken_comment.json:2:5: no JSON: ",)),
    "broken.yaml": Fails(("broken.yaml:3:2: no YAML: ",)),
    "twice.json": Fails(("twice.json:11:21: the key 'preset' stands here a second time.",)),
    "no_object.json": Fails(("no_object.json:1:1: expected an object with model, engine, compression",)),
    "unknown_parameter.json": Fails(
        (f"unknown_parameter.json:10:21: {PARAMS}.stat_subset_siz: unknown key.",),
        ("Did you mean 'stat_subset_size'?",),
    ),
    "unknown_keys.json": Fails(
        (
            "unknown_keys.json:17:5: compresion: unknown key. Did you mean 'compression'?",
            "unknown_keys.json:2:37: model.wieghts: unknown key. Did you mean 'weights'?",
            "unknown_keys.json:3:37: engine.devise: unknown key. Did you mean 'device'?",
            "unknown_keys.json:9:17: compression.algorithms.0.parameters: unknown key. Did you mean 'params'?",
            f"unknown_keys.json:11:65: {PARAMS}.ignored.operations.0.attribute: unknown key. Did you mean",
            f"unknown_keys.json:12:33: {PARAMS}.weights.bit: unknown key. Did you mean 'bits'?",
            f"unknown_keys.json:12:71: {PARAMS}.weights.range_estimator.max.outlier: unknown key. Did you mean",
            "unknown_keys.json:5:9: compression.inplase_statistics: unknown key. Did you mean 'inplace_statistics'?",
        )
    ),
    "no_compression.json": Fails(("no_compression.json:1:1: compression: expected the section",)),
    "no_algorithms.json": Fails(("no_algorithms.json:1:84: compression.algorithms: expected at least one of",)),
    "accuracy_aware.json": Fails(
        ("accuracy_aware.json:7:17: compression.algorithms.0.name: AccuracyAwareQuantization is not available; use ",)
    ),
    "misspelt_algorithm.json": Fails(
        ("misspelt_algorithm.json:7:17: compression.algorithms.0.name: algorithm 'DefaultQuantisation'",),
        ("Did you mean 'DefaultQuantization'?",),
    ),
    "sparsity.json": Fails(("sparsity.json:7:17: compression.algorithms.0.name: MagnitudeSparsity",), ("NNCF",)),
    "data_free.json": Fails(("data_free.json:3:16: engine.type: data_free made statistics of synthetic images",)),
    "engine_type.json": Fails(("engine_type.json:3:16: engine.type: ",), ("Did you mean 'simplified'?",)),
    "no_source.json": Fails(("no_source.json:3:5: engine: expected config",)),
    "wrong_structure.json": Fails(
        (
            f"wrong_structure.json:10:33: {PARAMS}.ignored.scope: expected a list of names, got 'conv1'.",
            f"wrong_structure.json:10:66: {PARAMS}.ignored.operations.0: expected an object, got 'ReLU'.",
            f"wrong_structure.json:9:21: {PARAMS}.weights: expected an object, got 8.",
        )
    ),
    "wrong_values.json": Fails(
        (
            f"wrong_values.json:10:21: {PARAMS}.preset: unknown value 'fast'. Allowed: performance, mixed, accuracy",
            f"wrong_values.json:11:21: {PARAMS}.stat_subset_size: input should be greater than or equal to 1, got 0",
            f"wrong_values.json:12:21: {PARAMS}.seed: ",
            "wrong_values.json:5:9: compression.target_device: unknown value 'VPU'.",
            f"wrong_values.json:13:44: {PARAMS}.weights.mode: unknown value 'symetric'. Did you mean 'symmetric'?",
        )
    ),
    "weights_aggregator.json": Fails(
        (f"weights_aggregator.json:9:61: {PARAMS}.weights.range_estimator.max.aggregator: weights are no samples",)
    ),
    "estimator_granularity.json": Fails(
        (f"estimator_granularity.json:9:65: {PARAMS}.activations.range_estimator.min.granularity: ",)
    ),
    "two_values.json": Fails(
        ("two_values.json:7:55: compression.algorithms.1.params.stat_subset_size: 200 here and 100 at two",)
    ),
    "too_many.json": Fails(
        (
            "too_many.json:5:9: compression.algorithms: DefaultQuantization twice",
            "too_many.json:5:9: compression.algorithms: MinMaxQuantization is part of DefaultQuantization",
        )
    ),
    "missing_model.json": Fails(
        (
            "missing_model.json:2:15: model.model: there is no file 'modle.xml'. Did you mean 'model.xml'?",
            "missing_model.json:2:37: model.weights: there is no file 'nowhere/model.bin'.",
        )
    ),
    "missing_file.json": Fails(
        ("missing_file.json:3:16: engine.config: vox.yml: ",), ("does not exist. Did you mean 'voc.yml'?",)
    ),
    "cascade.json": Fails(("cascade.json:2:38: model.cascade: ",)),
    "optimizer.json": Fails(("optimizer.json:5:5: optimizer: ",)),
    "ac_wrong_names.json": Fails(
        (
            "wrong_names.yml:7:9: models.0.launchers.0.adapter.type: adapter 'yolo_v8' is not supported.",
            f"wrong_names.yml:12:11: {DATASET}.annotation_conversion.converter: converter 'voc_detecton'",
            f"wrong_names.yml:13:9: {DATASET}.reader.type: reader 'tf_imread' is not supported.",
            f"wrong_names.yml:15:13: {DATASET}.preprocessing.0.type: preprocessing 'resise' is not supported.",
            f"wrong_names.yml:17:13: {DATASET}.preprocessing.1.type: preprocessing 'padding' is not supported.",
            f"wrong_names.yml:19:13: {DATASET}.postprocessing.0.type: postprocessing 'soft_nms' is not supported.",
            f"wrong_names.yml:21:13: {DATASET}.metrics.0.type: metric 'mean_iou' is not supported.",
        ),
        ("Did you mean 'voc_detection'?", "Did you mean 'resize'?", "Supported: opencv_imread, pillow_imread, numpy"),
        E,
    ),
    "ac_wrong_keys.json": Fails(
        (
            "wrong_keys.yml:7:30: models.0.launchers.0.adapter.outputs: unknown key. Did you mean 'output'?",
            f"wrong_keys.yml:14:11: {DATASET}.annotation_conversion.annotation_fil: unknown key.",
            f"wrong_keys.yml:17:13: {DATASET}.preprocessing.0.siz: unknown key. Did you mean 'size'?",
            f"wrong_keys.yml:22:13: {DATASET}.preprocessing.2.use_tensorflow: images are not resized by TensorFlow",
            f"wrong_keys.yml:10:9: {DATASET}.data_sourse: unknown key. Did you mean 'data_source'?",
            f"wrong_keys.yml:25:13: {DATASET}.metrics.0.topk: unknown key. Did you mean 'top_k'?",
        ),
        flags=E,
    ),
    "ac_pickled.json": Fails(
        (
            f"pickled.yml:11:9: {DATASET}.annotation: a converted annotation is a pickle",
            f"pickled.yml:12:9: {DATASET}.subset_file: is not supported.",
        )
    ),
    "ac_module.json": Fails(("module.yml:1:1: evaluations: ",)),
    "ac_launcher.json": Fails(("launcher.yml:3:5: models.0.launchers: expected a launcher of the framework openvino",)),
}


def translated(name: str, *flags: str) -> Run:
    """What ``ptq-pot -c name flags`` would run."""
    arguments = parse(["-c", name, *flags])
    return all_checked(translations_of(arguments), arguments)[0]


def value(config: Any, key: str) -> Any:
    """The value of a dotted key in a configuration."""
    for part in key.split("."):
        config = config[int(part)] if isinstance(config, list | tuple) else config[part]
    return str(config) if isinstance(config, Path) else config


def test_every_file_of_the_corpus_stands_here() -> None:
    configurations = {file.name for file in CORPUS.iterdir() if file.suffix in (".json", ".yaml")}
    assert configurations == {*RUN, *FAIL, "ac_missing_data.json"}
    assert len(configurations) >= 30


@pytest.mark.parametrize("name", RUN)
@pytest.mark.usefixtures("workspace")
def test_is_translated(name: str) -> None:
    row = RUN[name]
    run = translated(name, *row.flags)
    config = asdict(run.config)
    assert {key: value(config, key) for key in row.settings} == row.settings
    assert len(run.translation.notices) == len(row.notices)
    for notice, beginning in zip(run.translation.notices, row.notices, strict=True):
        assert notice.startswith(beginning)
    assert run.translation.quantizes == row.quantizes
    if row.samples is not None:
        samples = open_source(run.config.dataset)
        assert len(samples) == row.samples
        assert samples.load(0, ["image"])["image"].shape == (3, 64, 64)


@pytest.mark.parametrize("name", FAIL)
@pytest.mark.usefixtures("workspace")
def test_is_refused(name: str) -> None:
    row = FAIL[name]
    with pytest.raises(InputError) as caught:
        translated(name, *row.flags)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(row.lines), lines
    for line, beginning in zip(lines, row.lines, strict=True):
        assert line.startswith(beginning)
    for hint in row.hints:
        assert hint in str(caught.value)


@pytest.mark.usefixtures("workspace")
def test_missing_data_are_named_when_they_are_opened() -> None:
    config = translated("ac_missing_data.json").config
    with pytest.raises(InputError, match="nowhere: data_source does not exist"):
        open_source(config.dataset)


@pytest.mark.usefixtures("workspace")
def test_what_is_only_evaluated_need_not_be_supported_to_calibrate() -> None:
    lines = FAIL["ac_wrong_names.json"].lines
    with pytest.raises(InputError) as caught:
        translated("ac_wrong_names.json")
    unsupported = [line for line in lines if "adapter" not in line and "postpro" not in line and "metrics" not in line]
    assert len(str(caught.value).splitlines()) == len(unsupported) == 4


def test_an_evaluation_data_set_takes_nothing_from_the_other_one(workspace: Path) -> None:
    labels = {"annotation_conversion": {"converter": "imagenet", "annotation_file": "labels.txt"}}
    own = {"reader": "pillow_imread", "subsample_size": 2, "subsample_seed": 7, "shuffle": False, **labels}
    datasets = {
        "optimization": {"name": "a", "data_source": "voc/JPEGImages", **own},
        "evaluation": {"name": "b", "data_source": "coco/images", "metrics": [{"type": "accuracy"}]},
    }
    content = json.loads(without_comments((workspace / "template.json").read_text(encoding="utf-8")))
    content["engine"] = {"launchers": [{"framework": "openvino"}], "datasets": datasets}
    (workspace / "roles.json").write_text(json.dumps(content), encoding="utf-8")
    config = translated("roles.json", "-e").config
    assert config.validation == AnnotatedFilesOptions(data_source=Path("coco/images"))
    assert config.dataset != replace(config.validation, data_source=Path("voc/JPEGImages"))


@pytest.mark.usefixtures("workspace")
def test_classes_are_those_of_the_converters() -> None:
    voc = annotations_of(open_source(translated("with_voc.json").config.dataset))
    assert dict(voc.classes) == {0: "circle", 1: "square", 2: "triangle"}
    defined = annotations_of(open_source(translated("with_defined.json").config.dataset))
    assert dict(defined.classes) == {0: "__background__", 1: "circle", 2: "square", 3: "triangle"}
    assert defined.background == 0
    assert voc.boxes is not None
    assert defined.boxes is not None
    assert [list(each.labels + 1) for each in voc.boxes] == [list(each.labels) for each in defined.boxes]


def test_base_folders_come_from_the_environment(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", str(workspace))
    config = translated("with_voc.json").config
    assert value(asdict(config), "dataset.data_source") == str(workspace / "voc/JPEGImages")
    assert value(asdict(config), "dataset.annotation.imageset_file") == str(workspace / "voc/test.txt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": [{"name": "image", "layout": 5}]}, "layout: expected the axes of the input, like NCHW, got 5"),
        ({}, "broken_definitions.yml:1:1: launchers: expected a list, got 5"),
    ],
)
def test_launchers_of_other_types_are_one_line(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    launcher = {"framework": "openvino", "adapter": "classification"} | change
    datasets = [{"name": "a", "data_source": "voc/JPEGImages"}]
    (workspace / "typed.yml").write_text(
        json.dumps({"models": [{"name": "m", "launchers": [launcher], "datasets": datasets}]}), encoding="utf-8"
    )
    if not change:
        (workspace / "broken_definitions.yml").write_text("launchers: 5\n", encoding="utf-8")
        monkeypatch.setenv("DEFINITIONS_FILE", str(workspace / "broken_definitions.yml"))
    arguments = parse(["-q", "default", "-m", "model.xml", "--ac-config", "typed.yml"])
    with pytest.raises(InputError) as caught:
        translations_of(arguments)
    (line,) = str(caught.value).splitlines()
    assert message in line


def test_definitions_come_from_the_environment(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFINITIONS_FILE", str(workspace / "definitions.yml"))
    config = translated("with_voc.json", "-e").config
    # What the file itself says comes first.
    assert value(asdict(config), "dataset.preprocessing.0.size") == 64
    assert value(asdict(config), "evaluation.metrics.0.integral") == "11point"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("-c", "template.json", "-m", "model.xml"), "either --config or -m option should be specified"),
        (("-c", "template.json", "--engine", "simplified"), "either --config or --engine option"),
        (("-c", "template.json", "--data-source", "voc"), "either --config or --data-source option"),
        (("-c", "template.json", "--max-drop", "0.01"), "either --config or --max-drop option"),
        (("-q", "default"), "-q default needs -m"),
        (("-q", "default", "-m", "model.xml"), "-q default needs samples: --ac-config"),
        (("-q", "default", "-m", "model.xml", "--engine", "simplified"), "-q default needs samples: --data-source"),
        (("-q", "accuracy_aware", "-m", "model.xml", "--max-drop", "0.01"), "accuracy_aware: not supported"),
        (("-q", "default", "-m", "modle.xml", "--ac-config", "voc.yml"), "there is no file 'modle.xml'"),
        (
            ("-q", "default", "-m", "model.xml", "--ac-config", "voc.yml", "--data-source", "voc"),
            "--ac-config and --data-source: expected one of them",
        ),
        (
            ("-q", "default", "-m", "model.xml", "--engine", "simplified", "--ac-config", "voc.yml"),
            "-q default needs samples: --data-source",
        ),
        (("-q", "default", "-m", "labels.txt", "--data-source", "voc"), "OpenVINO cannot read 'labels.txt'"),
        (("-c", "template.json", "quantization.preset=mixed,performance"), "preset=mixed,performance: several values"),
        (("-c", "simplified_folder.json", "-e"), "-e needs annotations and metrics"),
        (("-c", "nowhere.json"), "nowhere.json: configuration does not exist"),
        (
            ("-c", "voc.yml"),
            "voc.yml:1:1: models: this is an Accuracy Checker file; expected a configuration with model,",
        ),
        (("-c", "module.yml"), "module.yml:1:1: evaluations: this is an Accuracy Checker file"),
        (
            ("-q", "default", "-m", "model.xml", "--ac-config", "template.json"),
            "compression: this is a configuration of POT, which -c takes",
        ),
        (("-c", "labels.txt"), "labels.txt: configuration has the suffix '.txt'; expected .json, .yaml, .yml"),
        (("-c", "template.json", "quantization.bit=8"), "quantization.bit: unknown key 'bit'"),
        (("-c", "template.json", "preset=mixed"), "preset: unknown key 'preset'. Did you mean 'quantization.preset'?"),
    ],
)
@pytest.mark.usefixtures("workspace")
def test_wrong_flags_are_one_line(flags: tuple[str, ...], message: str) -> None:
    arguments = parse(flags)
    with pytest.raises(InputError) as caught:
        all_checked(translations_of(arguments), arguments)
    (line,) = str(caught.value).splitlines()
    assert message in line


@pytest.mark.parametrize(
    ("word", "beginning"),
    [
        ("quantization.preset=mixd", "quantization.preset: unknown value 'mixd'"),
        ("quantization.preset=mixed,accuracy", "quantization.preset=mixed,accuracy: several values at once"),
        ("quantization.ignored.scope=[5]", "quantization.ignored.scope.0: expected a name"),
        ("nowhere.deep=5", "nowhere: unknown key 'nowhere'"),
        ("mixed", "'mixed': expected key=value"),
        ("model.path=[a", "'model.path=[a': expected key=value"),
    ],
)
@pytest.mark.usefixtures("workspace")
def test_mistakes_of_the_command_line_are_not_those_of_a_file(word: str, beginning: str) -> None:
    arguments = parse(["-c", "template.json", "-c", "template.json", word])
    with pytest.raises(InputError) as caught:
        all_checked(translations_of(arguments), arguments)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(beginning)


@pytest.mark.parametrize("words", [("-d",), ("output_dir=same",)])
@pytest.mark.usefixtures("workspace")
def test_runs_that_would_overwrite_each_other_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=f"^{words[0]}: several configurations would overwrite each other"):
        pot(parse(["-c", "template.json", "-c", "minmax.json", *words]), unused)


def unused(*_: Any) -> Any:
    raise AssertionError("nothing may run")


@pytest.mark.usefixtures("workspace")
def test_a_run_that_fails_stops_no_other(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    failures = {
        "template.json": RuntimeError("it fell over"),
        "minmax.json": InputError("bad data"),
        "weights.json": None,
    }
    tried = []

    def run(one: Run, *_: Any) -> None:
        tried.append(one.translation.origin)
        if failure := failures[one.translation.origin]:
            raise failure

    monkeypatch.setattr("flows.commands.pot._run", run)
    monkeypatch.setattr("flows.commands.pot.run_environment", lambda *_: nullcontext())
    for names, code in ((list(failures), 1), (["minmax.json", "weights.json"], 2), (["weights.json"], 0)):
        words = [word for name in names for word in ("-c", name)]
        assert pot(parse(words), lambda _: unused) == code
    assert tried[:3] == list(failures)
    assert "RuntimeError: it fell over" in capsys.readouterr().err


@pytest.mark.usefixtures("workspace")
def test_the_place_of_the_model_has_to_be_free(tmp_path: Path) -> None:
    words = ["-c", "template.json", "-d", "--output-dir", str(tmp_path)]
    (tmp_path / "optimized").write_text("mine")
    with pytest.raises(InputError, match="optimized: is a file; expected a folder"):
        pot(parse(words), unused)
    (tmp_path / "optimized").unlink()
    (tmp_path / "optimized" / "model_name.xml").mkdir(parents=True)
    with pytest.raises(InputError, match="is a folder; the model's file goes there"):
        pot(parse(words), unused)


def test_models_may_lie_at_home(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(workspace))
    arguments = parse(["-q", "default", "-m", "~/model.xml", "-w", "~/model.bin", "--ac-config", "voc.yml"])
    (run,) = all_checked(translations_of(arguments), arguments)
    assert run.config.model.path == str(workspace / "model.xml")
    assert run.config.model.weights is None


@pytest.mark.usefixtures("workspace")
def test_flags_without_a_file_are_the_built_in_template() -> None:
    arguments = parse(["-q", "default", "-m", "model.xml", "-w", "model.bin", "-n", "mine", "--ac-config", "voc.yml"])
    (run,) = all_checked(translations_of(arguments), arguments)
    assert run.translation.name == "mine"
    assert run.config.quantization.preset == "performance"
    assert run.config.quantization.stat_subset_size == 300
    assert run.config.output_dir.parent == Path("results/mine_DefaultQuantization")
    arguments = parse(
        ["-q", "default", "-m", "model.xml", "--preset", "mixed", "--data-source", "voc/JPEGImages", "-d"]
    )
    (run,) = all_checked(translations_of(arguments), arguments)
    assert run.config.quantization.preset == "mixed"
    assert run.config.output_dir == Path("results")


@pytest.mark.usefixtures("workspace")
def test_images_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    for name, content in (("a.png", b""), ("b.png", Path("voc/JPEGImages/000000.png").read_bytes()), ("c.txt", b"")):
        (tmp_path / name).write_bytes(content)
    arguments = parse(["-q", "default", "-m", "model.xml", "--data-source", str(tmp_path)])
    (translation,) = translations_of(arguments)
    assert [notice for notice in translation.notices if "'a.png' cannot be read as images" in notice]
    (tmp_path / "a.png").unlink()
    assert not translations_of(arguments)[0].notices


def test_parts_may_leave_the_number_of_samples_to_one_of_them(workspace: Path) -> None:
    content = json.loads(without_comments((workspace / "parts.json").read_text(encoding="utf-8")))
    for number, each in enumerate(content["compression"]["algorithms"]):
        each["params"].pop("stat_subset_size", None)
        each["params"] |= {"stat_subset_size": 7} if number == 1 else {}
    (workspace / "one_number.json").write_text(json.dumps(content), encoding="utf-8")
    assert translated("one_number.json").config.quantization.stat_subset_size == 7


@pytest.mark.usefixtures("workspace")
def test_mistakes_of_all_files_come_at_once() -> None:
    arguments = parse(["-c", "cascade.json", "-c", "template.json", "-c", "optimizer.json"])
    with pytest.raises(InputError) as caught:
        all_checked(translations_of(arguments), arguments)
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == ["cascade.json", "optimizer.json"]


@pytest.mark.usefixtures("workspace")
def test_runs_of_the_same_model_get_folders_of_their_own() -> None:
    arguments = parse(["-c", "template.json", "-c", "template.json", "-c", "template.json"])
    folders = [run.config.output_dir for run in all_checked(translations_of(arguments), arguments)]
    assert len(set(folders)) == 3


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("template.json", ()),
        ("inline.json", ()),
        ("with_coco.json", ()),
        ("ignored.json", ()),
        ("simplified_arrays.json", ()),
        ("simplified_arrays.json", ("runtime.threads=2", "quantization=best", "quantization.preset=mixed")),
        ("simplified_arrays.json", ("quantization.ignored.scope=['\\${x}','a b','1']", "output_dir=here")),
        ("simplified_arrays.json", ("validation=digits",)),
    ],
)
@pytest.mark.usefixtures("workspace")
def test_the_yaml_for_hydra_composes_to_the_same(name: str, overrides: tuple[str, ...], tmp_path: Path) -> None:
    flags = (*RUN[name].flags, *overrides)
    printed = as_hydra(translated(name, *flags, "--to-hydra"))
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "from_pot.yaml").write_text(printed.partition("\n\n")[2], encoding="utf-8")
    words = [f"hydra.searchpath=['file://{tmp_path}']", "experiment=from_pot"]
    with initialize_config_module("conf", version_base="1.3"):
        composed = from_hydra(compose("quantize", overrides=words), QuantizeConfig)
    expected = translated(name, *flags, "--to-hydra").config
    assert replace(composed, output_dir=expected.output_dir) == expected


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("compression", "algorithms", 0, "name"), ["DefaultQuantization"], "expected the name of an algorithm"),
        (("compression", "algorithms", 0, "params", "preset"), ["mixed"], "preset: "),
        (("compression", "algorithms"), "DefaultQuantization", "compression.algorithms: expected an object"),
        (("compression", "target_device"), {"CPU": 1}, "compression.target_device: "),
        (("model", "model"), 5, "model.model: expected the path"),
        (("model", "model_name"), "../up", "model.model_name: '../up' becomes the name of files"),
        (("engine",), "voc.yml", "engine: expected an object"),
        (("engine", "type"), ["simplified"], "engine.type: engine type"),
        (("engine", "config"), 5, "engine.config: 5: "),
        (("engine", "config"), {"a": 1}, "engine.config: {'a': 1}: expected the path of an Accuracy Checker file"),
    ],
)
def test_values_of_other_types_are_one_line(
    workspace: Path, place: tuple[str | int, ...], value: Any, message: str
) -> None:
    content: Any = json.loads(without_comments((workspace / "template.json").read_text(encoding="utf-8")))
    node = content
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    (workspace / "changed.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        translated("changed.json")
    (line,) = str(caught.value).splitlines()
    assert message in line
    assert line.startswith("changed.json:1:")
