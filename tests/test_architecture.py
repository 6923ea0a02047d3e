"""Who may import whom, and what the house looks like: the rules that no other tool keeps."""

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST_MODULE, LONGEST_FUNCTION = 300, 70
# Rooms whose public functions have an Args section; so have modules with a step.
ARGUMENTS_DOCUMENTED = {
    "tasks.numerics",
    "tasks.graph",
    "tasks.algorithms",
    "tasks.data",
    "tasks.metrics",
    "tasks.pot",
    "tasks.digits",
    "tasks.errors",
    "tasks.records",
    "tasks.redaction",
    "tasks.engine",
    "tasks.config",
    "tasks.tracking",
    "tasks.output.files",
    "tasks.output.page",
    "flows.align",
    "flows.sweeps",
    "flows.reporting",
}
# Modules of these rooms that are as long as a module may be.
FULL = {"tasks.data.classified", "tasks.pot.checker"}

# What any module may import: the package silences libraries.
ANYWHERE = {"tasks", "tasks.errors", "tasks.redaction"}
# What each room may import apart from that, the standard library and itself. A room is a folder, or a module
# where it has a line of its own. The core knows no Prefect, Hydra, MLflow, store or configuration.
CORE = {
    "tasks.numerics": {"numpy"},
    "tasks.graph": {"numpy", "openvino", "tasks.numerics"},
    "tasks.algorithms": {"numpy", "openvino", "tasks.numerics", "tasks.graph"},
    "tasks.data": {"numpy", "cv2", "PIL"},
    "tasks.data.digits": {"numpy", "sklearn", "tasks.data"},
    "tasks.metrics": {"numpy", "cv2", "sklearn", "pycocotools", "skimage", "tasks.numerics", "tasks.data"},
    "tasks.digits": set[str](),
    "tasks.digits.train": {"numpy", "openvino", "torch", "tasks.digits", "tasks.data"},
    "tasks.pot": {"numpy", "openvino", "yaml", "tasks.data", "tasks.metrics", "tasks.graph"},
}
_CORE_OF_STEPS = {"tasks.numerics", "tasks.graph", "tasks.algorithms", "tasks.data", "tasks.metrics"}
PLUMBING = {
    "tasks": set[str](),
    "tasks.errors": set[str](),
    "tasks.records": {"tasks.data.source"},
    "tasks.redaction": set[str](),
    "tasks.engine": {"numpy", "openvino", "prefect", "rich", "safetensors", "tasks.records"}
    | {"tasks.numerics", "tasks.algorithms", "tasks.data"},
    "tasks.output": {"numpy", "jinja2", "matplotlib", "tasks.algorithms", "tasks.engine", "tasks.records"},
    "tasks.steps": {"numpy", "prefect", "tasks.engine", "tasks.records", "tasks.output"} | _CORE_OF_STEPS,
    "tasks.tracking": {"mlflow", "numpy", "openvino", "prefect", "psutil", "pydantic", "pydantic_core", "safetensors"}
    | {"tasks.engine", "tasks.records", "tasks.steps.load_model"},
    "tasks.config": {"omegaconf", "pydantic", "tasks.records", "tasks.tracking"} | _CORE_OF_STEPS,
}
_TASKS_OF_FLOWS = {"tasks.records", "tasks.config", "tasks.engine", "tasks.steps", "tasks.tracking", "tasks.output"} | {
    "tasks.data.source",
    "tasks.data.subset",
    "tasks.metrics",
}
FLOWS = {
    "flows": {"prefect", "rich", "flows.quantize", "flows.calibration", "flows.reporting", "flows.running"}
    | _TASKS_OF_FLOWS,
    "flows.running": {"distributed", "httpx", "prefect", "prefect_dask", "rich"} | _TASKS_OF_FLOWS,
    "flows.calibration": {"flows.running"} | _TASKS_OF_FLOWS,
    "flows.reporting": {"rich", "flows.calibration", "flows.running"} | _TASKS_OF_FLOWS,
    "flows.sweeps": {"rich", "flows.reporting", "flows.running"} | _TASKS_OF_FLOWS,
    "flows.commands": {"httpx", "hydra", "omegaconf", "prefect", "rich", "yaml", "flows", "tasks.pot"}
    | _TASKS_OF_FLOWS,
    "flows.plugins": {"hydra", "omegaconf", "optuna", "tasks.pot"},
}
ROOMS = CORE | PLUMBING | FLOWS
# LevelsPerSide stand beside each other; these alone share a kind of result.
STEPS_ON_STEPS = {
    "tasks.steps.correct_sequentially": {"tasks.steps.correct_biases"},
    "tasks.steps.draw_plots": {"tasks.steps.describe_model"},
    "tasks.steps.plan_quantization": {"tasks.steps.place_quantizers"},
}


