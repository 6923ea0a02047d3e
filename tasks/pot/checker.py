"""Accuracy Checker's files: the entry of a model becomes settings of data sets and of the evaluation."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

from tasks.data.annotated_files import AnnotatedFiles, Converter
from tasks.data.operations import Operation
from tasks.data.readers import Reader
from tasks.metrics.boxes import Postprocessor
from tasks.metrics.predictions import Adapter
from tasks.metrics.scoring import Metric
from tasks.pot.document import Document, Place, read_document
from tasks.pot.model_input import ImageInput
from tasks.pot.section import Findings, Section

FRAMEWORKS = ("openvino", "dlsdk")
ROLES = {"optimization": "dataset", "evaluation": "validation"}
# Environment variables with the folders of relative paths, by the purpose of the paths.
DATA, ANNOTATIONS = "DATA_DIR", "ANNOTATIONS_DIR"
DEFINITIONS = "DEFINITIONS_FILE"

_OF_LAUNCHERS = (
    *("framework", "device", "batch", "model", "weights", "tags", "allow_reshape_input", "num_requests", "async_mode"),
    *("backend", "cpu_extensions", "device_config"),
)
_OF_PRESENTATION = (
    *("presenter", "reference", "abs_threshold", "rel_threshold", "label_map", "vectorial", "calculate_mean"),
    *("metric_target", "profile"),
)
# Options of converters that mean nothing here: they check files, or write images that are read directly here.
_OF_CONVERTERS = ("images_dir", "convert_images", "converted_images_dir", "batch_meta_file")


@dataclass(frozen=True)
class Names:
    """The members of a union by the name that tells them apart."""

    what: str
    tag: str
    members: Mapping[str, type[Any]]

    @classmethod
    def of(cls, what: str, tag: str, union: Any) -> "Names":
        """The names of a union of dataclasses, whose field ``tag`` is a Literal."""
        members = {
            name: member
            for member in get_args(union)
            for each in fields(member)
            if each.name == tag
            for name in get_args(each.type)
        }
        return cls(what, tag, members)


CONVERTERS = Names.of("converter", "converter", Converter)
READERS = Names.of("reader", "type", Reader)
OPERATIONS = Names.of("preprocessing", "type", Operation)
ADAPTERS = Names.of("adapter", "type", Adapter)
POSTPROCESSORS = Names.of("postprocessing", "type", Postprocessor)
METRICS = Names.of("metric", "type", Metric)


def translate_file(findings: Findings, file: Path, model: ImageInput | None, *, evaluate: bool) -> None:
    """Add the settings of an Accuracy Checker file to the findings. Raises InputError if it cannot be read."""
    document = read_document(file, "Accuracy Checker configuration")
    top = Section.of(findings, document, (), document.content)
    if "compression" in top:
        top.problem("compression", "this is a configuration of POT, which -c takes; expected an Accuracy Checker file.")
        return
    if "evaluations" in top:
        top.problem("evaluations", "custom evaluators are Python code of Accuracy Checker; use models.")
        return
    definitions = os.environ.get(DEFINITIONS) or top.take("global_definitions")
    top.ignore("global_definitions")
    models = top.sections("models")
    top.finish()
    if not models:
        top.problem("models", "expected a list with the model's launchers and datasets.")
        return
    if len(models) > 1:
        top.notice("models", f"the first of {len(models)} is used, {models[0].content.get('name')!r}.")
    shared = read_document(file.parent / str(definitions), "definitions") if definitions else None
    translate_model(models[0], model, shared, evaluate=evaluate)


def translate_model(entry: Section, model: ImageInput | None, shared: Document | None, *, evaluate: bool) -> None:
    """Add the settings of a model's ``launchers`` and ``datasets``; ``shared`` has defaults for both, by name."""
    entry.ignore("name", "description")
    layout = _launcher(entry, shared, evaluate=evaluate)
    datasets = _datasets(entry, shared)
    entry.finish()
    for role, dataset in datasets.items():
        if role == "evaluation" and not evaluate:
            continue  # its annotations may be missing
        _dataset(dataset, ROLES[role], model, layout)
    if evaluate and datasets:
        _evaluation(datasets.get("evaluation") or datasets["optimization"])


