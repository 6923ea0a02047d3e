"""From a file or flags of POT to the settings of ``ptq-quantize``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.errors import InputError, did_you_mean
from tasks.pot.compression import translate_compression
from tasks.pot.document import Document, read_document
from tasks.pot.engine import translate_engine
from tasks.pot.model_input import ImageInput, image_input
from tasks.pot.overrides import as_overrides
from tasks.pot.section import Findings, Section

SECTIONS = ("model", "engine", "compression")
# The keys of an Accuracy Checker file.
_OF_CHECKER = ("models", "evaluations")
# Without -e POT evaluates nothing; this project still compares some outputs.
COMPARED_SAMPLES = 32


@dataclass(frozen=True)
class Translation:
    """A configuration of POT as settings of this project.

    Attributes:
        origin: The file or the flags.
        name: Name of the model.
        algorithms: Names of the algorithms.
        settings: Values by dotted key.
        origins: Where each setting comes from, for messages.
        notices: One line each.
        quantizes: False if the algorithms leave the model float.
    """

    origin: str
    name: str
    algorithms: tuple[str, ...]
    settings: dict[str, Any]
    origins: dict[str, str]
    notices: tuple[str, ...]
    quantizes: bool

    @property
    def overrides(self) -> list[str]:
        """The settings in the grammar of Hydra's command line."""
        return as_overrides(self.settings)

    def explain(self, line: str) -> str:
        """A problem of the composed configuration, with the line of POT's file in front.

        Args:
            line: The problem; it begins with a dotted key.
        """
        named, _, text = line.partition(": ")
        key = named
        while key and key not in self.origins:
            key = key.rpartition(".")[0]
        if not key:
            return f"{self.origin}: {line}"
        return f"{self.origins[key]}{named[len(key) :]}: {text}"


def translate(file: Path, *, evaluate: bool, lenient: bool) -> Translation:
    """The settings of a configuration file.

    Args:
        file: The file.
        evaluate: Whether to evaluate models.
        lenient: Whether unknown keys are notices instead of problems.

    Raises:
        InputError: Every problem, one per line, beginning with file, line and column.
    """
    return _translate(read_document(file, "configuration"), evaluate=evaluate, lenient=lenient)


def translate_flags(
    model: str,
    weights: str | None,
    name: str | None,
    *,
    preset: str,
    engine: str,
    source: str | None,
    evaluate: bool,
) -> Translation:
    """The settings of ``-q default`` and its flags.

    Args:
        model: The model file.
        weights: Its .bin file.
        name: Name of the model.
        preset: The preset.
        engine: Type of the engine.
        source: The Accuracy Checker file, or the data.
        evaluate: Whether to evaluate models.
    """
    simplified = engine == "simplified"
    content = {
        "model": {"model": model} | ({"weights": weights} if weights else {}) | ({"model_name": name} if name else {}),
        "engine": {"type": engine} | ({"data_source" if simplified else "config": source} if source else {}),
        "compression": {
            "algorithms": [{"name": "DefaultQuantization", "params": {"preset": preset, "stat_subset_size": 300}}]
        },
    }
    return _translate(Document(Path("-q default"), content), evaluate=evaluate, lenient=False)


def _translate(document: Document, *, evaluate: bool, lenient: bool) -> Translation:
    findings = Findings(lenient)
    if not isinstance(document.content, dict):
        sections = ", ".join(SECTIONS)
        raise InputError(f"{document.where()}: expected an object with {sections}, got {document.content!r}.")
    if mistaken := [key for key in _OF_CHECKER if key in document.content and "compression" not in document.content]:
        raise InputError(
            f"{document.where((mistaken[0],))}: {mistaken[0]}: this is an Accuracy Checker file; expected a"
            f" configuration with {', '.join(SECTIONS)}, whose engine.config names it, or -q default with --ac-config."
        )
    top = Section.of(findings, document, (), document.content)
    model, engine, compression = (top.section(key) for key in SECTIONS)
    if "optimizer" in top:
        top.take("optimizer")
        top.problem("optimizer", "searches of parameters are sweeps here: ptq-quantize -m.")
    top.finish()
    read, before = None, len(findings.problems)
    name = ""
    if model is None:
        top.problem("model", "expected the section with the model's file.")
    else:
        name, read = _model(model, engine)
    findings.readable = len(findings.problems) == before
    if engine is None:
        top.problem("engine", "expected the section that says where samples come from.")
    else:
        try:
            translate_engine(engine, read, evaluate=evaluate)
        except InputError as problem:
            findings.problems += [f"{engine.where('config')}: {line}" for line in problem.args]
    algorithms: tuple[str, ...] = ()
    if compression is None:
        top.problem("compression", "expected the section with the algorithms; without it nothing would be quantized.")
    else:
        algorithms = translate_compression(compression)
    if findings.problems:
        raise InputError(*dict.fromkeys(findings.problems))
    if not evaluate:
        findings.settings |= {"evaluation.subset_size": COMPARED_SAMPLES, "evaluation.metrics": []}
    notices = tuple(dict.fromkeys(findings.notices))
    return Translation(
        str(document.file), name, algorithms, findings.settings, findings.origins, notices, findings.quantizes
    )


def _model(model: Section, engine: Section | None) -> tuple[str, ImageInput | None]:
    """The model's name and the image that it reads; adds the settings of its files."""
    findings = model.findings
    path, weights = (_at_home(model.take(key)) for key in ("model", "weights"))
    name = model.take("model_name")
    model.ignore("framework")
    if "cascade" in model:
        model.take("cascade")
        model.problem("cascade", "several models in turn are not supported; quantize each by itself.")
        return "", None
    model.finish()
    if not isinstance(path, str) or not path:
        model.problem("model", f"expected the path of the model's .xml file, got {path!r}.")
        return "", None
    name = str(name or Path(path).stem)
    if Path(name).name != name:
        model.problem("model_name", f"{name!r} becomes the name of files; expected no folder in it.")
    files = {
        key: _file(model, key, value) for key, value in (("model", path), ("weights", weights)) if value is not None
    }
    findings.set("model.path", path, model.where("model"))
    findings.set("model.name", name, model.where("model_name" if "model_name" in model else "model"))
    if weights is not None and Path(str(weights)) != Path(path).with_suffix(".bin"):
        findings.set("model.weights", str(weights), model.where("weights"))
    if not all(files.values()):
        return name, None
    layout = engine.content.get("layout") if engine is not None else None
    try:
        return name, image_input(Path(path), files.get("weights"), layout if isinstance(layout, str) else None)
    except InputError as problem:
        model.problem("model", str(problem))
        return name, None


def _at_home(path: Any) -> Any:
    return str(Path(path).expanduser()) if isinstance(path, str) and path else path


def _file(model: Section, key: str, value: Any) -> Path | None:
    path = Path(str(value))
    if path.is_file():
        return path
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    model.problem(key, f"there is no file '{value}'.{did_you_mean(path.name, siblings)}")
    return None
