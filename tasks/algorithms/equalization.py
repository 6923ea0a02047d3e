"""Cross-layer equalization of a whole model: pair after pair, again until chains of layers are in balance."""

import numpy as np
import openvino as ov

from tasks.graph.equalization import EqualizationPair, equalize_pair, find_pairs, read_columns, read_rows
from tasks.numerics.equalization import equalizing_factors

# A layer between two pairs belongs to both.
ROUNDS = 8
# Factors within this distance of 1 are none.
_LEAST = 1e-2


def equalize(model: ov.Model) -> tuple[EqualizationPair, ...]:
    """Equalize the weights of a model in place, by weights alone; returns the pairs that changed."""
    changed: dict[EqualizationPair, None] = {}
    for _ in range(ROUNDS):
        moved = False
        for pair in find_pairs(model):
            factors = equalizing_factors(read_rows(model, pair), read_columns(model, pair))
            if np.abs(np.log(factors)).max() > _LEAST:
                equalize_pair(model, pair, factors)
                changed[pair] = None
                moved = True
        if not moved:
            break
    model.validate_nodes_and_infer_types()
    return tuple(changed)
