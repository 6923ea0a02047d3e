"""Samples go in, results come out in their order, and what cannot fit is named."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.algorithms.inference import (
    Sample,
    compile_for_samples,
    infer,
    input_names,
    one_sample_at_a_time,
    sample_inputs,
    samples_at_a_time,
    whole_inputs,
)
from tasks.data.samples import Sample as NamedSample
from tasks.errors import InputError
from tests.support import models as m

Array = NDArray[Any]
SHAPE = (4, 8, 8)
ROOT = Path(__file__).parents[2]


def samples(count: int, shape: tuple[int, ...] = SHAPE, name: str = "image") -> list[Sample]:
    generator = np.random.default_rng(0)
    return [{name: generator.normal(size=shape).astype(np.float32)} for _ in range(count)]


def outputs(model: ov.Model, data: list[Sample], threads: int | None = 1, batch: int = 1) -> dict[int, list[Array]]:
    received: dict[int, list[Array]] = {}

    def receive(number: int, views: list[Array]) -> None:
        values = [np.array(view) for view in views]
        assert number not in received
        received[number] = values

    prepared = one_sample_at_a_time(model) if batch == 1 else samples_at_a_time(model, batch)
    assert infer(compile_for_samples(prepared, threads), data, receive, batch=batch) == len(data)
    return received


def run_plainly(model: ov.Model, inputs: list[Array]) -> list[Array]:
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1})
    return [np.array(compiled([each])[0]) for each in inputs]


def doubled(shape: list[int], name: str = "image", dtype: str = "f32") -> ov.Model:
    data = m.named(ops.parameter(ov.PartialShape(shape), getattr(ov.Type, dtype)), name)
    return m.build(m.named(ops.add(data, data), "double"))


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_results_belong_to_their_samples_whatever_the_threads(threads: int) -> None:
    data, model = samples(30), m.convnet()
    found = outputs(model, data, threads)
    assert sorted(found) == list(range(30))
    reference = outputs(model, data, 1)
    expected = run_plainly(model, [sample["image"][None] for sample in data])
    for index in range(30):
        np.testing.assert_array_equal(found[index][0], reference[index][0])
        np.testing.assert_allclose(found[index][0], expected[index], rtol=1e-5, atol=1e-5)


def test_results_are_copies() -> None:
    found = outputs(doubled([1, 2]), [{"image": np.full(2, number, np.float32)} for number in range(10)])
    assert [values[0].tolist() for _, values in sorted(found.items())] == [[[2 * n, 2 * n]] for n in range(10)]


@pytest.mark.parametrize("shape", [SHAPE, (1, *SHAPE)], ids=["without", "with"])
def test_samples_may_come_without_a_batch_axis(shape: tuple[int, ...]) -> None:
    data = samples(1, shape)
    (expected,) = run_plainly(m.convnet(), [data[0]["image"].reshape(1, *SHAPE)])
    np.testing.assert_array_equal(outputs(m.convnet(), data)[0][0], expected)


@pytest.mark.parametrize("batch", [-1, 4], ids=["free", "fixed"])
def test_one_sample_at_a_time_whatever_the_batch(batch: int) -> None:
    model = doubled([batch, 3])
    found = outputs(model, samples(5, (3,)))
    for index, sample in enumerate(samples(5, (3,))):
        np.testing.assert_array_equal(found[index][0], 2 * sample["image"][None])
    assert model.input(0).get_partial_shape() == ov.PartialShape([batch, 3])


def test_every_input_with_the_same_fixed_batch_is_reshaped() -> None:
    first, second = m.image("a", (4, 3)), m.image("b", (4, 3))
    prepared = one_sample_at_a_time(m.build(m.add(first, second, "sum")))
    assert [str(port.get_partial_shape()) for port in prepared.inputs] == ["[1,3]", "[1,3]"]


def test_inputs_that_differ_in_axis_0_have_no_batch_there() -> None:
    boxes, picture = m.image("boxes", (100, 4)), m.image("picture", (1, 4))
    prepared = one_sample_at_a_time(m.build(m.add(boxes, picture, "sum")))
    assert [str(port.get_partial_shape()) for port in prepared.inputs] == ["[100,4]", "[1,4]"]


def test_a_batch_fixed_deep_inside_stays() -> None:
    flat = m.add(m.reshape(m.image(shape=(4, 2, 3)), "flat", 8, 3), m.constant("offsets", 8, 3), "sum")
    prepared = one_sample_at_a_time(m.build(flat))
    assert prepared.input(0).get_partial_shape() == ov.PartialShape([4, 2, 3])
    with pytest.raises(InputError, match="stat_batch_size"):
        samples_at_a_time(m.build(flat), 2)


def test_several_samples_a_request() -> None:
    data = samples(7, (3,))
    found = outputs(doubled([-1, 3]), data, batch=3)
    assert sorted(found) == [0, 1, 2]
    together = np.concatenate([found[number][0] for number in range(3)])
    np.testing.assert_array_equal(together[:7], [2 * sample["image"] for sample in data])
    # The last request is filled up with its last sample.
    np.testing.assert_array_equal(together[7:], [2 * data[6]["image"]] * 2)


@pytest.mark.parametrize(
    ("shape", "given"),
    [
        pytest.param([], (), id="no-axis"),
        pytest.param([1], (), id="one-number"),
        pytest.param([1], (1,), id="one-number-with-axis"),
        pytest.param([3], (3,), id="one-axis"),
        pytest.param([-1], (5,), id="free-axis"),
        pytest.param([-1, -1], (5,), id="free-axes"),
    ],
)
def test_inputs_of_few_axes(shape: list[int], given: tuple[int, ...]) -> None:
    values = np.full(given, 3, np.float32)
    (found,) = outputs(doubled(shape), [{"image": values}])[0]
    assert found.ndim == len(shape)
    np.testing.assert_array_equal(found.ravel(), 2 * values.ravel())


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        ("f32", np.uint8),
        ("f32", np.float64),
        ("f32", np.int64),
        ("f16", np.float32),
        ("i32", np.int64),
        ("i64", np.int32),
    ],
)
def test_element_types_of_the_same_kind_are_converted(wanted: str, given: type) -> None:
    (found,) = outputs(doubled([1, 3], dtype=wanted), [{"image": np.array([1, 2, 3], given)}])[0]
    assert found.dtype == getattr(ov.Type, wanted).to_dtype()
    assert found.tolist() == [[2, 4, 6]]


def test_arrays_of_any_memory_layout() -> None:
    values = np.arange(24, dtype=">f4").reshape(2, 3, 4).transpose(2, 0, 1)
    (found,) = outputs(doubled([1, 4, 2, 3]), [{"image": values}])[0]
    np.testing.assert_array_equal(found[0], 2 * values)


@pytest.mark.parametrize(
    ("sample", "parts"),
    [
        pytest.param({"picture": np.ones(SHAPE, np.float32)}, ("'image'", "picture"), id="name"),
        pytest.param({}, ("'image'",), id="nothing"),
        pytest.param({"image": np.ones((3, 8, 8), np.float32)}, ("'image'", "[1,4,8,8]", "[3, 8, 8]"), id="shape"),
        pytest.param({"image": np.ones((8, 8), np.float32)}, ("'image'", "[1,4,8,8]", "[8, 8]"), id="rank"),
        pytest.param({"image": np.ones((2, *SHAPE), np.float32)}, ("'image'", "[2, 4, 8, 8]"), id="batch"),
        pytest.param({"image": np.ones(SHAPE, np.complex64)}, ("'image'", "float32", "complex64"), id="dtype"),
    ],
)
def test_what_does_not_fit_is_named(sample: Sample, parts: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="sample 17: ") as caught:
        sample_inputs(m.convnet().inputs, sample, 17)
    assert all(part in str(caught.value) for part in parts)


def test_floats_are_no_integers() -> None:
    with pytest.raises(InputError, match="input 'image' is int64, the data are float32"):
        sample_inputs(doubled([1, 3], dtype="i64").inputs, {"image": np.ones(3, np.float32)}, 0)


def test_several_inputs_go_by_name() -> None:
    first, second = m.image("b", (1, 3)), m.image("a", (1, 3))
    model = m.build(m.named(ops.subtract(first, second), "difference"))
    assert input_names(model) == ("a", "b")
    assert input_names(compile_for_samples(model, 1)) == ("a", "b")
    sample: Sample = {"b": np.full(3, 5, np.float32), "unused": np.ones(1), "a": np.full(3, 2, np.float32)}
    assert outputs(model, [sample])[0][0].tolist() == [[3, 3, 3]]


def test_an_input_that_compiling_merged_with_a_reshape_finds_its_data() -> None:
    viewed = m.named(ops.reshape(m.image("pixels", (1, 3)), m.integers("shape", 1, 3), False), "0")
    viewed.output(0).get_tensor().set_names({"0"})
    model = m.build(m.named(ops.negative(viewed), "negative"))
    assert outputs(model, [{"pixels": np.full(3, 5, np.float32)}])[0][0].tolist() == [[-5, -5, -5]]


def test_several_outputs_of_several_types() -> None:
    data = m.image(shape=(1, 4))
    best = m.named(ops.topk(data, m.number("k", 1), 1, "max", "value", "i64"), "best")
    found = outputs(m.build(best.output(0), best.output(1)), [{"image": np.array([1, 7, 3, 2], np.float32)}])
    values, places = found[0]
    assert (values.tolist(), places.tolist(), str(places.dtype)) == ([[7]], [[1]], "int64")


def test_no_samples_give_no_results() -> None:
    assert outputs(m.convnet(), []) == {}


def test_a_failure_while_receiving_surfaces() -> None:
    def receive(number: int, _: list[Array]) -> None:
        if number == 3:
            raise KeyError("number 3")

    compiled = compile_for_samples(m.convnet(), 2)
    with pytest.raises(KeyError, match="number 3"):
        infer(compiled, samples(20), receive)


def test_nothing_is_read_long_after_a_failure() -> None:
    read = 0

    def data() -> Iterator[Sample]:
        nonlocal read
        for sample in samples(200):
            read += 1
            time.sleep(0.001)
            yield sample

    def receive(_: int, __: list[Array]) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        infer(compile_for_samples(m.convnet(), 1), data(), receive)
    assert read < 100


BROKEN_SAMPLE = """
import time
import numpy as np
from tasks.algorithms.inference import compile_for_samples, infer
from tests.support import models as m

