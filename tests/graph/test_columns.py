"""Every kind of layer as a matrix product, against what OpenVINO computes."""

from dataclasses import replace

import numpy as np
import openvino as ov
import pytest

from tasks.graph.columns import Form, form_of
from tasks.graph.layers import find_layers
from tasks.graph.operations import read_operations
from tests.support import models as m
from tests.support.layer_kinds import KINDS, Kind


def form(kind: Kind) -> Form:
    [layer] = find_layers(read_operations(kind.model()))
    return form_of(layer, kind.weights)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_products_of_matrices_and_columns_are_what_openvino_computes(kind: Kind, batch: int) -> None:
    if len(kind.shape) > 2:
        kind = replace(kind, shape=(batch, *kind.shape[1:]))
    data = np.random.default_rng(3).normal(size=kind.shape).astype(np.float32)
    computed = ov.Core().compile_model(kind.model(), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(data)[0]
    found = form(kind)
    matrices = found.matrices(m.constant("weights", *kind.weights).get_data()).astype(np.float64)
    assert matrices.shape == (found.groups, found.outputs, found.inputs)
    places = np.arange(found.positions(computed.shape))
    columns = found.columns(data, computed.shape, places)
    answers = columns @ np.swapaxes(matrices, 1, 2)
    assert answers == pytest.approx(found.answers(computed, places), rel=1e-5, abs=1e-5)
    some = places[::2]
    assert (found.columns(data, computed.shape, some) == columns[:, some]).all()


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_matrices_become_the_weights_again(kind: Kind) -> None:
    weights = np.arange(np.prod(kind.weights)).reshape(kind.weights)
    assert (form(kind).weights(form(kind).matrices(weights)) == weights).all()
