"""Every file of conf/ composes and is valid; every problem is one line that says what is allowed."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from flows.commands.preflight import check
from tasks.config.schema import EvaluateConfig, QuantizeConfig, from_hydra
from tasks.data.arrays import Arrays
from tasks.data.digits import Digits
from tasks.data.image_folder import ImageFolder
from tasks.errors import InputError
from tasks.graph.presets import Preset
from tasks.records import flatten
from tasks.tracking.client import SCHEMES

CONF = Path(__file__).parents[2] / "conf"
CONFIGS = {"quantize": QuantizeConfig, "evaluate": EvaluateConfig}
IMAGES = ["dataset=image_folder", "dataset.path=photos"]
ARRAYS = ["dataset=arrays", "dataset.path=x.npz"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PTQ_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module", autouse=True)
def _no_leftovers() -> Iterator[None]:
    yield
    # Hydra's composing is a singleton of the process: whoever leaves it open breaks all who come after.
    with initialize_config_module("conf", version_base="1.3"):
        pass


def configuration(*overrides: str, name: str = "quantize") -> Any:
    with initialize_config_module("conf", version_base="1.3"):
        return from_hydra(compose(name, overrides=list(overrides)), CONFIGS[name])


def problems(*arguments: str, name: str = "quantize") -> list[str]:
    return list(check(name, CONFIGS[name], list(arguments)).problems)


# --- what is there


def options() -> list[list[str]]:
    """One list of overrides for each file of a group."""
    needed = {"arrays": "path=x.npz", "image_folder": "path=photos", "callable": "path=my_data.make"}
    found = []
    for file in sorted(CONF.glob("*/*.yaml")):
        group, name = file.parent.name, file.stem
        overrides = [f"dataset={name}"] if group == "validation" else []
        overrides += ["dataset=annotated_files"] if group == "preprocessing" else []
        if group in ("dataset", "validation") and name in needed:
            overrides.append(f"dataset.{needed[name]}")
        found.append([*overrides, f"{group}={name}"])
    return found


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("overrides", options(), ids=lambda overrides: overrides[-1])
def test_every_option_of_every_group_is_valid(name: str, overrides: list[str]) -> None:
    assert isinstance(configuration(*overrides, name=name), CONFIGS[name])
    assert problems(*overrides, name=name) == []


def test_every_yaml_was_composed() -> None:
    composed = {overrides[-1].replace("=", "/") for overrides in options()} | set(CONFIGS) | {"hydra/sweeper/search"}
    assert composed == {str(file.relative_to(CONF).with_suffix("")) for file in CONF.rglob("*.yaml")}


def test_quantization_files_agree_with_the_code_about_defaults() -> None:
    composed = configuration().quantization
    assert composed == type(composed)()


def test_what_is_written_in_yaml_is_the_whole_of_the_options() -> None:
    written = OmegaConf.to_container(OmegaConf.load(CONF / "quantization" / "default.yaml"))
    assert isinstance(written, dict)
    assert written.keys() == asdict(configuration().quantization).keys()


def test_values_have_the_types_of_the_core() -> None:
    config = configuration(*IMAGES, "quantization.preset=mixed", "dataset.mean=[1,2,3]", "dataset.resize=32")
    assert config.quantization.preset is Preset.MIXED
    assert isinstance(config.dataset, ImageFolder)
    assert config.dataset.path == Path("photos")
    assert config.dataset.mean == (1, 2, 3)
    assert config.dataset.resize == 32


def test_validation_follows_the_calibration_data() -> None:
    config = configuration(*IMAGES, "dataset.scale=255", "validation.path=others")
    assert config.validation == replace(config.dataset, path=Path("others"))
    assert configuration(*ARRAYS).validation == Arrays(Path("x.npz"))
    assert configuration().validation == Digits("validation")
    assert configuration().dataset == Digits("training")


def test_validation_takes_over_every_option_of_its_kind() -> None:
    config = configuration(*ARRAYS, "dataset.samples=calib", "dataset.labels=target", "validation.path=others.npz")
    assert config.validation == Arrays(Path("others.npz"), samples="calib", labels="target")


DATA = {
    "arrays": ("arrays", "path=x.npz"),
    "image_folder": ("image_folder", "path=photos"),
    "annotated_files": ("annotated_files", "data_source=photos"),
    "callable": ("callable", "path=my_data.make"),
    "digits": ("digits",),
}


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("other", DATA)
def test_validation_may_be_of_another_kind(kind: str, other: str) -> None:
    def words(group: str, name: str) -> list[str]:
        first, *more = DATA[name]
        return [f"{group}={first}", *(f"{group}.{each}" for each in more)]

    config = configuration(*words("dataset", kind), *words("validation", other))
    alone = configuration(*words("dataset", other), *words("validation", other))
    assert config.validation == alone.validation
    assert config.dataset.kind == kind


def test_state_goes_where_the_environment_says(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert configuration().runtime.home == home
    monkeypatch.delenv("PTQ_HOME")
    assert configuration().runtime.home == Path(".ptq")


def test_flattened_keys_are_those_of_the_command_line() -> None:
    flat = flatten(configuration(*ARRAYS))
    assert flat["quantization.preset"] == "performance"
    assert flat["dataset.path"] == "x.npz"
    assert flat["validation.kind"] == "arrays"
    known = [f"{key}={'null' if value is None else value}" for key, value in flat.items() if value != ()]
    assert problems("dataset=arrays", *known) == []


# --- problems


@dataclass(frozen=True)
class Problem:
    arguments: str
    lines: tuple[str, ...]


VALUES = {
    "key of a group": Problem(
        "+quantization.prest=mixed",
        ("quantization.prest: unknown key 'prest'. Did you mean 'preset'? Allowed: ",),
    ),
    "key at the top": Problem(
        "+out_dir=x", ("out_dir: unknown key 'out_dir'. Did you mean 'output_dir'? Allowed: model, dataset,",)
    ),
    "key of a data set": Problem(
        "+dataset.splt=x", ("dataset.splt: unknown key 'splt'. Did you mean 'split'? Allowed: kind, split",)
    ),
    "name": Problem(
        "quantization.preset=mixd",
        ("quantization.preset: unknown value 'mixd'. Did you mean 'mixed'? Allowed: performance, mixed, accuracy",),
    ),
    "name of another spelling": Problem(
        "quantization.preset=MIXED",
        ("quantization.preset: unknown value 'MIXED'. Did you mean 'mixed'? Allowed: performance, mixed, accuracy",),
    ),
    "literal": Problem(
        "dataset.split=train",
        ("dataset.split: unknown value 'train'. Did you mean 'training'? Allowed: training, validation",),
    ),
    "kind of data": Problem(
        "dataset.kind=digit",
        ("dataset.kind: unknown value 'digit'. Did you mean 'digits'? Allowed: arrays, image_folder, digits",),
    ),
    "zero samples": Problem(
        "quantization.stat_subset_size=0",
        ("quantization.stat_subset_size: input should be greater than or equal to 1, got 0",),
    ),
    "half a sample": Problem(
        "quantization.stat_subset_size=1.5",
        ("quantization.stat_subset_size: input should be a valid integer, got 1.5",),
    ),
    "word for a number": Problem(
        "quantization.stat_subset_size=many",
        ("quantization.stat_subset_size: input should be a valid integer, got 'many'",),
    ),
    "truth for a number": Problem(
        "quantization.stat_subset_size=true",
        ("quantization.stat_subset_size: input should be a valid integer, got True",),
    ),
    "word for a truth": Problem(
        "quantization.shuffle_data=maybe",
        ("quantization.shuffle_data: expected true or false, got 'maybe'",),
    ),
    "abbreviation": Problem(
        "quantization.weights.mode=sym",
        ("quantization.weights.mode: unknown value 'sym'. Did you mean 'symmetric'? Allowed: symmetric, asymmetric",),
    ),
    "neither true nor false nor auto": Problem(
        "quantization.channel_alignment=maybe",
        ("quantization.channel_alignment: unknown value 'maybe'. Allowed: auto, true, false",),
    ),
    "nothing for a name": Problem(
        "quantization.target_device=null",
        ("quantization.target_device: unknown value 'null'. Allowed: ANY, CPU, CPU_SPR, GPU, NPU, GNA,",),
    ),
    "name of nothing": Problem(
        "quantization.model_type=bert",
        ("quantization.model_type: unknown value 'bert'. Allowed: transformer, auto, null",),
    ),
    "number for keys": Problem(
        "quantization.weights=8", ("quantization.weights: expected the keys bits, mode, granularity, level_low,",)
    ),
    "word for a border": Problem(
        "quantization.activations.range_estimator.min=5",
        ("quantization.activations.range_estimator.min: expected the keys type, outlier_prob, aggregator,",),
    ),
    "word for a list": Problem(
        "quantization.ignored.scope=conv1",
        ("quantization.ignored.scope: expected a list in brackets, [a, b], got 'conv1'",),
    ),
    "number for a name": Problem(
        "quantization.ignored.scope=[5]",
        ("quantization.ignored.scope.0: expected a name or {re: pattern}, got 5",),
    ),
    "key of a pattern": Problem(
        "quantization.ignored.scope=[{regex:a}]",
        ("quantization.ignored.scope.0.regex: unknown key 'regex'. Allowed: re",),
    ),
    "broken pattern": Problem(
        "quantization.ignored.scope=[{re:'('}]",
        ("quantization.ignored.scope.0.re: '(' is no regular expression: missing )",),
    ),
    "type without its key": Problem(
        "quantization.ignored.operations=[MatMul]",
        ("quantization.ignored.operations.0: expected the keys type, attributes, got 'MatMul'",),
    ),
    "misspelt key of an operation": Problem(
        "quantization.ignored.operations=[{typ:MatMul}]",
        ("quantization.ignored.operations.0.typ: unknown key 'typ'. Did you mean 'type'? Allowed: type, attributes",),
    ),
    "mapping for an attribute": Problem(
        "quantization.ignored.operations=[{type:MatMul,attributes:{a:{b:1}}}]",
        ("quantization.ignored.operations.0.attributes.a: expected a list in brackets, [a, b], got {'b': 1}",),
    ),
    "no threads": Problem("runtime.threads=0", ("runtime.threads: input should be greater than or equal to 1, got 0",)),
    "empty shards": Problem(
        "runtime.shard_size=0", ("runtime.shard_size: input should be greater than or equal to 1, got 0",)
    ),
    "negative time": Problem(
        "evaluation.speed_seconds=-1",
        ("evaluation.speed_seconds: input should be greater than or equal to 0, got -1",),
    ),
    "endless time": Problem(
        "evaluation.speed_seconds=inf", ("evaluation.speed_seconds: input should be a finite number, got inf",)
    ),
    "name alone": Problem(
        "evaluation.adapter=ssd", ("evaluation.adapter: expected {type: NAME}, got 'ssd'. Names: classification, ssd,",)
    ),
    "misspelt names alone": Problem(
        "dataset=annotated_files dataset.reader=pilow_imread dataset.annotation=vocdetection evaluation.metrics=[map]",
        (
            "dataset.annotation: expected {converter: NAME}, got 'vocdetection'. Did you mean 'voc_detection'? Names: ",
            "dataset.reader: expected {type: NAME}, got 'pilow_imread'. Did you mean 'pillow_imread'? Names: opencv",
            "evaluation.metrics.0: expected {type: NAME}, got 'map'. Names: accuracy, ",
        ),
    ),
    "name of anchors": Problem(
        "evaluation.adapter={type:yolo_v3,outputs:[a],anchors:yolo}",
        (
            "evaluation.adapter.anchors: unknown value 'yolo'. Did you mean 'yolo_v3'? Allowed: yolo_v2, tiny_yolo_v2, "
            "yolo_v3, tiny_yolo_v3, [width,height,...]",
        ),
    ),
    "share in percent": Problem(
        "evaluation.metrics=[{type:map,overlap_threshold:50}]",
        ("evaluation.metrics.0: overlap_threshold 50.0; expected above 0 and up to 1",),
    ),
    "address that MLflow does not know": Problem(
        "tracking.uri=htp://mlflow:5000",
        ("tracking.uri: unknown scheme 'htp'. Did you mean 'http'? Allowed: file, sqlite,",),
    ),
    "no model": Problem("model.path=", ("model.path: a value is needed, got ''",)),
    "null model": Problem("model.path=null", ("model.path: input should be a valid string, got null",)),
    "empty folder": Problem("output_dir=", ("output_dir: a value is needed, got ''",)),
    "empty data": Problem("dataset=arrays dataset.path=", ("dataset.path: a value is needed, got ''",)),
    "null folder": Problem("output_dir=null", ("output_dir: expected a path, got null",)),
    "no memory": Problem("runtime.memory_limit=0", ("runtime.memory_limit: input should be greater than 0, got 0",)),
    "limit that is no number": Problem(
        "quantization.activations.range_estimator.max.clipping_value=nan",
        ("quantization.activations.range_estimator.max.clipping_value: expected a finite number, got nan",),
    ),
    "key of an entry": Problem(
        "quantization.ignored.scope=[{rex:a}]",
        ("quantization.ignored.scope.0.rex: unknown key 'rex'.",),
    ),
    "missing path": Problem("dataset=arrays", ("dataset.path: a value is needed, for example dataset.path=...",)),
    "missing folder": Problem(
        "dataset=image_folder", ("dataset.path: a value is needed, for example dataset.path=...",)
    ),
    "missing key": Problem("~output_dir", ("output_dir: a value is needed",)),
    "unset variable": Problem(
        "output_dir=${oc.env:PTQ_NOT_SET}",
        ("output_dir: environment variable 'PTQ_NOT_SET' not found, for example output_dir=...",),
    ),
    "three problems": Problem(
        "quantization.preset=mixd runtime.shard_size=x dataset.split=train",
        (
            "dataset.split: unknown value 'train'.",
            "quantization.preset: unknown value 'mixd'.",
            "runtime.shard_size: input should be a valid integer, got 'x'",
        ),
    ),
    "problem that validation repeats": Problem(
        "dataset=image_folder dataset.path=x dataset.layout=nchww",
        ("dataset.layout: unknown value 'nchww'. Did you mean 'nchw'? Allowed: nchw, nhwc",),
    ),
    "problem of validation alone": Problem(
        "dataset=image_folder dataset.path=x validation.layout=nchww",
        ("validation.layout: unknown value 'nchww'. Did you mean 'nchw'? Allowed: nchw, nhwc",),
    ),
}


@pytest.mark.parametrize("uri", ["runs", "databricks", "mysql+pymysql://me@server/db", "HTTPS://server"])
def test_addresses_that_mlflow_knows(uri: str) -> None:
    assert configuration(f"tracking.uri={uri}").tracking.uri == uri


def test_schemes_are_those_of_mlflow() -> None:
    from mlflow.tracking._tracking_service import utils  # noqa: PLC0415 - a second that no other test waits for

    assert set(utils._tracking_store_registry._registry) == {*SCHEMES, ""}


@pytest.mark.parametrize("row", VALUES.values(), ids=VALUES.keys())
def test_wrong_values_are_one_line_each(row: Problem) -> None:
    with pytest.raises(InputError) as caught:
        configuration(*row.arguments.split())
    assert_lines(str(caught.value).splitlines(), row.lines)
    assert problems(*row.arguments.split()) == str(caught.value).splitlines()


# What Hydra would refuse in its own words, and sweeps, which it would start.
ARGUMENTS = {
    "key of a group": Problem(
        "quantization.prest=mixed",
        ("quantization.prest: unknown key 'prest'. Did you mean 'preset'? Allowed: ",),
    ),
    "key that is deleted": Problem("~quantization.prest", ("quantization.prest: unknown key 'prest'. Did you mean",)),
    "key of Hydra": Problem("hydra.nope=1", ("Could not override 'hydra.nope'.",)),
    "group": Problem(
        "quantisation.preset=mixed",
        ("quantisation: unknown key 'quantisation'. Did you mean 'quantization'? Allowed: dataset, evaluation,",),
    ),
    "two keys": Problem("a.b.c=1 model.pth=x", ("a: unknown key 'a'. Allowed:", "model.pth: unknown key 'pth'. Did")),
    "option of a group": Problem(
        "dataset=digit",
        (
            "dataset: unknown value 'digit'. Did you mean 'digits'? "
            "Allowed: annotated_files, arrays, callable, digits, image_folder",
        ),
    ),
    "list for an option of a group": Problem("dataset=[5]", ("dataset: unknown value '5'. Allowed: ",)),
    "no option of a group": Problem("quantization=null", ("quantization: unknown value 'null'. Allowed: ",)),
    "recipe": Problem("experiment=nope", ("experiment: unknown value 'nope'. Allowed: ",)),
    "launcher": Problem("hydra/launcher=nope", ("hydra/launcher: unknown value 'nope'. Allowed: basic",)),
    "no equals sign": Problem("digits", ("'digits': expected key=value; special characters of a value need quotes",)),
    "no key": Problem("=5", ("'=5': expected key=value; the key is missing",)),
    "no key but a package": Problem("@x=5", ("'@x=5': expected key=value; the key is missing",)),
    "letters Hydra does not know": Problem(
        "model.path=größe.xml",
        ("'model.path=größe.xml': expected key=value; special characters of a value need quotes: key='value'",),
    ),
    "value of another kind behind a first": Problem(
        "dataset=annotated_files dataset.annotation={converter:imagenet,annotation_file:a} "
        "dataset.annotation={converter:cifar,data_batch_file:b}",
        (
            "dataset.annotation: given twice, and the second value, {converter:cifar,data_batch_file:b}, has keys that "
            "the first has not; give it once",
        ),
    ),
    "key of null": Problem(
        "dataset=annotated_files dataset.annotation.converter=csv",
        (
            "dataset.annotation.converter: dataset.annotation is null or refers to another key; give it as a whole: "
            "dataset.annotation={converter: ...}",
        ),
    ),
    "key of a text": Problem("model.path.x=1", ("model.path.x: unknown key 'x'.",)),
    "brackets": Problem("model.path=[a.xml", ("'model.path=[a.xml': expected key=value;",)),
    "all unreadable words": Problem("x =5", ("'x': expected", "'=5': expected")),
    "group in another package": Problem("dataset@x=arrays", ("Could not override 'dataset@x'.",)),
    "group a second time": Problem("+dataset=arrays", ("Multiple values for dataset.",)),
    "sweep without the flag": Problem(
        "quantization.preset=mixed,accuracy", ("quantization.preset: a sweep of several values needs --multirun",)
    ),
    "trial of a sweep": Problem(
        "-m quantization.preset=mixed,accurcy,performance",
        ("quantization.preset: unknown value 'accurcy'. Did you mean 'accuracy'? Allowed: performance,",),
    ),
    "trials of two sweeps, each line once": Problem(
        "--multirun quantization.preset=mixed,accurcy quantization.stat_subset_size=0,5",
        ("quantization.stat_subset_size: input should", "quantization.preset: unknown value 'accurcy'."),
    ),
    "trial of a range": Problem(
        "-m quantization.stat_subset_size=range(0,3)",
        ("quantization.stat_subset_size: input should be greater than or equal to 1, got 0",),
    ),
    "sweep of an interval": Problem(
        "-m quantization.threshold=interval(1,3)",
        ("quantization.threshold: expected single values like 1,2, got interval(1,3), which only",),
    ),
    "settings of the search": Problem(
        "experiment=search hydra.sweeper.n_trials=x hydra.sweeper.n_jobs=0 hydra.sweeper.objectives.sqnr_db=maximise",
        (
            "hydra.sweeper.n_trials: expected a whole number from 1 on, got 'x'",
            "hydra.sweeper.n_jobs: expected a whole number from 1 on, got 0",
            "hydra.sweeper.objectives.sqnr_db: unknown value 'maximise'. Did you mean 'maximize'?",
        ),
    ),
    "search for nothing": Problem(
        "experiment=search hydra.sweeper.objectives=null", ("hydra.sweeper.objectives: expected a metric, like",)
    ),
    "unreadable values of a search": Problem(
        "experiment=search +hydra.sweeper.params.a='choice(1'", ("'a=choice(1': expected key=value;",)
    ),
    "run and sweep": Problem("-r -m", ("--run, --multirun: expected one of them",)),
    "flag without its question": Problem("--resolve", ("--resolve: expected beside --cfg",)),
    "package without its question": Problem("-p dataset", ("--package: expected beside --cfg",)),
    "trial of a sweep over a group": Problem(
        "-m dataset=digits,digit", ("dataset: unknown value 'digit'. Did you mean 'digits'?",)
    ),
    "trial of a sweep that misses a value": Problem("-m dataset=digits,arrays", ("dataset.path: a value is needed,",)),
}


@pytest.mark.parametrize("row", ARGUMENTS.values(), ids=ARGUMENTS.keys())
def test_wrong_arguments_are_one_line_each(row: Problem) -> None:
    assert_lines(problems(*row.arguments.split()), row.lines)


def assert_lines(found: list[str], expected: tuple[str, ...]) -> None:
    assert len(found) == len(expected), found
    for line, beginning in zip(found, expected, strict=True):
        assert line.startswith(beginning)
        assert "Traceback" not in line


RIGHT = [
    "",
    "~experiment",
    "~quantization",
    "-m quantization.preset=mixed,accuracy quantization.stat_subset_size=10,20",
    "-m quantization.stat_subset_size=range(1,4)",
    "quantization.stat_subset_size=null",
    "quantization.saturation_fix=no",
    "hydra.run.dir=x",
    "output_dir=a/b.c-d_e",
    "output_dir='größe = [1]'",
    "--help",
    "--cfg job",
]


@pytest.mark.parametrize("arguments", RIGHT)
def test_right_arguments_have_no_problems(arguments: str) -> None:
    words = [arguments] if "'" in arguments else arguments.split()
    assert problems(*words) == []


@pytest.mark.parametrize("name", CONFIGS)
def test_home_that_cannot_be_written(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (line,) = problems(f"runtime.home={tmp_path}/file/home", name=name)
    assert line == f"runtime.home: cannot write to '{tmp_path}/file/home': Not a directory"


def test_reference_belongs_to_evaluate_only() -> None:
    assert configuration("reference=float.xml", name="evaluate").reference == "float.xml"
    assert problems("+reference=float.xml")[0].startswith("reference: unknown key 'reference'.")


@pytest.mark.parametrize(
    ("arguments", "alone"),
    [("", True), ("runtime.shard_size=5", True), ("-m runtime.shard_size=5,6", False), ("hydra.run.dir=x", False)],
)
def test_only_plain_runs_are_composed_here(arguments: str, alone: bool) -> None:
    """Sweeps and everything that sets Hydra itself have to go through it."""
    checked = check("quantize", QuantizeConfig, arguments.split())
    assert not checked.problems
    assert (checked.sweep is not None) == ("-m" in arguments)
    if checked.sweep is None:
        assert (checked.config == configuration(*arguments.split())) if alone else checked.config is None
