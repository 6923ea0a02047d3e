"""Keys of ``key=value`` that no file lists: what functions of the user's are called with, and groups left out."""

from typing import Any

import pytest

from flows.commands.preflight import check, settings
from tasks.config.schema import EvaluateConfig, QuantizeConfig
from tasks.data.custom import Custom
from tasks.errors import InputError, longer
from tasks.pot.overrides import spelled

OWN = ("dataset=callable", "dataset.path=my_data.make_samples")


def arguments(*words: str) -> tuple[Any, Any]:
    config = settings([*OWN, *words])
    assert isinstance(config.dataset, Custom)
    assert isinstance(config.validation, Custom)
    return config.dataset.arguments, config.validation.arguments


@pytest.mark.parametrize("sign", ["", "+", "++"])
@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("folder", "/data", {"folder": "/data"}),
        ("folder", [1, "two", None], {"folder": [1, "two", None]}),
        ("a.b.c", 1.5, {"a": {"b": {"c": 1.5}}}),
        ("options", {"deep": {"x": True}}, {"options": {"deep": {"x": True}}}),
        ("path", "x", {"path": "x"}),
    ],
)
def test_a_function_is_called_with_what_it_is_given(sign: str, key: str, value: Any, expected: dict[str, Any]) -> None:
    assert arguments(f"{sign}dataset.arguments.{key}={spelled(value)}") == (expected, expected)


def test_arguments_come_one_by_one_or_at_once() -> None:
    words = ("dataset.arguments={n: 2, m: 3}", "dataset.arguments.n=4", "dataset.arguments.k=5")
    assert arguments(*words)[0] == {"n": 4, "m": 3, "k": 5}
    assert arguments(*words, "~dataset.arguments.m")[0] == {"n": 4, "k": 5}


def test_those_of_validation_stand_alone() -> None:
    given = "dataset.arguments.n=1"
    assert arguments(given, "validation.arguments.folder=val") == ({"n": 1}, {"folder": "val"})
    assert arguments(given, "validation.arguments={folder: val}") == ({"n": 1}, {"folder": "val"})
    assert arguments("validation.arguments.a=1", "validation.arguments.b=2") == ({}, {"a": 1, "b": 2})


@pytest.mark.parametrize(("name", "config_class"), [("quantize", QuantizeConfig), ("evaluate", EvaluateConfig)])
def test_points_of_a_sweep_differ_in_them(name: str, config_class: type[QuantizeConfig]) -> None:
    checked = check(name, config_class, ["-m", *OWN, "dataset.arguments.n=1,2"])
    assert checked.problems == ()
    assert checked.sweep is not None
    assert (checked.sweep.keys, checked.sweep.total) == (("dataset.arguments.n",), 2)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("dataset.arguments=5",), "dataset.arguments: expected names and values in braces, {name: value}, got 5"),
        (("dataset.argumens.n=5",), "dataset.argumens: unknown key 'argumens'. Did you mean 'arguments'?"),
        (("dataset.arguments.n",), "'dataset.arguments.n': expected key=value"),
        (("validation=digits", "validation.arguments.n=1"), "validation.arguments: unknown key 'arguments'."),
    ],
)
def test_what_is_none_of_them_is_told_once(words: tuple[str, ...], line: str) -> None:
    (problem,) = check("quantize", QuantizeConfig, [*OWN, *words]).problems
    assert problem.startswith(line)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("preset=mixed", "Did you mean 'quantization.preset'? Allowed: dataset, "),
        ("+preset=mixed", "Did you mean 'quantization.preset'? Allowed: "),
        ("bits=4", "Did you mean 'quantization.weights.bits' or 'quantization.activations.bits'? "),
        ("activations.bits=4", "Did you mean 'quantization.activations.bits'? "),
        ("threads=2", "Did you mean 'runtime.threads'? "),
        ("path=x", "Did you mean 'model.path' or 'dataset.path' or 'validation.path'? "),
        ("quantisation.preset=mixed", "Did you mean 'quantization'? "),
        ("nothing=1", "Allowed: dataset, "),
    ],
)
@pytest.mark.parametrize("more", [(), ("-m", "quantization.stat_subset_size=10,20")])
def test_a_key_without_its_group_is_told_with_it(word: str, meant: str, more: tuple[str, ...]) -> None:
    (problem,) = check("quantize", QuantizeConfig, ["dataset=arrays", "dataset.path=x", *more, word]).problems
    name = word.lstrip("+").partition("=")[0].partition(".")[0]
    assert problem.startswith(f"{name}: unknown key '{name}'. {meant}")


def test_a_key_whose_value_is_missing_is_no_unknown_one() -> None:
    """It once was, beside a real problem: "unknown key 'path'. Did you mean 'path'?"."""
    problems = check("quantize", QuantizeConfig, ["dataset=arrays", "dataset.path=x", "dataset.lables=y"]).problems
    assert [line.partition(":")[0] for line in problems] == ["dataset.lables"]


def test_commands_with_settings_tell_it_too() -> None:
    with pytest.raises(InputError, match=r"Did you mean 'quantization.preset'\?"):
        settings(["preset=mixed"])


def test_only_the_least_deep_keys_are_meant() -> None:
    tree = {"a": {"x": 1, "b": {"x": 2}}, "c": {"x": 3, "ax": 4}, "x": {}}
    assert longer("x", tree) == ["a.x", "c.x"]
    assert longer("b.x", tree) == ["a.b.x"]
    assert longer("y", tree) == []