def _launcher(entry: Section, shared: Document | None, *, evaluate: bool) -> str | None:
    """The layout of the input, if it is given. Adds the adapter, which only an evaluation needs."""
    launchers = [_with_defaults(each, shared, "launchers", "framework") for each in entry.sections("launchers")]
    ours = [each for each in launchers if each.content.get("framework") in FRAMEWORKS]
    if not ours:
        found = ", ".join(repr(each.content.get("framework")) for each in launchers) or "none"
        entry.problem("launchers", f"expected a launcher of the framework openvino, got {found}.")
        return None
    launcher = ours[0]
    launcher.ignore(*_OF_LAUNCHERS)
    if launcher.content.get("device", "CPU") != "CPU":
        launcher.notice("device", "samples are inferred on the CPU.")
    adapter = launcher.take("adapter")
    if adapter is not None and evaluate:
        value = _member(launcher, "adapter", adapter, ADAPTERS)
        launcher.findings.set("evaluation.adapter", value, launcher.where("adapter"))
    layout = None
    for each in launcher.sections("inputs"):
        each.ignore("name", "precision", "shape")
        named = each.take("layout") or layout
        if named is not None and not isinstance(named, str):
            each.problem("layout", f"expected the axes of the input, like NCHW, got {named!r}.")
        layout = named if isinstance(named, str) else layout
        if each.take("type", "INPUT") != "INPUT":
            each.problem("type", f"inputs of the type {each.content['type']} are not supported; expected INPUT.")
        each.finish()
    launcher.finish()
    return layout


def _datasets(entry: Section, shared: Document | None) -> dict[str, Section]:
    """The data sets by role; one for both roles if the file has a list."""
    given = entry.content.get("datasets")
    if not isinstance(given, dict):
        found = entry.sections("datasets")
        if not found:
            entry.problem("datasets", "expected a list of data sets, or an object with optimization and evaluation.")
            return {}
        if len(found) > 1:
            entry.notice("datasets", f"the first of {len(found)} is used, {found[0].content.get('name')!r}.")
        return {"optimization": _with_defaults(found[0], shared, "datasets", "name")}
    tagged = entry.section("datasets")
    assert tagged is not None  # noqa: S101 - it is an object
    common = {key: tagged.take(key) for key in ("preprocessing", "postprocessing", "metrics") if key in tagged}
    datasets = {role: tagged.section(role) for role in ROLES}
    tagged.finish()
    if datasets["optimization"] is None:
        tagged.problem("optimization", "expected the data set to collect statistics from.")
    for each in datasets.values():
        if each is not None:
            each.content = common | each.content
    return {
        role: _with_defaults(each, shared, "datasets", "name") for role, each in datasets.items() if each is not None
    }


def _with_defaults(section: Section, shared: Document | None, kind: str, name: str) -> Section:
    """The section, completed from the entry of the same name in the definitions."""
    entries = shared.content.get(kind) if shared and isinstance(shared.content, dict) else None
    if shared and not isinstance(entries, list | None):
        section.findings.problems.append(f"{shared.where((kind,))}: {kind}: expected a list, got {entries!r}.")
        entries = None
    for entry in entries or []:
        if isinstance(entry, dict) and entry.get(name) == section.content.get(name) is not None:
            section.content = entry | section.content
            break
    return section


def _dataset(dataset: Section, group: str, model: ImageInput | None, layout: str | None) -> None:
    findings = dataset.findings
    findings.set(group, "annotated_files", dataset.where())
    values: dict[str, Any] = {}
    if "data_source" in dataset:
        values["data_source"] = based(dataset.take("data_source"), DATA)
    dataset.ignore("data_source", "name", "metrics", "postprocessing", "analyze_dataset", "store_subset")
    if annotation := _annotation(dataset):
        values["annotation"] = annotation
    if (reader := dataset.take("reader")) is not None:
        values["reader"] = _member(dataset, "reader", reader, READERS)
    values["preprocessing"] = _preprocessing(dataset, model)
    values["layout"] = "nhwc" if (layout or "").upper().endswith("C") else (model.layout if model else "nchw")
    for key in ("subsample_size", "subsample_seed", "shuffle"):
        if key in dataset:
            values[key] = dataset.take(key)
        dataset.ignore(key)
    if dataset.take("batch", 1) != 1:
        dataset.notice("batch", "samples are read one at a time, and statistics are those of single samples.")
    for key in ("subset_file", "segmentation_masks_source", "additional_data_source"):
        if key in dataset:
            dataset.take(key)
            dataset.problem(key, "is not supported.")
    dataset.finish()
    if group == "validation":  # or keys that it leaves out would come from the other data set
        values = {each.name: each.default for each in fields(AnnotatedFiles) if each.name != "kind"} | values
    for key, value in values.items():
        findings.set(f"{group}.{key}", value, dataset.where(key if key in dataset else None))


