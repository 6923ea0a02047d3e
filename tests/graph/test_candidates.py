import pytest

from tasks.graph.candidates import intersect, per_tensor, symmetric, without_channels
from tasks.numerics.affine import Granularity, Mode, QuantizerConfig


def config(text: str) -> QuantizerConfig:
    """``8sc``: 8 bits, symmetric or asymmetric, one scale for the tensor or one per channel."""
    return QuantizerConfig(
        int(text[0]),
        {"s": Mode.SYMMETRIC, "a": Mode.ASYMMETRIC}[text[1]],
        {"t": Granularity.PERTENSOR, "c": Granularity.PERCHANNEL}[text[2]],
    )


def configs(text: str) -> tuple[QuantizerConfig, ...]:
    return tuple(map(config, text.split()))


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        pytest.param(["8st 8at"], "8st 8at", id="one-list"),
        pytest.param(["8st 8at", "8at 8st"], "8st 8at", id="order-of-the-first"),
        pytest.param(["8st 8at", "8at"], "8at", id="common-entry"),
        pytest.param(["8sc 8ac", "8st 8at"], "8st 8at", id="per-channel-weakened"),
        pytest.param(["8st 8at", "8sc 8ac"], "8st 8at", id="weakened-either-way"),
        pytest.param(["8at", "8st"], "8st", id="asymmetric-weakened"),
        pytest.param(["8ac", "8st"], "8st", id="both-weakened"),
        pytest.param(["4st", "8st"], "8st", id="primary-bits-win"),
        pytest.param(["4st", "2st"], "2st", id="else-the-smaller-bits"),
        pytest.param(["8at 4st 8at", "8at 4st 8at"], "8at 4st 8at", id="both-ends-kept"),
        pytest.param(["8at 4st 8at", "8sc"], "8st", id="npu-convolution-and-pooling"),
        pytest.param(["8st 8at", "8sc 8ac", "8at"], "8at", id="three-lists"),
    ],
)
def test_intersect(lists: list[str], expected: str) -> None:
    assert intersect(map(configs, lists), primary_bits=8) == configs(expected)


def test_primary_bits_are_the_device_s() -> None:
    assert intersect([configs("8st"), configs("4st")], primary_bits=4) == configs("4st")


@pytest.mark.parametrize(
    ("given", "expected"),
    [("8sc 8st", "8st"), ("8sc 8ac", "8st 8at"), ("8st 8at", "8st 8at")],
)
def test_per_tensor_prefers_entries_of_the_table(given: str, expected: str) -> None:
    assert per_tensor(configs(given)) == configs(expected)


def test_without_channels_keeps_the_places_of_first_and_last() -> None:
    assert without_channels(configs("8sc 4st 8sc")) == configs("8st 4st 8st")


@pytest.mark.parametrize(("given", "expected"), [("8st 8at", "8st"), ("8at 4st 8at", "8st 4st 8st")])
def test_symmetric_keeps_the_places_of_first_and_last(given: str, expected: str) -> None:
    assert symmetric(configs(given)) == configs(expected)
