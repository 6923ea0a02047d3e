"""Layers that can be observed together."""

from itertools import pairwise

from tasks.graph.layer_groups import depends_on, find_sum, independent_groups, joined
from tasks.graph.layers import Layer, find_layers
from tasks.graph.operations import read_operations
from tests.support import models as m


def layers() -> dict[str, Layer]:
    return {layer.name: layer for layer in find_layers(read_operations(m.convnet()))}


def names(groups: tuple[tuple[Layer, ...], ...]) -> list[list[str]]:
    return [[layer.name for layer in group] for group in groups]


def test_a_layer_depends_on_what_its_data_are_computed_from() -> None:
    found = layers()
    assert depends_on(found["classifier"], {found["stem"].operation})
    assert depends_on(found["last"], {found["stem"].operation, found["classifier"].operation})
    assert not depends_on(found["stem"], {found["classifier"].operation})
    assert not depends_on(found["stem"], set())


def test_no_layer_of_a_group_reads_what_another_one_computes() -> None:
    groups = independent_groups(tuple(layers().values()))
    assert [layer.name for group in groups for layer in group] == ["stem", "branch", "last", "classifier"]
    for group in groups:
        for layer in group:
            assert not depends_on(layer, {other.operation for other in group if other is not layer})
    for first, second in pairwise(groups):
        assert depends_on(second[0], {layer.operation for layer in first})


def test_neighbours_are_joined_to_few_groups() -> None:
    groups = independent_groups(tuple(layers().values()))
    for most in range(1, 6):
        found = joined(groups, most)
        assert len(found) == min(most, len(groups))
        assert [name for group in names(found) for name in group] == ["stem", "branch", "last", "classifier"]
        assert all(found)
    assert independent_groups(()) == joined((), 3) == ()


def test_a_sum_is_found_where_the_other_summand_stays_as_it_is() -> None:
    stem = m.relu(m.biased_convolution(m.image("data", (1, 4, 12, 12)), "stem", 8, 1), "stem_relu")
    inner, other = m.biased_convolution(stem, "inner", 8, 1), m.convolution(stem, "other", 8, 1)
    model = m.build(m.add(m.relu(m.add(inner, other, "first"), "relu"), stem, "second"))
    found = {layer.name: layer for layer in find_layers(read_operations(model))}
    inner_layer, other_layer = found["inner"], found["other"]
    edge = find_sum(inner_layer, {inner_layer.operation})
    assert edge is not None
    assert (edge.operation.name, edge.port) == ("first", 0)
    # Both are tuned at once: neither can make up for what the other one will be.
    assert find_sum(inner_layer, {inner_layer.operation, other_layer.operation}) is None
    # Its answer goes through a function first.
    assert find_sum(found["stem"], {found["stem"].operation}) is None
