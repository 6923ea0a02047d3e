"""Who may import whom, and what the house looks like: the rules that no other tool keeps."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST_MODULE, LONGEST_FUNCTION = 300, 70
# Rooms whose public functions have an Args section; so have modules with a step.
ARGUMENTS_DOCUMENTED = {"tasks.numerics", "tasks.graph", "tasks.algorithms"}

# What a room may import apart from the standard library, itself, the map, tasks.errors and, for a step, what all may.
CORE = {
    "tasks.errors": set(),
    "tasks.redaction": set(),
    "tasks.numerics": {"numpy"},
    "tasks.graph": {"numpy", "openvino", "tasks.numerics"},
    "tasks.algorithms": {"numpy", "openvino", "tasks.numerics", "tasks.graph"},
    "tasks.data": {"numpy", "cv2", "PIL", "tasks.redaction"},
    "tasks.metrics": {"numpy", "cv2", "sklearn", "pycocotools", "skimage", "tasks.numerics", "tasks.data"},
    "tasks.data.digits": {"numpy", "sklearn", "tasks.data"},
    "tasks.digits": set(),
    "tasks.digits.train": {"numpy", "openvino", "torch", "tasks.digits", "tasks.data"},
}
PLUMBING = {
    "tasks.records": {"tasks.data.source"},
    "tasks.options": {"pydantic", "tasks.numerics", "tasks.graph", "tasks.algorithms", "tasks.records"},
    "tasks.release": {"pydantic", "pydantic_core", "tasks.records"},
    "tasks.monitoring": {"psutil"},
    "tasks.registry": {"mlflow", "numpy", "safetensors", "tasks.tracking"}
    | {"tasks.database", "tasks.line_process", "tasks.redaction"},
    "tasks.database": {"mlflow", "tasks.moved_home"},
    "tasks.serving": {"mlflow", "numpy", "openvino"},
    "tasks.history": {"mlflow", "tasks.database", "tasks.redaction", "tasks.tracking"},
    "tasks.fetch_model": {"tasks.load_model", "tasks.records", "tasks.registry", "tasks.store"},
    "tasks.config": {"pydantic", "omegaconf", "tasks.numerics", "tasks.graph", "tasks.algorithms", "tasks.data"}
    | {"tasks.options", "tasks.records", "tasks.release", "tasks.metrics", "tasks.mistakes", "tasks.tracking"}
    | {"tasks.redaction"},
    "tasks.mistakes": {"pydantic", "tasks.data", "tasks.metrics", "tasks.options"},
    "tasks.staging": set(),
    "tasks.store": {"numpy", "openvino", "safetensors", "tasks.records", "tasks.staging"},
    "tasks.locking": {"prefect", "tasks.staging"},
    "tasks.caching": {"prefect", "tasks.locking", "tasks.records", "tasks.staging", "tasks.store"},
    "tasks.review": {"numpy", "matplotlib", "tasks.algorithms", "tasks.records"},
    "tasks.make_page": {"jinja2", "tasks.records", "tasks.store"},
    "tasks.write_output": {"tasks.records", "tasks.staging", "tasks.store"},
    "tasks.line_process": set(),
    "tasks.speed_process": {"numpy", "openvino", "tasks.algorithms", "tasks.line_process"},
    "tasks.moved_home": set(),
    "tasks.tracking": {"mlflow", "tasks.database", "tasks.line_process", "tasks.moved_home", "tasks.redaction"},
    "tasks.tracking_process": {"mlflow", "tasks.database", "tasks.monitoring", "tasks.registry", "tasks.staging"}
    | {"tasks.tracking"},
    "tasks.pot": {"numpy", "openvino", "yaml", "tasks.data", "tasks.metrics", "tasks.graph"},
    "tasks.progress": {"rich"},
    "tasks.taps": {"tasks.algorithms", "tasks.data", "tasks.numerics", "tasks.records", "tasks.store"},
    "tasks.shards": {"numpy", "tasks.numerics", "tasks.records", "tasks.staging", "tasks.store"},
    "tasks.plan_quantization": {"tasks.graph", "tasks.numerics", "tasks.algorithms", "tasks.records", "tasks.store"}
    | {"tasks.place_quantizers"},
    "tasks": set(),
}
STEPS = {"prefect", "tasks.caching", "tasks.store", "tasks.records", "tasks.progress", "tasks.taps", "tasks.shards"} | {
    f"tasks.{room}" for room in ("numerics", "graph", "algorithms", "data", "metrics")
}
DRAWING = {"numpy", "tasks.review", "tasks.describe_model"}  # what is drawn
CORRECTIONS = {"tasks.correct_biases"}  # both corrections have one kind of result
SPEED = {"tasks.speed_process"}  # where it is measured
SEARCH = {"hydra", "omegaconf", "optuna", "tasks.pot", "tasks.redaction"}  # a plugin lies where Hydra looks for it
LOG_RUN = {"prefect", "tasks.tracking", "tasks.monitoring", "tasks.config", "tasks.records", "tasks.redaction"}
FLOWS = {"prefect", "hydra", "omegaconf", "rich", "flows", "tasks.config", "tasks.records", "tasks.tracking"} | {
    "httpx",
    "tasks.options",
    "tasks.staging",
    "tasks.line_process",
    "tasks.redaction",
    "yaml",
    "tasks.write_output",
    "tasks.make_page",
    "tasks.progress",
    "tasks.data.source",
    "tasks.data.subset",
    "tasks.pot",
    "tasks.plan_quantization",
    "tasks.caching",
    "tasks.fetch_model",
    "tasks.history",
    "tasks.metrics",
    "tasks.monitoring",
    "tasks.release",
    "prefect_dask",
    "distributed",
}


def modules() -> dict[str, Path]:
    files = [file for room in ("tasks", "flows", "conf") for file in sorted((ROOT / room).rglob("*.py"))]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


MODULES = modules()
TREES = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in MODULES.items()}
STEP_MODULES = {
    name
    for name in MODULES
    if name.startswith("tasks.")
    and name.count(".") == 1
    and name not in {*CORE, *PLUMBING}
    and MODULES[name].stem != "__init__"
}


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports escape the cache's view of the code"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            # `from tasks import tracking` imports a module, `from tasks.records import ModelRef` something of one.
            yield from (name if name in MODULES else str(node.module) for name in names)


def inside(name: str, rooms: set[str]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms - {"tasks"})


def allowed(name: str) -> set[str]:
    if name.startswith("flows.plugins"):
        return SEARCH
    if name.startswith("flows"):
        return FLOWS | STEP_MODULES
    if name in ("tasks.log_run", "tasks.log_sweep"):
        return LOG_RUN
    if name in STEP_MODULES:
        more = {"tasks.correct_sequentially": CORRECTIONS, "tasks.draw_plots": DRAWING, "tasks.measure_speed": SPEED}
        return STEPS | more.get(name, set())
    room = max((room for room in {**CORE, **PLUMBING} if inside(name, {room})), key=len, default="tasks")
    own = {room} if room.count(".") == 1 else set()
    return {**CORE, **PLUMBING}[room] | own


def test_the_table_names_existing_modules() -> None:
    named = {name for rule in [*CORE.values(), *PLUMBING.values(), STEPS, LOG_RUN, FLOWS] for name in rule}
    ours = {name for name in {*named, *CORE, *PLUMBING} if name.split(".")[0] in ("tasks", "flows", "conf")}
    assert ours <= set(MODULES)
    assert len(STEP_MODULES) >= 9


@pytest.mark.parametrize("name", [name for name in MODULES if name != "conf"])
def test_imports_only_what_its_room_may(name: str) -> None:
    for other in imported(TREES[name]):
        if other.split(".")[0] not in sys.stdlib_module_names and other not in ("tasks", "tasks.errors"):
            assert inside(other, allowed(name)), f"{name} must not import {other}"


@pytest.mark.parametrize("name", MODULES)
def test_is_documented_and_short(name: str) -> None:
    assert ast.get_docstring(TREES[name])
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= LONGEST_MODULE
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < LONGEST_FUNCTION, node.name


def public_functions(scope: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef]:
    for node in scope.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            if isinstance(node, ast.ClassDef):
                yield from public_functions(node)
            else:
                yield node


def parameters(function: ast.FunctionDef) -> set[str]:
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return {each.arg for each in every if each} - {"self", "cls"}


def described(function: ast.FunctionDef) -> set[str]:
    """The names in the Args section of a docstring."""
    _, _, section = (ast.get_docstring(function) or "").partition("\n\nArgs:\n")
    return set(re.findall(r"^ {4}\*{0,2}(\w+): \S", section.partition("\n\n")[0], re.MULTILINE))


def holds_step(tree: ast.Module) -> bool:
    decorators = [each for node in tree.body if isinstance(node, ast.FunctionDef) for each in node.decorator_list]
    return any(isinstance(each, ast.Name) and each.id == "step" for each in decorators)


@pytest.mark.parametrize(
    "name", [name for name in MODULES if inside(name, ARGUMENTS_DOCUMENTED) or holds_step(TREES[name])]
)
def test_every_argument_is_described(name: str) -> None:
    for function in public_functions(TREES[name]):
        assert described(function) == parameters(function), function.name


def test_conf_holds_yaml_and_docker_is_no_package() -> None:
    files = [file for file in (ROOT / "conf").rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    others = [file for file in files if file.suffix != ".yaml"]
    assert sorted(others) == [ROOT / "conf" / "README.md", ROOT / "conf" / "__init__.py"]
    # A package called docker would hide the one that MLflow and Prefect import.
    assert not (ROOT / "docker" / "__init__.py").exists()


def test_every_module_of_tasks_has_its_line_in_the_map() -> None:
    map_ = ast.get_docstring(TREES["tasks"]) or ""
    rooms = {name.split(".")[1] for name in MODULES if name.startswith("tasks.")}
    assert {
        room for room in rooms if not any(line.split()[:1] in ([room], [f"{room}/"]) for line in map_.splitlines())
    } == set()