def _annotation(dataset: Section) -> dict[str, Any] | None:
    conversion = dataset.section("annotation_conversion")
    converted = dataset.take("annotation")
    if conversion is None:
        if converted is not None:
            text = "a converted annotation is a pickle, which could run foreign code; give annotation_conversion."
            dataset.problem("annotation", text)
        dataset.ignore("dataset_meta")
        return None
    value = _tagged(conversion, CONVERTERS, ignored=_OF_CONVERTERS)
    member = CONVERTERS.members.get(str(value.get("converter")))
    for key in [key for key in value if key.endswith(("_file", "_dir"))]:
        value[key] = based(value[key], DATA)
    meta = dataset.take("dataset_meta")
    if meta is not None and member and "dataset_meta_file" in {each.name for each in fields(member)}:
        file = Path(based(meta, ANNOTATIONS))
        if "dataset_meta_file" not in value and file.is_file():
            value["dataset_meta_file"] = str(file)
    return value


def _preprocessing(dataset: Section, model: ImageInput | None) -> list[dict[str, Any]]:
    operations = []
    for each in dataset.sections("preprocessing"):
        if each.content.get("type") == "auto_resize":
            if model is None or not model.height or not model.width:
                if dataset.findings.readable:
                    each.problem("type", "auto_resize needs a model with one image of a fixed size.")
            else:
                size = {"dst_height": model.height, "dst_width": model.width}
                operations.append({"type": "resize", **size})
            continue
        if each.take("use_tensorflow") or each.content.get("resize_realization") == "tf":
            each.problem("use_tensorflow", "images are not resized by TensorFlow; expected opencv or pillow.")
        operation = _tagged(each, OPERATIONS)
        if isinstance(operation.get("interpolation"), str):
            operation["interpolation"] = operation["interpolation"].upper()
        for key in ("mean", "std"):
            if isinstance(operation.get(key), str):
                operation[key] = _numbers(operation[key])
        operations.append(operation)
    return operations


def _evaluation(dataset: Section) -> None:
    findings = dataset.findings
    steps = [_tagged(each, POSTPROCESSORS) for each in dataset.sections("postprocessing")]
    metrics = [_tagged(each, METRICS, ignored=_OF_PRESENTATION) for each in dataset.sections("metrics")]
    findings.set("evaluation.postprocessing", steps, dataset.where("postprocessing"))
    findings.set("evaluation.metrics", metrics, dataset.where("metrics"))
    if not metrics:
        dataset.problem("metrics", "expected at least one metric to evaluate.")


def _member(section: Section, key: str, value: Any, names: Names) -> dict[str, Any]:
    """A member, which may be written as its name alone or as an object."""
    place: Place = (*section.place, key)
    content = value if isinstance(value, dict) else {names.tag: value}
    return _tagged(Section.of(section.findings, section.document, place, content), names)


def _tagged(section: Section, names: Names, ignored: Sequence[str] = ()) -> dict[str, Any]:
    """The values of a member; unknown names and keys are problems."""
    tag = section.take(names.tag)
    member = names.members.get(tag) if isinstance(tag, str) else None
    if member is None or not is_dataclass(member):
        section.unknown_name(names.tag, tag, list(names.members), names.what)
        return {names.tag: tag}
    known = [each.name for each in fields(member)]
    section.ignore(*(key for key in ignored if key not in known))
    found = {key: section.take(key) for key in known if key in section.content}
    section.ignore(*known)
    section.finish()
    for key, value in found.items():
        if key in ("anchors", "threshold") and isinstance(value, str):
            found[key] = _numbers(value) if "," in value else value
    return found


def _numbers(text: str) -> Any:
    """Numbers as Accuracy Checker reads them from a text, ``1, 2, 3``; any other text in lower case."""
    try:
        numbers = [float(part) for part in text.strip("()[] ").split(",")]
    except ValueError:
        return text.lower()
    return numbers if len(numbers) > 1 else numbers[0]


def based(path: Any, variable: str) -> str:
    """A path below the folder that an environment variable names, unless the path is absolute."""
    folder = os.environ.get(variable)
    return str(Path(folder) / str(path)) if folder else str(path)
