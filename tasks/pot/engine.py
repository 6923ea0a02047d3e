"""The section ``engine``: POT's three ways to name samples."""

from pathlib import Path
from typing import Any

from tasks.data.classified import Files, unreadable_images
from tasks.errors import listing
from tasks.pot.checker import translate_file, translate_model
from tasks.pot.model_input import ImageInput
from tasks.pot.section import Section

TYPES = ("accuracy_checker", "simplified")
_REQUESTS = ("stat_requests_number", "eval_requests_number")
_ARRAYS = (".npz", ".npy")
_WILD = "*?["


def translate_engine(engine: Section, model: ImageInput | None, *, evaluate: bool) -> None:
    """Add the settings of data sets and of the evaluation to the findings.

    Args:
        engine: The section.
        model: The image that the model reads, if it is known.
        evaluate: Whether to evaluate models.

    Raises:
        InputError: A file cannot be read.
    """
    kind = engine.take("type", "accuracy_checker")
    engine.ignore(*_REQUESTS)
    if any(engine.content.get(key) for key in _REQUESTS):
        key = next(key for key in _REQUESTS if engine.content.get(key))
        engine.notice(key, "OpenVINO chooses the number of requests; runtime.threads limits it.")
    if kind == "simplified":
        _simplified(engine, model, evaluate=evaluate)
    elif kind == "data_free":
        engine.problem(
            "type",
            "data_free made statistics of synthetic images and lost accuracy with them; give some samples without"
            " annotations: type simplified and data_source.",
        )
    elif kind != "accuracy_checker":
        engine.unknown_name("type", kind, TYPES, "engine type")
    elif "config" in engine:
        path = engine.take("config")
        engine.ignore("device")
        engine.finish()
        if isinstance(path, str) and path:
            translate_file(engine.findings, Path(path), model, evaluate=evaluate)
        else:
            engine.problem("config", f"{path!r}: expected the path of an Accuracy Checker file.")
    elif "launchers" in engine or "datasets" in engine:
        engine.ignore("device")
        translate_model(engine, model, None, evaluate=evaluate)
    else:
        expected = "config (an Accuracy Checker file), launchers and datasets, or type simplified with data_source"
        engine.problem(None, f"expected {expected}.")


def _simplified(engine: Section, model: ImageInput | None, *, evaluate: bool) -> None:
    """Add images as they are, cropped and resized to the model's input: BGR, without mean and scale."""
    findings, where = engine.findings, engine.where("data_source")
    source = engine.take("data_source")
    layout, fraction = engine.take("layout"), engine.take("central_fraction")
    if engine.take("device", "CPU") != "CPU":
        engine.notice("device", "samples are inferred on the CPU.")
    engine.finish()
    if evaluate:
        engine.problem("type", "-e needs annotations and metrics, which the simplified engine does not have.")
    if not isinstance(source, str) or not source:
        engine.problem(
            "data_source", f"expected a folder, a pattern, a .txt list or a .npz or .npy file, got {source!r}."
        )
        return
    if Path(source).suffix in _ARRAYS:
        findings.set("dataset", "arrays", where)
        findings.set("dataset.path", source, where)
        return
    if model is None or not model.height or not model.width:
        if findings.readable:
            engine.problem(
                "type",
                "the simplified engine needs a model with one image of a fixed size, and besides it at most an input of"
                " the shape [1,3] for height, width and channels; or data in a .npz.",
            )
        return
    findings.set("dataset", "annotated_files", where)
    folder, files = _files(source)
    findings.set("dataset.data_source", folder, where)
    findings.set("dataset.annotation", files, where)
    if left_out := unreadable_images(Files(**files), Path(folder)) if "images_only" in files else ():
        engine.notice("data_source", f"{listing(left_out, shown=3)} cannot be read as images and are left out.")
    crop = [{"type": "crop", "central_fraction": fraction}] if fraction else []
    resize = {"type": "resize", "dst_height": model.height, "dst_width": model.width}
    findings.set("dataset.preprocessing", [*crop, resize], engine.where("central_fraction" if fraction else None))
    flag = "gray" if model.channels == 1 else "color"
    findings.set("dataset.reader", {"type": "opencv_imread", "reading_flag": flag}, where)
    findings.set("dataset.layout", model.layout, engine.where("layout" if layout else None))
    if model.info is not None:
        findings.set("dataset.image_info", model.info, where)


def _files(source: str) -> tuple[str, dict[str, Any]]:
    """The folder and the annotation of a folder, a pattern or a list of files."""
    path = Path(source)
    if path.suffix == ".txt" and not path.is_dir():
        return str(path.parent), {"converter": "files", "list_file": source}
    parts = path.parts
    wild = next((place for place, part in enumerate(parts) if any(sign in part for sign in _WILD)), None)
    images = {"converter": "files", "images_only": True}
    if wild is None or path.exists():
        return source, images
    return str(Path(*parts[:wild])), images | {"pattern": str(Path(*parts[wild:]))}