def data():
    for _ in range(8):
        yield {"image": np.ones((4, 8, 8), np.float32)}
    raise ValueError("sample 8 is broken")

try:
    infer(compile_for_samples(m.convnet(), 4), data(), lambda _, __: time.sleep(0.01))
except ValueError as failure:
    print(failure)
"""


def test_a_sample_that_cannot_be_read_surfaces_while_others_run() -> None:
    # In a process of its own: a queue freed before its requests are done holds Python's lock for ever.
    finished = subprocess.run(
        [sys.executable, "-c", BROKEN_SAMPLE], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert finished.stdout == "sample 8 is broken\n"


def running_sum() -> ov.Model:
    data = m.image(shape=(1, 2))
    start = m.named(ops.constant(np.full((1, 2), 100, np.float32)), "start")
    total = m.add(m.named(ops.read_value(start, "total"), "before"), data, "sum")
    assign = m.named(ops.assign(total, "total"), "after")
    return ov.Model([m.named(ops.result(m.relu(total, "relu")), "result")], [assign], [data], "stateful")


@pytest.mark.parametrize("threads", [1, 4])
def test_a_model_with_state_starts_each_sample_anew(threads: int) -> None:
    data: list[Sample] = [{"image": np.full(2, number, np.float32)} for number in range(12)]
    found = outputs(running_sum(), data, threads)
    assert {number: values[0].tolist() for number, values in found.items()} == {
        number: [[100 + number] * 2] for number in range(12)
    }


def test_float32_also_where_the_cpu_prefers_less() -> None:
    data: Mapping[str, Array] = {"image": np.full(SHAPE, 1 + 2**-12, np.float32)}
    weights = np.eye(4, dtype=np.float32).reshape(4, 4, 1, 1)
    identity = ops.convolution(m.image(), ops.constant(weights), [1, 1], [0, 0], [0, 0], [1, 1])
    np.testing.assert_array_equal(outputs(m.build(m.named(identity, "identity")), [data])[0][0][0], data["image"])


def test_a_sample_is_called_by_its_name() -> None:
    data: list[Sample] = [NamedSample("cats/7.png", {"image": np.zeros((4, 9, 9), np.float32)})]
    with pytest.raises(InputError, match=r"^cats/7\.png: input 'image' has shape "):
        outputs(m.convnet(), data)


@pytest.mark.parametrize("shape", [[3, 2], [-1, 2]], ids=["static", "free"])
def test_a_sample_with_all_axes_needs_no_batch_axis(shape: list[int]) -> None:
    model, data = doubled(shape), samples(4, (3, 2))
    whole = whole_inputs(model, data[0])
    assert whole == ("image",)
    prepared = one_sample_at_a_time(model, whole)
    assert prepared.input(0).partial_shape == ov.PartialShape(shape)
    found: dict[int, Array] = {}
    infer(compile_for_samples(prepared, 1), data, lambda number, views: found.update({number: np.array(views[0])}))
    assert [found[index].tolist() for index in range(4)] == [(2 * sample["image"]).tolist() for sample in data]
    with pytest.raises(InputError, match="cannot take 2 samples at a time"):
        samples_at_a_time(model, 2, whole)


def test_a_sample_of_one_row_has_a_batch_axis() -> None:
    model = doubled([-1, 2])
    assert whole_inputs(model, samples(1, (1, 2))[0]) == ()
    assert whole_inputs(model, samples(1, (2,))[0]) == ()


def test_a_single_number_has_no_batch_axis_to_lose() -> None:
    assert whole_inputs(doubled([], "rate"), {"rate": np.array(16000.0, np.float32)}) == ()


def test_numbers_beyond_the_type_of_the_input_are_named() -> None:
    data: list[Sample] = [{"image": np.array([0.0, 1e300])}]
    with pytest.raises(InputError, match=r"sample 0: input 'image' is float32, which does not hold 1e\+300"):
        outputs(doubled([1, 2]), data)


def test_samples_that_only_the_model_refuses_end_in_one_line() -> None:
    """Shapes that fit the input but not each other further inside."""
    data = m.named(ops.parameter(ov.PartialShape([1, -1]), ov.Type.f32), "image")
    model = m.build(m.named(ops.add(data, m.constant("c", 1, 3)), "sum"))
    with pytest.raises(InputError, match=r"^OpenVINO cannot infer the samples: .+") as caught:
        outputs(model, samples(3, (2,)))
    assert "\n" not in str(caught.value)


def test_a_model_that_the_plugin_refuses_ends_in_one_line() -> None:
    data = m.named(ops.parameter(ov.PartialShape.dynamic(), ov.Type.f32), "image")
    variable = ops.read_value(ops.result(data).input_value(0), "state")
    model = ov.Model([ops.result(variable)], [ops.assign(variable, "state")], [data], "stateful")
    with pytest.raises(InputError, match=r"^OpenVINO cannot run the model on a CPU: .*dynamic rank") as caught:
        compile_for_samples(model, 1)
    assert "\n" not in str(caught.value)
