"""``ptq-plan``: the table of quantizers that a run would insert; no data, no server, nothing written."""

from collections import Counter
from collections.abc import Sized

from rich.console import Console
from rich.table import Table

from tasks.config.schema import QuantizeConfig
from tasks.steps.load_model import find_model, load_model
from tasks.steps.plan_quantization import Plan, plan_quantization

_SHOWN_NAMES = 3


def plan(config: QuantizeConfig, overrides: tuple[str, ...] = ()) -> Plan:
    """Print what ``ptq-quantize`` would do with the same arguments. Raises InputError as it would."""
    del overrides
    options = config.quantization
    path, identity = find_model(config.model.path, config.model.weights)
    model = load_model.fn(path, identity, config.runtime, weights=config.model.weights, name=config.model.name)
    planned = plan_quantization(
        model=model,
        target_device=options.target_device,
        model_type=None if options.model_type == "auto" else options.model_type,
        ignored=options.ignored.to_scope(),
        scheme=options.scheme,
        aligned=options.channel_alignment is not False,
        execution=options.execution,
        runtime=config.runtime,
    )
    console = Console()
    console.print(_quantizer_table(model.name, planned))
    if planned.float_operations:
        console.print(_float_table(planned))
    for entry, names in planned.ignored:
        console.print(f"ignored {entry}: {_count(names)} ({_some(names)})", highlight=False)
    if options.model_type == "auto":
        console.print("model_type auto: shown for null; a run tries transformer too")
    console.print(_cost_line(planned, options.stat_subset_size), highlight=False)
    return planned


def _quantizer_table(name: str, planned: Plan) -> Table:
    roles = Counter(each.point.role for each in planned.quantizers)
    counts = ", ".join(f"{count} of {role}" for role, count in sorted(roles.items()))
    table = Table(title=f"{name}: quantizers ({counts})", title_justify="left")
    table.add_column("read by", overflow="fold")
    table.add_column("tensor", overflow="fold")
    table.add_column("quantizer", no_wrap=True)
    if any(each.point.group for each in planned.quantizers):
        table.add_column("scale shared with", overflow="fold")
    for each in planned.quantizers:
        point, config = each.point, each.config
        scales = config.granularity.replace("per", "per ")
        quantizer = f"{config.bits} bit {config.mode} {scales}, {each.levels} levels"
        tensor = point.role if point.role == "weights" else point.tensor
        shared = [point.group or ""] if len(table.columns) > 3 else []
        table.add_row(_some(point.consumers), tensor, quantizer, *shared)
    return table


def _float_table(planned: Plan) -> Table:
    table = Table(title=f"left float: {_count(planned.float_operations)}", title_justify="left")
    for column in ("type", "why", "how many", "which"):
        table.add_column(column, overflow="fold")
    groups: dict[tuple[str, str], list[str]] = {}
    for operation in planned.float_operations:
        groups.setdefault((operation.type, operation.reason), []).append(operation.name)
    for (kind, reason), names in groups.items():
        table.add_row(kind, reason, str(len(names)), _some(tuple(names)))
    return table


def _cost_line(planned: Plan, samples: int | None) -> str:
    if planned.cost is None:
        return "cost: not known, since inputs have axes of free length"
    cost, count = planned.cost, samples or 1
    each = "" if samples else " a sample"
    passes = "1 pass" if planned.passes == 1 else f"{planned.passes} passes"
    seconds = planned.passes * cost.seconds_per_sample * count
    return (
        f"statistics of {planned.tensors} tensors in {passes}: about {seconds:.1f} s{each}, "
        f"{_size(cost.statistics_bytes_per_sample * count)} kept{each}; "
        f"tapped activations of one sample: {_size(cost.activation_bytes)}"
    )


def _count(items: Sized) -> str:
    return f"{len(items)} operation{'' if len(items) == 1 else 's'}"


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return ", ".join(names[:_SHOWN_NAMES]) + more


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