def modules() -> dict[str, Path]:
    files = [file for room in ("tasks", "flows", "conf") for file in sorted((ROOT / room).rglob("*.py"))]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


MODULES = modules()
TREES = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in MODULES.items()}


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports escape the cache's view of the code"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            # `from tasks.tracking import client` imports a module, `from tasks.records import ModelRef` a part of one.
            yield from (name if name in MODULES else str(node.module) for name in names)


def inside(name: str, rooms: set[str]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms - {"tasks"})


def room_of(name: str) -> str:
    return max((room for room in ROOMS if name == room or name.startswith(f"{room}.")), key=len)


def allowed(name: str) -> set[str]:
    if name.startswith("tasks.steps."):
        return ROOMS["tasks.steps"] | STEPS_ON_STEPS.get(name, set())
    room = room_of(name)
    own = set[str]() if room in ("tasks", "flows") else {room}
    return ROOMS[room] | own


def test_the_table_names_existing_rooms() -> None:
    named = {name for rule in [*ROOMS.values(), *STEPS_ON_STEPS.values()] for name in rule} | {*ROOMS, *STEPS_ON_STEPS}
    assert {name for name in named if name.split(".")[0] in ("tasks", "flows", "conf")} <= {*MODULES, "flows.plugins"}


def test_no_arrow_between_rooms_runs_back_up() -> None:
    folders: dict[str, set[str]] = {}
    for name, tree in TREES.items():
        if name.count(".") > 1 and not name.startswith("flows.plugins"):
            room = name.rpartition(".")[0]
            others = {other.rpartition(".")[0] for other in imported(tree) if other in MODULES and other.count(".") > 1}
            folders.setdefault(room, set()).update(others - {room})
    assert len(list(TopologicalSorter(folders).static_order())) >= 14  # raises CycleError where there is a circle


@pytest.mark.parametrize("name", [name for name in MODULES if name != "conf"])
def test_imports_only_what_its_room_may(name: str) -> None:
    for other in imported(TREES[name]):
        if other.split(".")[0] not in sys.stdlib_module_names and other not in ANYWHERE:
            assert inside(other, allowed(name)), f"{name} must not import {other}"


# Modules of ours that may name Hydra: the others ask the first three. Hydra finds its sweepers among the plugins only,
# and hands them its own classes.
HYDRA = {"flows.commands.hydra_composing", "flows.commands.hydra_jobs", "flows.commands.hydra_overrides"} | {
    "flows.plugins.hydra_plugins.ptq_grid",
    "flows.plugins.hydra_plugins.ptq_search",
}


def test_few_modules_know_hydra() -> None:
    knowing = {name for name, tree in TREES.items() if any(inside(other, {"hydra"}) for other in imported(tree))}
    assert knowing == HYDRA
    # OmegaConf is what a composed configuration consists of; only its public names are used.
    omegaconf = {other for tree in TREES.values() for other in imported(tree) if inside(other, {"omegaconf"})}
    assert omegaconf == {"omegaconf", "omegaconf.errors"}


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
    "name",
    [name for name in MODULES if (inside(name, ARGUMENTS_DOCUMENTED) and name not in FULL) or holds_step(TREES[name])],
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


def test_every_room_and_step_has_its_line_in_the_map() -> None:
    map_ = ast.get_docstring(TREES["tasks"]) or ""
    lines = {line.split()[0].rstrip("/") for line in map_.splitlines() if line.startswith("    ")}
    assert {name.split(".")[1] for name in MODULES if name.startswith("tasks.")} <= lines
    plumbing = {name.split(".")[2] for name in MODULES if name.startswith(("tasks.engine.", "tasks.tracking."))}
    assert plumbing <= lines
